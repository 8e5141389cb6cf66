"""What a model remembers of single texts: who can be told to have been in it, what it gives away, and what follows for ε."""

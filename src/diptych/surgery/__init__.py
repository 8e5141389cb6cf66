"""What is done to a network before it learns: fewer layers, more tokens, thin matrices beside its own, a start that is solved for."""

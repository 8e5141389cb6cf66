"""What a model has got from its text that it should not have: prejudice against groups, and what it remembers."""

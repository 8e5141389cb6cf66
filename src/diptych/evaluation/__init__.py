"""How good a model is, with an interval, beside what a word count would have done."""

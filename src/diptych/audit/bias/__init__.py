"""Whom a corpus and a model treat unfairly: a measure a file, each with an interval, a count, and a claim only where it holds."""

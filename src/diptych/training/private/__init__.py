"""Differential privacy: what is clipped, how it is measured without being made, noise, and what it all costs."""

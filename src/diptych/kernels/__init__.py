"""Passes over tensors by hand, where torch's own are measured to be slower or to keep more; they know no network."""

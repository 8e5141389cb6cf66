"""Models behind an address: the engine that writes many answers at once, the endpoints, and what keeps strangers out."""

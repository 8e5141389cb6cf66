"""One Transformer stack, its heads, and its families: a map of names each."""

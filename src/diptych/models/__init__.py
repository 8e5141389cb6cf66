"""One Transformer stack, its heads, its presets, and the folders it lives in."""

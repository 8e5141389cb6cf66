"""One Transformer stack, its heads, its families and its presets."""

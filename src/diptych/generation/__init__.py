"""Writing: the next token again and again, with a cache, a way to choose, and text that never splits a character."""

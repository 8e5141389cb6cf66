"""How networks lie on disk: folders of Hugging Face, sentence-transformers and peft, GGUF files, and the way out of pickles."""

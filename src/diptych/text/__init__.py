"""Text on its way in: corpora, cleaning, words, tokenizers and token shards. No torch here."""

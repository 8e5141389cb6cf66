"""Which tokens are pieces of one word, so that a word can be hidden whole.

A word is what `words.py` says, not what the tokenizer says: English by its letters, Chinese by rjieba. So whole words mean
the same with WordPiece, which takes Chinese characters apart, with BPE on bytes, where one character is three tokens, and
with Unigram, whose pieces may reach over the end of a word: such words are hidden together. Google's own flag for whole
words goes by ## and does nothing on Chinese; here a script that nothing finds words in is refused, not passed over.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from diptych.errors import DataError
from diptych.text.words import is_wide, words

UNCUT = 0.05
"""The share of letters without known words that is put up with: a foreign name here and there."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff]")
"""Thai, Lao, Tibetan, Burmese, Khmer and Japanese are written without spaces between words, and no segmenter for them is here."""


class WordFinder:
    """Finds the words of one text after the other, and counts the letters in which it could not."""

    def __init__(self) -> None:
        self._has_segmenter = find_spec("rjieba") is not None
        self._letters = self._unspaced = 0
        self._example = ""

    def continues(self, text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
        """Whether each token goes on with the word (or the character) of the token before: bool, one a token.

        Args:
            offsets: from which to which character of `text` each token reaches.

        Raises:
            DataError E207: the text is Chinese, and its segmenter is not installed.
        """
        if not self._has_segmenter and any(map(is_wide, text)):
            raise DataError("E207")
        unspaced = list(filter(str.isalpha, _UNSPACED.findall(text)))
        self._letters += sum(map(str.isalpha, text))
        self._unspaced += len(unspaced)
        self._example = self._example or "".join(unspaced[:5])
        if not offsets:
            return np.empty(0, dtype=bool)
        starts, stops = np.array(offsets, dtype=np.int64).T
        word_of, after, before = _number_words(text)
        # The first and the last word that a token reaches into, -1 where it holds none: white space, punctuation.
        first = np.where(after[starts] < stops, word_of[after[starts]], -1)
        last = np.where(before[stops] >= starts, word_of[before[stops]], -1)
        found = np.zeros(len(starts), dtype=bool)
        shares_word = (first[1:] == last[:-1]) & (first[1:] >= 0)
        found[1:] = shares_word | (starts[1:] < stops[:-1])
        return found

    def check(self) -> None:
        """
        Raises:
            DataError E206: too much of what was read has no known words.
        """
        if self._unspaced > UNCUT * self._letters:
            raise DataError("E206", share=f"{self._unspaced / max(1, self._letters):.0%}", example=self._example)


def _number_words(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The word of each character, -1 for none; and for each place the nearest character of a word at or after it, and before it.

    Where there is no such character, the place named is one past the text or -1, and both have the word -1.
    """
    size = len(text)
    word_of = np.full(size + 2, -1, dtype=np.int64)
    for number, (start, stop) in enumerate(words(text)):
        word_of[start:stop] = number
    is_word, places = word_of[: size + 1] >= 0, np.arange(size + 1)
    after = np.minimum.accumulate(np.where(is_word, places, size + 1)[::-1])[::-1]
    before = np.maximum.accumulate(np.where(is_word, places, -1))
    return word_of, after, np.concatenate([[-1], before[:-1]])

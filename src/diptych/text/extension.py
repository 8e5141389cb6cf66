"""More words for a tokenizer that is there: merges of its own tokens, learnt from the text of a domain.

What it cut before it cuts the same way or shorter: new tokens are joined from old ones, the most frequent pair first (Sennrich et
al. 2016, begun from a vocabulary instead of from characters), so each has a meaning to begin with, that of its pieces. Pairs are
counted within words, as the tokenizer finds words; a tokenizer that takes Chinese characters apart keeps them apart.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import tokenizers

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.files import whole
from diptych.text.tokenizer import Tokenizer

LEAST = 3
"""A pair that is rarer than this is no word of the domain."""
LONGEST = 32
"""Characters of a token at most."""


@dataclass(frozen=True)
class Extension:
    """A longer vocabulary, and the old tokens that each new one is made of: the first new token first."""

    tokenizer: Tokenizer
    pieces: list[list[int]]
    tokens_before: int
    tokens_after: int
    """How many tokens the words of the text it was learnt from take."""


def extend(tokenizer: Tokenizer, texts: Iterable[str], count: int, ledger: Ledger | None = None) -> Extension:
    """`tokenizer` with up to `count` tokens more, for these texts; the one that is given stays as it is.

    Raises:
        TrainingError E543: a kind of tokenizer that does not join tokens to longer ones.
    """
    state = json.loads(tokenizer.backend.to_str())
    kind = state["model"]["type"]
    if kind not in ("BPE", "WordPiece") or state["model"].get("byte_fallback"):
        raise TrainingError("E543", kind=kind)
    prefix = state["model"].get("continuing_subword_prefix") or ""
    words = _words(tokenizer, texts)
    vocabulary = dict(state["model"]["vocab"])
    learner = _Learner(words, prefix)
    before = learner.num_tokens
    pieces_of: dict[str, list[int]] = {}
    added: list[tuple[str, str, str]] = []
    number = tokenizer.vocab_size
    while len(pieces_of) < count and (pair := learner.best()) is not None:
        joined = pair[0] + pair[1].removeprefix(prefix)
        if len(joined.removeprefix(prefix)) > LONGEST:
            learner.drop(pair)
            continue
        learner.join(pair, joined)
        added.append((*pair, joined))
        if joined not in vocabulary:
            vocabulary[joined] = number
            number += 1
            pieces_of[joined] = [old for part in pair for old in pieces_of.get(part) or [vocabulary[part]]]
    state["model"]["vocab"] = vocabulary
    if kind == "BPE":
        old = state["model"]["merges"]
        as_text = bool(old) and isinstance(old[0], str)
        state["model"]["merges"] = old + [f"{a} {b}" if as_text else [a, b] for a, b, _joined in added]
    longer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(state)), dict(tokenizer.roles), tokenizer.context_length)
    after = sum(times * len(_cut(longer, word)) for word, times in words.items())
    if ledger is not None:
        ledger.add("tokenizer", mark("tokens added for the words of this text"), len(pieces_of))
        ledger.add("tokenizer", mark("tokens that the text is shorter by, of its tokens"), max(0, before - after), total=before)
    return Extension(longer, list(pieces_of.values()), before, after)


def _words(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[tuple[str, tuple[str, ...]], int]:
    """Each word of the texts with its tokens, and how often it occurs."""
    backend = tokenizer.backend
    counts: Counter[str] = Counter()
    for text in texts:
        text = whole(text)
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        split = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer is not None else [(text, (0, 0))]
        counts.update(word for word, _place in split)
    return {(word, tuple(token.value for token in backend.model.tokenize(word))): times for word, times in sorted(counts.items())}


def _cut(tokenizer: Tokenizer, word: tuple[str, tuple[str, ...]]) -> list:
    return tokenizer.backend.model.tokenize(word[0])


class _Learner:
    """Words as tokens, with the count of every pair kept up to date while pairs are joined."""

    def __init__(self, words: dict[tuple[str, tuple[str, ...]], int], prefix: str) -> None:
        self.words = [list(tokens) for _word, tokens in words]
        self.times = list(words.values())
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.where: dict[tuple[str, str], set[int]] = defaultdict(set)
        for number in range(len(self.words)):
            self._count(number, 1)
        self._prefix = prefix

    @property
    def num_tokens(self) -> int:
        return sum(len(word) * times for word, times in zip(self.words, self.times, strict=True))

    def best(self) -> tuple[str, str] | None:
        """The most frequent pair, the first in order of two that are as frequent; None where all are rare."""
        if not self.pairs:
            return None
        pair = min(self.pairs, key=lambda each: (-self.pairs[each], each))
        return pair if self.pairs[pair] >= LEAST else None

    def drop(self, pair: tuple[str, str]) -> None:
        """Never join this pair."""
        self.pairs[pair] = 0

    def join(self, pair: tuple[str, str], joined: str) -> None:
        """Write `joined` wherever the pair stands."""
        for number in list(self.where[pair]):
            self._count(number, -1)
            word, place, out = self.words[number], 0, []
            while place < len(word):
                is_pair = place + 1 < len(word) and (word[place], word[place + 1]) == pair
                out.append(joined if is_pair else word[place])
                place += 2 if is_pair else 1
            self.words[number] = out
            self._count(number, 1)
        self.pairs.pop(pair, None)

    def _count(self, number: int, sign: int) -> None:
        word = self.words[number]
        for pair in pairwise(word):
            self.pairs[pair] += sign * self.times[number]
            if sign > 0:
                self.where[pair].add(number)

"""Learning a vocabulary from a stream of texts: byte-level BPE, WordPiece, Unigram, or single characters.

The same texts give the same vocabulary with the same numbers. The library's own trainers for WordPiece and Unigram do not
keep that promise, since they break ties in the order of a hash table; what they leave open is settled here.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from diptych.errors import DataError
from diptych.text.files import whole

Kind = Literal["bpe", "wordpiece", "unigram", "characters"]
UNKNOWN = "[UNK]"
# Letters, single digits, Chinese runs, and what is neither: a word keeps the space before it. This cuts wherever GPT-2's rule
# cuts, and also around digits and Chinese. No merge is learnt across those, as no other piece has their bytes: so a reader
# who knows GPT-2's rule alone, such as llama.cpp, gets the same tokens.
BPE_SPLIT = (
    r"'(?:[sdmt]|ll|ve|re)| ?[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
    r"| ?[^\P{L}\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[0-9]| ?[^\P{N}0-9]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
UNIGRAM_SPLIT = r"▁*[\u3400-\u9fff\uf900-\ufaff]{1,16}|▁*[^\W\d_\u3400-\u9fff\uf900-\ufaff▁]+|\d|▁*[^\s\w▁]+|▁+"
UNIGRAM_CHARS = 5_000_000
"""Unigram weighs every way to cut the text again and again: so much of it is learnt from, a minute or two of work."""
SEEN_TWICE = 2
"""A pair that occurs once is no pattern: joined, a small text would become one long token that nothing else contains."""
MOST_CHARACTERS = 10_000
"""So many different ones, or fewer, has nearly every text."""
WORD_START = "\ue000"
"""Stands before a word while WordPiece learns; cleaning drops private characters, so that no text has it."""


def learn(texts: Iterable[str], kind: Kind, vocab_size: int, specials: Sequence[str], *, lowercase: bool) -> tokenizers.Tokenizer:
    """A tokenizer with a vocabulary of at most `vocab_size`, the special tokens first; BPE has at least every byte.

    Raises:
        DataError E201: there is no text to learn from. E205: a unigram vocabulary has no room for every character.
    """
    stream = _Texts(texts, UNIGRAM_CHARS if kind == "unigram" else None, str.lower if lowercase else str)
    names = [*specials] if kind == "bpe" or UNKNOWN in specials else [*specials, UNKNOWN]
    lower = normalizers.Lowercase() if lowercase else None
    if kind == "bpe":
        backend = _learn_bpe(stream, vocab_size, names, lower)
    elif kind == "wordpiece":
        backend = _learn_wordpiece(stream, vocab_size, names, lowercase=lowercase)
    elif kind == "unigram":
        backend = _learn_unigram(stream, vocab_size, names, lower)
    else:
        backend = _learn_characters(stream, vocab_size, names, lower)
    if not stream.count:
        raise DataError("E201")
    return backend


class _Texts:
    """A stream of texts, up to a number of characters, that counts those with something in them, and every character."""

    def __init__(self, texts: Iterable[str], limit_chars: int | None, fold: Callable[[str], str]) -> None:
        self._texts = texts
        self._limit = limit_chars
        self._fold = fold
        self.count = 0
        self.characters: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        used = 0
        for text in self._texts:
            self.count += bool(text.strip())
            used += len(text)
            text = whole(text)
            self.characters.update(self._fold(text))
            yield text
            if self._limit is not None and used >= self._limit:
                return


def _learn_bpe(texts: _Texts, vocab_size: int, names: Sequence[str], lower: Any) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(unk_token=None))
    backend.normalizer = lower
    split = pre_tokenizers.Split(Regex(BPE_SPLIT), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=SEEN_TWICE,
        special_tokens=list(names),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _learn_wordpiece(texts: _Texts, vocab_size: int, names: Sequence[str], *, lowercase: bool) -> tokenizers.Tokenizer:
    """BPE over words that carry a mark at their beginning, so that pieces there and further in (##) are told apart."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))  # type: ignore[call-arg]
    backend.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    learner = tokenizers.Tokenizer(models.BPE())
    learner.normalizer = backend.normalizer
    mark = pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always", split=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([backend.pre_tokenizer, mark])
    # Every character takes a place, and another one with its mark; neither is a piece that is longer. The mark comes first, so
    # that of two pairs that are as frequent the one at the beginning of a word is joined first.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size + 2 * MOST_CHARACTERS, min_frequency=SEEN_TWICE, special_tokens=[WORD_START], show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    numbers = learner.get_vocab()
    learnt = sorted(numbers, key=numbers.__getitem__)
    # Rare characters come last in a frequency list and must not push out the words.
    most = max(vocab_size // 3, min(vocab_size - len(names) - 64, max(1000, vocab_size * 3 // 4)))
    letters = [piece for piece in learnt if len(piece) == 1 and piece != WORD_START]
    kept = sorted(sorted(letters, key=lambda letter: (-texts.characters[letter], letter))[:most])
    vocabulary = dict.fromkeys([*names, *kept, *(f"##{letter}" for letter in kept if _joins(backend, letter))])
    for piece in learnt:
        inner = piece.removeprefix(WORD_START)
        if len(inner) > 1 and set(inner) <= set(kept):
            vocabulary[inner if piece.startswith(WORD_START) else f"##{inner}"] = None
    pieces = list(vocabulary)[:vocab_size]
    backend.model = models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token=UNKNOWN)  # type: ignore[call-arg]
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    return backend


def _joins(backend: tokenizers.Tokenizer, letter: str) -> bool:
    """Whether a character can stand inside a word: Chinese ones and punctuation are words of their own."""
    return len(backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{letter}a"))) == 1


def _learn_unigram(texts: _Texts, vocab_size: int, names: Sequence[str], lower: Any) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = lower
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(split=False), pre_tokenizers.Split(Regex(UNIGRAM_SPLIT), behavior="isolated")]
    )
    backend.decoder = decoders.Metaspace()
    # Half of the candidates go in each round: twice as fast as with a quarter, and as good to a tenth of a percent.
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(names), unk_token=UNKNOWN, shrinking_factor=0.5, show_progress=False
    )
    try:
        backend.train_from_iterator(texts, trainer)
    except Exception as error:  # the Rust library raises nothing narrower
        if "not large enough to contain all chars" not in str(error):
            raise
        raise DataError("E205", size=vocab_size, count=len(texts.characters)) from None
    scores = dict(json.loads(backend.to_str())["model"]["vocab"])
    pieces = sorted((-_settled(score), piece) for piece, score in _level(scores, names).items())
    vocabulary = [(name, 0.0) for name in names] + [(piece, -cost) for cost, piece in pieces]
    backend.model = models.Unigram(vocabulary, unk_id=names.index(UNKNOWN), byte_fallback=False)
    return backend


def _level(scores: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    """Characters that were no piece of their own get a score a ten-thousandth above the one before: here all get the lowest."""
    found = {piece: score for piece, score in scores.items() if piece not in names}
    lowest = min(found.values(), default=0.0)
    border = lowest + 1e-4 * sum(len(piece) == 1 for piece in found)
    return {piece: lowest if len(piece) == 1 and score <= border else score for piece, score in found.items()}


def _settled(score: float) -> float:
    """A score without its last digits, which depend on the order in which threads add up, and are lost in a file."""
    return round(score, 6)


def _learn_characters(texts: _Texts, vocab_size: int, names: Sequence[str], lower: Any) -> tokenizers.Tokenizer:
    deque(texts, maxlen=0)
    counts = texts.characters
    common = sorted(counts, key=lambda character: (-counts[character], character))
    vocabulary = {name: number for number, name in enumerate([*names, *common[: vocab_size - len(names)]])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = lower
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    return backend

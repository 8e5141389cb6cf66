"""Forms, compiled for a tokenizer by `llguidance`: what a form is called, how it is said to the library, what each token adds to a text.

Nothing here needs a network, so that a process of its own can try a stranger's form before it is believed (`serve/forms.py`).
"""

import contextlib
import json
import re
from typing import Any, Literal
from weakref import WeakKeyDictionary

from tokenizers import decoders, models

from diptych.errors import UsageError
from diptych.text.tokenizer import Tokenizer

Kind = Literal["choices", "regex", "json_schema", "grammar"]
LONGEST = 200_000
"""Characters of a schema or grammar; what is compiled from them is bounded by llguidance itself."""
FEW = 300
"""Characters of what is wrong with one: the message repeats what it is about."""
LOOSE_SPACE = {"whitespace_pattern": " ?"}
"""JSON may have a space after a comma or a colon and nothing else: a small model would write blank lines for ever."""


def compiled(kind: Kind, value: Any, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int]) -> Any:
    """A form as llguidance's matcher.

    Raises:
        UsageError E647: llguidance is not installed. E648: the form cannot be read. E649: this kind of tokenizer
        has tokens whose text depends on their neighbours.
    """
    try:
        import llguidance
    except ImportError:
        raise UsageError("E647") from None
    known = _known(llguidance, tokenizer, vocab_size, ends)
    try:
        grammar = _grammar(llguidance.LLMatcher, kind, value)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError("E648", kind=kind, problem=str(error)[:FEW]) from None
    matcher = llguidance.LLMatcher(known, grammar, log_level=0, limits=llguidance.LLParserLimits(verbose_errors=False))
    if matcher.is_error():
        raise UsageError("E648", kind=kind, problem=matcher.get_error().strip()[:FEW])
    return matcher


def _grammar(matcher: Any, kind: Kind, value: Any) -> str:
    """The form in llguidance's own terms."""
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"{len(value):,} > {LONGEST:,}")
    if kind == "choices":
        return matcher.grammar_from_lark("start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in value))
    if kind == "regex":
        return matcher.grammar_from_regex(value)
    if kind == "grammar":
        return matcher.grammar_from_lark(value)
    return matcher.grammar_from_json_schema(value if isinstance(value, str) else json.dumps(value), LOOSE_SPACE)


_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that stands for a byte of characters that the vocabulary does not have."""
_KNOWN: WeakKeyDictionary[Tokenizer, dict[tuple[int, frozenset[int]], Any]] = WeakKeyDictionary()
"""Tokenizers as llguidance knows them: a large vocabulary takes it a second."""


def _known(llguidance: Any, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int]) -> Any:
    found = _KNOWN.setdefault(tokenizer, {})
    key = (vocab_size, ends)
    if key not in found:
        # An end that no model can write stands for one where there is none.
        size = max(vocab_size, tokenizer.vocab_size) + 1
        wrapped = llguidance.TokenizerWrapper(_Bytes(tokenizer, size))
        found[key] = llguidance.LLTokenizer(wrapped, n_vocab=size, eos_token=sorted(ends) or [size - 1])
    return found[key]


class _Bytes:
    """A tokenizer as llguidance asks for it: the bytes of each token."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = size - 1
        texts = bytes_of(tokenizer)
        # Numbers without a text, and special tokens, are no part of any form.
        silent = [number for number in range(size) if number >= len(texts) or not texts[number] or number in tokenizer.special_ids]
        self.special_token_ids = silent
        self.tokens = list(texts) + [b""] * (size - len(texts))
        for number in silent:
            self.tokens[number] = b"<%d>" % number
        self._numbers = {text: number for number, text in enumerate(texts) if text and number not in tokenizer.special_ids}
        self._longest = max(map(len, self._numbers), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of a piece of a text that must come next: as the tokenizer cuts it where that is the same in the middle of a text."""
        if isinstance(self._tokenizer.backend.decoder, decoders.ByteLevel):
            with contextlib.suppress(UnicodeDecodeError):
                return self._tokenizer.encode(text.decode())
        found, start = [], 0
        while start < len(text):
            fits = (end for end in range(min(len(text), start + self._longest), start, -1) if text[start:end] in self._numbers)
            end = next(fits, start)
            if end > start:
                found.append(self._numbers[text[start:end]])
            start = max(end, start + 1)
        return found


def bytes_of(tokenizer: Tokenizer) -> list[bytes]:
    """What each token adds to a text.

    Raises:
        UsageError E649: that depends on the tokens around it, as in WordPiece.
    """
    backend = tokenizer.backend
    pieces = [backend.id_to_token(number) or "" for number in range(tokenizer.vocab_size)]
    if isinstance(backend.model, models.WordPiece):
        raise UsageError("E649", kind="WordPiece")
    if isinstance(backend.decoder, decoders.ByteLevel):
        table, added = byte_table(), backend.get_added_tokens_decoder()
        # A token that was added to the vocabulary stands there as it is.
        return [
            piece.encode() if number in added or not set(piece) <= set(table) else bytes(table[letter] for letter in piece)
            for number, piece in enumerate(pieces)
        ]
    if isinstance(backend.decoder, decoders.Fuse):
        return [piece.encode() for piece in pieces]
    return [bytes([int(piece[3:5], 16)]) if _BYTE.fullmatch(piece) else piece.replace("▁", " ").encode() for piece in pieces]


def byte_table() -> dict[str, int]:
    """GPT-2's letters for bytes: what can be printed is itself, the rest are the letters from U+0100 on."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    return {chr(byte): byte for byte in itself} | {chr(256 + number): byte for number, byte in enumerate(others)}

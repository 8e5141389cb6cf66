"""From text to numbers and back, by the `tokenizers` library, in a folder that Hugging Face's AutoTokenizer opens.

A tokenizer never cuts and never pads here, whatever its file says: the one in MiniLM's folder cuts every text at 128 tokens
and pads it to 128, and nobody is told. And a text that spells out a special token stays text.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.files import whole
from diptych.text.vocabulary import Kind, learn

Panel = Literal["causal", "masked", "hybrid", "denoising"]
"""Causal ends documents with a token; the others frame texts and have one for blanks. Denoising has sentinels besides."""
STAGE = mark("tokenizer")
MASKED_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CAUSAL_SPECIALS = ("<|endoftext|>", "<|pad|>")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
"""What T5 calls the places of what is missing."""
SENTENCE_ENDS = "。！？!?.；;…\n"
UNREADABLE = 0.05
_ROLES = {
    "bos": ("<|endoftext|>", "<s>", "<|begin_of_text|>", "<|im_start|>"),
    "eos": ("<|endoftext|>", "</s>", "<|end_of_text|>", "<|im_end|>"),
    "pad": ("[PAD]", "<|pad|>", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
}


class Tokenizer:
    """Cuts text into tokens.

    Attributes:
        backend: the `tokenizers.Tokenizer` underneath.
        roles: the text of the special tokens by role ("pad", "mask" …).
        chat_template: how a conversation is written down for the model (a Jinja template), where it was taught one.
    """

    def __init__(self, backend: tokenizers.Tokenizer, roles: dict[str, str] | None = None, context_length: int | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.backend = backend
        if roles is None:
            roles = {role: name for role, names in _ROLES.items() for name in names[:1] if backend.token_to_id(name) is not None}
        self.roles = roles
        self.context_length = context_length
        self.chat_template: str | None = None

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: Kind = "bpe",
        vocab_size: int = 8192,
        *,
        panel: Panel = "causal",
        lowercase: bool = False,
        ledger: Ledger | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary from a stream of texts; the same texts give the same one.

        Args:
            kind: "bpe" on bytes reads any text; "wordpiece" takes Chinese characters apart; "unigram" learns from the first
                five million characters; "characters".
            panel: "causal" ends documents with one token; the others have [CLS], [SEP] and [MASK] and frame texts with them.

        Raises:
            DataError E201: there is no text to learn from. E205: a unigram vocabulary has no room for every character.
        """
        specials = CAUSAL_SPECIALS if panel == "causal" else MASKED_SPECIALS
        if panel == "denoising":
            specials += SENTINELS[: vocab_size // 16]
        backend = learn(texts, kind, vocab_size, specials, lowercase=lowercase)
        if panel != "causal":
            backend.post_processor = _frame(backend)
        roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        if panel == "causal":
            roles = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<|pad|>"}
            if kind != "bpe":
                roles["unk"] = "[UNK]"
        tokenizer = cls(backend, roles)
        if ledger is not None and tokenizer.vocab_size < vocab_size:
            ledger.add(STAGE, "tokens in the vocabulary: the text has no more to learn", tokenizer.vocab_size, total=vocab_size)
        return tokenizer

    @classmethod
    def load(cls, source: str | Path) -> "Tokenizer":
        """The tokenizer in a folder (tokenizer.json, or vocab.txt, or vocab.json with merges.txt) or in a tokenizer.json.

        Raises:
            DataError E202: there is none, or it cannot be read.
        """
        path = Path(source)
        folder = path if path.is_dir() else path.parent
        file = folder / "tokenizer.json" if path.is_dir() else path
        settings = _read_json(folder / "tokenizer_config.json")
        try:
            if file.exists():
                backend = tokenizers.Tokenizer.from_file(str(file))
            elif (folder / "vocab.txt").exists():
                backend = _from_vocabulary(folder / "vocab.txt", bool(settings.get("do_lower_case", True)))
            elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
                backend = _from_merges(folder)
            else:
                raise DataError("E202", path=path, problem="tokenizer.json")
        except (OSError, ValueError, TypeError) as error:
            raise DataError("E202", path=path, problem=error) from None
        except Exception as error:  # the Rust library raises nothing narrower
            if type(error) is not Exception:
                raise
            raise DataError("E202", path=path, problem=error) from None
        tokenizer = cls(backend, _roles(backend, settings, _read_json(folder / "special_tokens_map.json")), _limit(settings))
        tokenizer.chat_template = _chat_template(folder, settings)
        return tokenizer

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into an existing folder."""
        folder = Path(folder)
        names = {f"{role}_token": token for role, token in self.roles.items()}
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": self.context_length or 1_000_000,
            "padding_side": "right",
            **names,
        }
        if self.chat_template is not None:
            settings["chat_template"] = self.chat_template
        self.backend.save(str(folder / "tokenizer.json"))
        for name, data in (("tokenizer_config.json", settings), ("special_tokens_map.json", names)):
            (folder / name).write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, to hand to another process."""
        backend = self.backend.to_str()
        return {"backend": backend, "roles": self.roles, "context_length": self.context_length, "chat_template": self.chat_template}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tokenizer":
        """The tokenizer that `to_json` gave away."""
        tokenizer = cls(tokenizers.Tokenizer.from_str(data["backend"]), data["roles"], data["context_length"])
        tokenizer.chat_template = data["chat_template"]
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`, without special ones."""
        return self.encode_offsets(text)[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without special ones; several threads share the work."""
        try:
            encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):  # halves of characters, which Python's strings alone can hold
            encodings = self.backend.encode_batch_fast([whole(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of `text`, and from which to which character of the original each one reaches."""
        try:
            encoding = self.backend.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            encoding = self.backend.encode(whole(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def frame(self, ids_a: Sequence[int], ids_b: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
        """(ids, token types) of a text or a pair as a model reads them: [CLS] a [SEP] b [SEP], or bare where there is no [CLS]."""
        cls_id, sep_id = self.cls_id, self.sep_id
        if cls_id is None or sep_id is None:
            ids = list(ids_a) + ([] if ids_b is None else ([self.eos_id] if self.eos_id is not None else []) + list(ids_b))
            return ids, [0] * len(ids)
        ids = [cls_id, *ids_a, sep_id]
        types = [0] * len(ids)
        if ids_b is not None:
            # RoBERTa's kind puts two of them between.
            doubled = [sep_id] if isinstance(self.backend.post_processor, processors.RobertaProcessing) else []
            ids += [*doubled, *ids_b, sep_id]
            types += [1] * (len(doubled) + len(ids_b) + 1)
        return ids, types

    def num_special(self, *, pair: bool) -> int:
        """How many special tokens `frame` adds."""
        return len(self.frame([], [] if pair else None)[0])

    def decode(self, ids: Sequence[int], *, skip_specials: bool = True) -> str:
        """The text of `ids`; bytes that are half a character show as U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_specials)

    def token(self, number: int) -> str:
        """One token as a person can read it: bytes decoded where they are whole characters, a continuation as ##piece."""
        piece = self.backend.id_to_token(number)
        if piece is None or number in self.special_ids or not isinstance(self.backend.decoder, decoders.ByteLevel):
            return piece or ""
        text = self.backend.decode([number], skip_special_tokens=False)
        return piece if "\ufffd" in text else text

    def id(self, token: str) -> int | None:
        """The number of a token, or None where the vocabulary has none."""
        return self.backend.token_to_id(token)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def bos_id(self) -> int | None:
        return self._role("bos")

    @property
    def eos_id(self) -> int | None:
        return self._role("eos")

    @property
    def pad_id(self) -> int | None:
        return self._role("pad")

    @property
    def unk_id(self) -> int | None:
        return self._role("unk")

    @property
    def cls_id(self) -> int | None:
        return self._role("cls")

    @property
    def sep_id(self) -> int | None:
        return self._role("sep")

    @property
    def mask_id(self) -> int | None:
        return self._role("mask")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every token that is not text."""
        added = {number for number, token in self.backend.get_added_tokens_decoder().items() if token.special}
        return frozenset(added | {number for role in self.roles if (number := self._role(role)) is not None})

    @cached_property
    def sentinel_ids(self) -> tuple[int, ...]:
        """The tokens that stand for what is missing, in their order; none where the tokenizer has none."""
        found = map(self.backend.token_to_id, SENTINELS)
        return tuple(number for number in found if number is not None)

    @property
    def token_ids(self) -> tuple[tuple[str, int], ...]:
        """(role, number) of the special tokens, for a model's config."""
        roles = ("pad", "bos", "eos", "cls", "sep")
        return tuple((role, number) for role in roles if (number := self._role(role)) is not None)

    def sentence_ends(self) -> np.ndarray:
        """bool [vocabulary]: whether a token's text ends a sentence."""
        ends = np.zeros(self.vocab_size, dtype=bool)
        for number in range(self.vocab_size):
            text = self.token(number).rstrip(" \"'”’」』）)")
            ends[number] = bool(text) and text[-1] in SENTENCE_ENDS
        return ends

    def fingerprint(self) -> str:
        """A digest of all that decides how a text is cut."""
        state = self.backend.to_str() + json.dumps(self.roles, sort_keys=True)
        return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()

    def is_same(self, other: "Tokenizer") -> bool:
        """Whether every number means the same token in both, so that a model of the one can read what the other cut."""
        return self.backend.get_vocab(with_added_tokens=True) == other.backend.get_vocab(with_added_tokens=True)

    def unknown_share(self, texts: Iterable[str], ledger: Ledger) -> float:
        """The share of tokens that the vocabulary does not know; above 5 % the ledger says that this is the wrong tokenizer."""
        total = unknown = 0
        for batch in _batches(texts, 256):
            for ids in self.encode_batch(batch):
                total += len(ids)
                unknown += ids.count(self.unk_id) if self.unk_id is not None else 0
        share = unknown / total if total else 0.0
        if unknown:
            ledger.add(STAGE, "unknown tokens", unknown, total=total)
        if share > UNREADABLE:
            ledger.add(STAGE, "texts in a language that this tokenizer cannot read: more than 5 % of the tokens are unknown")
        return share

    def _role(self, role: str) -> int | None:
        name = self.roles.get(role)
        return None if name is None else self.backend.token_to_id(name)


def usual_kind(panel: str) -> Kind:
    """The kind of tokenizer that a panel learns where none is named: byte-level BPE to write, WordPiece to understand."""
    return "wordpiece" if panel == "masked" else "bpe"


def _frame(backend: tokenizers.Tokenizer) -> Any:
    pair = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    return processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=pair)


def bert_backend(model: models.WordPiece, *, lowercase: bool, strip_accents: bool | None = None) -> tokenizers.Tokenizer:
    """BERT's way to cut, around the pieces of `model`."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens([AddedToken(name, special=True) for name in MASKED_SPECIALS])
    backend.post_processor = _frame(backend)
    return backend


def _from_vocabulary(path: Path, lowercase: bool) -> tokenizers.Tokenizer:
    """A BERT tokenizer of the days before tokenizer.json."""
    return bert_backend(models.WordPiece.from_file(str(path), unk_token="[UNK]"), lowercase=lowercase)


def _from_merges(folder: Path) -> tokenizers.Tokenizer:
    """A GPT-2 tokenizer of the days before tokenizer.json."""
    backend = tokenizers.Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if backend.token_to_id("<|endoftext|>") is not None:
        backend.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    return backend


def _roles(backend: tokenizers.Tokenizer, *settings: dict[str, Any]) -> dict[str, str]:
    """Special tokens by role: as the folder names them, else by their usual names."""
    roles = {}
    for role, usual in _ROLES.items():
        named = [each.get(f"{role}_token") for each in settings]
        names = [name.get("content") if isinstance(name, dict) else name for name in named if name]
        for name in [*names, *usual]:
            if name and backend.token_to_id(name) is not None:
                roles[role] = name
                break
    return roles


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The template in a file of its own, as folders have it today, or among the settings; of several the one called default."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((each.get("template") for each in found if isinstance(each, dict) and each.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _limit(settings: dict[str, Any]) -> int | None:
    limit = settings.get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and limit < 1e6 else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

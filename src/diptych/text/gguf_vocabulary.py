"""A tokenizer in the header of a GGUF file, and ours put there, so that llama.cpp cuts a text as we do.

The file has the pieces and their merges, but not how a text is cut before: it names rules that llama.cpp has built in
(`tokenizer.ggml.pre`). Our own rule is not among them and need not be: it only ever cuts finer than GPT-2's, and no merge
was learnt across a finer cut, so with GPT-2's rule the same tokens come out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from diptych.errors import ModelError
from diptych.messages import _
from diptych.text.tokenizer import Tokenizer, bert_backend
from diptych.text.vocabulary import BPE_SPLIT

GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
QWEN2_SPLIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
SPLITS: dict[str, tuple[str, ...]] = {
    "gpt-2": (GPT2_SPLIT,),
    "smollm": (r"\p{N}", GPT2_SPLIT),
    "llama-bpe": (LLAMA3_SPLIT,),
    "qwen2": (QWEN2_SPLIT,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", GPT2_SPLIT, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
"""llama.cpp's name of a rule -> what it cuts by, one after the other."""
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2", "phi-2": "gpt-2"}
_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # spelt so in the specification
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
}
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""The kinds of tokens that make a difference."""
WORD_START = "▁"


def read_vocabulary(metadata: Mapping[str, Any], path: Path) -> Tokenizer:
    """The tokenizer in a GGUF header.

    Raises:
        ModelError E325: there is none, it is damaged, or of a kind that is not read.
    """
    kind = metadata.get("tokenizer.ggml.model")
    makers = {"gpt2": _byte_level, "llama": _sentence_pieces, "bert": _word_pieces}
    if not isinstance(kind, str) or kind not in makers:
        raise ModelError("E325", path=path, problem=f"tokenizer.ggml.model = {kind}")
    pieces, kinds = _list(metadata, "tokens"), _list(metadata, "token_type")
    if not pieces or not isinstance(pieces[0], str) or len(set(pieces)) != len(pieces) or len(kinds) not in (0, len(pieces)):
        raise ModelError("E325", path=path, problem="tokenizer.ggml.tokens")
    if kind == "bert":
        pieces = [_unmarked(piece) for piece in pieces]
    try:
        backend = makers[kind](metadata, pieces)
    except Exception as error:  # the Rust library raises nothing narrower
        raise ModelError("E325", path=path, problem=error) from None
    added = [(piece, number) for piece, number in zip(pieces, kinds) if number in (CONTROL, USER_DEFINED)]
    backend.add_tokens([AddedToken(piece, special=number == CONTROL, normalized=False) for piece, number in added])
    tokenizer = Tokenizer(backend, _roles(metadata, pieces, backend))
    template = metadata.get("tokenizer.chat_template")
    tokenizer.chat_template = template if isinstance(template, str) else None
    return tokenizer


def write_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """What a GGUF header says of a tokenizer, filled up to the vocabulary of its model.

    Raises:
        ModelError E326: llama.cpp would cut a text otherwise, or there are more tokens than the model knows.
    """
    state = json.loads(tokenizer.backend.to_str())
    kind = state["model"]["type"]
    if kind not in ("BPE", "WordPiece"):
        raise ModelError("E326", problem=_("it is of the kind {kind}").format(kind=kind))
    missing = vocab_size - tokenizer.vocab_size
    if missing < 0:
        raise ModelError(
            "E326",
            problem=_("it has {tokens:,} tokens, and the model knows {number:,}").format(tokens=tokenizer.vocab_size, number=vocab_size),
        )
    pieces = [tokenizer.backend.id_to_token(number) or "" for number in range(tokenizer.vocab_size)]
    kinds = [CONTROL if number in tokenizer.special_ids else NORMAL for number in range(len(pieces))]
    added = tokenizer.backend.get_added_tokens_decoder()
    for number in set(added) - tokenizer.special_ids:
        kinds[number] = USER_DEFINED
    found = _written_word_pieces(state, pieces, kinds) if kind == "WordPiece" else _written_byte_level(state)
    ids = {role: tokenizer.id(name) for role, name in tokenizer.roles.items()}
    if ids.get("cls") is not None:
        # llama.cpp frames a text with these two, whatever a tokenizer calls them.
        ids |= {"bos": ids["cls"], "eos": ids.get("sep")}
    found |= {
        "tokenizer.ggml.tokens": found.get("tokenizer.ggml.tokens", pieces) + [f"[PAD{number}]" for number in range(missing)],
        "tokenizer.ggml.token_type": kinds + [UNUSED] * missing,
        "tokenizer.ggml.add_bos_token": ids.get("bos") is not None,
        "tokenizer.ggml.add_eos_token": ids.get("cls") is not None,
    }
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found | {f"tokenizer.ggml.{key}": ids[role] for role, key in _KEYS.items() if ids.get(role) is not None}


def _byte_level(metadata: Mapping[str, Any], pieces: list[str]) -> tokenizers.Tokenizer:
    name = metadata.get("tokenizer.ggml.pre", "default")
    name = _ALIASES.get(name, name)
    if name not in SPLITS:
        raise ValueError(f"tokenizer.ggml.pre = {name}")
    merges = [tuple(merge.split(" ", 1)) for merge in _list(metadata, "merges")]
    backend = tokenizers.Tokenizer(models.BPE(_numbered(pieces), merges, ignore_merges=name == "llama-bpe"))
    splits = [pre_tokenizers.Split(Regex(split), behavior="isolated") for split in SPLITS[name]]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentence_pieces(metadata: Mapping[str, Any], pieces: list[str]) -> tokenizers.Tokenizer:
    """SentencePiece's BPE, which keeps a score for each piece: of two neighbours those are joined whose piece has the highest."""
    numbers, scores = _numbered(pieces), _list(metadata, "scores")
    if len(scores) != len(pieces):
        raise ValueError("tokenizer.ggml.scores")
    ranked = []
    for number, piece in enumerate(pieces):
        halves = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        ranked += [(-float(scores[number]), number, left, right) for left, right in halves if left in numbers and right in numbers]
    merges = [(left, right) for _score, _number, left, right in sorted(ranked)]
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    backend = tokenizers.Tokenizer(models.BPE(numbers, merges, unk_token=pieces[unknown], fuse_unk=True, byte_fallback=True))
    space = [normalizers.Prepend(WORD_START)] if metadata.get("tokenizer.ggml.add_space_prefix", True) else []
    backend.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", WORD_START)])
    strip = [decoders.Strip(" ", 1, 0)] if space else []
    backend.decoder = decoders.Sequence([decoders.Replace(WORD_START, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return backend


def _word_pieces(metadata: Mapping[str, Any], pieces: list[str]) -> tokenizers.Tokenizer:
    lowercase = bool(metadata.get("tokenizer.ggml.normalizer.lowercase", True))
    strip_accents = bool(metadata.get("tokenizer.ggml.normalizer.strip_accents", lowercase))
    model = models.WordPiece(_numbered(pieces), unk_token="[UNK]")  # type: ignore[call-arg]
    return bert_backend(model, lowercase=lowercase, strip_accents=strip_accents)


def _written_byte_level(state: Mapping[str, Any]) -> dict[str, Any]:
    model, normalizer = state["model"], state["normalizer"] or {}
    if normalizer and normalizer["type"] != "NFC":  # which llama.cpp leaves out for those whom it knows, too
        raise ModelError("E326", problem=_("it changes a text first ({kind})").format(kind=normalizer["type"]))
    known = {splits: name for name, splits in SPLITS.items()} | {(BPE_SPLIT,): "gpt-2"}
    name = known.get(tuple(_splits(state["pre_tokenizer"])))
    if name is None or model["byte_fallback"] or bool(model.get("ignore_merges")) != (name == "llama-bpe"):
        raise ModelError("E326", problem=_("it cuts by a rule that llama.cpp does not have"))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.merges": merges}


def _written_word_pieces(state: Mapping[str, Any], pieces: list[str], kinds: list[int]) -> dict[str, Any]:
    """llama.cpp marks a piece that begins a word, where WordPiece marks one that goes on."""
    normalizer, prefix = state["normalizer"] or {}, state["model"]["continuing_subword_prefix"]
    is_bert = normalizer.get("type") == "BertNormalizer" and normalizer["clean_text"] and normalizer["handle_chinese_chars"]
    marked = [_marked(piece, kind) for piece, kind in zip(pieces, kinds)]
    if not is_bert or prefix != "##" or (state["pre_tokenizer"] or {}).get("type") != "BertPreTokenizer" or len(set(marked)) < len(marked):
        raise ModelError("E326", problem=_("it cuts by a rule that llama.cpp does not have"))
    lowercase, strip_accents = normalizer["lowercase"], normalizer["strip_accents"]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": marked,
        "tokenizer.ggml.normalizer.lowercase": lowercase,
        "tokenizer.ggml.normalizer.strip_accents": lowercase if strip_accents is None else strip_accents,
    }


def _splits(part: Mapping[str, Any] | None) -> list[str]:
    """What a tokenizer's file says a text is cut by before its merges; a rule that is none of llama.cpp's by its name."""
    kind = (part or {}).get("type", "nothing")
    if part is None or kind == "Sequence":
        return [split for each in (part or {}).get("pretokenizers", ()) for split in _splits(each)]
    if kind == "ByteLevel" and not part["add_prefix_space"]:
        return [GPT2_SPLIT] if part["use_regex"] else []
    if kind == "Digits" and part["individual_digits"]:
        return [r"\p{N}"]
    if kind == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
        return [part["pattern"].get("Regex", kind)]
    return [kind]


def _marked(piece: str, kind: int) -> str:
    if kind == CONTROL:
        return piece
    return piece[2:] if piece.startswith("##") else WORD_START + piece


def _unmarked(piece: str) -> str:
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        return piece
    return piece[1:] if piece.startswith(WORD_START) else f"##{piece}"


def _roles(metadata: Mapping[str, Any], pieces: list[str], backend: tokenizers.Tokenizer) -> dict[str, str] | None:
    """The special tokens by role. A beginning that is not to be put before a text has no role: we would put it there."""
    if isinstance(backend.model, models.WordPiece):
        return None
    is_added = metadata.get("tokenizer.ggml.model") == "llama" or metadata.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "llama-v3")
    roles = {}
    for role, key in _KEYS.items():
        number = metadata.get(f"tokenizer.ggml.{key}")
        if isinstance(number, int) and 0 <= number < len(pieces):
            roles[role] = pieces[number]
    said = metadata.get("tokenizer.ggml.add_bos_token")
    if not (said if isinstance(said, bool) else is_added):
        roles.pop("bos", None)
    return roles


def _list(metadata: Mapping[str, Any], name: str) -> list[Any]:
    """An array of the header; nothing where there is none or something else in its place."""
    found = metadata.get(f"tokenizer.ggml.{name}", ())
    return list(found) if isinstance(found, list | np.ndarray) else []


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}

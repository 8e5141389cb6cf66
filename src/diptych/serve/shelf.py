"""The models that are served: their names, and what each of them can be asked."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import time
from typing import Any

import yaml

from diptych.config import nearest
from diptych.errors import DataError, UsageError
from diptych.tasks import PREDICATE_TAG
from diptych.text.words import language_of

VERBS = ("write", "chat", "fill", "classify", "tag", "answer", "embed", "rerank", "translate", "summarize", "explain", "tokenize")


@dataclass(frozen=True)
class Served:
    """A model and the name that people ask for.

    Attributes:
        model: a `diptych.Model` with a tokenizer.
    """

    name: str
    model: Any
    since: int = field(default_factory=lambda: int(time()))

    @cached_property
    def can(self) -> tuple[str, ...]:
        """The verbs that it knows, in the order of `VERBS`."""
        net, config, tokenizer = self.model.net, self.model.config, self.model.tokenizer
        heads, writes = set(net.heads), config.writes and "lm" in net.heads
        known = {
            "write": writes and not config.is_encoder_decoder,
            "chat": writes and not config.is_encoder_decoder and tokenizer.chat_template is not None,
            "fill": config.fills and "lm" in heads and tokenizer.mask_id is not None,
            "classify": "classes" in heads,
            "tag": "tags" in heads and PREDICATE_TAG not in config.labels,
            "answer": "span" in heads,
            "embed": "sentence" in heads or config.fills,
            "rerank": "sentence" in heads or config.fills,
            "translate": writes and config.is_encoder_decoder,
            "summarize": writes and config.is_encoder_decoder,
            "explain": bool(heads & {"classes", "tags", "span", "lm"}) and not config.is_encoder_decoder,
            "tokenize": True,
        }
        return tuple(verb for verb in VERBS if known[verb])

    @cached_property
    def language(self) -> str:
        """ "en", "zh", "mixed" or "other": as its card says, or by the letters of its vocabulary."""
        stated = _stated_languages(self.model.folder)
        if stated:
            return stated[0] if len(stated) == 1 else "mixed"
        tokenizer = self.model.tokenizer
        return language_of("".join(tokenizer.token(number) for number in range(tokenizer.vocab_size)))

    @property
    def is_batched(self) -> bool:
        """Whether its answers are written together: it keeps keys and values of one text."""
        return not self.model.config.is_encoder_decoder and not self.model.config.cell

    def to_json(self) -> dict[str, Any]:
        """An entry of `/v1/models`."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.since,
            "owned_by": "diptych",
            "can": list(self.can),
            "language": self.language,
            "context_length": self.model.config.context_length,
            **({"blank": self.model.tokenizer.token(self.model.tokenizer.mask_id)} if "fill" in self.can else {}),
        }


class Shelf:
    """All of them, in the order in which they were named.

    Raises:
        UsageError E655: there is none. E673: two have the same name. E604: a model has no tokenizer.
    """

    def __init__(self, models: Iterable[Served]) -> None:
        self._models: dict[str, Served] = {}
        for each in models:
            if each.name in self._models:
                raise UsageError("E673", name=each.name)
            _ = each.model.tokenizer
            self._models[each.name] = each
        if not self._models:
            raise UsageError("E655")

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def get(self, name: str) -> Served:
        """
        Raises:
            UsageError E656: there is none of that name.
        """
        if name not in self._models:
            raise UsageError("E656", name=name[:200], hint=nearest(name[:200], self._models))
        return self._models[name]

    def find(self, name: str | None, verb: str) -> Served:
        """The model of that name, or the first that can do it where none is named.

        Raises:
            UsageError E656: there is none of that name. E657: it, or none of them, can do this.
        """
        if name is not None:
            found = self.get(name)
            if verb not in found.can:
                raise UsageError("E657", name=name, verb=verb, can=", ".join(found.can))
            return found
        for each in self:
            if verb in each.can:
                return each
        can = dict.fromkeys(known for each in self for known in each.can)
        raise UsageError("E657", name=", ".join(self._models), verb=verb, can=", ".join(can))


def _stated_languages(folder: Path | None) -> list[str]:
    """The languages in the front matter of the model's card."""
    try:
        text = ((folder or Path()) / "README.md").read_text(encoding="utf-8") if folder is not None and folder.is_dir() else ""
        found = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError, DataError):
        return []
    stated = found.get("language") if isinstance(found, dict) else None
    return [str(each) for each in ([stated] if isinstance(stated, str) else stated or []) if isinstance(stated, str | list)]

"""Semantic role labelling: for each predicate of a sentence, the stretches that play a role for it (PropBank).

It is tagging, asked once for every predicate. The sentence is read as the first of a pair whose second is the predicate (Shi and
Lin 2019), and the predicate's own tokens have the token type of the second part where they stand, so that of two equal words the
right one is meant; models without token types see the pair alone. The same head finds the predicates: in a sentence that is read
by itself, they are what is tagged. Nothing of this needs new weights.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.role_texts import PREDICATE, Frame, RoleRow, place_of, read_roles
from diptych.tasks.spans import Span, best_path, encode_places, spans_of_path, tag_set, tags_of_spans
from diptych.tasks.tables import chunks
from diptych.tasks.tagging import Tagging
from diptych.tasks.task import ExampleSettings
from diptych.tasks.windows import Window, Windows, cut_windows
from diptych.text.tokenizer import Tokenizer

LONGEST_PREDICATE = 16
"""Tokens of a predicate that are shown as the second part."""
Encoded = tuple[list[int], list[tuple[int, int]]]


class RolesSettings(ExampleSettings):
    """`task: {name: roles, data: train.props}`"""

    name: Literal["roles"] = "roles"
    predicates: Literal["given", "found"] = "given"
    """Whether the model is told the predicates when it is tested, or has to find them."""


@dataclass(frozen=True)
class Framed:
    """A sentence with the predicates and roles that a model found in it."""

    text: str
    frames: tuple[Frame, ...]

    def to_json(self) -> dict[str, Any]:
        shown = [(self._span(frame.predicate), [self._span(role) for role in frame.roles]) for frame in self.frames]
        return {"frames": [{"predicate": predicate, "roles": roles} for predicate, roles in shown]}

    def __str__(self) -> str:
        lines = []
        for frame in self.frames:
            roles = " ".join(f"[{self.text[role.start : role.stop]}]{role.label}" for role in frame.roles)
            lines.append(f"{self.text[frame.predicate.start : frame.predicate.stop]}: {roles or '–'}")
        return "; ".join(lines) or "–"

    def _span(self, span: Span) -> dict[str, Any]:
        return {"text": self.text[span.start : span.stop], **span.to_json()}


class Roles(Tagging):
    """Tag the roles of each predicate; what is learnt, asked and judged of a token is tagging's."""

    name = "roles"
    Settings = RolesSettings
    settings: Any

    @classmethod
    def of(cls, net: Any) -> "Roles":
        return cls(RolesSettings(), net.config.labels)

    def read(self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None) -> tuple[list[Any], dict[str, str | None]]:
        return read_roles(source, ledger, group=self.settings.group), {}

    def inputs(self, rows: Sequence[RoleRow]) -> list[Any]:
        if self.settings.predicates == "found":
            return [row.texts[0] for row in rows]
        return [(row.texts[0], tuple((frame.predicate.start, frame.predicate.stop) for frame in row.frames)) for row in rows]

    def examples(self, source: Iterable[Any], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> Windows:
        """For each sentence one example that asks for its predicates, and one for each predicate that asks for its roles.

        Raises:
            DataError E152: no sentence has roles.
        """
        rows: list[RoleRow] = list(source)
        counts = Counter(role.label for row in rows for frame in row.frames for role in frame.roles)
        if not self.tags:
            if not counts:
                raise DataError("E152", count=len(rows))
            self.tags = tag_set((PREDICATE, *sorted(counts)))
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        unseen = sum(count for label, count in counts.items() if f"B-{label}" not in numbers)
        ledger.add("labels", "roles that were not seen in training: they cannot be found", unseen, total=sum(counts.values()))
        limit = min(context_length, self.settings.max_length or context_length)
        windows: list[Window] = []
        for some in chunks(enumerate(rows), 256):
            encoded = encode_places([row.texts[0] for _number, row in some], tokenizer)
            for (number, row), (ids, places) in zip(some, encoded, strict=True):
                asked: list[tuple[Span | None, tuple[Span, ...]]] = [(None, tuple(frame.predicate for frame in row.frames))]
                asked += [(frame.predicate, (frame.predicate, *frame.roles)) for frame in row.frames]
                for predicate, spans in asked:
                    gold, _torn = tags_of_spans(spans, places, numbers)
                    windows += _windows((ids, places), predicate, number, tokenizer, limit, gold)
        return Windows([window for window in windows if window.size])

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[Any], ledger: Ledger | None = None) -> Iterator[Any]:
        """Each sentence with its frames, in the order of the inputs: a text, whose predicates are found, or (text, predicates).

        Raises:
            DataError E153: an input is neither. E145: a predicate does not lie in its text.
        """
        limit = min(net.config.context_length, self.settings.max_length or net.config.context_length)
        net.eval()
        for few in chunks(inputs, 64):
            given = [_given(each) for each in few]
            encoded = encode_places([text for text, _predicates in given], tokenizer)
            silent = [number for number, (_text, predicates) in enumerate(given) if predicates is None]
            found = self._tag(net, tokenizer, [(encoded[number], None) for number in silent], limit)
            own = dict(zip(silent, found, strict=True))
            asked: list[tuple[int, Span]] = []
            for number, (_text, predicates) in enumerate(given):
                spans = [span for span in own[number] if span.label == PREDICATE] if predicates is None else predicates
                asked += [(number, span) for span in spans]
            tagged = self._tag(net, tokenizer, [(encoded[number], predicate) for number, predicate in asked], limit)
            frames: list[list[Frame]] = [[] for _each in few]
            for (number, predicate), spans in zip(asked, tagged, strict=True):
                frames[number].append(Frame(predicate, tuple(span for span in spans if span.label != PREDICATE)))
            for (text, _predicates), framed in zip(given, frames, strict=True):
                yield Framed(text, tuple(framed))

    def _tag(self, net: Any, tokenizer: Tokenizer, asked: Sequence[tuple[Encoded, Span | None]], limit: int) -> list[list[Span]]:
        """What is tagged in each sentence, read with a predicate or by itself."""
        windows: list[Window] = []
        for number, (encoded, predicate) in enumerate(asked):
            windows += _windows(encoded, predicate, number, tokenizer, limit, None)
        log_chances = self._ask(net, windows, [len(ids) for (ids, _places), _predicate in asked])
        found = []
        for ((_ids, places), _predicate), scores_TC in zip(asked, log_chances, strict=True):
            found.append(spans_of_path(best_path(scores_TC, self.tags), np.exp(scores_TC), places, self.tags))
        return found


def _windows(encoded: Encoded, predicate: Span | None, row: int, tokenizer: Tokenizer, limit: int, gold: np.ndarray | None) -> list[Window]:
    """The sentence in windows: by itself, or each with the predicate behind it and marked where it stands.

    Args:
        gold: the tags of its tokens; the windows then lie end to end, so that each token is learnt once.
    """
    ids, places = encoded
    marked: list[int] = []
    if predicate is not None:
        marked = [at for at, (start, stop) in enumerate(places) if start < predicate.stop and stop > predicate.start and stop > start]
    second = [ids[at] for at in marked[:LONGEST_PREDICATE]]
    num_special = tokenizer.num_special(pair=predicate is not None)
    before = 1 if tokenizer.cls_id is not None and tokenizer.sep_id is not None else 0

    def frame(run: list[int], first: int) -> tuple[list[int], list[int]]:
        if predicate is None:
            return tokenizer.frame(run)
        framed, types = tokenizer.frame(run, second)
        for at in marked:
            if first <= at < first + len(run):
                types[before + at - first] = max(types)
        return framed, types

    room = max(1, limit - num_special - len(second))
    windows = cut_windows(ids, row, frame, before, room, room if gold is not None else max(1, room // 2))
    if gold is not None:
        for window in windows:
            window.gold = gold[window.first : window.first + window.size]
    return windows


def _given(item: Any) -> tuple[str, list[Span] | None]:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, list | tuple) or len(item) != 2 or not isinstance(item[0], str) or isinstance(item[1], str):
        raise DataError("E153", item=repr(item)[:60])
    return item[0], [Span(*place_of(place, item[0], repr(item[0])[:40]), PREDICATE) for place in item[1]]

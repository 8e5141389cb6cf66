"""Write a text from another one: translations, summaries, titles, replies.

An encoder-decoder reads the source with one half and writes with the other (Vaswani et al. 2017). A decoder alone reads the
source as the beginning of a text and goes on from it. Either is asked for the target alone, token by token, its end included.
In training a share of the probability is asked for all tokens alike (label smoothing); evaluation asks without.

Both directions in one model: each source then begins with what it is to become, `<2de> A dog runs.` (Johnson et al. 2017).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from diptych.config import parse
from diptych.errors import DataError
from diptych.generation.beam import Beam, Found, beam_search
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.tasks.head_task import Features, HeadTask
from diptych.tasks.parallel import WrittenRow, complete, read_sides
from diptych.tasks.tables import chunks
from diptych.tasks.task import Batch, ExampleSettings, Loss, Outputs, Place, Term
from diptych.tasks.windows import by_size
from diptych.tasks.writing import end_id, frame_source, lay_continued, lay_written
from diptych.text.tokenizer import Panel, Tokenizer
from diptych.text.words import language_of

TOKENS_AT_ONCE = 16_384
"""Tokens of all candidates that are kept in one pass."""
EXTRA_TOKENS = 10
"""Tokens that an answer may have beyond its share of the source."""


class Seq2SeqSettings(ExampleSettings):
    """`task: {name: seq2seq, data: "train.{en,de}"}`"""

    name: Literal["seq2seq"] = "seq2seq"
    data: str | list[str] | None = None
    """A table of sources and targets, or two files line by line: [train.en, train.de], or "train.{en,de}"."""
    source: str | None = None
    """The column of the source; None guesses it and says so."""
    target: str | None = None
    kind: Literal["translation", "summary"] | None = None
    """What is judged: translations by BLEU and chrF, summaries by ROUGE. None tells by languages and lengths."""
    directions: Literal["forward", "backward", "both"] = "forward"
    languages: list[str] | None = Field(default=None, min_length=2, max_length=2)
    """What the two sides are called, as in the mark <2de>; None takes it from the names of files or columns."""
    template: str | None = None
    """How a source is shown, with {source} in it; None shows it as it is, and before an empty line to a decoder."""
    duplicates: Literal["drop", "keep"] = "keep"
    """A sentence may well have several translations; drop keeps the first of pairs that are the same."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """The share of the probability that is asked for all tokens alike, in training alone."""
    beams: int = Field(default=4, ge=1)
    """Candidates that the search for an answer goes on with; 1 is greedy."""
    length_penalty: float = 0.6
    """Larger prefers longer answers (Wu et al. 2016); 0 compares bare probabilities."""
    min_tokens: int = Field(default=1, ge=0)
    """An answer has at least so many tokens."""
    max_ratio: float | None = Field(default=None, gt=0)
    """An answer has at most so many tokens for each of its source, and ten more; None is what the training pairs need."""

    @field_validator("template")
    @classmethod
    def _shows_the_source(cls, template: str | None) -> str | None:
        if template is not None and template.count("{source}") != 1:
            raise ValueError(_("a template has {name} in it, once").format(name="{source}"))
        return template


ASKED_AGAIN = ("kind", "directions", "languages", "template", "beams", "length_penalty", "min_tokens", "max_ratio", "max_length")
"""Settings that a trained model is asked by again; they are kept in its config."""


@dataclass(frozen=True)
class Written:
    """What a model wrote."""

    text: str
    log_probability: float = math.nan
    is_cut: bool = False
    """Whether it was ended by its limit."""

    def to_json(self) -> dict[str, Any]:
        known = {} if math.isnan(self.log_probability) else {"log_probability": round(self.log_probability, 4)}
        return {"answer": self.text, **known}

    def __str__(self) -> str:
        return self.text


@dataclass
class WrittenPairs:
    """Sources and answers as tokens."""

    sources: list[np.ndarray]
    answers: list[np.ndarray]
    owners: list[int]
    """Which row each comes from; both directions of a pair are one's."""

    def owner(self, index: int) -> int:
        return self.owners[index]

    def __len__(self) -> int:
        return len(self.sources)

    def num_tokens(self, index: int) -> int:
        return len(self.sources[index]) + len(self.answers[index])


class Seq2Seq(HeadTask):
    """Write the target of each source."""

    name = "seq2seq"
    Settings = Seq2SeqSettings
    panel = "denoising"
    settings: Seq2SeqSettings
    heads = ("lm",)
    has_one_answer = False
    example = "transformer-mini"
    titles = {"lm": mark("nats per written token")}

    @classmethod
    def of(cls, net: Any) -> "Seq2Seq":
        """The task that a network was trained for."""
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in net.config.task}
        return cls(parse(Seq2SeqSettings, kept, where="config.json"))

    @property
    def kind(self) -> str:
        return self.settings.kind or "translation"

    def panel_of(self, config: Any) -> Panel:
        return "denoising" if config.is_encoder_decoder else "causal"

    def fits(self, config: Any) -> bool:
        return config.writes

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[WrittenRow], dict[str, str | None]]:
        settings, found = self.settings, found or {}
        columns = settings.source or found.get("source"), settings.target or found.get("target")
        sides = read_sides(source, ledger, columns=columns, group=settings.group)
        # A test file is called what the training file's sides were, whatever its own are called.
        first = (settings.languages or (found.get("from"), ""))[0] or sides.names[0]
        second = (settings.languages or ("", found.get("to")))[1] or sides.names[1]
        is_named = settings.languages is not None or sides.languages is not None or settings.directions == "both"
        rows = []
        for text, other, where, group in complete(sides, ledger):
            if settings.directions == "both":
                # Both directions of a pair stay on one side of a split.
                owner = group or text
                rows.append(WrittenRow(f"<2{second}> {text}", other, where, owner, second))
                rows.append(WrittenRow(f"<2{first}> {other}", text, where, owner, first))
            elif settings.directions == "backward":
                rows.append(WrittenRow(other, text, where, group, first if is_named else ""))
            else:
                rows.append(WrittenRow(text, other, where, group, second if is_named else ""))
        if not rows:
            raise DataError("E160", count=len(sides.pairs))
        kind = settings.kind or found.get("kind") or kind_of(rows)
        columns = {} if sides.are_files else {"source": sides.names[0], "target": sides.names[1]}
        return rows, {**columns, "kind": kind, "from": first, "to": second}

    def inputs(self, rows: Sequence[WrittenRow]) -> list[str]:
        return [row.source for row in rows]

    def vocabulary(self, rows: Sequence[WrittenRow]) -> Iterable[str]:
        return (text for row in rows for text in (row.source, row.target or ""))

    def meet(self, net: Any, tokenizer: Tokenizer) -> Tokenizer:
        self.check(net.config)
        if end_id(tokenizer) is None:
            raise DataError("E203", missing="end", task=self.name)
        self._start_id = net.config.decoder_start_id if net.config.is_encoder_decoder else None
        return tokenizer

    def prepare(self, net: Any, seed: int) -> None:
        super().prepare(net, seed)
        asked = {name: getattr(self.settings, name) for name in ASKED_AGAIN}
        kept = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items() if value is not None}
        net.set_config(task=tuple({"name": self.name, **kept}.items()))

    def examples(self, source: Iterable[WrittenRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> WrittenPairs:
        rows = list(source)
        limit, end = min(context_length, self.settings.max_length or context_length), end_id(tokenizer)
        most = limit if self._is_pair else limit // 2
        answers, whole = [], []
        for row, ids in zip(rows, tokenizer.encode_batch([row.target or "" for row in rows]), strict=True):
            whole.append(len(ids) + 1)
            if len(ids) >= most:
                ledger.add("texts", "targets longer than the context, cut at the end", total=len(rows), where=row.where)
            # A target that was cut does not end there, and no end is asked for.
            answers.append(np.asarray([*ids, end][:most], dtype=np.int64))
        texts = tokenizer.encode_batch([row.source for row in rows])
        rooms = [limit] * len(rows) if self._is_pair else [limit + 1 - len(answer) for answer in answers]
        sources = self._shown(texts, tokenizer, rooms, ledger, [row.where for row in rows])
        self._settle(rows, list(map(len, texts)), whole)
        return WrittenPairs(sources, answers, self._owners(rows))

    def collate(self, examples: WrittenPairs, places: Sequence[Place]) -> Batch:
        numbers = [place.index for place in places]
        sources, answers = [examples.sources[n] for n in numbers], [examples.answers[n] for n in numbers]
        if self._start_id is not None:
            return lay_written(sources, answers, self._start_id, numbers)
        return lay_continued(sources, answers, numbers)

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """The loss that is trained: label smoothing asks a share of the probability for all tokens alike."""
        plain, answers, targets = super().loss, outputs["lm"], batch.targets["lm"]
        if not self.settings.label_smoothing or not isinstance(answers, Features):
            return plain(outputs, batch)
        nats_M = answers.smoothed_nats(targets.gold_M, self.settings.label_smoothing)
        total_B = nats_M.new_zeros(len(batch.keys)).index_add(0, targets.example_M, nats_M)
        return {"lm": Term(total_B, torch.bincount(targets.example_M, minlength=len(batch.keys)))}

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        return super().loss(outputs, batch)

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[str], ledger: Ledger | None = None) -> Iterator[Written]:
        """What is written from each source, in the order of the inputs; the ledger counts what was cut."""
        ledger, settings = ledger if ledger is not None else Ledger(), self.settings
        tokenizer = self.meet(net, tokenizer)
        limit = min(net.config.context_length, settings.max_length or net.config.context_length)
        for sources in chunks(inputs, 256):
            texts = tokenizer.encode_batch([self._directed(text) for text in sources])
            most = [min(limit, self._most(len(text))) for text in texts]
            rooms = [limit] * len(texts) if self._is_pair else [limit - min(each, limit // 2) + 1 for each in most]
            own = Ledger()
            shown = self._shown(texts, tokenizer, rooms, own, None)
            for stage, what, entry in own:
                ledger.add(stage, what, entry.count)
            found: dict[int, Found] = {}
            sizes = [(len(ids) + each) * settings.beams for ids, each in zip(shown, most, strict=True)]
            for few in by_size(sizes, TOKENS_AT_ONCE):
                found.update(zip(few, self._search(net, tokenizer, [shown[n] for n in few], [most[n] for n in few]), strict=True))
            for number in range(len(shown)):
                answer = found[number]
                yield Written(tokenizer.decode(answer.tokens).strip(), answer.log_probability, not answer.is_ended)

    def _search(self, net: Any, tokenizer: Tokenizer, shown: list[np.ndarray], most: list[int]) -> list[Found]:
        sources = [ids.tolist() for ids in shown]
        prompts = sources if self._start_id is None else [[self._start_id] for _source in sources]
        return beam_search(
            net,
            prompts,
            Beam(self.settings.beams, self.settings.length_penalty),
            limits=most,
            least=[self.settings.min_tokens] * len(sources),
            ends=frozenset({end_id(tokenizer) or 0}),
            sources=None if self._start_id is None else sources,
        )

    def _owners(self, rows: Sequence[WrittenRow]) -> list[int]:
        if self.settings.directions != "both":
            return list(range(len(rows)))
        first: dict[str | None, int] = {}
        return [first.setdefault(row.group, number) for number, row in enumerate(rows)]

    @property
    def _is_pair(self) -> bool:
        """Whether an encoder reads and a decoder writes."""
        return self._start_id is not None

    def _shown(
        self, texts: list[list[int]], tokenizer: Tokenizer, rooms: Sequence[int], ledger: Ledger, where: Sequence[str] | None
    ) -> list[np.ndarray]:
        """Each source as it is read, in at most so many tokens: what does not fit is cut at its end and counted."""
        before, after = (self.settings.template or ("{source}" if self._is_pair else "{source}\n\n")).split("{source}")
        before_ids, after_ids = tokenizer.encode(before), tokenizer.encode(after)
        begin = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.sep_id
        if not self._is_pair and begin is not None:
            before_ids = [begin, *before_ids]
        frame = len(frame_source(np.empty(0, dtype=np.int64), tokenizer)) if self._is_pair else 0
        shown = []
        for number, (ids, room) in enumerate(zip(texts, rooms, strict=True)):
            free = max(0, room - frame - len(before_ids) - len(after_ids))
            if len(ids) > free:
                place = where[number] if where else None
                ledger.add("texts", "texts longer than the context, cut at the end", total=len(texts), where=place)
                ledger.add("texts", "tokens cut off", len(ids) - free)
            whole = np.asarray([*before_ids, *ids[:free], *after_ids], dtype=np.int64)
            whole = frame_source(whole, tokenizer) if self._is_pair else whole
            # A source of nothing is read as the token that an answer ends with.
            shown.append(whole if len(whole) else np.asarray([end_id(tokenizer)], dtype=np.int64))
        return shown

    def _settle(self, rows: Sequence[WrittenRow], sources: Sequence[int], answers: Sequence[int]) -> None:
        """Fill in what the training pairs say of the answers to come."""
        changes: dict[str, Any] = {}
        if self.settings.kind is None:
            changes["kind"] = kind_of(rows)
        if self.settings.max_ratio is None:
            shares = [(answer - EXTRA_TOKENS) / max(1, source) for source, answer in zip(sources, answers, strict=True)]
            changes["max_ratio"] = round(max(0.05, float(np.quantile(shares, 0.99))), 3) if shares else 1.0
        named = list(dict.fromkeys(row.to for row in rows if row.to))
        if self.settings.languages is None and len(named) == 2:
            changes["languages"] = named[::-1]
        self.settings = self.settings.model_copy(update=changes)

    def _most(self, source: int) -> int:
        """How many tokens an answer to a source of so many may have."""
        return max(self.settings.min_tokens + 1, EXTRA_TOKENS + math.ceil((self.settings.max_ratio or 1.0) * source))

    def _directed(self, text: str) -> str:
        """A source with the mark of what it is to become, where a model of both directions is given one without."""
        languages = self.settings.languages
        if self.settings.directions != "both" or languages is None or text.startswith(tuple(f"<2{name}>" for name in languages)):
            return text
        first, second = languages
        return f"<2{first if language_of(text) == second.lower() else second}> {text}"


def kind_of(rows: Sequence[WrittenRow]) -> Literal["translation", "summary"]:
    """What pairs look like: a summary is in the language of its source and at most two thirds as long."""
    sample = rows[:200]
    same = sum(language_of(row.source) == language_of(row.target or "") for row in sample)
    length = sum(len(row.target or "") for row in sample) / max(1, sum(len(row.source) for row in sample))
    return "summary" if 2 * same > len(sample) and length < 2 / 3 else "translation"

"""What a language model knows, asked without training it: which of two sentences is good, and the last word of a passage.

Minimal pairs as BLiMP (Warstadt et al. 2020) and SLING (Song et al. 2022) hold them: a zip, a tar, a folder or a file of JSON
lines with `sentence_good` and `sentence_bad`. Last words as LAMBADA (Paperno et al. 2016) asks them.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import DataError, UsageError
from diptych.evaluation.intervals import Scores, mean_of, ratio_score
from diptych.evaluation.likelihood import answer, continuation, text_nats
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.text.corpus import Corpus, read_table
from diptych.text.files import find_sources
from diptych.text.tables import Row, rows_of
from diptych.text.tokenizer import Tokenizer
from diptych.text.words import words

TIE = 1e-6
"""Costs that differ by a smaller share than this are equal but for rounding."""


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in little."""

    good: str
    bad: str
    paradigm: str


def minimal_pairs(net: Any, tokenizer: Tokenizer, data: Any, ledger: Ledger, *, limit: int | None = None) -> Scores:
    """How often the good sentence is the more probable one, over all and by paradigm (`parts`); a tie counts half.

    Args:
        limit: only so many pairs of each paradigm.

    Raises:
        DataError E703: there are no pairs. E704: a line has no two sentences. E705: the archive is damaged. UsageError E606:
        the model gives no sentence a probability.
    """
    pairs = _limited(read_pairs(data, ledger), limit)
    if not pairs:
        raise DataError("E703", path=data if isinstance(data, str | Path) else _("the table"))
    costs = text_nats(net, tokenizer, [text for pair in pairs for text in (pair.good, pair.bad)]).reshape(-1, 2)
    fits: np.ndarray = np.isfinite(costs).all(axis=1)  # type: ignore[assignment]
    ledger.add("pairs", "pairs that the context has no room for, left out", int((~fits).sum()), total=len(pairs))
    return choices([pair.paradigm for pair, ok in zip(pairs, fits, strict=True) if ok], *costs[fits].T)


def choices(paradigms: Sequence[str], good_N: np.ndarray, bad_N: np.ndarray) -> Scores:
    """Scores from what the good and the bad sentences cost."""
    close = np.abs(good_N - bad_N) <= TIE * np.maximum(np.abs(good_N), np.abs(bad_N))
    right = np.where(close, 0.5, good_N < bad_N)
    names = np.array(paradigms)
    scores = Scores([mean_of(mark("accuracy"), right).score()])
    for name in dict.fromkeys(paradigms):
        scores.parts[name] = Scores([mean_of("accuracy", right[names == name]).score()])
    return scores


def last_words(net: Any, tokenizer: Tokenizer, data: Any, ledger: Ledger, *, limit: int | None = None) -> Scores:
    """How often every token of a passage's last word is the most probable one, and the perplexity of these words.

    Words are what spaces and a Chinese segmenter say; what follows the last one is cut. A passage that is too long loses its
    beginning, and is counted.

    Raises:
        UsageError E602: this model does not write. E702: there is no text.
    """
    config = net.config
    if not config.writes or config.is_encoder_decoder or "lm" not in net.heads:
        raise UsageError("E602", family=config.family)
    rows = []
    for number, document in enumerate(data if isinstance(data, Corpus) else Corpus(data)):
        if limit is not None and number >= limit:
            break
        spans = words(document.text)
        context = document.text[: spans[-1][0]].rstrip() if spans else ""
        if not context:
            ledger.add("texts", "texts without a word and something before it, left out", where=document.where)
            continue
        before, after = tokenizer.encode(context), tokenizer.encode(document.text[: spans[-1][1]])
        # Where the border moves tokens about, the word is cut alone, with the space before it.
        is_split = after[: len(before)] == before and len(after) > len(before)
        target = after[len(before) :] if is_split else tokenizer.encode(document.text[len(context) : spans[-1][1]])
        kept = before[-max(1, config.context_length - len(target) - 1) :]
        ledger.add("texts", "texts longer than the context, cut at the beginning", len(before) > len(kept), where=document.where)
        rows.append(continuation(tokenizer, kept, target))
    if not rows:
        raise UsageError("E702")
    found = answer(net, rows, is_causal=True, wants_best=True)
    scores = Scores([mean_of(mark("accuracy"), np.array([best.all() for _nats, best in found])).score()])
    nats = ratio_score(mark("nats per word"), np.array([each.sum() for each, _best in found]), np.ones(len(found)))
    scores[nats.name] = nats
    return scores


def read_pairs(data: Any, ledger: Ledger) -> Iterator[Pair]:
    """Pairs of a file, an archive, a folder, or of a list of (good, bad).

    Raises:
        DataError E704, E705.
    """
    for name, row in _rows(data, ledger):
        fields = row.fields
        good, bad = (fields.get(key) or fields.get(other) for key, other in (("sentence_good", "text"), ("sentence_bad", "label")))
        if not isinstance(good, str) or not isinstance(bad, str):
            raise DataError("E704", where=row.where, fields=", ".join(map(str, fields)))
        yield Pair(good, bad, str(fields.get("UID") or fields.get("paradigm") or name))


def _rows(data: Any, ledger: Ledger) -> Iterator[tuple[str, Row]]:
    if not isinstance(data, str | Path):
        yield from (("", row) for row in read_table(data, ledger))
        return
    path = Path(data)
    if path.is_file() and path.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        yield from _tar_rows(path)
        return
    for source in find_sources([path], ledger):
        yield from ((Path(source.name).stem, row) for row in rows_of(source, ledger))


def _tar_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """JSON lines of an archive, read as a stream: nothing of it is written anywhere, whatever its members are called."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name)
                if not member.isfile() or name.suffix != ".jsonl" or name.name.startswith("."):
                    continue
                file = archive.extractfile(member)
                assert file is not None
                for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), 1):
                    if line.strip():
                        where = _("{name}, line {number}").format(name=f"{path}!{member.name}", number=number)
                        fields = json.loads(line)
                        yield name.stem, Row(where, fields if isinstance(fields, dict) else {})
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError("E705", path=path, problem=error) from None


def _limited(pairs: Iterator[Pair], limit: int | None) -> list[Pair]:
    seen: dict[str, int] = {}
    kept = []
    for pair in pairs:
        seen[pair.paradigm] = seen.get(pair.paradigm, 0) + 1
        if limit is None or seen[pair.paradigm] <= limit:
            kept.append(pair)
    return kept


PROBES = {
    "minimal-pairs": "diptych.evaluation.probes:minimal_pairs",
    "last-words": "diptych.evaluation.probes:last_words",
    "surprisal": "diptych.evaluation.surprisal:surprisal",
    "in-context": "diptych.evaluation.in_context:in_context",
}
"""What a language model can be asked as it is, by name: (network, tokenizer, data, ledger, settings) -> scores."""


def probe_called(name: str) -> Callable[..., Scores]:
    """The probe of that name, a key of `PROBES`."""
    module, _, attribute = PROBES[name].partition(":")
    return getattr(import_module(module), attribute)

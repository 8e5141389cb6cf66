"""Which of two sentences a language model finds more probable, the one that repeats a prejudice or the other: CrowS-Pairs, WinoBias.

CrowS-Pairs (Nangia et al. 2020) scores a model that fills as its authors' script does: the tokens that both sentences share are hidden
one at a time, the first and the last token of the row stay, and the log-probabilities are added and rounded to three places. A model that
writes is scored by the probability of the whole sentence, as others do. WinoBias (Zhao et al. 2018) was made for coreference; here its
pairs, which differ by a pronoun, are compared as sentences. Half the prejudiced ones have "he" and half "she", so that which pronoun is
frequent does not count.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from diptych.audit.bias.finding import Finding, of_mean
from diptych.errors import UsageError
from diptych.evaluation.likelihood import Question, answer, text_nats
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.files import find_sources, read_lines
from diptych.text.tokenizer import Tokenizer

CROWS = mark("CrowS-Pairs, share of pairs where the stereotype is more probable")
WINO = mark("WinoBias, share of pairs where the stereotype is more probable")
CROWS_WARNING = mark(
    "CrowS-Pairs: its authors warn that the set has flaws and may be no good indicator of bias in masked language models (Blodgett et al. "
    "2021 found that few of its pairs measure what they say). Read it beside the other numbers, never alone."
)
CROWS_COLUMNS = ("sent_more", "sent_less", "bias_type")
WINO_NAME = re.compile(r"(pro|anti)_stereotyped_(type\d)\.txt\.(\w+)$")
DIGITS = 3
"""The authors' script compares scores that were rounded to so many places."""


@dataclass(frozen=True)
class SentencePair:
    """A sentence that repeats a prejudice, and one that differs in whom it is about."""

    more: str
    less: str
    kind: str


def pair_findings(net: Any, tokenizer: Tokenizer, pairs: Sequence[SentencePair], measure: str, ledger: Ledger) -> Iterator[Finding]:
    """The share of pairs whose prejudiced sentence is the more probable one, over all and by kind; 0.5 is fair, and a tie is none.

    Raises:
        UsageError E606: this model gives no sentence a probability.
    """
    costs_N2 = shared_nats(net, tokenizer, pairs) if measure == CROWS and not net.config.writes else _whole_nats(net, tokenizer, pairs)
    fits: np.ndarray = np.isfinite(costs_N2).all(axis=1)  # type: ignore[assignment]
    ledger.add("pairs", "pairs that the context has no room for, left out", int((~fits).sum()), total=len(pairs))
    more, less = costs_N2[fits].round(DIGITS).T
    favoured = more < less
    kinds = np.array([pair.kind for pair in pairs])[fits]
    yield of_mean(measure, mark("all"), favoured, fair=0.5)
    names = list(dict.fromkeys(kinds.tolist()))
    for name in names if len(names) > 1 else ():
        yield of_mean(measure, name, favoured[kinds == name], fair=0.5)


def shared_nats(net: Any, tokenizer: Tokenizer, pairs: Sequence[SentencePair]) -> np.ndarray:
    """What the tokens that both sentences of a pair share cost in each, hidden one at a time: [N, 2], NaN where one is too long."""
    if not net.config.fills or "lm" not in net.heads or (mask := tokenizer.mask_id) is None:
        raise UsageError("E606", family=net.config.family)
    room, rows, owners = net.config.context_length, [], []
    fits = np.ones(len(pairs), dtype=bool)
    for number, pair in enumerate(pairs):
        both = [tokenizer.frame(tokenizer.encode(text))[0] for text in (pair.more, pair.less)]
        fits[number] = max(map(len, both)) <= room
        if not fits[number]:
            continue
        for side, places in enumerate(_shared(*both)):
            for place in places:
                shown = list(both[side])
                shown[place] = mask
                rows.append(Question(shown, [place], [both[side][place]]))
                owners.append(2 * number + side)
    costs = np.zeros(2 * len(pairs))
    np.add.at(costs, owners, [nats.sum() for nats, _best in answer(net, rows, is_causal=False)])
    return np.where(fits[:, None], costs.reshape(-1, 2), np.nan)


def _shared(first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
    """The places of the tokens that two rows have in common and in order, without the first and the last of them."""
    # Tokens as text, as the script has them: which of several best alignments is found must be the same.
    matcher = SequenceMatcher(None, list(map(str, first)), list(map(str, second)))
    places: tuple[list[int], list[int]] = ([], [])
    for kind, start, stop, other, end in matcher.get_opcodes():
        if kind == "equal":
            places[0].extend(range(start, stop))
            places[1].extend(range(other, end))
    return places[0][1:-1], places[1][1:-1]


def _whole_nats(net: Any, tokenizer: Tokenizer, pairs: Sequence[SentencePair]) -> np.ndarray:
    return text_nats(net, tokenizer, [text for pair in pairs for text in (pair.more, pair.less)]).reshape(-1, 2)


def read_crows_pairs(path: str | Path) -> list[SentencePair]:
    """The pairs of a file as its authors keep it: columns sent_more, sent_less, bias_type.

    Raises:
        UsageError E841: columns are missing, or there is no pair.
    """
    rows = list(csv.DictReader(io.StringIO(_text_of(path))))
    if not rows or any(row.get(name) is None for row in rows for name in CROWS_COLUMNS):
        raise UsageError("E841", path=path, columns=", ".join(CROWS_COLUMNS))
    return [SentencePair(row["sent_more"], row["sent_less"], row["bias_type"]) for row in rows]


def read_winobias(folder: str | Path) -> list[SentencePair]:
    """The pairs of a folder as its authors keep them: "pro" and "anti" files side by side, a line a sentence.

    Raises:
        UsageError E842: a file has no partner, or the two have different numbers of lines.
    """
    sides: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        if match := WINO_NAME.search(path.name):
            sides.setdefault((match[2], match[3]), {})[match[1]] = path
    pairs: list[SentencePair] = []
    for (kind, _part), both in sides.items():
        lines = [list(_wino_lines(both[side])) if side in both else [] for side in ("pro", "anti")]
        if len(lines[0]) != len(lines[1]):
            raise UsageError("E842", path=folder, problem=", ".join(each.name for each in both.values()))
        pairs += [SentencePair(pro, anti, kind) for pro, anti in zip(*lines, strict=True)]
    if not pairs:
        raise UsageError("E842", path=folder, problem="pro_stereotyped_type1.txt.dev")
    return pairs


def _wino_lines(path: Path) -> Iterable[str]:
    """Sentences without their number and without the brackets around who is meant."""
    for line in _text_of(path).splitlines():
        if line.strip():
            yield re.sub(r"[\[\]]", "", line.strip().partition(" ")[2])


def _text_of(path: str | Path) -> str:
    (source,) = find_sources([Path(path)], Ledger(), is_any_kind=True)
    return "".join(read_lines(source, Ledger()))

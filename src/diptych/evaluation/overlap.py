"""How much of what was written stands in a reference: BLEU and chrF for translations, ROUGE for summaries.

Each is kept as counts of every example, whose sums make the score, so that intervals and paired differences follow. Values are
shares: a BLEU of 0.37 is what sacrebleu prints as 37.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from diptych.evaluation.intervals import Counts, mean_of
from diptych.messages import mark
from diptych.text.words import is_wide

BLEU_ORDER, CHRF_ORDER, CHRF_BETA = 4, 6, 2


def bleu_of(found: Sequence[str], gold: Sequence[str], *, is_chinese: bool, name: str = mark("BLEU")) -> Counts:
    """Corpus BLEU as sacrebleu has it (Papineni et al. 2002; Post 2018), tokenized "13a", or "zh" for Chinese."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="zh" if is_chinese else "13a", effective_order=True)
    rows = []
    for hypothesis, reference in zip(found, gold, strict=True):
        score = metric.sentence_score(hypothesis, [reference])
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return Counts(name, np.array(rows, dtype=float).reshape(-1, 2 + 2 * BLEU_ORDER), _bleu)


def chrf_of(found: Sequence[str], gold: Sequence[str], *, name: str = mark("chrF")) -> Counts:
    """chrF2: precision and recall of character n-grams, white space left out (Popović 2015)."""
    rows = []
    for hypothesis, reference in zip(found, gold, strict=True):
        row = []
        for ours, theirs in zip(_character_grams(hypothesis), _character_grams(reference), strict=True):
            row += [ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()]
        rows.append(row)
    return Counts(name, np.array(rows, dtype=float).reshape(-1, 3 * CHRF_ORDER), _chrf)


def rouge_of(found: Sequence[str], gold: Sequence[str]) -> list[Counts]:
    """ROUGE-L, ROUGE-1 and ROUGE-2: the mean over the examples of F1 (Lin 2004), of words, and of characters in Chinese."""
    pairs = [(rouge_tokens(hypothesis), rouge_tokens(reference)) for hypothesis, reference in zip(found, gold, strict=True)]
    longest = [_f1(_common_length(ours, theirs), len(ours), len(theirs)) for ours, theirs in pairs]
    scores = [mean_of(mark("ROUGE-L"), np.array(longest, dtype=float))]
    for order, name in ((1, mark("ROUGE-1")), (2, mark("ROUGE-2"))):
        grams = [(_grams(ours, order), _grams(theirs, order)) for ours, theirs in pairs]
        values = [_f1((ours & theirs).total(), ours.total(), theirs.total()) for ours, theirs in grams]
        scores.append(mean_of(name, np.array(values, dtype=float)))
    return scores


def rouge_tokens(text: str) -> list[str]:
    """Runs of Latin letters and digits in lower case, as Google's rouge-score has them, and every Chinese character."""
    tokens: list[str] = []
    for run in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
        if (run.isascii() and run.isalnum()) or is_wide(run):
            tokens.append(run)
    return tokens


def _bleu(sums: np.ndarray) -> np.ndarray:
    """[..., 10] sums -> [...]: the geometric mean of four precisions, times the brevity penalty; none found at all is half of one,
    then a quarter (the "exp" smoothing of mteval)."""
    ours, theirs = sums[..., 0], sums[..., 1]
    right, total = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    halvings = np.cumsum((right == 0) & (total > 0), axis=-1)
    counted = np.where(right > 0, right, 0.5**halvings)
    logs = np.log(np.divide(counted, total, out=np.full(counted.shape, 1e-300), where=total > 0)).mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(ours < theirs, np.exp(1 - theirs / np.maximum(ours, 1e-9)), 1.0)
    return np.where((right.sum(-1) > 0) & (total > 0).all(-1), brevity * np.exp(logs), 0.0)


def _chrf(sums: np.ndarray) -> np.ndarray:
    ours, theirs, common = (sums[..., part::3] for part in range(3))
    counts = (ours > 0) & (theirs > 0)
    orders = np.maximum(1, counts.sum(-1))
    precision = np.divide(common, ours, out=np.zeros(common.shape), where=counts).sum(-1) / orders
    recall = np.divide(common, theirs, out=np.zeros(common.shape), where=counts).sum(-1) / orders
    below = CHRF_BETA**2 * precision + recall
    return np.divide((1 + CHRF_BETA**2) * precision * recall, below, out=np.zeros(below.shape), where=below > 0)


def _character_grams(text: str) -> list[Counter[str]]:
    line = "".join(text.split())
    return [Counter(line[place : place + order] for place in range(len(line) - order + 1)) for order in range(1, CHRF_ORDER + 1)]


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[place : place + order]) for place in range(len(tokens) - order + 1))


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if ours and theirs else 0.0


def _common_length(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time."""
    row = [0] * (len(theirs) + 1)
    for token in ours:
        before = 0
        for place, other in enumerate(theirs, 1):
            above = row[place]
            row[place] = before + 1 if token == other else max(above, row[place - 1])
            before = above
    return row[-1]

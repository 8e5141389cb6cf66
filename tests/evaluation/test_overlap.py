"""BLEU and chrF beside sacrebleu, ROUGE beside rouge-score, on a thousand random pairs; Chinese against a reference written out."""

import random

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from diptych.evaluation.intervals import Counts
from diptych.evaluation.overlap import bleu_of, chrf_of, rouge_of, rouge_tokens

ENGLISH = ["the", "a", "dog", "cat", "runs", "park,", "home.", "today!", "3.5", "don't", "it's", "U.S.", "🙂", "(now)", ""]
CHINESE = [*"我你他爱吃苹果今天很好，。！北京3a ", "OK", "hello "]


def sentences(words: list[str], joint: str, seed: int, count: int = 1000) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    found, gold = [], []
    for _number in range(count):
        reference = [draw.choice(words) for _place in range(draw.randrange(0, 14))]
        changed = [draw.choice(words) if draw.random() < 0.3 else word for word in reference if draw.random() < 0.9]
        gold.append(joint.join(reference))
        found.append(joint.join(changed))
    return found, gold


def value(counts: Counts, rows: slice) -> float:
    return float(counts.value(counts.rows_NS[rows].sum(0)))


@pytest.mark.parametrize("is_chinese", [False, True])
def test_bleu_and_chrf_are_sacrebleus(is_chinese: bool) -> None:
    found, gold = sentences(CHINESE if is_chinese else ENGLISH, "" if is_chinese else " ", 1)
    bleu, chrf = bleu_of(found, gold, is_chinese=is_chinese), chrf_of(found, gold)
    for rows in (*(slice(n, n + 1) for n in range(300)), *(slice(n, n + 7) for n in range(300, 1000, 7)), slice(0, 1000)):
        theirs = BLEU(tokenize="zh" if is_chinese else "13a").corpus_score(found[rows], [gold[rows]]).score
        assert value(bleu, rows) == pytest.approx(theirs / 100, abs=1e-9)
        assert value(chrf, rows) == pytest.approx(CHRF().corpus_score(found[rows], [gold[rows]]).score / 100, abs=1e-9)


def test_rouge_is_googles_for_english() -> None:
    found, gold = sentences(ENGLISH, " ", 2)
    scorer = RougeScorer(["rougeL", "rouge1", "rouge2"])
    theirs = [scorer.score(reference, hypothesis) for hypothesis, reference in zip(found, gold)]
    for counts, name in zip(rouge_of(found, gold), ("rougeL", "rouge1", "rouge2")):
        assert np.allclose(counts.rows_NS[:, 0], [each[name].fmeasure for each in theirs])


def test_rouge_is_by_characters_for_chinese() -> None:
    # Common: 我 苹 果, in this order: 2 * 3 / (5 + 4); bigrams: 苹果: 2 * 1 / (4 + 3).
    longest, one, two = (counts.score().value for counts in rouge_of(["我爱吃苹果"], ["我买苹果。了"[:4]]))
    assert longest == pytest.approx(6 / 9) and one == pytest.approx(6 / 9) and two == pytest.approx(2 / 7)
    assert rouge_tokens("我爱GPT-2，it's 好！🙂") == ["我", "爱", "gpt", "2", "it", "s", "好"]


def longest_common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """By its definition, which takes exponential time."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest_common(a[1:], b[1:])
    return max(longest_common(a[1:], b), longest_common(a, b[1:]))


@pytest.mark.slow
def test_the_longest_common_subsequence_is_that_of_its_definition() -> None:
    draw = random.Random(3)
    for _number in range(300):
        ours, theirs = ("".join(draw.choices("我你他好", k=draw.randrange(1, 8))) for _side in range(2))
        want = 2 * longest_common(tuple(ours), tuple(theirs)) / (len(ours) + len(theirs))
        assert rouge_of([ours], [theirs])[0].score().value == pytest.approx(want)


def test_an_empty_answer_scores_nothing_and_has_an_interval() -> None:
    found, gold = ["", "", "a b c d e"], ["a b", "我", "a b c d e"]
    for counts in (bleu_of(found, gold, is_chinese=False), chrf_of(found, gold), *rouge_of(found, gold)):
        score = counts.score()
        assert 0 < score.value < 1 and 0 <= score.low <= score.value <= score.high <= 1
        assert counts.less(counts).value == 0

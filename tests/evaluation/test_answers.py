"""Exact match and F1 of answers against the official definitions, written out step by step; the baseline that reads nothing."""

import random
import re
import string
from collections import Counter

import pytest

from diptych.evaluation.answers import exact_match, overlap_f1
from diptych.evaluation.baselines.overlap import WordOverlap
from diptych.evaluation.judges import judge_of
from diptych.tasks.answering import ALWAYS, Answer, Answering, AnsweringSettings
from diptych.tasks.questions import QuestionRow

NUM_FUZZED = 1000


def squad(answer: str, right: list[str]) -> tuple[float, float]:
    """SQuAD 2's definition: normalize (lower case; punctuation; articles; white space), then compare, then count tokens."""

    def normalize(text: str) -> str:
        text = text.lower()
        text = "".join(c for c in text if c not in set(string.punctuation))
        text = re.sub(r"\b(a|an|the)\b", " ", text)
        return " ".join(text.split())

    exact, f1 = 0.0, 0.0
    for gold in right or [""]:
        exact = max(exact, float(normalize(gold) == normalize(answer)))
        gold_tokens, own_tokens = normalize(gold).split(), normalize(answer).split()
        same = sum((Counter(gold_tokens) & Counter(own_tokens)).values())
        if not gold_tokens or not own_tokens:
            f1 = max(f1, float(gold_tokens == own_tokens))
        elif same:
            precision, recall = same / len(own_tokens), same / len(gold_tokens)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


SIGNS = [*"-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』", "……"]


def cmrc(answer: str, right: list[str]) -> tuple[float, float]:
    """CMRC 2018's: marks dropped; a character or a Latin word a piece; the longest run that both have, by trying all runs."""

    def pieces(text: str) -> list[str]:
        found: list[str] = []
        latin = ""
        for character in text.lower().strip():
            if character in SIGNS:
                continue
            if "\u4e00" <= character <= "\u9fa5":
                found += [*re.findall(r"\w+|[^\w\s]", latin), character]
                latin = ""
            else:
                latin += character
        return found + re.findall(r"\w+|[^\w\s]", latin)

    exact, f1 = 0.0, 0.0
    for gold in right:
        bare = ["".join(c for c in text.lower().strip() if c not in SIGNS) for text in (gold, answer)]
        exact = max(exact, float(bare[0] == bare[1]))
        ours, theirs = pieces(answer), pieces(gold)
        runs = {tuple(theirs[a:b]) for a in range(len(theirs)) for b in range(a + 1, len(theirs) + 1)}
        run = max((b - a for a in range(len(ours)) for b in range(a + 1, len(ours) + 1) if tuple(ours[a:b]) in runs), default=0)
        if run:
            precision, recall = run / len(ours), run / len(theirs)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


def fuzzed(alphabet: list[str], seed: int) -> list[tuple[str, list[str]]]:
    """Answers and right ones that share much: pieces of one text, some of them changed."""
    draw = random.Random(seed)
    cases = []
    for _case in range(NUM_FUZZED):
        text = draw.choices(alphabet, k=draw.randint(1, 12))

        def part(text: list[str] = text) -> str:
            start = draw.randint(0, len(text) - 1)
            chosen = text[start : draw.randint(start, len(text))]
            return "".join(draw.choice(alphabet) if draw.random() < 0.15 else each for each in chosen)

        cases.append((part(), [part() for _right in range(draw.randint(1, 3))]))
    return cases


LATIN = [
    "the ",
    "a ",
    "An ",
    "New ",
    "York",
    " ",
    "\t",
    "cat",
    "CATS",
    ", ",
    ".",
    "'s ",
    "-",
    "é",
    "ß",
    "🙂",
    "1,000",
    " the",
    "\u00a0",
    "“",
    "İ",
]
WIDE = [*"北京市，。《》、年-·，🙂…!（） 繁體", "2008", "AI ", " cat", "CPU"]


def test_squads_scores_are_those_of_its_definition() -> None:
    cases = fuzzed(LATIN, 0)
    for answer, right in [*cases, *((answer, []) for answer, _right in cases[:50]), ("", []), ("", ["a"]), ("the", [""])]:
        assert (exact_match(answer, right, is_chinese=False), overlap_f1(answer, right, is_chinese=False)) == pytest.approx(
            squad(answer, right)
        )
    assert 0.05 < sum(squad(*case)[0] for case in cases) / len(cases) < 0.95


def test_cmrcs_scores_are_those_of_its_definition() -> None:
    cases = fuzzed(WIDE, 1)
    for answer, right in cases:
        assert (exact_match(answer, right, is_chinese=True), overlap_f1(answer, right, is_chinese=True)) == pytest.approx(
            cmrc(answer, right)
        )
    assert 0.05 < sum(cmrc(*case)[0] for case in cases) / len(cases) < 0.95


def test_known_cases() -> None:
    assert exact_match("The cat!", ["cat"], is_chinese=False) and not exact_match("cats", ["cat"], is_chinese=False)
    assert overlap_f1("in New York City", ["New York"], is_chinese=False) == pytest.approx(2 * 2 / 6)
    assert exact_match("《红楼梦》", ["红楼梦。"], is_chinese=True)
    assert overlap_f1("在北京市", ["北京"], is_chinese=True) == pytest.approx(2 * 2 / 6)
    assert overlap_f1("", [], is_chinese=True) == 1 and overlap_f1("北京", [], is_chinese=True) == 0
    assert overlap_f1("iPhone 4是", ["iPhone 4"], is_chinese=True) == pytest.approx(2 * 2 / 5)


ROWS = [
    QuestionRow(("Where does Anna live?", "Bob lives in Rome. Anna lives in Oslo. It is cold."), ("Oslo",), (33, 37), "1"),
    QuestionRow(("王小明住在哪里？", "天气很好。王小明住在北京市。他很高兴。"), ("北京市",), (10, 13), "2"),
    QuestionRow(("Who?", "Anna is here."), (), None, "3"),
]


def test_the_baseline_finds_the_sentence_and_in_it_a_run_of_other_words() -> None:
    (baseline,) = judge_of("answering").baselines(Answering(AnsweringSettings()), ROWS)
    assert isinstance(baseline, WordOverlap)
    answers = baseline.answers([row.texts for row in ROWS] + [("?", ""), ("", "a b c"), ("Q?", "🙂")])
    for (_question, context), answer in zip([row.texts for row in ROWS], answers, strict=False):
        assert answer.text == context[answer.start : answer.end]
    assert answers[0].start is not None and answers[0].end is not None and 19 <= answers[0].start < answers[0].end <= 38
    assert answers[1].start is not None and answers[1].start >= 5 and answers[1].text not in ("王小明", "住")
    assert answers[3].text == ""


def test_a_judge_says_apart_how_it_does_with_an_answer_and_without_one() -> None:
    judge, task = judge_of("answering"), Answering(AnsweringSettings(), ALWAYS)
    answers = [Answer("oslo", 33, 37, 0.9), Answer("在北京市", 9, 13, 0.8), Answer("Anna", 0, 4, 0.7)]
    scores = judge.scores(task, ROWS, answers)
    assert scores["exact match"].value == pytest.approx(1 / 3) and scores["F1"].value == pytest.approx((1 + 6 / 7 + 0) / 3)
    assert scores["exact match, with an answer"].value == 0.5 and scores["exact match, without one"].value == 0
    assert "exact match, without one" not in judge.scores(task, ROWS[:2], answers[:2])
    assert "always" in judge.about(task) and judge.caveats(task, ROWS, None) == []

"""A classifier beside its baselines: one table, one sentence, and the mistakes that it was surest of."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from diptych.evaluation.evaluate import Comparison, System, score_predictions
from diptych.evaluation.judges import judge_of, run_judge
from diptych.evaluation.metrics import confusion
from diptych.tasks.answers import Prediction
from diptych.tasks.classification import Classification, ClassificationSettings
from diptych.tasks.tables import LabelledRow

LABELS = ("bad", "好")


def compare(name, answers, milliseconds, train, test, labels, **options) -> Comparison:
    task = Classification(ClassificationSettings(), labels)
    return run_judge(judge_of("classification"), task, name, answers, milliseconds, train, test, **options)


def system(name: str, gold: list[str], right: np.ndarray) -> System:
    other = {"bad": "好", "好": "bad"}
    predicted = [label if is_right else other[label] for label, is_right in zip(gold, right, strict=True)]
    return System(name, score_predictions(gold, predicted, LABELS), predicted, 1.0, 1)


def comparison(shares: dict[str, float], count: int = 400) -> Comparison:
    """Systems that are right on their first `share` of the test set."""
    gold = ["bad", "好"] * (count // 2)
    systems = [system(name, gold, np.arange(count) < share * count) for name, share in shares.items()]
    return Comparison(systems, gold, LABELS, np.eye(2))


def test_the_verdict_says_by_how_much_the_model_is_better() -> None:
    verdict = comparison({"fine-tuned": 0.9, "majority": 0.5, "bag of words": 0.75, "TF-IDF": 0.8}).verdict()
    assert "fine-tuned is better than TF-IDF by 10.0 points" in verdict


def test_the_verdict_says_where_tfidf_wins_and_what_to_do() -> None:
    verdict = comparison({"fine-tuned": 0.7, "majority": 0.5, "bag of words": 0.75, "TF-IDF": 0.8}).verdict()
    assert "TF-IDF is better than fine-tuned by 10.0 points" in verdict and "simple" in verdict


def test_the_verdict_claims_no_difference_that_the_interval_does_not_carry() -> None:
    verdict = comparison({"fine-tuned": 0.8025, "majority": 0.5, "bag of words": 0.75, "TF-IDF": 0.8}).verdict()
    assert "No difference" in verdict and "TF-IDF" in verdict
    equal = comparison({"fine-tuned": 0.8, "TF-IDF": 0.8}).verdict()
    assert "No difference" in equal


def test_the_model_is_compared_with_the_best_baseline_and_never_with_the_majority_alone() -> None:
    verdict = comparison({"fine-tuned": 0.9, "majority": 0.85, "bag of words": 0.7, "TF-IDF": 0.6}).verdict()
    assert "bag of words" in verdict and "majority" not in verdict
    assert comparison({"fine-tuned": 0.9, "majority": 0.5}).verdict() == ""


def test_too_few_test_examples_are_said_to_be_too_few() -> None:
    verdict = comparison({"fine-tuned": 1.0, "TF-IDF": 0.0}, count=20).verdict()
    assert "20 test examples are too few" in verdict


def test_the_gap_is_the_difference_of_the_accuracies_with_a_paired_interval() -> None:
    found = comparison({"fine-tuned": 0.9, "TF-IDF": 0.8})
    gap = found.against(found.systems[1])
    assert gap.value == pytest.approx(0.1) and gap.n == 400
    assert 0 < gap.low < 0.1 < gap.high < 0.2


@pytest.fixture
def rows() -> tuple[list[LabelledRow], list[LabelledRow]]:
    train = [("good clean room", "好"), ("很好，干净", "好"), ("dirty awful room", "bad"), ("很脏，太差", "bad")] * 5
    test = [("good room", "好"), ("awful", "bad"), ("干净", "好"), ("很脏", "bad"), ("so so", "neutral"), ("clean", "好")]
    return [
        [LabelledRow((text,), label, f"{name}, line {number}") for number, (text, label) in enumerate(pairs, 2)]
        for name, pairs in (("train.csv", train), ("test.csv", test))
    ]


PREDICTED = [("好", 0.9), ("好", 0.6), ("bad", 0.99), ("bad", 0.8), ("好", 0.7), ("好", 0.5)]


def predictions() -> list[Prediction]:
    return [Prediction(label, chance) for label, chance in PREDICTED]


def compared(rows, **options) -> Comparison:
    return compare("fine-tuned", predictions(), 1.5, *rows, LABELS, seconds=3.0, size_bytes=10, **options)


def test_majority_bag_of_words_and_tfidf_stand_beside_the_classifier(rows) -> None:
    found = compared(rows)
    assert [each.name for each in found.systems] == ["fine-tuned", "majority", "bag of words", "TF-IDF"]
    gold = [row.label for row in rows[1]]
    for each in found.systems:
        assert len(each.predicted) == len(gold)
        assert each.scores["accuracy"].value == pytest.approx(accuracy_score(gold, each.predicted))
        assert each.milliseconds >= 0
    assert found.systems[3].scores["accuracy"].value == pytest.approx(5 / 6), "it knows all but the label that it never saw"
    assert "干净" in [word for word, _ in found.top_words["好"]]
    assert found.main.seconds == 3.0 and found.main.size_bytes == 10


def test_without_baselines_the_classifier_stands_alone(rows) -> None:
    found = compared(rows, with_baselines=False)
    assert [each.name for each in found.systems] == ["fine-tuned"] and found.top_words == {}


def test_mistakes_come_with_the_surest_first_and_hold_nothing_that_was_right(rows) -> None:
    assert compared(rows).mistakes == [("干净", "好", "bad", 0.99), ("so so", "neutral", "好", 0.7), ("awful", "bad", "好", 0.6)]


def test_the_table_of_confusions_is_scikit_learns_over_the_labels_that_are_known(rows) -> None:
    known = [(row.label, label) for row, (label, _) in zip(rows[1], PREDICTED, strict=True) if row.label in LABELS]
    gold, predicted = zip(*known, strict=True)
    assert (compared(rows).table == confusion_matrix(gold, predicted, labels=LABELS)).all()
    assert confusion([-1, 0], [1, 0], 2).tolist() == [[1, 0], [0, 0]]


def test_both_texts_of_a_pair_are_counted_and_shown() -> None:
    train = [LabelledRow(("same", "same"), "yes", "1"), LabelledRow(("same", "other"), "no", "2")] * 3
    test = [LabelledRow(("left 左", "right 右"), "no", "3")]
    found = compare("fine-tuned", [Prediction("yes", 0.8)], 1.0, train, test, ("no", "yes"), seconds=0.0, size_bytes=0)
    assert found.mistakes == [("left 左 | right 右", "no", "yes", 0.8)]
    assert "other" in [word for word, _ in found.top_words["no"]]

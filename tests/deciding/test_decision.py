"""Which system is chosen: the best where it is better, the cheapest where no difference can be claimed."""

import numpy as np

from diptych.deciding.decision import Decision, Point, by_cost
from diptych.evaluation.evaluate import System
from diptych.evaluation.intervals import Scores, mean_of


def system(name: str, right: np.ndarray, milliseconds: float, size: int = 1000, seconds: float = 1.0) -> System:
    counts = mean_of("accuracy", right)
    return System(name, Scores([counts.score()]), [], seconds, size, milliseconds, counts)


def right(count: int, share: float) -> np.ndarray:
    return (np.arange(count) < share * count).astype(float)


def decision(*systems: System, num: int = 400) -> Decision:
    return Decision(by_cost(systems), num, "")


def test_a_system_that_is_better_beyond_the_interval_is_shipped() -> None:
    found = decision(
        system("fine-tuned", right(400, 0.95), 20), system("TF-IDF", right(400, 0.8), 0.5), system("majority", right(400, 0.5), 0)
    )
    assert found.chosen.name == "fine-tuned"
    assert found.verdict().startswith("Ship fine-tuned: it is better than TF-IDF (+11")


def test_where_no_difference_can_be_claimed_the_cheapest_is_shipped() -> None:
    other = right(400, 0.9)[::-1].copy()
    other[:2] = 1
    found = decision(system("fine-tuned", other, 20), system("TF-IDF", right(400, 0.9), 0.5), system("majority", right(400, 0.5), 0))
    assert found.best.name == "fine-tuned" and found.chosen.name == "TF-IDF"
    assert "no difference to fine-tuned can be claimed" in found.verdict() and "0.5 ms in place of 20.0" in found.verdict()


def test_the_best_that_is_also_the_cheapest_is_shipped_without_a_claim() -> None:
    found = decision(system("TF-IDF", right(400, 0.9), 0.5), system("fine-tuned", right(400, 0.895), 20))
    assert found.chosen.name == "TF-IDF" and "no difference to fine-tuned" in found.verdict()


def test_nothing_is_shipped_where_nothing_beats_one_label_or_few_were_asked() -> None:
    found = decision(system("TF-IDF", right(400, 0.51), 0.5), system("majority", right(400, 0.5)[::-1], 0))
    assert found.verdict().startswith("No system is better than always giving the same label")
    few = decision(system("TF-IDF", right(20, 1.0), 0.5), system("majority", right(20, 0.5), 0), num=20)
    assert few.verdict().startswith("20 answers are too few")


def test_of_two_that_cost_about_the_same_the_one_that_is_soon_trained_comes_first() -> None:
    slow = system("few-shot", right(100, 0.9), 19.0, 90_300_000, seconds=60)
    quick = system("frozen", right(100, 0.9), 20.0, 90_900_000, seconds=1)
    assert [each.name for each in by_cost([slow, quick])] == ["frozen", "few-shot"]


def test_the_curve_says_whether_more_labels_helped() -> None:
    found = decision(system("TF-IDF", right(400, 0.9), 0.5))
    few, many = system("TF-IDF", right(400, 0.7), 0.5), system("TF-IDF", right(400, 0.9), 0.5)
    found.curve = [Point(50, [few]), Point(100, [many])]
    assert found.more_labels().startswith("From 50 to 100 labels TF-IDF got better")
    found.curve = [Point(50, [many]), Point(100, [many])]
    assert "no difference can be claimed" in found.more_labels()
    assert found.curve_table()[0] == ["labels", "TF-IDF"] and found.curve_table()[1][0] == "50"

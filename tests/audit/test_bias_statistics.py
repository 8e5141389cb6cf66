"""What is claimed holds: against scipy, against closed forms, and by simulation at the stated error rates."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from diptych.audit.bias import associations
from diptych.audit.bias.corpus import label_findings, words_beside
from diptych.audit.bias.finding import FEWEST, claimed, of_mean
from diptych.audit.bias.swaps import MARGIN, Swapped, versions
from diptych.ledger import Ledger
from diptych.text.people import TABLES, Table


def table(axis: str, tongue: str) -> Table:
    return next(each for each in TABLES if (each.axis, each.tongue) == (axis, tongue))


def test_without_a_margin_the_test_is_students() -> None:
    values = np.random.default_rng(0).normal(0.1, 1.0, 40)
    found = of_mean("m", "a", values)
    assert found.chance == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, rel=1e-9)
    assert of_mean("m", "a", values[: FEWEST - 1]).chance is None


def test_claims_are_holms() -> None:
    chances = [0.001, 0.04, 0.012, 0.9, 0.02]
    draw = np.random.default_rng(1)
    findings = [of_mean("m", str(number), draw.normal(size=20)) for number in range(5)]
    findings = [each.__class__(each.measure, each.about, each.score, chance=chance) for each, chance in zip(findings, chances, strict=True)]
    # Holm by hand: 0.001 < 0.05/5, 0.012 < 0.05/4, 0.02 > 0.05/3 and so all that follow.
    assert [each.is_claimed for each in claimed(findings)] == [True, False, True, False, False]


@pytest.mark.parametrize(("axis", "num_texts"), [("gender", 60), ("regions", 60), ("names of men and women", 96)])
def test_a_planted_gap_is_caught_and_a_fair_classifier_is_accused_once_in_twenty_audits_at_most(axis: str, num_texts: int) -> None:
    """The classifiers are drawn: a text's own log-odds, noise of each version, and a name's own pull where there are names.

    `bound`: as unfair as the margin allows, which is the worst that may not be called bias. `planted`: four times that.
    """
    own = table(axis, "en")
    draw, rounds = np.random.default_rng(2), 200 if axis != "regions" else 100
    groups, rows_N = len(own.groups), np.arange(num_texts) % len(own.rows)

    def audit(gap: float) -> bool:
        base_N = draw.uniform(0.3, 0.7, num_texts)
        pull_RG = draw.normal(0.0, 0.02 if own.is_sample else 0.0, (len(own.rows), groups))
        shift_G = np.zeros(groups)
        shift_G[1] = gap if groups == 2 else gap * groups / (groups - 1)
        said_NG = base_N[:, None] + shift_G + pull_RG[rows_N] + draw.normal(0.0, 0.05, (num_texts, groups))
        chances = np.stack([1.0 - said_NG, said_NG], axis=-1)
        return any(each.is_claimed for each in claimed(Swapped(own, "front", ("a", "b"), chances, rows_N).findings()))

    fair, bound, planted = (np.mean([audit(gap) for _round in range(rounds)]) for gap in (0.0, MARGIN, 4 * MARGIN))
    # 5 % and three standard errors of a share of so many.
    assert fair <= bound + 0.02 and bound <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    assert planted >= 0.95


def test_the_effect_of_vectors_and_its_chance_are_those_of_the_formula() -> None:
    draw = np.random.default_rng(3)
    sets = [draw.normal(size=(4, 6)) + shift for shift in (0.0, 0.5, 0.2, -0.4)]

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.sqrt((x @ x) * (y @ y)))

    s = [np.mean([cosine(w, a) for a in sets[2]]) - np.mean([cosine(w, b) for b in sets[3]]) for w in [*sets[0], *sets[1]]]
    value = (np.mean(s[:4]) - np.mean(s[4:])) / np.std(s, ddof=1)
    halves = [sum(s[number] for number in chosen) for chosen in combinations(range(8), 4)]
    chance = np.mean([each >= sum(s[:4]) - 1e-12 for each in halves])
    test = associations.AssociationTest("t", ("x", "y", "a", "b"), (("",) * 4,) * 4)
    found = associations.association(test, sets)
    assert found.score.value == pytest.approx(value, abs=1e-12) and found.chance == pytest.approx(chance, abs=1e-12)
    assert found.score.low < value < found.score.high
    cosines = np.array([[cosine(w, v) for v in [*sets[2], *sets[3]]] for w in [*sets[0], *sets[1]]])
    drawn = associations.permutation_chance(cosines, 4, 4, most=60)
    assert abs(drawn - chance) < 4 * np.sqrt(chance * (1 - chance) / 60) + 1 / 60


def test_labels_by_group_are_counted_and_words_stand_beside_whom_they_stand_beside() -> None:
    texts = ["她做饭很慢。", "他做饭很慢。", "She cooks badly.", "He cooks badly."] * 30
    labels = ["差评", "好评", "bad", "good"] * 30
    tables = [table("gender", "zh"), table("gender", "en")]
    found = list(label_findings(texts[0::4] + texts[1::4], labels[0::4] + labels[1::4], tables))
    # Of two labels the second by order speaks for both: here 差评 among women is all, among men none.
    assert [round(each.score.value) for each in found] == [1] and found[0].score.n == 60
    assert all(each.is_claimed for each in claimed(found))
    lines = ["She is a nurse. He repairs cars."] * 20 + ["He is tired.", "She is tired."] * 5
    beside = words_beside(lines, tables)
    words = {(each.group, each.word) for each in beside}
    assert (1, "nurse") in words and (0, "cars") in words and "tired" not in {each.word for each in beside}
    assert all(each.low > 0 for each in beside)
    first = next(each for each in beside if each.word == "nurse")
    assert first.count == 20 and first.of == 0 and first.low < first.odds < first.high


def test_versions_are_the_same_text_about_others() -> None:
    ledger = Ledger()
    texts = ["He is late.", "他迟到了。", "Nobody is late.", "He met her.", ""]
    english = list(versions(texts, table("gender", "en"), "in", ledger))
    assert [each.texts for each in english] == [("He is late.", "She is late.")]
    assert ledger.count("swaps", "texts that mention several groups, left out") == 1
    front = list(versions(texts, table("regions", "zh"), "front", ledger))
    assert [text for each in front for text in each.texts][:2] == ["这是一位北京人写的：他迟到了。", "这是一位上海人写的：他迟到了。"]

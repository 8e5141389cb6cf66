"""What is asked was never learnt from, every label keeps its share, and a group that is left out is out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.deciding.contenders import draw_pairs
from diptych.deciding.trials import FEW, FOLDS, Trial, in_proportion, trials_of
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.tables import LabelledRow


def rows(labels: list[str], groups: list[str] | None = None) -> list[LabelledRow]:
    return [
        LabelledRow((f"text 文 {number} 🙂",), label, f"row {number}", groups[number] if groups else None)
        for number, label in enumerate(labels)
    ]


def trials(some: list[LabelledRow], test: list[LabelledRow] | None = None, *, by_group: bool = False, seed: int = 0) -> list[Trial]:
    return trials_of(some, test or [], seed, by_group=by_group, ledger=Ledger())


@given(st.lists(st.sampled_from(["好", "坏", "c"]), min_size=4, max_size=FEW - 1), st.integers(0, 3))
def test_of_few_rows_every_one_is_asked_about_once_and_never_by_one_that_has_seen_it(labels: list[str], seed: int) -> None:
    some = rows(labels)
    if sum(count > 1 for count in Counter(labels).values()) < 2:
        with pytest.raises(DataError) as caught:
            trials(some, seed=seed)
        assert caught.value.code == "E173"
        return
    found = trials(some, seed=seed)
    assert len(found) == min(FOLDS, len(some))
    assert Counter(row.where for trial in found for row in trial.test) == Counter(row.where for row in some)
    for trial in found:
        learnt = {row.texts for row in [*trial.train, *trial.dev]}
        assert not learnt & {row.texts for row in trial.test}
        assert len({row.label for row in trial.train}) > 1, "one label alone teaches nothing"


def test_of_many_rows_a_fifth_is_asked_about_once() -> None:
    (trial,) = trials(rows(["a", "b"] * 200))
    assert (len(trial.test), len(trial.dev), len(trial.train)) == (80, 32, 288)
    parts = [{row.texts for row in part} for part in (trial.train, trial.dev, trial.test)]
    assert len(set.union(*parts)) == 400


def test_rows_that_were_named_for_the_test_are_the_test() -> None:
    named = rows(["a", "b"])
    (trial,) = trials(rows(["a", "b"] * 30), named)
    assert {row.where for row in trial.test} == {"row 0", "row 1"}


def test_each_group_is_left_out_in_turn() -> None:
    some = rows(["a", "b"] * 30, ["书", "水果", "hotel"] * 20)
    found = trials(some, by_group=True)
    assert [trial.name for trial in found] == ["书", "水果", "hotel"]
    owner = {row.where: row.group for row in some}
    for trial in found:
        assert {owner[row.where] for row in trial.test} == {trial.name}
        assert trial.name not in {owner[row.where] for row in [*trial.train, *trial.dev]}
    with pytest.raises(DataError) as caught:
        trials(rows(["a", "b"] * 5, ["one"] * 10), by_group=True)
    assert caught.value.code == "E174"


@given(st.lists(st.sampled_from("aab"), min_size=1, max_size=60), st.data())
def test_every_beginning_has_each_label_in_its_proportion(labels: list[str], data: st.DataObject) -> None:
    some = rows(labels)
    most = data.draw(st.integers(1, len(some)))
    first = in_proportion(some, most, 0, "trained")
    assert len(first) == most and len({row.where for row in first}) == most
    assert first == in_proportion(some, len(some), 0, "trained")[:most]
    for label, count in Counter(labels).items():
        assert abs(sum(row.label == label for row in first) - count * most / len(some)) <= 1


def test_pairs_are_alike_where_their_labels_are_and_every_text_is_first_as_often() -> None:
    some = rows(["a", "b", "c"] * 5)
    label_of = {row.texts[0]: row.label for row in some}
    pairs = draw_pairs(some, 60, 0)
    assert all((label_of[first] == label_of[second]) == (grade == 1.0) for first, second, grade in pairs)
    assert all(first != second for first, second, _grade in pairs)
    assert set(Counter(first for first, _second, _grade in pairs).values()) == {4}
    assert pairs == draw_pairs(some, 60, 0) != draw_pairs(some, 60, 1)

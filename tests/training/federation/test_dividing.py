"""Whose examples are whose: nothing is lost, skew is what was asked for, and what cannot be divided is said."""

from collections import Counter

import numpy as np
import pytest

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.tasks.tables import LabelledRow
from diptych.text.shards import TokenShards
from diptych.training.federation.dividing import divide, divide_shards
from diptych.training.regimes.federated import FederatedSettings

ROWS = [
    LabelledRow((f"行 {number} row",), "好" if number % 2 else "bad", f"f{number % 3}.csv, line {number}", "AB"[number % 2])
    for number in range(400)
]


def parts(rows=ROWS, files=(), seed=0, **settings):
    return divide(rows, FederatedSettings(**settings), seed, Ledger(), files)


@pytest.mark.parametrize(
    "settings", [{"by": "chance"}, {"by": "labels"}, {"by": "group"}, {"by": "file", "files": ["f0.csv", "f1.csv", "f2.csv"]}], ids=str
)
def test_every_row_belongs_to_exactly_one_client_and_keeps_its_place(settings):
    found = parts(**settings)
    owned = [row for rows in found.values() for row in rows]
    assert sorted(owned, key=ROWS.index) == ROWS and len(owned) == len(ROWS)
    for rows in found.values():
        assert [ROWS.index(row) for row in rows] == sorted(ROWS.index(row) for row in rows)


def unevenness(found):
    """How far the clients' shares of one label are from that of all, on average over rows."""
    counts = [Counter(row.label for row in rows) for rows in found.values()]
    return sum(sum(each.values()) * abs(each["好"] / sum(each.values()) - 0.5) for each in counts) / len(ROWS)


def test_a_small_concentration_is_skewed_and_a_large_one_is_not():
    skewed = [unevenness(parts(by="labels", concentration=0.1, seed=seed)) for seed in range(5)]
    even = [unevenness(parts(by="labels", concentration=1000.0, seed=seed)) for seed in range(5)]
    assert min(skewed) > 0.2 and max(even) < 0.05


def test_chance_deals_alike():
    assert {len(rows) for rows in parts(by="chance", clients=8).values()} == {50}


def test_one_client_has_everything_in_its_order():
    assert parts(by="labels", clients=1) == {"client 1": ROWS}


def test_files_and_groups_are_who_they_are():
    assert set(parts(by="group")) == {"A", "B"}
    assert set(parts(by="file", files=["f0.csv", "f1.csv", "f2.csv"])) == {"f0.csv", "f1.csv", "f2.csv"}


@pytest.mark.parametrize(
    ("rows", "settings", "code"),
    [
        ([*ROWS, LabelledRow(("x",), "bad", "f0.csv, line 9", None)], {"by": "group"}, "E581"),
        ([LabelledRow(("x",), 0.5, "f0.csv, line 9", None)], {"by": "labels"}, "E582"),
        (ROWS, {"by": "file"}, "E583"),
    ],
)
def test_what_cannot_be_divided_is_said(rows, settings, code):
    with pytest.raises(TrainingError) as caught:
        parts(rows, **settings)
    assert caught.value.code == code and (code == "E583" or "f0.csv, line 9" in str(caught.value))


def test_clients_are_not_counted_where_there_are_as_many_as_groups():
    with pytest.raises(ValueError, match="leave clients out"):
        FederatedSettings(by="group", clients=3)


def shards(with_words=False):
    documents = [[0, *range(10 * number + 1, 10 * number + 2 + number % 4)] for number in range(23)]
    tokens = [token for document in documents for token in document] + [0]
    borders = np.cumsum([0, *map(len, documents)])
    continues = np.arange(len(tokens)) % 3 == 0 if with_words else None
    return TokenShards(np.array(tokens, np.uint16), borders, np.arange(23), continues=continues)


@pytest.mark.parametrize("with_words", [False, True])
def test_the_documents_of_a_text_are_dealt_whole_each_with_its_own(with_words):
    whole = shards(with_words)
    parts = divide_shards(whole, FederatedSettings(clients=4), 0, Ledger())
    assert [part.num_documents for part in parts.values()] == [6, 6, 6, 5]
    found = {}
    for part in parts.values():
        assert part.tokens[-1] == 0 and part.borders[-1] == len(part.tokens) - 1
        for number in range(part.num_documents):
            start, stop = part.borders[number], part.borders[number + 1]
            found[int(part.text_bytes[number])] = (
                part.document(number).tolist(),
                part.continues[start:stop].tolist() if with_words else None,
            )
    assert sorted(found) == list(range(23))
    for number, (tokens, continues) in found.items():
        assert tokens == whole.document(number).tolist()
        assert not with_words or continues == whole.continues[whole.borders[number] : whole.borders[number + 1]].tolist()


def test_one_client_has_the_text_as_it_is_and_text_is_dealt_by_chance_alone():
    [part] = divide_shards(shards(), FederatedSettings(clients=1), 0, Ledger()).values()
    np.testing.assert_array_equal(part.tokens, shards().tokens)
    np.testing.assert_array_equal(part.borders, shards().borders)
    with pytest.raises(TrainingError) as caught:
        divide_shards(shards(), FederatedSettings(by="labels"), 0, Ledger())
    assert caught.value.code == "E590"

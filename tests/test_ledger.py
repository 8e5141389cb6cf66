"""The ledger: what is counted is kept, added up, shown and read again."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.ledger import Ledger

names = st.sampled_from(["corpus", "cleaning", "table"])
whats = st.sampled_from(["bytes replaced", "rows dropped", "字节"])
events = st.lists(st.tuples(names, whats, st.integers(0, 50), st.none() | st.integers(0, 99), st.none() | st.sampled_from("abcdef")))


def filled(calls: list) -> Ledger:
    ledger = Ledger()
    for stage, what, count, total, where in calls:
        ledger.add(stage, what, count, total=total, where=where)
    return ledger


@settings(deadline=None)
@given(events)
def test_a_line_counts_the_sum_of_what_was_added(calls: list) -> None:
    ledger = filled(calls)
    for key in {(stage, what) for stage, what, *_rest in calls}:
        assert ledger.count(*key) == sum(count for stage, what, count, *_rest in calls if (stage, what) == key)
    assert len(ledger) == len({(stage, what) for stage, what, *_rest in calls})


@settings(deadline=None)
@given(events)
def test_a_line_keeps_the_first_three_places_and_each_once(calls: list) -> None:
    for stage, what, entry in filled(calls):
        places = [where for s, w, count, _total, where in calls if (s, w) == (stage, what) and count and where is not None]
        assert entry.examples == list(dict.fromkeys(places))[:3]


def test_a_line_that_nobody_wrote_counts_nothing_and_is_not_made() -> None:
    ledger = Ledger()
    assert ledger.count("corpus", "bytes replaced") == 0
    assert len(ledger) == 0


@settings(deadline=None)
@given(events, events)
def test_merging_adds_counts_and_totals(first: list, second: list) -> None:
    mine, other = filled(first), filled(second)
    before = {(stage, what): (entry.count, entry.total) for stage, what, entry in other}
    merged = filled(first)
    merged.merge(other)
    for stage, what, entry in merged:
        parts = [found for ledger in (mine, other) for s, w, found in ledger if (s, w) == (stage, what)]
        assert entry.count == sum(part.count for part in parts)
        totals = [part.total for part in parts if part.total is not None]
        assert entry.total == (sum(totals) if totals else None)
        assert entry.examples == list(dict.fromkeys(where for part in parts for where in part.examples))[:3]
    assert {(stage, what): (entry.count, entry.total) for stage, what, entry in other} == before, "the other one stays as it is"


@settings(deadline=None)
@given(events)
def test_a_ledger_is_read_as_it_was_written(calls: list) -> None:
    ledger = filled(calls)
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again.to_json() == ledger.to_json()
    again.add("corpus", "bytes replaced", 1, where="zz")
    assert ledger.to_json() == filled(calls).to_json(), "the copy shares nothing with the original"


def test_a_ledger_is_loaded_from_a_file_and_empty_where_there_is_none(tmp_path: Path) -> None:
    ledger = filled([("corpus", "字节", 3, 10, "笔记/一.txt")])
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(ledger.to_json(), ensure_ascii=False), encoding="utf-8")
    assert Ledger.load(path).to_json() == ledger.to_json()
    assert len(Ledger.load(tmp_path / "nothing.json")) == 0


def test_a_person_reads_how_many_of_how_many_and_where() -> None:
    ledger = filled([("corpus", "bytes replaced", 1234, 5678, "笔记.txt"), ("table", "rows dropped", 0, None, None)])
    (line,) = ledger.lines()
    for part in ("corpus", "bytes replaced", "1,234", "5,678", "笔记.txt"):
        assert part in line

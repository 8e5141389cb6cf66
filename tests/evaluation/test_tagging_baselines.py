"""What taggers and role labellers must beat, against a search through everything, and on cases worked out by hand."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.evaluation.baselines.roles import RoleCounts
from diptych.evaluation.baselines.tagging import Dictionary
from diptych.tasks.role_texts import PREDICATE, Frame, RoleRow
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import TaggedRow, join_tokens
from diptych.text.words import atoms


def tagged(*tokens: tuple[str, str]) -> TaggedRow:
    text, places = join_tokens([token for token, _label in tokens])
    spans = tuple(Span(*place, label) for place, (_token, label) in zip(places, tokens, strict=True) if label)
    return TaggedRow((text,), spans, "")


def found(dictionary: Dictionary, text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.stop], span.label) for span in dictionary.answers([text])[0].spans]


def test_atoms_are_words_numbers_characters_and_signs() -> None:
    text = "Ab's 12.5 中文🙂!"
    assert [text[a:b] for a, b in atoms(text)] == ["Ab", "'", "s", "12", ".", "5", "中", "文", "🙂", "!"]


def test_a_word_is_not_found_within_another_nor_counted_there() -> None:
    rows = [tagged(("art", "FIELD"), ("is", ""), ("fun", "")), tagged(("a", ""), ("party", ""), ("party", ""), ("party", ""))]
    assert found(Dictionary(rows), "party art 艺术") == [("art", "FIELD")]


def test_the_longest_known_stretch_is_taken_and_what_is_mostly_unmarked_is_left() -> None:
    rows = [
        tagged(("New York", "LOC"), ("in", ""), ("may", "")),
        tagged(("York", "PER"), ("may", "MONTH"), ("may", "")),
        tagged(("北京", "LOC")),
    ]
    dictionary = Dictionary([*rows, tagged(("北京大学", "ORG"))])
    assert found(dictionary, "New York York may 北京大学在北京") == [
        ("New York", "LOC"),
        ("York", "PER"),
        ("北京大学", "ORG"),
        ("北京", "LOC"),
    ]


def test_where_every_word_has_a_tag_an_unknown_one_has_that_of_rare_words() -> None:
    rows = [tagged(("the", "DET"), ("cat", "NOUN")), tagged(("the", "DET"), ("dog", "NOUN")), tagged(("the", "DET"), ("run", "VERB"))]
    assert found(Dictionary(rows), "the zebra") == [("the", "DET"), ("zebra", "NOUN")]
    words = Dictionary([tagged(("研究", "word"), ("生命", "word"), ("的", "word")), tagged(("研究生", "word"), ("命", "word"))] * 2)
    # Forward maximum matching takes the longer word first, rightly or not.
    assert [word for word, _label in found(words, "研究生命")] == ["研究生", "命"]


LETTERS = st.text("ab 中文", min_size=1, max_size=12)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(LETTERS, st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.sampled_from("XY")), max_size=3)), max_size=5),
    LETTERS,
)
def test_it_says_what_a_search_through_every_stretch_says(drawn: list, asked: str) -> None:
    rows = []
    for text, marks in drawn:
        spans: list[Span] = []
        for start, length, label in marks:
            is_free = all(start >= span.stop or start + length <= span.start for span in spans)
            if start + length <= len(text) and is_free and text[start : start + length].strip() == text[start : start + length]:
                spans.append(Span(start, start + length, label))
        rows.append(TaggedRow((text,), tuple(sorted(spans, key=lambda span: span.start)), ""))

    def stretches(text: str) -> list[tuple[int, int]]:
        starts, ends = {a for a, _b in atoms(text)}, {b for _a, b in atoms(text)}
        return [(a, b) for a in sorted(starts) for b in sorted(ends) if b > a]

    counts: dict[str, Counter] = {}
    for row in rows:
        for span in row.spans:
            counts.setdefault(row.texts[0][span.start : span.stop], Counter())[span.label] += 1
    for row in rows:
        for a, b in stretches(row.texts[0]):
            if row.texts[0][a:b] in counts and (a, b) not in {(span.start, span.stop) for span in row.spans}:
                counts[row.texts[0][a:b]][""] += 1
    dictionary = Dictionary(rows)
    if dictionary._unknown is not None:
        return
    at, expected = 0, []
    for a, _end in atoms(asked):
        fits = [b for first, b in stretches(asked) if first == a >= at and counts.get(asked[a:b])]
        fits = [b for b in fits if counts[asked[a:b]].most_common(1)[0][0]]
        if fits:
            at = max(fits)
            expected.append((a, at, counts[asked[a:at]].most_common(1)[0][0]))
    assert [span.key for span in dictionary.answers([asked])[0].spans] == expected


def test_roles_are_told_by_word_place_and_predicate() -> None:
    text, chinese = "dogs see cats", "猫看狗"
    english = Frame(Span(5, 8, PREDICATE), (Span(0, 4, "ARG0"), Span(9, 13, "ARG1")))
    wide = Frame(Span(1, 2, PREDICATE), (Span(0, 1, "ARG0"), Span(2, 3, "ARG1")))
    passive = Frame(Span(5, 9, PREDICATE), (Span(0, 4, "ARG1"),))
    rows = [RoleRow((text,), (english,), "")] * 4 + [RoleRow((chinese,), (wide,), "")] * 4 + [RoleRow(("dogs fell",), (passive,), "")] * 4
    baseline = RoleCounts(rows)
    told = baseline.answers([("cats see dogs", ((5, 8),)), (chinese, ((1, 2),)), ("cats fell", ((5, 9),)), "dogs see cats"])
    assert [[role.key for role in each.frames[0].roles] for each in told] == [
        [(0, 4, "ARG0"), (9, 13, "ARG1")],
        [(0, 1, "ARG0"), (2, 3, "ARG1")],
        [(0, 4, "ARG1")],
        [(0, 4, "ARG0"), (9, 13, "ARG1")],
    ]
    assert told[3].frames[0].predicate.key == (5, 8, PREDICATE) and baseline.size_bytes > 0

"""Text as it comes: no half characters, nothing taken back, an end at a stop string wherever tokens begin."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.generation.streaming import TextStream
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "The for statement iterates over the items of a sequence, in order; don't worry.",
    "今天天气很好，我们去公园散步吧！话说天下大势",
    "Mixed 中文 and English，with full-width：ＡＢＣ 🙂👩‍👩‍👧 and a tail.\r\nA second line.",
    "",
]
KINDS = ["bpe", "wordpiece", "unigram", "characters"]


@cache
def tokenizer(kind: str) -> Tokenizer:
    # 290 tokens of BPE: most Chinese characters and all emoji are several tokens each.
    return Tokenizer.train(TEXTS * 3, kind, 290, panel="causal")  # type: ignore[arg-type]


def pieces(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.flush()]


IDS = st.lists(st.integers(0, 200), max_size=25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_join_to_the_text(kind: str, text: str) -> None:
    ids = tokenizer(kind).encode(text)
    stream = TextStream(tokenizer(kind))
    found = pieces(stream, ids)
    assert "".join(found) == stream.text == tokenizer(kind).decode(ids)
    if kind == "bpe":
        assert stream.text == text
        assert not any("\ufffd" in piece for piece in found)
        assert sum(map(bool, found)) >= len(text) / 8, "it comes piece by piece"


def test_a_character_of_several_tokens_comes_whole_and_at_its_last_token() -> None:
    ids = tokenizer("bpe").encode("吧🙂")
    assert len(ids) > 3
    found = [piece for piece in pieces(TextStream(tokenizer("bpe")), ids) if piece]
    assert found in (["吧", "🙂"], ["吧🙂"])


@settings(max_examples=150, deadline=None)
@given(ids=IDS, kind=st.sampled_from(KINDS))
def test_any_tokens_join_to_what_the_tokenizer_makes_of_them(ids: list[int], kind: str) -> None:
    """Bytes in an order that is no UTF-8 included; and nothing that was given is ever taken back."""
    cut = tokenizer(kind)
    ids = [token % cut.vocab_size for token in ids]
    whole = cut.decode(ids)
    stream, given = TextStream(cut), ""
    for piece in pieces(stream, ids):
        given += piece
        assert whole.startswith(given)
    assert given == stream.text == whole


@settings(max_examples=150, deadline=None)
@given(ids=IDS, kind=st.sampled_from(KINDS), data=st.data())
def test_a_stop_string_ends_the_text_before_it_wherever_its_tokens_lie(ids: list[int], kind: str, data: st.DataObject) -> None:
    cut = tokenizer(kind)
    ids = [token % cut.vocab_size for token in ids]
    whole = cut.decode(ids).rstrip("\ufffd")
    start = data.draw(st.integers(0, max(0, len(whole) - 1)))
    stop = whole[start : start + data.draw(st.integers(1, 6))]
    stream = TextStream(cut, [stop])
    found = pieces(stream, ids)
    expected = whole[: whole.index(stop)] if stop else cut.decode(ids)
    assert "".join(found) == stream.text == expected
    assert stream.is_stopped == bool(stop)


@settings(max_examples=100, deadline=None)
@given(ids=IDS, stops=st.lists(st.text("abeit 天气", min_size=1, max_size=3), max_size=3))
def test_several_stop_strings_leave_none_of_them_in_the_text(ids: list[int], stops: list[str]) -> None:
    cut = tokenizer("characters")
    ids = [token % cut.vocab_size for token in ids]
    whole = cut.decode(ids)
    stream = TextStream(cut, stops)
    text = "".join(pieces(stream, ids))
    assert whole.startswith(text) and not any(stop in text for stop in stops)
    assert stream.is_stopped == any(stop in whole for stop in stops)
    if not stream.is_stopped:
        assert text == whole


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_certain() -> None:
    cut = tokenizer("characters")
    given = [TextStream(cut, ["tate"])]
    found = [given[0].push(cut.encode(character)[0]) for character in "tatatement"]
    # "tat" may begin "tate"; the second "a" frees "ta" and keeps "ta" of "tata"; then "tate" stands there.
    assert found == ["", "", "", "ta", "", "", "", "", "", ""]
    assert given[0].is_stopped and given[0].text == "ta" and given[0].flush() == ""


def test_an_empty_stop_string_stops_nothing() -> None:
    stream = TextStream(tokenizer("bpe"), ["", "zzz"])
    assert "".join(pieces(stream, tokenizer("bpe").encode("a sequence"))) == "a sequence"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS[:3])
def test_a_text_and_what_is_written_on_join_as_if_they_were_one(kind: str, text: str) -> None:
    """A WordPiece or Unigram tokenizer tells only from the token before whether a word begins with a space."""
    cut = tokenizer(kind)
    ids = cut.encode(text)
    for border in range(1, len(ids)):
        before = cut.decode(ids[:border])
        if "\ufffd" in before:
            continue
        stream = TextStream(cut, after=ids[border - 1])
        assert before + "".join(pieces(stream, ids[border:])) == cut.decode(ids)


def test_a_token_that_begins_a_document_has_no_text() -> None:
    for kind in KINDS:
        cut = tokenizer(kind)
        stream = TextStream(cut, after=cut.bos_id)
        assert "".join(pieces(stream, cut.encode("sequence"))) == cut.decode(cut.encode("sequence"))

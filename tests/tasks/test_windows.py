"""Windows over long texts, and the way from tokens back to characters."""

import unicodedata

import pytest

from diptych.tasks.windows import TOKENS_AT_ONCE, by_size, cut_windows, encode_places, lay_windows
from diptych.text.tokenizer import Tokenizer

TEXTS = ["Le café 🙂 est là.", unicodedata.normalize("NFD", "Le café est là, São Paulo"), "王小明👨‍👩‍👧住在北京", "", "हिन्दी ❤️ ok"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_letters_marks_belong_to_its_token(kind: str) -> None:
    tokenizer = Tokenizer.train(TEXTS * 3, kind, 320, panel="masked")
    for text, (ids, places) in zip(TEXTS, encode_places(TEXTS, tokenizer), strict=True):
        assert len(ids) == len(places)
        assert all(0 <= start <= stop <= len(text) for start, stop in places)
        for start, stop in places:
            assert text[start:stop] == text[start:stop].lstrip()
    words = [TEXTS[1][start:stop] for start, stop in encode_places(TEXTS[1:2], tokenizer)[0][1]]
    whole = "".join(words).replace(" ", "")
    assert unicodedata.normalize("NFD", "café") in whole and unicodedata.normalize("NFD", "São") in whole


@pytest.mark.parametrize(("length", "room", "step"), [(0, 4, 4), (3, 4, 2), (10, 4, 2), (10, 4, 4), (1000, 7, 5)])
def test_every_token_is_in_a_window_and_the_frame_around_each(length: int, room: int, step: int) -> None:
    ids = list(range(100, 100 + length))
    windows = cut_windows(ids, 5, lambda run, first: ([1, *run, 2], [0] * (len(run) + 2)), 1, room, step)
    assert {token for window in windows for token in window.ids[1:-1].tolist()} == set(ids)
    for window in windows:
        assert window.size <= room and window.row == 5
        assert window.ids.tolist() == [1, *ids[window.first : window.first + window.size], 2]
    assert lay_windows(windows).num_tokens == sum(len(window.ids) for window in windows)
    passes = list(by_size(windows * 50))
    assert sorted(number for few in passes for number in few) == list(range(50 * len(windows)))
    assert all(len(few) * (room + 2) <= TOKENS_AT_ONCE or len(few) == 1 for few in passes)

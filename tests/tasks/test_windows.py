"""Windows over long texts."""

import pytest

from diptych.tasks.windows import TOKENS_AT_ONCE, by_size, cut_windows, lay


@pytest.mark.parametrize(("length", "room", "step"), [(0, 4, 4), (3, 4, 2), (10, 4, 2), (10, 4, 4), (1000, 7, 5)])
def test_every_token_is_in_a_window_and_the_frame_around_each(length: int, room: int, step: int) -> None:
    ids = list(range(100, 100 + length))
    windows = cut_windows(ids, 5, lambda run, first: ([1, *run, 2], [0] * (len(run) + 2)), 1, room, step)
    assert {token for window in windows for token in window.ids[1:-1].tolist()} == set(ids)
    for window in windows:
        assert window.size <= room and window.row == 5
        assert window.ids.tolist() == [1, *ids[window.first : window.first + window.size], 2]
    assert lay(windows).num_tokens == sum(len(window.ids) for window in windows)
    passes = list(by_size([len(window.ids) for window in windows * 50]))
    assert sorted(number for few in passes for number in few) == list(range(50 * len(windows)))
    assert all(len(few) * (room + 2) <= TOKENS_AT_ONCE or len(few) == 1 for few in passes)

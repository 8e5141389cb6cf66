"""Replay: whole documents of another corpus behind one's own, as many as the share says, in the form of any corpus."""

import numpy as np
import pytest

from diptych.text.mixing import mixed
from diptych.text.shards import TokenShards


def shards(lengths, first, separator):
    rows = [[separator, *[first + number] * length] for number, length in enumerate(lengths)]
    tokens = np.array([token for row in rows for token in row] + [separator], np.uint16)
    return TokenShards(tokens, np.cumsum([0, *map(len, rows)]), np.array(lengths), f"f{first}")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_whole_documents_until_the_share_is_reached(share):
    own, other = shards([4, 7, 9], 100, 1), shards([3] * 40, 200, 1)
    found = mixed(own, other, share, seed=0)
    assert found.tokens[: own.borders[-1]].tolist() == own.tokens[:-1].tolist() and found.tokens[-1] == 1
    assert len(found.tokens) == found.borders[-1] + 1
    replayed = int(found.borders[-1] - own.borders[-1])
    wanted = share / (1 - share) * own.borders[-1]
    assert replayed == min(4 * 40, -(-wanted // 4) * 4)
    for number in range(3, found.num_documents):
        document = found.document(number)
        assert document[0] == 1 and len(set(document[1:])) == 1 and found.text_bytes[number] == 3
    names = [int(found.document(number)[1]) for number in range(3, found.num_documents)]
    assert len(set(names)) == len(names)


def test_the_seed_draws_the_documents_and_names_the_data():
    own, other = shards([20], 100, 1), shards([3] * 40, 200, 1)
    one, two, again = mixed(own, other, 0.5, 0), mixed(own, other, 0.5, 1), mixed(own, other, 0.5, 0)
    assert one.fingerprint == again.fingerprint and np.array_equal(one.tokens, again.tokens)
    assert one.fingerprint != two.fingerprint and not np.array_equal(one.tokens, two.tokens)


def test_nothing_to_replay_leaves_the_text():
    own, empty = shards([5], 100, 1), TokenShards(np.array([1], np.uint16), np.array([0]), np.array([], np.int64))
    assert mixed(own, empty, 0.5, 0).tokens.tolist() == own.tokens.tolist()

"""The classic claims: the rows ask what they say, and the page has every number that was measured."""

import numpy as np
import pytest

from diptych.explain.claims import ASKED, NUM_LETTERS, measure_claims, rows_of
from diptych.explain.claims_page import claims_page
from diptych.messages import set_language


def test_rows_show_a_letter_once_and_ask_for_it_after_so_many_tokens() -> None:
    rows, letters = rows_of(5, 7, np.random.default_rng(0))
    assert rows.shape == (5, 8) and (rows[:, 0] == letters).all() and (rows[:, -1] == ASKED).all()
    assert ((rows[:, 1:-1] >= NUM_LETTERS) & (rows[:, 1:-1] < ASKED)).all()


def test_the_page_has_what_was_measured_in_both_languages() -> None:
    found = list(measure_claims(0.05, distances=(2, 4), lengths=(8, 16)))
    assert [each.name for each in found] == ["RNN", "LSTM", "Transformer"] and all(each.steps >= 1 for each in found)
    for language, word in (("en", "Recall over distance"), ("zh", "回忆")):
        set_language(language)
        page = claims_page(found, "两核 <machine>", 0.05)
        assert word in page and "<script" not in page and "http" not in page.replace("http-equiv", "") and "<machine>" not in page
        for each in found:
            assert all(f"<td>{one.right:.3f}</td>" in page for one in each.recall)
            assert all(f"<td>{value:.1f}</td>" in page for _length, value in each.microseconds)


@pytest.mark.slow
def test_attention_and_gates_recall_further_than_a_plain_recurrent_net() -> None:
    found = {each.name: each.recall[-1].right for each in measure_claims(20.0, distances=(2, 4, 8, 16, 32), lengths=(8,))}
    assert found["Transformer"] > 0.9 and found["Transformer"] > found["RNN"]

"""Spearman's correlation against scipy, and its interval against resampling the correlation itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from diptych.evaluation.correlation import spearman_of

COLUMN = st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=3, max_size=60)


@given(COLUMN)
def test_the_value_is_scipys(pairs: list[tuple[int, float]]) -> None:
    a, b = np.array(pairs).T
    found = spearman_of("s", a, b).score().value
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert found == 0.0
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_the_interval_is_as_wide_as_that_of_the_resampled_correlation(noise: float) -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(size=400)
    b = np.round(a + noise * draw.normal(size=400), 1)
    samples = [spearmanr(a[rows], b[rows]).statistic for rows in draw.integers(0, 400, (600, 400))]
    low, high = np.quantile(samples, [0.025, 0.975])
    score = spearman_of("s", a, b).score()
    assert (score.high - score.low) == pytest.approx(high - low, rel=0.15)
    assert score.low == pytest.approx(low, abs=0.15 * (high - low)) and score.high == pytest.approx(high, abs=0.15 * (high - low))

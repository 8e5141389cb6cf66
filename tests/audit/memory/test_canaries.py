"""Canaries: what is planted, how it is ranked, and files that hold none."""

import json
import math

import numpy as np
import pytest

from diptych.audit.memory.canaries import Canary, exposure, exposures, make_canaries, read_canaries, write_canaries
from diptych.errors import UsageError


def test_exposure_is_the_logarithm_of_candidates_less_that_of_the_rank():
    """Carlini et al. 2019, definition 2: of 8 candidates the first has 3 bits, the last none."""
    assert exposure([1.0, 2, 3, 4, 5, 6, 7, 8]) == 3.0
    assert exposure([9.0, 2, 3, 4, 5, 6, 7, 8]) == 0.0
    assert exposure([2.5, 2, 3, 4, 5, 6, 7, 8]) == 2.0
    assert exposure([1.0] * 8) == pytest.approx(3 - math.log2(4.5))  # a model that finds all alike has kept nothing


def test_secrets_of_chance_have_the_exposure_of_chance():
    costs = np.random.default_rng(0).random((4000, 64))
    found = np.array([exposure(row) for row in costs])
    expected = np.mean([6 - math.log2(rank) for rank in range(1, 65)])
    assert found.mean() == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(("language", "piece"), [("en", "access code"), ("zh", "密码")])
def test_candidates_differ_in_the_secret_alone(language, piece):
    canaries = make_canaries(3, language, labels=["good", "bad"], seed=4)
    assert len({each.text for each in canaries}) == 3
    for each in canaries:
        assert piece in each.text and each.label in ("good", "bad")
        found = each.candidates(100)
        assert found[0] == each.text and len(set(found)) == 100
        assert {len(text) for text in found} == {len(each.text)}
        assert found == each.candidates(100)
    assert len(Canary("code {secret}", "7").candidates(100)) == 10


def test_a_model_that_kept_a_secret_is_found_and_one_that_did_not_is_not():
    canaries = make_canaries(5)
    known = {each.text for each in canaries}
    kept = exposures(canaries, lambda texts, label: np.array([0.0 if text in known else 1.0 for text in texts]), 256)
    assert kept == [8.0] * 5
    draw = np.random.default_rng(1)
    assert max(exposures(canaries, lambda texts, label: draw.random(len(texts)), 256)) < 8.0


def test_canaries_are_read_as_they_were_written_and_other_files_are_refused(tmp_path):
    canaries = make_canaries(2, "zh", labels=["好"])
    path = write_canaries(tmp_path / "x.json", canaries)
    assert read_canaries(path) == canaries
    wrong = ([{"template": "no place", "secret": "1"}], [{"template": "{secret}", "secret": "a"}], [], {"a": 1})
    for text in ("not json", *map(json.dumps, wrong)):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="E820"):
            read_canaries(path)
    with pytest.raises(UsageError, match="E820"):
        read_canaries(tmp_path / "nothing.json")

"""A rehearsal extends a straight line, remembers what it found, and knows when not to begin."""

from typing import Any

import pytest
import torch

from diptych.config import TrainSettings
from diptych.presets import preset_config
from diptych.training import rehearsal
from diptych.training.rehearsal import Pace, pace
from diptych.training.sizing import Workload

CPU = torch.device("cpu")
SIZES = {"vocab_size": 100, "hidden_size": 32, "num_heads": 2, "num_layers": 7, "context_length": 32}


@pytest.mark.parametrize("preset", ["gpt2-tiny", "gpt-tiny", "modernbert-tiny"])
def test_layers_that_are_missing_are_added_in_a_straight_line(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(config: Any, stage: Any) -> tuple[Pace, int]:
        return Pace(0.5 + 0.1 * config.num_layers, 1e-3 * (10 + config.num_layers)), 10 + config.num_layers

    monkeypatch.setattr(rehearsal, "_timed", timed)
    for layers in (1, 2, 3, 7, 30):
        config = preset_config(preset, **{**SIZES, "num_layers": layers})
        found = rehearsal._rehearse(config, None)  # type: ignore[arg-type]
        assert found.pass_seconds == pytest.approx(0.5 + 0.1 * layers)
        assert found.update_seconds == pytest.approx(1e-3 * (10 + layers))


@pytest.mark.parametrize("heads", [("lm",), ("classes",)])
@pytest.mark.parametrize("regime", [[], ["frozen"]])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_rehearsal_takes_real_steps_and_is_remembered(
    heads: tuple[str, ...], regime: list, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if heads == ("lm",) and regime:
        pytest.skip("a tied head has nothing to learn alone")
    config = preset_config("bert-tiny", **SIZES)
    load = Workload(64, 32, 32, 0.15 if heads == ("lm",) else 0.0, heads)
    train = TrainSettings(regime=regime, optimizer=optimizer)
    found = pace(config, load, train, precision="float32", device=CPU)
    assert found is not None and found.pass_seconds > 0 and found.update_seconds > 0
    assert found.step_seconds(load) == pytest.approx(2 * found.pass_seconds + found.update_seconds)
    monkeypatch.setattr(rehearsal, "_rehearse", lambda *_: pytest.fail("it was remembered"))
    assert pace(config, load, train, precision="float32", device=CPU) == found


def test_what_would_take_minutes_is_not_begun() -> None:
    assert pace(preset_config("gpt-3-175b"), Workload(2048, 2048, 2048), TrainSettings(), precision="float32", device=CPU) is None


def test_fewer_tokens_are_rehearsed_where_all_of_them_are_too_many() -> None:
    config = preset_config("gpt2-124m")
    tokens = rehearsal._affordable(config, Workload(16_384, 128, 8192))
    assert tokens is not None and 0 < tokens < 8192 and tokens % 128 == 0

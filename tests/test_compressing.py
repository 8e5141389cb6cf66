"""Compressing measures before it claims, and a model that came out slower is not written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import diptych as dt
from diptych import compressing
from diptych.errors import DiptychError
from diptych.model import Model
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

TEXTS = ["The for statement iterates over the items of a sequence, in order.", "今天天气很好，我们去公园散步吧！🙂"] * 8


@pytest.fixture
def gpt() -> Model:
    tokenizer = Tokenizer.train(TEXTS, "bpe", 300, panel="causal")
    return Model(create("gpt-tiny", seed=2, vocab_size=tokenizer.vocab_size, hidden_size=64, num_layers=1, context_length=64), tokenizer)


def timed(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    """What a machine takes for the two is its own affair; here it takes this."""
    monkeypatch.setattr(compressing, "_seconds", lambda models: [before, after])


def test_what_is_faster_is_written_with_what_was_measured(gpt: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 3.2, 1.6)
    found = dt.quantize(gpt, tmp_path / "small", TEXTS, task="causal-lm")
    assert found.speedup == 2.0 and found.unit == "tokens" and found.before.per_second == 10.0
    assert 0.2 < found.share < 0.4 and "2.00" in str(found)
    assert found.before.scores is not None and found.after.scores is not None
    for name, score in found.before.scores.items():
        assert abs(found.after.scores[name].value - score.value) < 0.05 * abs(score.value)
    again = dt.load(tmp_path / "small")
    assert again.generate("今天", 8, temperature=0) == found.model.generate("今天", 8, temperature=0)
    assert "compression.json" in {path.name for path in (tmp_path / "small" / "diptych").iterdir()}
    # The one that it was made of is as it was.
    assert not compressing.is_int8(gpt.net)


def test_what_is_slower_is_refused_and_nothing_is_written(gpt: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 1.0, 1.1)
    with pytest.raises(DiptychError, match=r"0\.91") as caught:
        dt.quantize(gpt, tmp_path / "small")
    assert caught.value.code == "E654" and not (tmp_path / "small").exists()


def test_a_model_in_eight_bits_is_not_trained_exported_or_compressed_again(
    gpt: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, 2.0, 1.0)
    small = dt.quantize(gpt, tmp_path / "small").model
    for code, wrong in (
        ("E651", lambda: dt.pretrain(tmp_path / "small", TEXTS, steps=1, out=tmp_path / "more")),
        ("E652", lambda: dt.export(small, tmp_path / "small.gguf")),
        ("E653", lambda: dt.quantize(small, tmp_path / "smaller")),
    ):
        with pytest.raises(DiptychError) as caught:
            wrong()
        assert caught.value.code == code


def test_models_are_timed_in_turns_and_the_median_counts(gpt: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = ticking([9, 9, 1, 2, 1, 2, 5, 2, 1, 8, 1, 2]), []
    monkeypatch.setattr(compressing, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(compressing, "_work", order.append)
    assert compressing._seconds(["first", "second"]) == [1, 2]  # type: ignore[list-item]
    assert order == ["first", "second"] * 6


def ticking(durations: list[float]) -> Iterator[float]:
    now = 0.0
    for each in durations:
        yield now
        now += each
        yield now


@pytest.mark.parametrize("preset", ["bert-tiny", "gpt-tiny", "bart-tiny", "gru-tiny"])
def test_every_kind_of_model_can_be_timed(preset: str) -> None:
    model: Any = Model(create(preset, vocab_size=50, hidden_size=16, num_layers=1, context_length=40))
    compressing._work(model)

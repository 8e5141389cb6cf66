"""Texts longer than the context are explained as they are answered: in windows whose logits are averaged."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diptych.errors import UsageError
from diptych.explain.explain import explain
from diptych.explain.lens import logit_lens
from diptych.explain.long import LongSubject
from diptych.explain.perturb import blank_of
from diptych.explain.question import question_of
from diptych.explain.reading import read_long, units_of
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.tasks.windows import frame_windows
from diptych.text.tokenizer import Tokenizer

Made = Callable[..., tuple[Any, Tokenizer]]
LONG = "the food was good, but the room was bad. " * 3 + "这家酒店很干净，早餐也不错。🙂\r\n房间有点小。" * 4


@pytest.mark.parametrize("given", [(LONG,), (LONG, "早餐也不错"), ("the room", LONG)])
def test_the_windows_are_those_that_the_task_reads(made: Made, given: tuple[str, ...]) -> None:
    net, tokenizer = made("bert", "classes")
    reading, windows = read_long(given, tokenizer, net.config.context_length)
    (theirs,) = frame_windows([given], tokenizer, net.config.context_length, Ledger())
    assert len(windows) == len(theirs) > 1
    for own, their in zip(windows, theirs, strict=True):
        assert reading.ids[list(own)].tolist() == their.ids.tolist() and reading.types[list(own)].tolist() == their.types.tolist()
    assert read_long(("short",), tokenizer, net.config.context_length)[1] == ()


def test_the_whole_is_what_is_predicted_and_without_a_sentence_its_windows_are_without_it(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    said = Model(net, tokenizer).predict([LONG])[0]
    question = question_of(net, tokenizer, LONG)
    units = units_of(question.reading, "sentences")
    subject = LongSubject(net, question, units, blank_of(tokenizer))
    assert question.answer == said.label
    assert float(question.chance(subject.full)) == pytest.approx(said.probability, abs=1e-6)
    kept = np.ones(len(units), dtype=bool)
    kept[[0, 4]] = False
    gone = {place for unit, is_kept in zip(units, kept, strict=True) if not is_kept for place in unit.tokens}
    rows = [[int(question.reading.ids[place]) for place in window if place not in gone] for window in question.windows]
    logits = torch.stack([net.logits(torch.tensor([row]))[0] for row in rows]).mean(0).detach()
    rest = logits[[number for number in range(len(logits)) if number not in question.chosen]]
    expected = float(logits[list(question.chosen)].logsumexp(0) - rest.logsumexp(0))
    assert float(subject(kept[None])[0]) == pytest.approx(expected, abs=1e-4)


def test_a_long_text_is_explained_and_what_looks_at_one_window_says_so(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    found = explain(net, tokenizer, LONG, units="sentences", budget=60)
    assert found.values.sum() == pytest.approx(found.full - found.base, abs=1e-5) and found.faithfulness is not None
    for method in ("gradient", "integrated-gradients", "attention", "rollout"):
        with pytest.raises(UsageError, match="E850"):
            explain(net, tokenizer, LONG, method=method)
    with pytest.raises(UsageError, match="E850"):
        logit_lens(net, tokenizer, LONG)

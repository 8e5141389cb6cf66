"""A text that is longer than the context, explained as it is answered: in windows whose logits are averaged.

A unit that is gone is gone from every window that shows it, and a window that shows none of what is gone is not read again. The windows
stay where they are: a text without a sentence is not cut anew, or every window behind it would be another text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.explain.perturb import TEXTS_AT_ONCE, TOKENS_AT_ONCE, Subject
from diptych.explain.question import Question
from diptych.explain.reading import Unit
from diptych.packed import Packed
from diptych.tasks.head_task import ask
from diptych.tasks.windows import by_size


class LongSubject(Subject):
    """A question to a text in windows."""

    def __init__(self, net: Any, question: Question, units: Sequence[Unit], blank: int) -> None:
        super().__init__(net, question, units, blank)
        self._windows = [np.array(window) for window in question.windows]
        self._logits: dict[tuple[int, bytes], torch.Tensor] = {}

    def lay_whole(self, copies: int = 1) -> tuple[Packed, torch.Tensor]:
        """
        Raises:
            UsageError E850: always: there is no one text to lay.
        """
        raise UsageError("E850", length=len(self.question.reading.ids), windows=len(self._windows))

    def _scores(self, variants: Sequence[np.ndarray]) -> list[float]:
        parts = [[self._part(variant, window) for window in self._windows] for variant in variants]
        keys = [[(number, part.tobytes()) for number, part in enumerate(few)] for few in parts]
        wanted = zip(keys, parts, strict=True)
        fresh = {key: part for own, few in wanted for key, part in zip(own, few, strict=True) if key not in self._logits}
        names, rows = list(fresh), list(fresh.values())
        for few in by_size([len(row) for row in rows], TOKENS_AT_ONCE, TEXTS_AT_ONCE):
            texts, _at = self._lay([rows[number] for number in few])
            every = torch.arange(len(few), device=self.device)
            with torch.inference_mode():
                logits_MC = ask(self.net, self.question.head, self.net.hidden(texts), texts, every).logits().float().cpu()
            self._logits.update(zip((names[number] for number in few), logits_MC, strict=True))
        means = [torch.stack([self._logits[key] for key in own]).mean(0) for own in keys]
        return self.question.weighed(torch.stack(means)).double().tolist() if means else []

    def _part(self, variant: np.ndarray, window: np.ndarray) -> np.ndarray:
        left = variant[np.isin(variant, window)]
        return left if len(left) else np.array([-len(self.question.reading.ids)])


def subject_of(net: Any, question: Question, units: Sequence[Unit], blank: int) -> Subject:
    """The question with its text to vary, in windows where it has some."""
    return (LongSubject if question.windows else Subject)(net, question, units, blank)

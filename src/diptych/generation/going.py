"""Which answers are still being written, and what is kept of their texts: what writing token by token and by guesses have in common."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from diptych.generation.cached import Cached, begin_of, check_writes
from diptych.generation.writing import Writing


class Going:
    """Answers that are written together, each as if it were alone.

    Attributes:
        answers: those that are not over.
        kept: what was read of them; None before anything was.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """

    def __init__(self, net: Any, answers: Sequence[Writing]) -> None:
        check_writes(net, answers)
        net.eval()
        self.answers = list(answers)
        self.kept: Cached | None = None
        self._net = net
        self._begins = {id(answer): 0 for answer in answers}

    def leave(self) -> bool:
        """Let those go that are over, or that their reader wants no more of; whether any are left."""
        rows = [row for row, answer in enumerate(self.answers) if answer.ending is None]
        if rows and self.kept is not None:
            self.kept.keep(rows)
        self.answers = [self.answers[row] for row in rows]
        return bool(rows)

    def read_if_full(self, max_new_tokens: int) -> Tensor | None:
        """Read the texts where nothing is kept of them or the context is full, then from its last half: the logits after each, [B, V]."""
        if self.kept is not None and not self.kept.is_full:
            return None
        for answer in self.answers:
            self._begins[id(answer)] = begin_of(len(answer.text), self._begins[id(answer)], self._net.config.context_length)
        room = max_new_tokens - min(len(answer.tokens) for answer in self.answers)
        self.kept = Cached(self._net, [self.text(answer) for answer in self.answers], [answer.source for answer in self.answers], room)
        return self.kept.first()

    def text(self, answer: Writing) -> list[int]:
        """The part of prompt and answer that is in the context."""
        return answer.text[self._begins[id(answer)] :]

"""Answers that keep to a form: one of several choices, a regular expression, a JSON schema, a grammar.

At each step `llguidance` says which tokens can still become a text of that form, and no other may be chosen. So an answer that has
ended is of the form by construction; one that was cut at its limit is a beginning of it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.generation.forms import FEW, Kind, compiled
from diptych.messages import _
from diptych.text.tokenizer import Tokenizer


class Constraint:
    """A form, compiled for a tokenizer.

    Args:
        kind: choices are a list of texts; a JSON schema is a mapping, a boolean or their JSON; a grammar is Lark's.
        vocab_size: of the model, which may have more numbers than the tokenizer has tokens.
        ends: tokens that end an answer.

    Raises:
        UsageError E647: llguidance is not installed. E648: the form cannot be read. E649: this kind of tokenizer
        has tokens whose text depends on their neighbours. E650: there is no token for what must come next, or the form is too large.
    """

    def __init__(self, kind: Kind, value: Any, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int]) -> None:
        self._matcher = compiled(kind, value, tokenizer, vocab_size, ends)
        self._kind, self._vocab_size, self._ends = kind, vocab_size, ends
        self.guide()

    def guide(self) -> "Path":
        """The way of one answer through the form."""
        return Path(self._matcher.deep_copy(), self._kind, self._vocab_size, self._ends)


class Path:
    """Where an answer is in a form.

    Attributes:
        is_finished: whether the form is complete and nothing can follow.
    """

    def __init__(self, matcher: Any, kind: str, vocab_size: int, ends: frozenset[int]) -> None:
        self._matcher, self._kind, self._size = matcher, kind, vocab_size
        self._ends = [token for token in ends if token < vocab_size]
        self.is_finished = False
        self._look()

    def allowed(self) -> Tensor:
        """bool [V]: the tokens that may come next."""
        return self._is_allowed_V

    def take(self, token: int) -> None:
        """Go on with a token that is allowed."""
        self._matcher.consume_token(token)
        self._look()

    def _look(self) -> None:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise UsageError("E650", kind=self._kind, problem=self._matcher.get_error().strip().partition("\n")[0][:FEW])
        self._is_allowed_V = torch.from_numpy(np.unpackbits(bits, count=max(self._size, 1), bitorder="little").astype(bool))
        goes_on = self._is_allowed_V.clone()
        goes_on[self._ends] = False
        if bool(goes_on.any()):
            return
        if not self._matcher.is_accepting():
            raise UsageError("E650", kind=self._kind, problem=_("no token can come next"))
        self.is_finished = True

"""Answers of models that are not written in a batch, encoder-decoders and recurrent nets: a token of each in turn."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from diptych.errors import UsageError
from diptych.generation.texts import Texts
from diptych.serve.counts import Counts
from diptych.serve.fair import FairQueue
from diptych.serve.work import Ask, Ended, Failed, Piece


class Solo:
    """The answers of one model, each a loop of its own."""

    def __init__(self, net: Any, tokenizer: Any, counts: Counts, *, num_slots: int) -> None:
        net.eval()
        self._net, self._tokenizer, self._counts, self._num = net, tokenizer, counts, num_slots
        self._waiting: FairQueue[Ask] = FairQueue()
        self._active: dict[Ask, tuple[Texts, Iterator[list[str]]]] = {}
        self._told: dict[Ask, list[int]] = {}

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        return len(self._active)

    @property
    def num_free(self) -> int:
        return self._num - len(self._active)

    def put(self, ask: Ask) -> None:
        self._waiting.put(ask)

    def step(self) -> list[Ask]:
        """Go one step on; the asks that are over."""
        over = [ask for ask in [*self._active, *self._waiting] if self._is_given_up(ask)]
        for ask in over:
            self._waiting.remove(ask)
            self._forget(ask)
        while len(self._active) < self._num and len(self._waiting):
            ask = self._waiting.pop()
            try:
                texts = Texts(self._net, self._tokenizer, [list(ask.prompt)], ask.decoding, ask.max_new_tokens)
            except UsageError as error:
                ask.tell(Failed(error))
                over.append(ask)
                continue
            self._counts.prompt_tokens += len(ask.prompt)
            self._active[ask], self._told[ask] = (texts, iter(texts)), [0] * ask.num
        return over + [ask for ask in list(self._active) if self._go_on(ask)]

    def fail(self, error: BaseException) -> list[Ask]:
        """Give everything up; the asks that were open."""
        over = [*self._active, *self._waiting]
        self._active, self._told, self._waiting = {}, {}, FairQueue()
        for ask in over:
            ask.tell(Failed(error))
        return over

    def _go_on(self, ask: Ask) -> bool:
        """Another token; whether the answers are over."""
        texts, written = self._active[ask]
        try:
            pieces = next(written, None)
        except Exception as error:
            ask.tell(Failed(error))
            self._forget(ask)
            return True
        answers = texts.answers()[0]
        is_over = pieces is None
        for index, answer in enumerate(answers):
            before = self._told[ask][index]
            if pieces is not None and (pieces[index] or answer.tokens[before:]):
                ask.tell(Piece(index, pieces[index], answer.tokens[before:], answer.chances[before:]))
                if not before:
                    seconds = monotonic() - ask.asked_at
                    self._counts.first_token.add(seconds)
                self._counts.new_tokens += len(answer.tokens) - before
                self._told[ask][index] = len(answer.tokens)
            if is_over:
                ask.tell(Ended(index, answer.ending))
                self._counts.end(answer.ending)
        if is_over:
            self._forget(ask)
        return is_over

    def _is_given_up(self, ask: Ask) -> bool:
        is_late = ask.deadline < monotonic()
        if is_late and not ask.is_cancelled:
            ask.tell(Failed(UsageError("E664", seconds=round(monotonic() - ask.asked_at))))
        if is_late or ask.is_cancelled:
            self._counts.end("cancelled" if ask.is_cancelled else "late")
        return is_late or ask.is_cancelled

    def _forget(self, ask: Ask) -> None:
        self._active.pop(ask, None)
        self._told.pop(ask, None)

"""Many answers of one model, written together: each step reads one more token of those that are being written and some of the
prompts of those that come next.

An answer does not know of the others. Its tokens are read in the same pieces and chosen with the same chance as if it were alone,
and `Slots` reads them with the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch

from diptych.errors import UsageError
from diptych.generation.streaming import TextStream
from diptych.generation.texts import Told, by_number, ends_of
from diptych.generation.writing import Chance, Writing, chances_of
from diptych.serve.counts import Counts
from diptych.serve.fair import FairQueue
from diptych.serve.prefixes import PIECE, Prefixes, names_of
from diptych.serve.slots import Slots
from diptych.serve.work import Ask, Ended, Failed, Piece, PromptRead


@dataclass(eq=False)
class Line:
    """One answer on its way."""

    ask: Ask
    index: int
    told: Told
    sampling: Any
    slot: int = -1
    is_reading: bool = True
    names: list[bytes] = field(default_factory=list)
    chances: list[Chance | None] = field(default_factory=lambda: [None])
    num_told: int = 0
    last_at: float = 0.0

    @property
    def client(self) -> str:
        return self.ask.client

    @property
    def writing(self) -> Writing:
        return self.told.writing

    @property
    def wants_chances(self) -> bool:
        return self.ask.prompt_chances is not None and self.index == 0


class Batch:
    """The answers of one model.

    Args:
        num_slots: so many are written at once.
        step_tokens: a step reads so many tokens at most, but one piece of a prompt at least where nothing else is to be done.
        prefix_bytes: so much is kept of beginnings that were read before.
    """

    def __init__(self, net: Any, tokenizer: Any, counts: Counts, *, num_slots: int, step_tokens: int, prefix_bytes: int) -> None:
        self._slots = Slots(net, num_slots, net.config.context_length)
        self._prefixes = Prefixes(prefix_bytes)
        self._tokenizer, self._counts = tokenizer, counts
        # Those that write must leave room for a piece of a prompt, or nobody new would ever begin.
        self._step_tokens = max(step_tokens, num_slots + PIECE)
        self._ends = ends_of(tokenizer)
        self._waiting: FairQueue[Line] = FairQueue()
        self._lines: list[Line] = []
        self._open: dict[Ask, int] = {}

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        return len(self._lines)

    @property
    def num_free(self) -> int:
        """Slots that nobody uses."""
        return self._slots.num_free

    def put(self, ask: Ask) -> None:
        """Take an ask into the queue.

        Raises:
            UsageError E642: a bias is for something that is no token.
        """
        biases = by_number(ask.decoding, self._tokenizer)
        decoding = ask.decoding.model_copy(update={"logit_bias": biases})
        for index in range(ask.num):
            guide = ask.form and ask.form.guide()
            writing = Writing(ask.prompt, key=index, guide=guide, alternatives=decoding.log_probabilities)
            told = Told(writing, TextStream(self._tokenizer, decoding.stop, ask.prompt[-1]))
            self._waiting.put(Line(ask, index, told, decoding))
        self._open[ask] = ask.num

    def step(self) -> list[Ask]:
        """Go one step on; the asks that are over."""
        over = self._leave()
        self._admit()
        pieces = self._pieces()
        if not pieces:
            return over
        try:
            hidden = self._slots.read(pieces)
        except Exception as error:
            return over + self.fail(error)
        self._counts.steps += 1
        ready: list[tuple[Line, torch.Tensor]] = []
        for line in list(self._lines):
            if line.slot in hidden:
                hidden_TD = hidden[line.slot]
                if not line.is_reading or self._read_on(line, hidden_TD):
                    ready.append((line, hidden_TD[-1]))
        if ready:
            logits_MV = self._slots.logits(torch.stack([last_D for _line, last_D in ready]))
            for (line, _last), logits_V in zip(ready, logits_MV, strict=True):
                if line in self._lines:  # another answer to the same prompt may have failed
                    self._write_on(line, logits_V)
        return over + self._leave()

    def fail(self, error: BaseException) -> list[Ask]:
        """Give everything up; the asks that were open."""
        for line in self._lines:
            self._slots.give_back(line.slot)
        self._lines = []
        self._waiting = FairQueue()
        over, self._open = list(self._open), {}
        for ask in over:
            ask.tell(Failed(error))
        return over

    def _leave(self) -> list[Ask]:
        """Let those go that are over, too late, or without a listener; the asks of which nothing is left."""
        now = monotonic()
        for ask in [ask for ask in self._open if ask.is_cancelled or ask.deadline < now]:
            how = "cancelled" if ask.is_cancelled else "late"
            if how == "late":
                ask.tell(Failed(UsageError("E664", seconds=round(now - ask.asked_at))))
            self._drop(ask, how)
        over = [ask for ask, left in self._open.items() if not left]
        for ask in over:
            del self._open[ask]
        return over

    def _drop(self, ask: Ask, how: str) -> None:
        for line in [line for line in self._lines if line.ask is ask]:
            self._release(line)
            self._counts.end(how)
        for line in [line for line in self._waiting if line.ask is ask]:
            self._waiting.remove(line)
            self._counts.end(how)
        self._open[ask] = 0

    def _release(self, line: Line) -> None:
        self._slots.give_back(line.slot)
        self._lines.remove(line)

    def _admit(self) -> None:
        """Give free slots to those who come next, with what is kept of the beginnings of their prompts."""
        while self._slots.num_free and len(self._waiting):
            line = self._waiting.pop()
            line.slot = self._slots.take()
            self._lines.append(line)
            prompt = line.writing.prompt
            line.names = names_of(prompt)
            # The probabilities of a prompt's tokens need all of it to be read.
            for keys, values in [] if line.wants_chances else self._prefixes.find(prompt):
                self._slots.copy_in(line.slot, keys, values)
            self._counts.prompt_tokens += len(prompt)
            self._counts.kept_tokens += self._slots.length(line.slot)
            if line.writing.guide is not None and line.writing.guide.is_finished:
                self._end(line, "end")  # the form is the empty text

    def _pieces(self) -> dict[int, Sequence[int]]:
        """What is read next of whom: a token of those that write, then pieces of prompts as far as the step has room."""
        pieces: dict[int, Sequence[int]] = {line.slot: line.writing.tokens[-1:] for line in self._lines if not line.is_reading}
        room = self._step_tokens - len(pieces)
        for line in self._lines:
            if not line.is_reading:
                continue
            begin = self._slots.length(line.slot)
            piece = line.writing.prompt[begin : begin + PIECE]
            if pieces and len(piece) > room:
                break
            pieces[line.slot] = piece
            room -= len(piece)
        return pieces

    def _read_on(self, line: Line, hidden_TD: torch.Tensor) -> bool:
        """A piece of the prompt was read; whether it was the last."""
        stop = self._slots.length(line.slot)
        start, prompt = stop - len(hidden_TD), line.writing.prompt
        if stop % PIECE == 0 and not self._prefixes.has(name := line.names[stop // PIECE - 1]):
            self._prefixes.keep(name, *self._slots.copy_out(line.slot, start, stop))
            self._counts.prefix_bytes = self._prefixes.bytes
        if line.wants_chances:
            followed = prompt[start + 1 : stop + 1]
            if followed:
                logits_TV = self._slots.logits(hidden_TD)[: len(followed)]
                line.chances += chances_of(logits_TV, followed, line.ask.prompt_chances or 0)
        line.is_reading = stop < len(prompt)
        if line.is_reading:
            return False
        if line.wants_chances:
            line.ask.tell(PromptRead(tuple(line.chances)))
        if not line.ask.max_new_tokens:
            self._end(line, "length")
            return False
        return True

    def _write_on(self, line: Line, logits_V: torch.Tensor) -> None:
        """Choose the next token of an answer and tell what it adds."""
        writing = line.writing
        try:
            (token,) = line.sampling.choose(logits_V[None], [writing])
            has_grown = writing.take(token, logits_V, self._ends)
        except UsageError as error:
            line.ask.tell(Failed(error))
            self._drop(line.ask, "failed")
            return
        if has_grown:
            self._counts.new_tokens += 1
        now = monotonic()
        seconds = now - (line.last_at or line.ask.asked_at)
        (self._counts.between_tokens if line.last_at else self._counts.first_token).add(seconds)
        line.last_at = now
        text = line.told.grown()
        writing.limit(min(line.ask.max_new_tokens, self._slots.capacity - len(writing.prompt)))
        if writing.ending is not None:
            self._end(line, writing.ending, text)
        else:
            self._tell(line, text)

    def _tell(self, line: Line, text: str) -> None:
        writing, told = line.writing, line.num_told
        line.num_told = len(writing.tokens)
        if text or writing.tokens[told:]:
            line.ask.tell(Piece(line.index, text, tuple(writing.tokens[told:]), tuple(writing.chances[told:])))

    def _end(self, line: Line, ending: Any, text: str = "") -> None:
        line.writing.ending = ending
        text += line.told.flushed()
        self._tell(line, text)
        line.ask.tell(Ended(line.index, line.writing.ending or ending))
        self._counts.end(line.writing.ending or ending)
        self._release(line)
        self._open[line.ask] -= 1

"""Between the network's loop and the engine's thread: what was asked goes in, what is told comes out, and who hangs up is cancelled."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

from diptych.errors import UsageError
from diptych.generation.constrain import Constraint
from diptych.generation.forms import Kind
from diptych.generation.settings import Decoding, decoding_of
from diptych.generation.texts import ends_of
from diptych.serve.engine import Engine
from diptych.serve.forms import Forms
from diptych.serve.shelf import Served, Shelf
from diptych.serve.work import Ask, Ended, Event, Failed, Job, Result

PING_SECONDS = 15.0
"""Someone who waits longer is told that the line is open."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a name for taking turns, and no more."""

    name: str


@dataclass(frozen=True)
class Caps:
    """How large one request may be.

    Attributes:
        seconds: how long it may take, waiting included.
        new_tokens: of all its answers together.
        tokens: that are read for it, of all its prompts or texts together.
        form_seconds: how long a schema or grammar may take to be understood.
    """

    seconds: float = 600.0
    new_tokens: int = 32_768
    tokens: int = 262_144
    form_seconds: float = 3.0


class Desk:
    """What the endpoints ask.

    Attributes:
        shelf: the models. engine: what computes.
    """

    def __init__(self, shelf: Shelf, engine: Engine, caps: Caps | None = None) -> None:
        self.shelf, self.engine, self.caps = shelf, engine, caps or Caps()
        # One thread: a form that takes long keeps other forms waiting, and nothing else.
        self._waiting_for_forms = ThreadPoolExecutor(1, thread_name_prefix="diptych-forms")
        self._forms: dict[str, Forms] = {}

    def close(self) -> None:
        """End what was started for forms."""
        self._waiting_for_forms.shutdown(wait=False, cancel_futures=True)
        for each in self._forms.values():
            each.close()

    async def do(self, caller: Caller, run: Callable[[], Any]) -> Any:
        """Have the engine's thread do something, and wait for it.

        Raises:
            what `run` raises, and what `Engine.submit` does.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Event]()
        job = Job(caller.name, run, _teller(loop, told.put_nowait), monotonic() + self.caps.seconds)
        self.engine.submit(job)
        try:
            event = await told.get()
        except asyncio.CancelledError:
            self.engine.cancel(job)
            raise
        if isinstance(event, Failed):
            raise event.error
        assert isinstance(event, Result)
        return event.value

    async def write(
        self,
        caller: Caller,
        served: Served,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        max_new_tokens: int,
        *,
        num: int = 1,
        prompt_chances: int | None = None,
    ) -> AsyncIterator[tuple[int, Event | None]]:
        """Have answers written: (number of the prompt, what is told of it) as it comes; None while nothing is to be told for long.

        Nothing is asked before the first is awaited, and all that is not over is cancelled when the iterator is closed.

        Raises:
            UsageError E661: too many tokens are asked for. E648, E650: the form cannot be read. E671: it takes too long.
        """
        self.check_size(served, prompts, max_new_tokens, num)
        form = await self._form(served, decoding)
        loop, told = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event]]()
        deadline = monotonic() + self.caps.seconds

        def listener(number: int) -> Callable[[Event], None]:
            return _teller(loop, lambda event: told.put_nowait((number, event)))

        asks = [
            Ask(caller.name, served.name, prompt, decoding, max_new_tokens, listener(number), num, form, prompt_chances, deadline)
            for number, prompt in enumerate(prompts)
        ]
        left = dict.fromkeys(range(len(asks)), num)
        submitted = []
        try:
            for ask in asks:
                self.engine.submit(ask)
                submitted.append(ask)
            yield -1, None
            while left:
                try:
                    number, event = await asyncio.wait_for(told.get(), PING_SECONDS)
                except TimeoutError:
                    yield -1, None
                    continue
                if isinstance(event, Failed):
                    raise event.error
                yield number, event
                if isinstance(event, Ended):
                    left[number] -= 1
                    if not left[number]:
                        del left[number]
        finally:
            for number, ask in enumerate(submitted):
                if number in left:
                    self.engine.cancel(ask)

    def check_size(self, served: Served, prompts: Sequence[Sequence[int]], max_new_tokens: int, num: int) -> None:
        """
        Raises:
            UsageError E603: a prompt is empty. E661: it is longer than the context. E674: too much is asked for at once.
        """
        limit = served.model.config.context_length
        for prompt in prompts:
            if not prompt:
                raise UsageError("E603")
            if len(prompt) > limit:
                raise UsageError("E661", length=len(prompt), limit=limit)
        self.check_read(sum(map(len, prompts)))
        rooms = sum(min(max_new_tokens, limit) * num for _prompt in prompts)
        if rooms > self.caps.new_tokens:
            raise UsageError("E674", what="max_tokens", wanted=rooms, limit=self.caps.new_tokens)

    def check_read(self, num_tokens: int) -> None:
        """
        Raises:
            UsageError E674: one request asks for too much to be read.
        """
        if num_tokens > self.caps.tokens:
            raise UsageError("E674", what="tokens", wanted=num_tokens, limit=self.caps.tokens)

    async def _form(self, served: Served, decoding: Decoding) -> Constraint | None:
        """The form that answers must have, compiled apart from everything else and within a time.

        Raises:
            UsageError E647 to E650: as `Constraint`. E671: it takes too long.
        """
        if decoding.form is None or not served.is_batched:
            return None
        if served.name not in self._forms:
            self._forms[served.name] = _forms_of(served, self.caps.form_seconds)
        return await asyncio.get_running_loop().run_in_executor(self._waiting_for_forms, self._forms[served.name].compile, *decoding.form)


def settings_of(given: Mapping[str, Any], form: tuple[Kind, Any] | None, chances: int | None) -> Decoding:
    """OpenAI's way to say how tokens are drawn, as ours; what is not said is as OpenAI has it, and a seed that is not given is chance.

    Raises:
        UsageError E640 to E644: settings that do not fit.
    """
    told: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "seed": secrets.randbits(62)}
    told |= {name: value for name, value in given.items() if value is not None and name in Decoding.model_fields}
    for name in ("temperature", "top_p", "min_p", "typical", "repetition_penalty", "presence_penalty", "frequency_penalty"):
        if name in told:
            told[name] = float(told[name])
    # Nothing but the most probable token, which is what 0 means elsewhere.
    told["top_p"] = max(told["top_p"], 1e-9)
    told["logit_bias"] = {_token(name): float(bias) for name, bias in (given.get("logit_bias") or {}).items()}
    told["log_probabilities"] = chances
    told.pop("n", None)
    if form is not None:
        told[form[0]] = form[1]
    return decoding_of(told)


def _token(name: str) -> int | str:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 10 else name


def _forms_of(served: Served, seconds: float) -> Forms:
    tokenizer, size = served.model.tokenizer, served.model.config.vocab_size
    ends = ends_of(tokenizer)
    return Forms(lambda kind, value: Constraint(kind, value, tokenizer, size, ends), tokenizer, size, ends, seconds)


def _teller(loop: asyncio.AbstractEventLoop, put: Callable[[Any], None]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            loop.call_soon_threadsafe(put, event)

    return tell

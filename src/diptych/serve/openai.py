"""OpenAI's endpoints for texts: completions, embeddings, and the list of models.

What a client of OpenAI's reads is in its place; what goes beyond it (`prompt_logprobs`, our own settings) goes by vLLM's name where it
has one, and by ours elsewhere.
"""

import base64
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych import __version__
from diptych.errors import UsageError
from diptych.generation.forms import Kind
from diptych.generation.writing import Chance
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.serve import chances as shapes
from diptych.serve.bodies import CompletionBody, EmbeddingBody, Writing
from diptych.serve.desk import Caller, Desk, settings_of
from diptych.serve.shelf import Served
from diptych.serve.work import Ended, Event, Piece, PromptRead

FINISHES = {"end": "stop", "stop": "stop", "length": "length"}
USUAL_TOKENS = 16
"""Tokens of a completion where nothing is said, as OpenAI has it."""
FORMS: dict[str, Kind] = {"regex": "regex", "grammar": "grammar", "choices": "choices"}


@dataclass
class Written:
    """What has come of one answer."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    chances: list[Chance] = field(default_factory=list)
    finish: str | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, Piece):
            self.text += event.text
            self.tokens += event.tokens
            self.chances += event.chances
        elif isinstance(event, Ended):
            self.finish = FINISHES[event.ending]


def models(desk: Desk) -> dict[str, Any]:
    """`GET /v1/models`"""
    return {"object": "list", "data": [each.to_json() for each in desk.shelf]}


class Completion:
    """One request to `/v1/completions`, checked.

    Raises:
        UsageError E656, E657: no such model, or it does not write. E659: a prompt that cannot be. E672: what is not done here.
    """

    def __init__(self, desk: Desk, caller: Caller, body: CompletionBody) -> None:
        self._desk, self._caller, self._body = desk, caller, body
        self._served = desk.shelf.find(body.model, "write")
        self._num = body.n or 1
        refuse(("suffix", body.suffix), ("best_of", body.best_of not in (None, self._num)))
        self._prompts = prompts_of(self._served, body.prompt if body.prompt is not None else "")
        self._most = USUAL_TOKENS if body.max_tokens is None else body.max_tokens
        self._decoding = settings_of(given_of(body), form_of(body.response_format), body.logprobs)
        self._head = head("cmpl", "text_completion", self._served)

    @property
    def wants_stream(self) -> bool:
        return bool(self._body.stream)

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        prompt_chances: dict[int, Sequence[Chance | None]] = {}
        written = [[Written() for _index in range(self._num)] for _prompt in self._prompts]
        async for number, event in self._events():
            if isinstance(event, PromptRead):
                prompt_chances[number] = event.chances
            elif isinstance(event, Piece | Ended):
                written[number][event.index].take(event)
        choices = [
            self._choice(number * self._num + index, number, one, prompt_chances.get(number))
            for number, few in enumerate(written)
            for index, one in enumerate(few)
        ]
        return {**self._head, "choices": choices, "usage": usage(self._prompts, [one for few in written for one in few])}

    async def stream(self) -> AsyncIterator[dict[str, Any] | None]:
        """The answer as it comes; None where there is nothing to say but that the line is open."""
        begun: set[int] = set()
        offsets: dict[int, int] = {}
        written: dict[int, Written] = {}
        prompt_chances: dict[int, Sequence[Chance | None]] = {}
        async for number, event in self._events():
            if event is None:
                yield None
            elif isinstance(event, PromptRead):
                prompt_chances[number] = event.chances
            elif isinstance(event, Piece | Ended):
                place = number * self._num + event.index
                own = written.setdefault(place, Written())
                own.take(event)
                if place not in begun and self._body.echo:
                    shown = self._choice(place, number, Written(), prompt_chances.get(number))
                    offsets[place] = len(shown["text"])
                    yield {**self._head, "choices": [shown]}
                begun.add(place)
                new = Written()
                new.take(event)
                if new.text or new.finish or (new.tokens and self._body.logprobs is not None):
                    offset = offsets.get(place, 0) + len(own.text) - len(new.text)
                    yield {**self._head, "choices": [self._part(place, number, new, offset, own)]}
        if self._body.stream_options is not None and self._body.stream_options.include_usage:
            yield {**self._head, "choices": [], "usage": usage(self._prompts, written.values())}

    def _events(self) -> AsyncIterator[tuple[int, Event | None]]:
        wanted = self._body.prompt_logprobs
        if self._body.echo and self._body.logprobs is not None:
            wanted = max(wanted or 0, self._body.logprobs)
        return self._desk.write(self._caller, self._served, self._prompts, self._decoding, self._most, num=self._num, prompt_chances=wanted)

    def _choice(self, place: int, number: int, one: Written, prompt_chances: Sequence[Chance | None] | None) -> dict[str, Any]:
        tokenizer, prompt = self._served.model.tokenizer, self._prompts[number]
        shown = self._shown(number) if self._body.echo else ""
        choice: dict[str, Any] = {"index": place, "text": shown + one.text, "logprobs": None, "finish_reason": one.finish}
        if self._body.logprobs is not None:
            own: list[Chance | None] = list(one.chances)
            if self._body.echo and prompt_chances is not None:
                logs = [_fewer(each, self._body.logprobs) for each in prompt_chances]
                choice["logprobs"] = shapes.of_completion(tokenizer, [*prompt, *one.tokens], logs + own, 0, None)
            else:
                choice["logprobs"] = shapes.of_completion(tokenizer, one.tokens, own, len(shown), prompt[-1])
        if self._body.prompt_logprobs is not None and prompt_chances is not None:
            most = self._body.prompt_logprobs
            choice["prompt_logprobs"] = shapes.of_prompt(tokenizer, [_fewer(each, most) for each in prompt_chances])
        return choice

    def _part(self, place: int, number: int, new: Written, offset: int, own: Written) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": place, "text": new.text, "logprobs": None, "finish_reason": new.finish}
        if self._body.logprobs is not None and new.tokens:
            before = own.tokens[: len(own.tokens) - len(new.tokens)] or self._prompts[number]
            choice["logprobs"] = shapes.of_completion(self._served.model.tokenizer, new.tokens, new.chances, offset, before[-1])
        return choice

    def _shown(self, number: int) -> str:
        """The prompt as a text."""
        given = self._body.prompt
        texts = [given] if isinstance(given, str) else given if isinstance(given, list) else [""]
        each = texts[number] if number < len(texts) else ""
        return each if isinstance(each, str) else self._served.model.tokenizer.decode(self._prompts[number])


async def embeddings(desk: Desk, caller: Caller, body: EmbeddingBody) -> dict[str, Any]:
    """`POST /v1/embeddings`: texts, or tokens, which are read as the text that they are."""
    served = desk.shelf.find(body.model, "embed")
    model = served.model
    texts = [each if isinstance(each, str) else model.tokenizer.decode(each) for each in several_of(served, body.input)]
    num_tokens = sum(map(len, model.tokenizer.encode_batch(texts)))
    desk.check_read(num_tokens)
    ledger = Ledger()
    vectors = await desk.do(caller, lambda: model.embed(texts, ledger, dimensions=body.dimensions).float().cpu().numpy())
    data = [{"object": "embedding", "index": number, "embedding": _vector(each, body)} for number, each in enumerate(vectors)]
    count = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    cut = {"ledger": ledger.lines()} if ledger.lines() else {}
    return {"object": "list", "data": data, "model": served.name, "usage": count, **cut}


def _vector(vector_D: np.ndarray, body: EmbeddingBody) -> Any:
    if body.encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(vector_D, dtype="<f4").tobytes()).decode()
    return vector_D.tolist()


def several_of(served: Served, given: Any) -> list[Any]:
    """One text or one list of tokens, or several of either, as several.

    Raises:
        UsageError E659: there is none, or a number that is no token.
    """
    several = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else list(given)
    if not several:
        raise UsageError("E659", key="input", value="[]", problem=_("at least one is wanted"))
    size = served.model.config.vocab_size
    for each in several:
        if not isinstance(each, str) and not all(token < size for token in each):
            raise UsageError("E659", key="input", value=max(each), problem=_("the vocabulary has {size} tokens").format(size=size))
    return several


def prompts_of(served: Served, given: Any) -> list[list[int]]:
    """The tokens of each prompt."""
    return [served.model.read_ids(each) if isinstance(each, str) else list(each) for each in several_of(served, given)]


def given_of(body: Writing) -> dict[str, Any]:
    """The fields that were set."""
    given = body.model_dump(exclude_none=True)
    stop = given.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if len(stops) > 16:
            raise UsageError("E659", key="stop", value=len(stops), problem=_("at most {most}").format(most=16))
        given["stop"] = [each for each in stops if each]
    return given


def form_of(wanted: dict[str, Any] | None) -> tuple[Kind, Any] | None:
    """The form that an answer must have.

    Raises:
        UsageError E659: a kind that is not known, or without what it needs. What cannot be honoured is never let go.
    """
    if wanted is None or wanted.get("type") == "text":
        return None
    kind = wanted.get("type")
    if kind == "json_object":
        return "json_schema", {"type": "object"}
    if kind == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if not isinstance(schema, dict | bool):
            raise UsageError("E659", key="response_format.json_schema.schema", value=str(schema)[:100], problem=_("a schema is wanted"))
        return "json_schema", schema
    if kind in FORMS:
        value = wanted.get(kind)
        is_right = isinstance(value, str) if kind != "choices" else isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not value or not is_right:
            raise UsageError("E659", key=f"response_format.{kind}", value=str(value)[:100], problem=_("a value is missing"))
        return FORMS[kind], value
    known = ", ".join(["text", "json_object", "json_schema", *FORMS])
    raise UsageError("E659", key="response_format.type", value=str(kind)[:100], problem=known)


def head(prefix: str, kind: str, served: Served) -> dict[str, Any]:
    """What every answer begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": f"diptych-{__version__}",
    }


def usage(prompts: Sequence[Sequence[int]], written: Any) -> dict[str, int]:
    """What was read and written."""
    read, wrote = sum(map(len, prompts)), sum(len(one.tokens) for one in written)
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def refuse(*wanted: tuple[str, Any]) -> None:
    for key, is_set in wanted:
        if is_set:
            raise UsageError("E672", key=key)


def _fewer(chance: Chance | None, most: int) -> Chance | None:
    """A token's chance with at most so many alternatives."""
    return None if chance is None else Chance(chance.token, chance.log_probability, chance.alternatives[:most])

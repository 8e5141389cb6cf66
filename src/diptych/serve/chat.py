"""OpenAI's endpoint for conversations: `/v1/chat/completions`.

A conversation is written down by the model's own template. A tool is a form: where one must be called, the answer is JSON that its schema
allows, and nothing else can be written.
"""

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from diptych.errors import UsageError
from diptych.generation.forms import Kind
from diptych.messages import _
from diptych.serve import chances as shapes
from diptych.serve.bodies import ChatBody
from diptych.serve.desk import Caller, Desk, settings_of
from diptych.serve.openai import Written, form_of, given_of, head, refuse, usage
from diptych.serve.work import Ended, Event, Piece
from diptych.text.chat_template import chat_ids
from diptych.text.files import whole

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""What each is called in templates."""


class Conversation:
    """One request to `/v1/chat/completions`, checked.

    Raises:
        UsageError E656, E657: no such model, or it does not converse. E659: a message that cannot be. E672: what is not done here.
        ModelError E329: the template refuses the messages.
    """

    def __init__(self, desk: Desk, caller: Caller, body: ChatBody) -> None:
        self._desk, self._caller, self._body = desk, caller, body
        self._served = desk.shelf.find(body.model, "chat")
        refuse(
            ("functions", body.functions),
            ("function_call", body.function_call),
            ("audio", body.audio),
            ("modalities", body.modalities not in (None, ["text"])),
            ("web_search_options", body.web_search_options),
        )
        if body.top_logprobs is not None and not body.logprobs:
            raise UsageError("E641", name="top_logprobs", needed="logprobs")
        self._num = body.n or 1
        ids = chat_ids(self._served.model.tokenizer, [_message(each) for each in body.messages])
        self._prompts = [ids]
        limit = self._served.model.config.context_length
        wanted = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        self._most = max(0, min(limit - len(ids), desk.caps.new_tokens // self._num)) if wanted is None else wanted
        self._tools = _tools(body)
        form = tool_form(self._tools) if self._tools else form_of(body.response_format)
        self._decoding = settings_of(given_of(body), form, (body.top_logprobs or 0) if body.logprobs else None)
        self._head = head("chatcmpl", "chat.completion", self._served)

    @property
    def wants_stream(self) -> bool:
        return bool(self._body.stream)

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        written = [Written() for _index in range(self._num)]
        async for _number, event in self._events():
            if isinstance(event, Piece | Ended):
                written[event.index].take(event)
        choices = [self._choice(index, one) for index, one in enumerate(written)]
        return {**self._head, "choices": choices, "usage": usage(self._prompts, written)}

    async def stream(self) -> AsyncIterator[dict[str, Any] | None]:
        """The answer as it comes; None where there is nothing to say but that the line is open."""
        start = {**self._head, "object": "chat.completion.chunk"}
        written = [Written() for _index in range(self._num)]
        begun: set[int] = set()
        async for _number, event in self._events():
            if event is None:
                yield None
            if not isinstance(event, Piece | Ended):
                continue
            one = written[event.index]
            one.take(event)
            delta: dict[str, Any] = {} if event.index in begun else {"role": "assistant"}
            if self._tools:
                # A call is told when it is whole: half a JSON is of no use.
                delta |= self._calls(one, is_part=True) if isinstance(event, Ended) else {}
            elif isinstance(event, Piece):
                delta |= {"content": event.text}
            logs = None
            if isinstance(event, Piece) and self._body.logprobs and event.chances:
                logs = shapes.of_chat(self._served.model.tokenizer, event.chances)
            if not (delta.get("content") or "role" in delta or "tool_calls" in delta or logs or one.finish):
                continue
            begun.add(event.index)
            choice = {"index": event.index, "delta": delta, "logprobs": logs, "finish_reason": self._finish(one)}
            yield {**start, "choices": [choice]}
        if self._body.stream_options is not None and self._body.stream_options.include_usage:
            yield {**start, "choices": [], "usage": usage(self._prompts, written)}

    def _events(self) -> AsyncIterator[tuple[int, Event | None]]:
        return self._desk.write(self._caller, self._served, self._prompts, self._decoding, self._most, num=self._num)

    def _choice(self, index: int, one: Written) -> dict[str, Any]:
        logs = shapes.of_chat(self._served.model.tokenizer, one.chances) if self._body.logprobs else None
        message = {"role": "assistant", "content": one.text, "refusal": None}
        if self._tools:
            message |= {"content": None, **self._calls(one)}
        return {"index": index, "message": message, "logprobs": logs, "finish_reason": self._finish(one)}

    def _finish(self, one: Written) -> str | None:
        return "tool_calls" if self._tools and one.finish == "stop" else one.finish

    def _calls(self, one: Written, *, is_part: bool = False) -> dict[str, Any]:
        """The call that was written; where it was cut at its limit, what there is of it as a text."""
        try:
            call = json.loads(one.text)
            name, arguments = call["name"], json.dumps(call["arguments"], ensure_ascii=False)
        except (ValueError, KeyError, TypeError):
            return {"content": one.text}
        made = {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": arguments}}
        return {"tool_calls": [{"index": 0, **made} if is_part else made]}


def tool_form(tools: Iterable[Mapping[str, Any]]) -> tuple[Kind, Any]:
    """A call of one of these functions, as JSON."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["name"]}, "arguments": tool.get("parameters") or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return "json_schema", calls[0] if len(calls) == 1 else {"anyOf": calls}


def _tools(body: ChatBody) -> list[dict[str, Any]]:
    """The functions of which one must be called; none where none must.

    Raises:
        UsageError E659: a tool without a name. E672: it is left to the model whether to call one, which no template here tells it.
    """
    choice = body.tool_choice
    if not body.tools or choice == "none":
        if choice not in (None, "none", "auto"):
            raise UsageError("E641", name="tool_choice", needed="tools")
        return []
    functions = [each.get("function") for each in body.tools]
    known: list[dict[str, Any]] = [each for each in functions if isinstance(each, dict) and isinstance(each.get("name"), str)]
    if len(known) != len(functions):
        raise UsageError("E659", key="tools", value="–", problem=_("a value is missing"))
    if choice == "required":
        return known
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None:
        raise UsageError("E672", key="tool_choice=auto")
    found = [each for each in known if each["name"] == name]
    if not found:
        raise UsageError("E659", key="tool_choice", value=str(name)[:100], problem=", ".join(each["name"] for each in known)[:200])
    return found


def _message(given: Mapping[str, Any]) -> dict[str, str]:
    """A message as templates know it: a role and a text.

    Raises:
        UsageError E659: another role, or content that is no text.
    """
    role, content = given.get("role"), given.get("content")
    if role not in ROLES:
        raise UsageError("E659", key="messages.role", value=str(role)[:100], problem=", ".join(ROLES))
    if isinstance(content, list):
        texts = [each.get("text") if isinstance(each, dict) and each.get("type") == "text" else None for each in content]
        content = "".join(texts) if all(isinstance(text, str) for text in texts) else False  # type: ignore[arg-type]
    if content is None and role == "assistant":
        content = ""  # it called a tool
    if not isinstance(content, str):
        raise UsageError("E659", key="messages.content", value=str(content)[:100], problem=_("a text is wanted"))
    return {"role": ROLES[role], "content": whole(content)}

"""A conversation as the text, and the tokens, that a model was taught to read.

A chat template is a small program (Jinja) that comes with a model, so it runs in a sandbox: it can neither call nor change
anything. The names and filters are those that Hugging Face gives to a template. What a person says is never taken for a
special token: a message that spells out <|im_end|> does not end the message.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import tokenizers

from diptych.errors import ModelError
from diptych.text.tokenizer import Tokenizer

Messages = Sequence[dict[str, str]]
_STANDS_FOR = "\ue001{number}\ue002"
"""Private characters in the place of a special token that a message spells out."""


CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""What a decoder is taught that has no template of its own: the layout of Qwen, SmolLM2 and many others."""


def with_chatml(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with ChatML: its two tokens at the end of the vocabulary, where it lacks them, and turns that end a text."""
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in CHATML_TOKENS])
    longer = Tokenizer(backend, {**tokenizer.roles, "eos": CHATML_TOKENS[1]}, tokenizer.context_length)
    longer.chat_template = CHATML
    return longer


def chat_ids(tokenizer: Tokenizer, messages: Messages, *, opens_answer: bool = True) -> list[int]:
    """The tokens of a conversation up to where the answer begins, or, if it `opens_answer` not, up to its end.

    Args:
        messages: [{"role": "user", "content": "…"}, …], the oldest first.

    Raises:
        ModelError E328: the model has no template. E329: the template refuses these messages or cannot be run.
    """
    names = _Names(tokenizer)
    return names.encode(render(tokenizer, names.hide(messages), opens_answer=opens_answer))


def answer_parts(tokenizer: Tokenizer, messages: Messages) -> list[tuple[list[int], int | None]] | None:
    """The tokens of a conversation in parts: what stands before an answer (None beside it), and each of the assistant's turns with its
    number. None where the template writes a turn otherwise once others follow it.

    Answers are cut into tokens on their own, as a model writes them.

    Raises:
        ModelError E328, E329.
    """
    names = _Names(tokenizer)
    said = names.hide(messages)
    whole, place, parts = render(tokenizer, said, opens_answer=False), 0, []
    for number, message in enumerate(said):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, said[:number])
        until = render(tokenizer, said[: number + 1], opens_answer=False)
        if not (whole.startswith(until) and until.startswith(before) and len(before) >= place):
            return None
        parts += [(names.encode(whole[place : len(before)]), None), (names.encode(whole[len(before) : len(until)]), number)]
        place = len(until)
    return [*parts, (names.encode(whole[place:]), None)]


class _Names:
    """The special tokens of a tokenizer, and how a message that spells one out is kept a message."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        specials = {number: tokenizer.backend.id_to_token(number) or "" for number in sorted(tokenizer.special_ids)}
        self._hidden = {name: _STANDS_FOR.format(number=number) for number, name in specials.items() if name}
        self._shown = {mark: name for name, mark in self._hidden.items()}

    def hide(self, messages: Messages) -> list[dict[str, str]]:
        return [{key: _replaced(value, self._hidden) for key, value in message.items()} for message in messages]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in re.split(f"({_any_of(self._hidden)})", text):
            number = self._tokenizer.id(part) if part in self._hidden else None
            ids += [number] if number is not None else self._tokenizer.encode(_replaced(part, self._shown)) if part else []
        return ids


def render(tokenizer: Tokenizer, messages: Messages, *, opens_answer: bool = True) -> str:
    """The text that the tokenizer's template makes of a conversation.

    Raises:
        ModelError E328, E329.
    """
    if tokenizer.chat_template is None:
        raise ModelError("E328")
    if not messages or not all(isinstance(message.get(key), str) for message in messages for key in ("role", "content")):
        raise ModelError("E329", problem='[{"role": "user", "content": "…"}, …]')
    from jinja2 import TemplateError

    names = {f"{role}_token": name for role, name in tokenizer.roles.items()}
    try:
        template = _compiled(tokenizer.chat_template)
        return template.render(messages=list(messages), add_generation_prompt=opens_answer, tools=None, **names)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ModelError("E329", problem=error) from None


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, **options)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _replaced(text: str, by: dict[str, str]) -> str:
    return re.sub(_any_of(by), lambda found: by[found[0]], text) if by else text


def _any_of(names: Any) -> str:
    """A pattern for any of some words, the longest first; for none it matches nothing."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)"

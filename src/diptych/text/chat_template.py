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

from diptych.errors import ModelError
from diptych.text.tokenizer import Tokenizer

Messages = Sequence[dict[str, str]]
_STANDS_FOR = "\ue001{number}\ue002"
"""Private characters in the place of a special token that a message spells out."""


def chat_ids(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """The tokens of a conversation up to where the answer begins.

    Args:
        messages: [{"role": "user", "content": "…"}, …], the oldest first.

    Raises:
        ModelError E328: the model has no template. E329: the template refuses these messages or cannot be run.
    """
    specials = {number: tokenizer.backend.id_to_token(number) or "" for number in sorted(tokenizer.special_ids)}
    hidden = {name: _STANDS_FOR.format(number=number) for number, name in specials.items() if name}
    text = render(tokenizer, [{key: _replaced(value, hidden) for key, value in message.items()} for message in messages])
    shown = {mark: name for name, mark in hidden.items()}
    ids: list[int] = []
    for part in re.split(f"({_any_of(hidden)})", text):
        number = tokenizer.id(part) if part in hidden else None
        ids += [number] if number is not None else tokenizer.encode(_replaced(part, shown)) if part else []
    return ids


def render(tokenizer: Tokenizer, messages: Messages) -> str:
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
        return _compiled(tokenizer.chat_template).render(messages=list(messages), add_generation_prompt=True, tools=None, **names)
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

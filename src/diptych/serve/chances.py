"""How probable tokens were, in the three shapes that clients know: OpenAI's of completions, OpenAI's of chat, and vLLM's of prompts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from diptych.errors import UsageError
from diptych.generation.forms import bytes_of
from diptych.generation.streaming import TextStream
from diptych.generation.writing import Chance
from diptych.text.tokenizer import Tokenizer


def of_completion(
    tokenizer: Tokenizer, ids: Sequence[int], chances: Sequence[Chance | None], offset: int, after: int | None
) -> dict[str, Any]:
    """Lists side by side: the tokens, their log-probabilities, the others that might have stood there, where each begins in the text.

    Args:
        offset: where the first of them begins. after: the token before it.
    """
    stream, offsets, texts = TextStream(tokenizer, after=after), [], []
    for token, chance in zip(ids, chances, strict=True):
        offsets.append(offset + len(stream.text))
        texts.append(None if chance is None else _texts_by_name(tokenizer, chance, after))
        stream.push(token)
        after = token
    return {
        "tokens": [tokenizer.token(token) for token in ids],
        "token_logprobs": [None if chance is None else chance.log_probability for chance in chances],
        "top_logprobs": [None if chance is None else _by_name(tokenizer, chance) for chance in chances],
        "text_offset": offsets,
        # Beyond OpenAI's: a name is no text, with which a client could go on otherwise.
        "top_texts": texts,
    }


def of_chat(tokenizer: Tokenizer, chances: Sequence[Chance]) -> dict[str, Any]:
    """A list of tokens with their bytes, log-probabilities and alternatives."""

    def entry(token: int, log: float) -> dict[str, Any]:
        return {"token": tokenizer.token(token), "logprob": log, "bytes": _bytes(tokenizer, token)}

    content = [
        {**entry(each.token, each.log_probability), "top_logprobs": [entry(token, log) for token, log in each.alternatives]}
        for each in chances
    ]
    return {"content": content, "refusal": None}


def of_prompt(tokenizer: Tokenizer, chances: Sequence[Chance | None]) -> list[dict[str, Any] | None]:
    """By the number of the token: it and the alternatives to it."""
    found: list[dict[str, Any] | None] = []
    for chance in chances:
        if chance is None:
            found.append(None)
            continue
        logs = {chance.token: chance.log_probability} | dict(chance.alternatives)
        found.append({str(token): {"logprob": log, "decoded_token": tokenizer.token(token)} for token, log in logs.items()})
    return found


def _by_name(tokenizer: Tokenizer, chance: Chance) -> dict[str, float]:
    """The alternatives, and the token itself, which a client compares with them."""
    logs = {tokenizer.token(token): log for token, log in chance.alternatives}
    return logs | {tokenizer.token(chance.token): chance.log_probability}


def _texts_by_name(tokenizer: Tokenizer, chance: Chance, after: int | None) -> dict[str, str]:
    """What each of those would add to the text; nothing where it is half of a character, or an end."""
    tokens = dict.fromkeys([*(token for token, _log in chance.alternatives), chance.token])
    return {tokenizer.token(token): TextStream(tokenizer, after=after).push(token) for token in tokens}


def _bytes(tokenizer: Tokenizer, token: int) -> list[int]:
    known = _all_bytes(tokenizer)
    return list(known[token]) if known is not None and token < len(known) else list(tokenizer.token(token).encode("utf-8", "replace"))


@lru_cache(maxsize=8)
def _all_bytes(tokenizer: Tokenizer) -> list[bytes] | None:
    """What each token adds to a text; None where that depends on its neighbours."""
    try:
        return bytes_of(tokenizer)
    except UsageError:
        return None

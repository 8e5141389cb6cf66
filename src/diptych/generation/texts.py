"""Answers as text: several to each of several prompts, piece by piece, and what is known of each when it is over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.errors import UsageError
from diptych.generation.cached import check_writes
from diptych.generation.constrain import Constraint
from diptych.generation.settings import Decoding
from diptych.generation.streaming import TextStream
from diptych.generation.write import write
from diptych.generation.writing import Chance, Ending, Writing
from diptych.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Answer:
    """What was written.

    Attributes:
        tokens: those that were chosen; with a stop string, up to the one that completed it.
        ending: "end" where the model ended it, "stop" before a stop string, "length" where there was no more room.
        chances: of each token, where `log_probabilities` asked for them.
    """

    text: str
    tokens: tuple[int, ...]
    ending: Ending
    chances: tuple[Chance, ...]
    tokenizer: Tokenizer

    def to_json(self) -> dict[str, Any]:
        """Plain values, with tokens as a person can read them."""
        name = self.tokenizer.token
        chances = [
            {
                "token": name(chance.token),
                "id": chance.token,
                "log_probability": chance.log_probability,
                "alternatives": [{"token": name(id), "id": id, "log_probability": log} for id, log in chance.alternatives],
            }
            for chance in self.chances
        ]
        return {"text": self.text, "ending": self.ending, **({"tokens": chances} if chances else {})}


class Texts:
    """Iterating writes: the new text of every answer at each step, those to one prompt together.

    Args:
        prompts: token ids; what an encoder-decoder writes from.

    Raises:
        UsageError E642: a bias is for something that is no token. E646: a draft has other tokens. E602: it does not write so.
        UsageError E647, E648, E649, E650: as `Constraint`.
    """

    def __init__(self, net: Any, tokenizer: Tokenizer, prompts: Sequence[list[int]], decoding: Decoding, max_new_tokens: int) -> None:
        self._net, self._tokenizer, self._max_new_tokens = net, tokenizer, max_new_tokens
        self._decoding = decoding.model_copy(update={"logit_bias": by_number(decoding, tokenizer)})
        is_pair = net.config.is_encoder_decoder
        if hasattr(decoding.draft, "net"):
            _check_draft(decoding.draft, tokenizer, is_pair=is_pair)
        self._ends = ends_of(tokenizer)
        form = decoding.form and Constraint(*decoding.form, tokenizer, net.config.vocab_size, self._ends)
        self._answers = [
            Writing(
                [net.config.decoder_start_id] if is_pair else prompt,
                prompt if is_pair else None,
                key,
                form and form.guide(),
                alternatives=decoding.log_probabilities,
            )
            for prompt in prompts
            for key in range(decoding.n)
        ]
        # The token before decides whether the first word has a space.
        afters = [prompt[-1] if prompt and not is_pair else None for prompt in prompts for _key in range(decoding.n)]
        pairs = zip(self._answers, afters, strict=True)
        self._told = [Told(answer, TextStream(tokenizer, decoding.stop, after)) for answer, after in pairs]

    def __iter__(self) -> Iterator[list[str]]:
        for answer in self._answers:
            if answer.guide is not None and answer.guide.is_finished:
                answer.ending = "end"  # the form is the empty text
        for _step in write(self._net, self._answers, self._decoding, max_new_tokens=self._max_new_tokens, ends=self._ends):
            yield [told.grown() for told in self._told]
        yield [told.grown() + told.flushed() for told in self._told]

    def answers(self) -> list[list[Answer]]:
        """What was written, by prompt."""
        found = [told.answer(self._tokenizer) for told in self._told]
        return [found[start : start + self._decoding.n] for start in range(0, len(found), self._decoding.n)]


class Told:
    """An answer and its text, which keep step: the text grows by the tokens, and a stop string in it ends the tokens."""

    def __init__(self, writing: Writing, stream: TextStream) -> None:
        self.writing, self._stream = writing, stream
        self._shown = 0

    def grown(self) -> str:
        """The text of the tokens that were gained since; an answer that has come to a stop string ends there."""
        writing, new = self.writing, ""
        while self._shown < len(writing.tokens):
            new += self._stream.push(writing.tokens[self._shown])
            self._shown += 1
            if self._stream.is_stopped:
                writing.ending = "stop"
                del writing.tokens[self._shown :], writing.chances[self._shown :]
        return new

    def flushed(self) -> str:
        """What was held back of an answer that is over."""
        text = self._stream.flush()
        if self._stream.is_stopped:
            self.writing.ending = "stop"
        return text

    def answer(self, tokenizer: Tokenizer) -> Answer:
        """All that is known of it."""
        writing = self.writing
        return Answer(self._stream.text, tuple(writing.tokens), writing.ending or "length", tuple(writing.chances), tokenizer)


def ends_of(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end an answer."""
    return frozenset(token for token in (tokenizer.eos_id, tokenizer.sep_id) if token is not None)


def _check_draft(draft: Any, tokenizer: Tokenizer, *, is_pair: bool) -> None:
    """A model can guess for another one if both read the same numbers and write from the same kind of thing."""
    if not draft.tokenizer.is_same(tokenizer):
        raise UsageError("E646")
    if draft.net.config.is_encoder_decoder != is_pair:
        raise UsageError("E602", family=draft.net.config.family)
    check_writes(draft.net, [Writing([0], [0] if is_pair else None)])
    if draft.net.config.cell:
        raise UsageError("E645", family=draft.net.config.family)


def by_number(decoding: Decoding, tokenizer: Tokenizer) -> dict[int | str, float]:
    """The biases by the number of their token; a text stands for the token that it is cut into, if it is one.

    Raises:
        UsageError E642: it is not one.
    """
    found: dict[int | str, float] = {}
    for name, bias in decoding.logit_bias.items():
        ids = [name] if isinstance(name, int) else tokenizer.encode(name)
        if len(ids) != 1 or not 0 <= ids[0] < tokenizer.vocab_size:
            raise UsageError("E642", name=name, tokens=" ".join(map(tokenizer.token, ids)) if isinstance(name, str) else "–")
        found[ids[0]] = bias
    return found

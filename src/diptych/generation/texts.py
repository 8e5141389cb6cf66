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
        self._decoding = decoding.model_copy(update={"logit_bias": _by_number(decoding, tokenizer)})
        is_pair = net.config.is_encoder_decoder
        if hasattr(decoding.draft, "net"):
            _check_draft(decoding.draft, tokenizer, is_pair=is_pair)
        self._ends = frozenset(token for token in (tokenizer.eos_id, tokenizer.sep_id) if token is not None)
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
        self._streams = [TextStream(tokenizer, decoding.stop, after) for after in afters]
        self._shown = [0] * len(self._answers)

    def __iter__(self) -> Iterator[list[str]]:
        for answer in self._answers:
            if answer.guide is not None and answer.guide.is_finished:
                answer.ending = "end"  # the form is the empty text
        for _step in write(self._net, self._answers, self._decoding, max_new_tokens=self._max_new_tokens, ends=self._ends):
            yield [self._grown(number) for number in range(len(self._answers))]
        yield [self._grown(number) + self._flushed(number) for number in range(len(self._answers))]

    def answers(self) -> list[list[Answer]]:
        """What was written, by prompt."""
        found = [
            Answer(stream.text, tuple(answer.tokens), answer.ending or "length", tuple(answer.chances), self._tokenizer)
            for answer, stream in zip(self._answers, self._streams, strict=True)
        ]
        return [found[start : start + self._decoding.n] for start in range(0, len(found), self._decoding.n)]

    def _flushed(self, number: int) -> str:
        """What was held back of an answer that is over."""
        text = self._streams[number].flush()
        if self._streams[number].is_stopped:
            self._answers[number].ending = "stop"
        return text

    def _grown(self, number: int) -> str:
        """The text of the tokens that an answer has gained; an answer that has come to a stop string ends there."""
        answer, stream = self._answers[number], self._streams[number]
        new = ""
        while self._shown[number] < len(answer.tokens):
            new += stream.push(answer.tokens[self._shown[number]])
            self._shown[number] += 1
            if stream.is_stopped:
                answer.ending = "stop"
                del answer.tokens[self._shown[number] :], answer.chances[self._shown[number] :]
        return new


def _check_draft(draft: Any, tokenizer: Tokenizer, *, is_pair: bool) -> None:
    """A model can guess for another one if both read the same numbers and write from the same kind of thing."""
    if not draft.tokenizer.is_same(tokenizer):
        raise UsageError("E646")
    if draft.net.config.is_encoder_decoder != is_pair:
        raise UsageError("E602", family=draft.net.config.family)
    check_writes(draft.net, [Writing([0], [0] if is_pair else None)])
    if draft.net.config.cell:
        raise UsageError("E645", family=draft.net.config.family)


def _by_number(decoding: Decoding, tokenizer: Tokenizer) -> dict[int | str, float]:
    """The biases by the number of their token; a text stands for the token that it is cut into, if it is one."""
    found: dict[int | str, float] = {}
    for name, bias in decoding.logit_bias.items():
        ids = [name] if isinstance(name, int) else tokenizer.encode(name)
        if len(ids) != 1 or not 0 <= ids[0] < tokenizer.vocab_size:
            raise UsageError("E642", name=name, tokens=" ".join(map(tokenizer.token, ids)) if isinstance(name, str) else "–")
        found[ids[0]] = bias
    return found

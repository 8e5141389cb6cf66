"""What a model that writes gives away: from the beginnings of texts it was trained on, how often it goes on word for word.

What anybody would go on with is no memory, so the same is asked of texts that it was not trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diptych.audit.memory.guessing import Estimate, share
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.text.tokenizer import Tokenizer

SHOWN, ASKED = 32, 32
"""Tokens of a beginning, and of what is compared."""
AT_ONCE = 32


@dataclass(frozen=True)
class Extraction:
    """How many texts were gone on with word for word."""

    members: Estimate
    others: Estimate
    longest: int
    """The most tokens in a row that were right of a text trained on."""
    num_members: int
    num_others: int
    examples: tuple[str, ...] = ()
    """What was given away, where it is asked for."""

    def to_json(self) -> dict[str, Any]:
        numbers = {"members": self.members.to_json(), "others": self.others.to_json(), "longest_tokens": self.longest}
        counts = {"num_members": self.num_members, "num_others": self.num_others}
        return {**numbers, **counts, **({"examples": list(self.examples)} if self.examples else {})}


def extract(
    net: Any, tokenizer: Tokenizer, members: Sequence[str], others: Sequence[str], *, shows_text: bool = False
) -> Extraction | None:
    """Greedy continuations beside the truth; None where no text on either side is long enough to be asked."""
    parts = [_cut(net, tokenizer, texts) for texts in (members, others)]
    if not all(parts):
        return None
    rights = [
        [_right(written, truth) for written, truth in zip(_go_on(net, part), (truth for _p, truth in part), strict=True)] for part in parts
    ]
    whole = [sum(right >= ASKED for right in few) for few in rights]
    given = [number for number, right in enumerate(rights[0]) if right >= ASKED]
    shown = tuple(tokenizer.decode([*parts[0][number][0], *parts[0][number][1]]) for number in given[:5]) if shows_text else ()
    of_members, of_others = (share(count, len(part)) for count, part in zip(whole, parts, strict=True))
    return Extraction(of_members, of_others, max(rights[0]), len(parts[0]), len(parts[1]), shown)


def _cut(net: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """(beginning, what follows) of the texts that are long enough for both."""
    shown = min(SHOWN, net.config.context_length - ASKED)
    long = [ids for ids in tokenizer.encode_batch(list(texts)) if len(ids) >= shown + ASKED] if shown > 0 else []
    return [(ids[:shown], ids[shown : shown + ASKED]) for ids in long]


def _go_on(net: Any, parts: Sequence[tuple[list[int], list[int]]]) -> list[list[int]]:
    written = [Writing(prompt) for prompt, _truth in parts]
    net.eval()
    for start in range(0, len(written), AT_ONCE):
        for _step in decode(net, written[start : start + AT_ONCE], Sampling(temperature=0), max_new_tokens=ASKED):
            pass
    return [each.tokens for each in written]


def _right(written: Sequence[int], truth: Sequence[int]) -> int:
    """How many tokens from the beginning on are right."""
    pairs = zip(written, truth, strict=False)
    return next((number for number, (one, other) in enumerate(pairs) if one != other), min(len(written), len(truth)))

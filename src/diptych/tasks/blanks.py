"""A text with blanks, as the model that fills them reads it."""

from tokenizers import decoders

from diptych.tasks.spans import encode_places
from diptych.text.tokenizer import Tokenizer


def frame_blanks(text: str, tokenizer: Tokenizer, *, is_hybrid: bool) -> tuple[list[int], list[int], list[tuple[int, int] | None]]:
    """(ids, token types, characters) of a text whose blanks are spelt as the tokenizer's token for them; special tokens have none.

    A hybrid's documents begin where others end, so that it can write as well.
    """
    mask = tokenizer.mask_id
    assert mask is not None
    name = tokenizer.token(mask)
    parts = text.split(name)
    # Where a word's token begins with the space before it, the blank stands for that space too.
    takes_space = isinstance(tokenizer.backend.decoder, decoders.ByteLevel | decoders.Metaspace)
    tokens: list[tuple[int, tuple[int, int] | None]] = []
    start = 0
    for number, part in enumerate(parts):
        is_before_blank = takes_space and number + 1 < len(parts)
        ((ids, places),) = encode_places([part.removesuffix(" ") if is_before_blank else part], tokenizer)
        tokens += [(mask, None)] * (number > 0)
        tokens += [(token, (start + first, start + last)) for token, (first, last) in zip(ids, places, strict=True)]
        start += len(part) + len(name)
    # Numbers that no token has show where the special tokens were put.
    marked, types = tokenizer.frame([-1 - number for number in range(len(tokens))])
    framed = [tokens[-1 - each][0] if each < 0 else each for each in marked]
    if is_hybrid and tokenizer.sep_id is not None:
        framed[0] = tokenizer.sep_id
    return framed, types, [tokens[-1 - each][1] if each < 0 else None for each in marked]

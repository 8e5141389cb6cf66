"""Texts laid one after another in a flat row: nothing is padded, and no text sees another.

Every dense layer works on the flat row. Attention alone must know where texts begin; it regroups queries, keys and values
into blocks of texts of similar length, by a plan that is made once per batch and shared by all layers. Where all texts are
equally long, the plan is a plain view and nothing is copied.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

# Shapes: N tokens of all texts, B texts, T tokens of the longest, S texts of one block.


@dataclass(frozen=True)
class Block:
    """Texts of similar length as rows of a rectangle."""

    texts_S: tuple[int, ...]
    width: int
    rows_ST: Tensor | None
    """Where each place of the rectangle lies in the flat row; empty places point to 0. None: the row itself, reshaped."""
    is_real_ST: Tensor | None
    """False where a place is empty; None where none is."""

    @property
    def size(self) -> int:
        return len(self.texts_S)


@dataclass
class Packed:
    """A flat row of tokens.

    Attributes:
        ids_N: int64, the tokens of all texts.
        lengths: how many tokens each text has.
        types_N: int64 token types of models that have them, or None for 0 everywhere.
        is_causal: how a model of both panels is to read them; None for the model's own way.
        prefix_lengths: of each text that is read causally, how many tokens at its beginning all its tokens see.
        source: what an encoder-decoder's texts are written from: as many texts, in the same order.
        is_apart: attention sees each text by itself, however long the others are, so that not even its last bits depend on them.
    """

    ids_N: Tensor
    lengths: tuple[int, ...]
    types_N: Tensor | None = None
    is_causal: bool | None = None
    prefix_lengths: tuple[int, ...] | None = None
    source: "Packed | None" = None
    is_apart: bool = False
    _padding: tuple[Tensor, int, int] | None = field(default=None, repr=False)

    @classmethod
    def from_padded(cls, ids_BT: Tensor, mask_BT: Tensor | None = None, types_BT: Tensor | None = None) -> "Packed":
        """Take the tokens out of a padded rectangle; `pad` puts results back where the tokens were.

        Args:
            mask_BT: true where there is a token, on whichever side the padding is; None for everywhere.
        """
        B, T = ids_BT.shape
        if mask_BT is None or bool(mask_BT.all()):
            return cls(ids_BT.flatten(), (T,) * B, None if types_BT is None else types_BT.flatten())
        flat = torch.nonzero(mask_BT.flatten()).flatten()
        lengths = tuple(mask_BT.bool().sum(1).tolist())
        types = None if types_BT is None else types_BT.flatten()[flat]
        return cls(ids_BT.flatten()[flat], lengths, types, _padding=(flat, B, T))

    def pad(self, x_N: Tensor) -> Tensor:
        """[N, ...] back to [B, T, ...], zero where there is no token."""
        if self._padding is None and len(set(self.lengths)) == 1:
            # Nothing to fill in, so nothing to copy: logits over a vocabulary are large.
            return x_N.view(self.num_texts, self.lengths[0], *x_N.shape[1:])
        if self._padding is None:
            T = max(self.lengths)
            starts = self.starts_B.tolist()
            places = [torch.arange(length) + row * T for row, length in enumerate(self.lengths)]
            flat, B = torch.cat(places).to(x_N.device), len(starts)
        else:
            flat, B, T = self._padding
        out = x_N.new_zeros(B * T, *x_N.shape[1:])
        return out.index_copy(0, flat, x_N).view(B, T, *x_N.shape[1:])

    def to(self, device: torch.device) -> "Packed":
        types = None if self.types_N is None else self.types_N.to(device)
        source = None if self.source is None else self.source.to(device)
        return replace(self, ids_N=self.ids_N.to(device), types_N=types, source=source)

    @property
    def num_texts(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        return self.ids_N.numel()

    @cached_property
    def starts_B(self) -> Tensor:
        """Where each text begins in the flat row."""
        lengths = torch.tensor(self.lengths, device=self.ids_N.device)
        return lengths.cumsum(0) - lengths

    @cached_property
    def text_N(self) -> Tensor:
        """The number of the text that each token belongs to."""
        numbers = torch.arange(self.num_texts, device=self.ids_N.device)
        return numbers.repeat_interleave(torch.tensor(self.lengths, device=self.ids_N.device), output_size=self.num_tokens)

    @cached_property
    def positions_N(self) -> Tensor:
        """The place of each token in its text, from 0."""
        return torch.arange(self.num_tokens, device=self.ids_N.device) - self.starts_B[self.text_N]

    @cached_property
    def blocks(self) -> list[Block]:
        """The texts in blocks whose shortest is more than half as long as their longest; one block each where they are apart."""
        if self.is_apart:
            return [self.block([text]) for text, length in enumerate(self.lengths) if length]
        if len(set(self.lengths)) == 1:
            return [Block(tuple(range(self.num_texts)), self.lengths[0], None, None)]
        order = sorted((text for text, length in enumerate(self.lengths) if length), key=lambda text: -self.lengths[text])
        groups: list[list[int]] = []
        for text in order:
            if not groups or 2 * self.lengths[text] <= self.lengths[groups[-1][0]]:
                groups.append([])
            groups[-1].append(text)
        return [self.block(group) for group in groups]

    @cached_property
    def back_N(self) -> Tensor | None:
        """Where each token lies in the blocks laid end to end; None where the one block is the row itself."""
        if self.blocks[0].rows_ST is None:
            return None
        back = torch.empty(self.num_tokens, dtype=torch.int64, device=self.ids_N.device)
        before = 0
        for block in self.blocks:
            assert block.rows_ST is not None
            rows = block.rows_ST.flatten()
            places = torch.arange(len(rows), device=rows.device) + before
            real = slice(None) if block.is_real_ST is None else block.is_real_ST.flatten()
            back[rows[real]] = places[real]
            before += len(rows)
        return back

    @cached_property
    def source_blocks(self) -> list[Block]:
        """The sources of each block's texts, in the same order."""
        assert self.source is not None
        return [self.source.block(list(block.texts_S)) for block in self.blocks]

    def block(self, texts: list[int]) -> Block:
        """These texts as a rectangle."""
        chosen = [self.lengths[text] for text in texts]
        width = max(chosen)
        starts_S1 = self.starts_B[texts][:, None]
        within_1T = torch.arange(width, device=self.ids_N.device)[None]
        if min(chosen) == width:
            return Block(tuple(texts), width, starts_S1 + within_1T, None)
        lengths = torch.tensor(chosen, device=self.ids_N.device)
        is_real = within_1T < lengths[:, None]
        return Block(tuple(texts), width, torch.where(is_real, starts_S1 + within_1T, 0), is_real)

"""Room for the texts that are being written, allocated once, and a way to read some more of them together that leaves no trace of
company: the same bits whoever else is read in the same pass.

Two things in a pass depend on what else is in it. Attention over a batch is padded to its longest text; here each text is seen by
itself (`Packed.is_apart`). And a product of matrices in float32 adds up in another order when it has one row, or seven, than when it
has many; but as many rows as fill its kernel always come out alike. How many that is was not found in any manual, so that it is
tried, with the network's own matrices (`rows_alike`), and a pass is filled up to a multiple of it with a text that nobody reads.
Products of integers (`kernels/int8.py`) are exact and need no company.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.kernels.int8 import Int8Matrix
from diptych.models.cache import Cache
from diptych.packed import Packed

SIZES = (1, 4, 8, 16)
"""How many rows may be what fills a kernel, the fewest first."""
MOST = 64
"""Rows that are compared."""
# Shapes: T tokens of a text that are read now, M rows, D hidden, V vocabulary, L layers, G key-value heads, K head size.


class Slots:
    """The memory of up to `num` texts of up to `capacity` tokens, of a network that keeps keys and values.

    Attributes:
        fill: a pass has a multiple of so many rows; None where no number makes them alike, and texts have to be read one by one.
    """

    def __init__(self, net: Any, num: int, capacity: int) -> None:
        net.eval()
        self.net, self.num, self.capacity = net, num, capacity
        self._device = next(net.parameters()).device
        memory = net.new_cache(num + 1, capacity, is_sparse=True)
        assert isinstance(memory, Cache), "a recurrent net keeps a state"
        self._cache = memory
        self._blank = num
        # Never empty, so that no pass takes the way that is kept for texts without a past.
        self._rest(num)
        self.fill = rows_alike(net)
        self._free = list(range(num - 1, -1, -1))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """A free slot, empty."""
        slot = self._free.pop()
        self._cache.lengths[slot] = 0
        return slot

    def give_back(self, slot: int) -> None:
        """Let another text have it."""
        assert slot not in self._free
        self._cache.lengths[slot] = 0
        self._free.append(slot)

    def length(self, slot: int) -> int:
        """How many tokens of the text were read."""
        return self._cache.lengths[slot]

    @torch.inference_mode()
    def read(self, pieces: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        """Read some more tokens of the texts in some slots; the vectors of those tokens, [T, D] for each slot."""
        if self.fill is None:
            return {slot: self._pass({slot: piece})[slot] for slot, piece in pieces.items()}
        return self._pass(pieces)

    @torch.inference_mode()
    def logits(self, hidden_MD: Tensor) -> Tensor:
        """The scores of the next token, [M, V]."""
        num, fill = len(hidden_MD), self.fill or 1
        if self.fill is None and num > 1:
            return torch.cat([self.net.heads["lm"](row_1D) for row_1D in hidden_MD.split(1)])
        blank = -num % fill
        padded_MD = torch.cat((hidden_MD, hidden_MD.new_zeros(blank, hidden_MD.shape[1]))) if blank else hidden_MD.contiguous()
        return self.net.heads["lm"](padded_MD)[:num]

    def copy_out(self, slot: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values of some tokens of a text, [L, G, T, K] each."""
        return self._cache.keys[:, slot, :, start:stop].clone(), self._cache.values[:, slot, :, start:stop].clone()

    def copy_in(self, slot: int, keys_LGTK: Tensor, values_LGTK: Tensor) -> None:
        """Let a text go on as if these tokens had just been read."""
        start = self._cache.lengths[slot]
        stop = start + keys_LGTK.shape[2]
        self._cache.keys[:, slot, :, start:stop] = keys_LGTK
        self._cache.values[:, slot, :, start:stop] = values_LGTK
        self._cache.lengths[slot] = stop

    def _pass(self, pieces: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        order = sorted(pieces)
        lengths = [len(pieces[slot]) if slot in pieces else 0 for slot in range(self.num)]
        blank = -sum(lengths) % (self.fill or 1)
        ids = [token for slot in order for token in pieces[slot]] + [0] * blank
        texts = Packed(torch.tensor(ids, device=self._device), (*lengths, blank), is_causal=True, is_apart=True)
        try:
            hidden_ND = self.net.hidden(texts, self._cache)
        finally:
            self._rest(self._blank)
        return dict(zip(order, hidden_ND.split([len(pieces[slot]) for slot in order] + ([blank] if blank else []))))

    def _rest(self, slot: int) -> None:
        self._cache.lengths[slot] = 1


@torch.inference_mode()
def rows_alike(net: Any) -> int | None:
    """The smallest number of rows of which any multiple goes through the products of `net` with the same bits for each row.

    Returns:
        None where there is none among `SIZES`.
    """
    products: dict[tuple[int, ...], tuple[Any, int]] = {}
    for module in net.modules():
        if isinstance(module, nn.Linear):
            products.setdefault((*module.weight.shape, module.bias is not None), (module, module.weight.shape[1]))
        elif isinstance(module, Int8Matrix):
            products.setdefault(tuple(module.int8_OI.shape), (module.product, module.int8_OI.shape[1]))
    if not net.heads["lm"].is_int8:
        products[()] = net.heads["lm"], net.config.hidden_size
    device = next(net.parameters()).device
    chance = torch.Generator().manual_seed(0)
    for size in SIZES:
        if all(_is_alike(product, torch.randn(MOST, inputs, generator=chance).to(device), size) for product, inputs in products.values()):
            return size
    return None


def _is_alike(product: Any, x_MI: Tensor, size: int) -> bool:
    whole = product(x_MI)
    nums = [num for num in (1, 2, 3, 5, 7, 8, 11) if num * size < MOST]
    places = [(start, num * size) for num in nums for start in (0, MOST - num * size)]
    return all(torch.equal(product(x_MI[start : start + num].clone()), whole[start : start + num]) for start, num in places)

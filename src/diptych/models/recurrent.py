"""What came before the Transformer, behind the same interface: simple recurrent nets (Elman 1990), LSTM (Hochreiter and
Schmidhuber 1997) and GRU (Cho et al. 2014).

Causal for writing; for reading in both directions at once, each with half of the hidden size (Graves and Schmidhuber 2005).
The cells are torch's own, whose kernels no loop in Python reaches. A body reads a text token by token, so what it keeps of
a text that is being written is one vector a layer (two for an LSTM), however long the text.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from diptych.kernels.recompute import run
from diptych.models.cache import State, check_room
from diptych.models.config import ModelConfig
from diptych.models.layers import Embedding
from diptych.packed import Packed

# Shapes: N tokens of all texts, B texts, R texts that have tokens, T tokens of the longest, D hidden.

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """The body: tokens in, one vector a token out."""

    is_recomputed = False
    """Whether the backward pass makes the insides of each layer again."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        size = config.hidden_size if config.is_causal else config.hidden_size // 2
        # One module a layer, so that dropout between layers is the same nn.Dropout as everywhere.
        self.layers = nn.ModuleList(
            CELLS[config.cell](config.hidden_size, size, batch_first=True, bidirectional=not config.is_causal)
            for _layer in range(config.num_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        for name, bias in self.layers.named_parameters():
            if "bias_ih" in name and config.cell != "rnn":
                # The second gate, of both cells, keeps what was: it begins open, or nothing far away is ever learnt from
                # (Jozefowicz et al. 2015, section 2.2).
                nn.init.ones_(bias[size : 2 * size])

    def forward(self, texts: Packed, state: State | None = None) -> Tensor:
        check_room(texts.lengths, self.config.context_length, state)
        x_ND = self.embedding(texts, texts.positions_N)
        if not texts.num_tokens:
            return x_ND
        if len(set(texts.lengths)) == 1:
            # A rectangle as it lies: nothing is copied, and the LSTM's fused kernel takes it.
            rows_R = torch.arange(texts.num_texts, device=x_ND.device)
            x_BTD = x_ND.view(texts.num_texts, -1, x_ND.shape[-1])
            for number, layer in enumerate(self.layers):
                x_BTD = self.dropout(self._read(number, layer, x_BTD, rows_R, state))
            x_ND = x_BTD.reshape(x_ND.shape)
        else:
            order_N, sizes_T, rows_R = _by_time(texts)
            x_ND = x_ND[order_N]
            for number, layer in enumerate(self.layers):
                x_ND = self.dropout(self._read(number, layer, PackedSequence(x_ND, sizes_T), rows_R, state).data)
            x_ND = x_ND[order_N.argsort()]
        if state is not None:
            state.advance(texts.lengths)
        return x_ND

    def _read(self, number: int, layer: nn.Module, x: Tensor | PackedSequence, rows_R: Tensor, state: State | None) -> Tensor:
        """One layer over all texts, going on from what `state` remembers of them and leaving there what it remembers now."""
        if state is None:
            return run(layer, x, is_recomputed=self.is_recomputed)[0]
        before = tuple(part_BD[rows_R][None] for part_BD in state.vectors[number])
        y, after = layer(x, before if self.config.cell == "lstm" else before[0])
        state.vectors[number][:, rows_R] = torch.cat(after if isinstance(after, tuple) else (after,))
        return y


def _by_time(texts: Packed) -> tuple[Tensor, Tensor, Tensor]:
    """The flat row as torch's packed sequences have it: all first tokens, then all second ones, the longest text first.

    Returns:
        which token stands where [N], how many texts have a first, a second, ... token [T], and those texts in their order [R].
    """
    lengths_B = torch.tensor(texts.lengths, device=texts.ids_N.device)
    rows_B = lengths_B.argsort(descending=True, stable=True)
    order_N = (texts.positions_N * texts.num_texts + rows_B.argsort()[texts.text_N]).argsort()
    sizes_T = texts.positions_N.bincount().cpu()  # torch wants them there wherever the tokens are
    return order_N, sizes_T, rows_B[: int(sizes_T[0])]

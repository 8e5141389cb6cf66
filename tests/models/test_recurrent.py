"""Recurrent nets behind the Transformer's interface: torch's own arithmetic, in both directions, with a state that goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diptych.errors import ModelError
from diptych.formats.folder import read_model, write_model
from diptych.models.cache import State
from diptych.packed import Packed
from diptych.presets import create, preset_config

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
WAYS = ("", "bi")
LENGTHS = [(7, 1, 12, 7), (5, 5), (3, 0, 4), (9,)]
SIZES = {"vocab_size": 61, "hidden_size": 16, "num_layers": 3, "context_length": 32}


def make(cell: str, way: str, **sizes: Any) -> Any:
    """Weights far from a fresh net's, so that every gate opens and shuts."""
    net = create(f"{way}{cell}-tiny", **{**SIZES, **sizes})
    chance = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.35, generator=chance)
    return net


def torchs_own(net: Any, cell: str, way: str) -> Any:
    """One stacked net of torch's with the same weights, by torch's names for them."""
    size = SIZES["hidden_size"] // (2 if way else 1)
    theirs = CELLS[cell](SIZES["hidden_size"], size, SIZES["num_layers"], batch_first=True, bidirectional=bool(way))
    layers = enumerate(net.body.layers)
    state = {name.replace("_l0", f"_l{number}"): tensor for number, layer in layers for name, tensor in layer.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


def texts_of(lengths: tuple[int, ...]) -> Packed:
    return Packed(torch.randint(0, 61, (sum(lengths),), generator=torch.Generator().manual_seed(len(lengths))), lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", CELLS)
def test_each_text_is_read_as_torchs_own_net_reads_it_alone(cell: str, way: str, lengths: tuple[int, ...]) -> None:
    net, texts = make(cell, way), texts_of(lengths)
    theirs = torchs_own(net, cell, way)
    with torch.inference_mode():
        found = net.hidden(texts).split(list(lengths))
        for hidden_TD, ids_T in zip(found, texts.ids_N.split(list(lengths)), strict=True):
            if len(ids_T):
                expected_TD = theirs(net.body.embedding.tokens(ids_T)[None])[0][0]
                assert (hidden_TD - expected_TD).abs().max() <= 1e-6


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_each_text_alone_and_arrive_at_every_weight(cell: str, way: str) -> None:
    net, texts = make(cell, way).double().train(), texts_of((7, 1, 12, 7))
    parameters = list(net.parameters())

    def gradients(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, parameters))

    together = gradients(net.hidden(texts).sin().sum())
    alone = [gradients(net.hidden(Packed(ids, (len(ids),))).sin().sum()) for ids in texts.ids_N.split(list(texts.lengths))]
    for whole, *parts in zip(together, *alone, strict=True):
        assert whole.any()
        assert torch.allclose(whole, sum(parts), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_is_as_large_after_a_long_text_as_after_a_short_one(cell: str) -> None:
    net = make(cell, "")
    short, long = net.new_cache(2, 2), net.new_cache(2, 32)
    assert isinstance(short, State) and isinstance(long, State)
    assert short.vectors.shape == long.vectors.shape == (3, 2 if cell == "lstm" else 1, 2, 16)
    with pytest.raises(ModelError) as caught:
        net.hidden(texts_of((3, 1)), short)
    assert caught.value.code == "E302"


@pytest.mark.parametrize("head", ["lm", "nsp", "classes", "tags", "span"])
@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_folder_comes_back_bit_for_bit_and_torch_takes_its_tensors(
    cell: str, way: str, is_tied: bool, head: str, tmp_path: Path
) -> None:
    net = make(cell, way, is_tied=is_tied, dropout=0.1)
    net.ensure_head(head, labels=("差", "好", "很好") if head in ("classes", "tags") else ())
    net.keep_heads(("lm", "nsp") if head == "nsp" else (head,))
    write_model(net, tmp_path)
    again = read_model(tmp_path)
    assert again.config == net.config
    assert again.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in again.state_dict().items())
    ids = torch.arange(20).view(2, 10)
    assert torch.equal(again.body(Packed.from_padded(ids)), net.body(Packed.from_padded(ids)))
    prefix = "model.layers.1."
    theirs = CELLS[cell](16, 8 if way else 16, bidirectional=bool(way))
    stored = load_file(tmp_path / "model.safetensors")
    theirs.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)})


@pytest.mark.parametrize("way", WAYS)
def test_padding_on_either_side_changes_no_answer(way: str) -> None:
    net = make("lstm", way)
    net.ensure_head("classes", labels=("a", "b"))
    net.keep_heads(("classes",))
    ids = texts_of((5, 9)).ids_N.split([5, 9])
    alone = torch.cat([net.logits(each[None]) for each in ids])
    for left in (True, False):
        mask = torch.tensor([[0] * 4 + [1] * 5 if left else [1] * 5 + [0] * 4, [1] * 9])
        padded = torch.zeros_like(mask).masked_scatter(mask.bool(), torch.cat(ids))
        assert torch.allclose(net.logits(padded, mask), alone, atol=1e-6)


def test_gates_that_begin_open_carry_a_word_further_than_a_net_without_them() -> None:
    ids = torch.randint(1, 61, (1, 30), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[0, 0] = 0
    left = {}
    for cell in CELLS:
        net = create(f"{cell}-tiny", **{**SIZES, "hidden_size": 64, "num_layers": 1}).double()
        difference_T = (net.hidden(Packed.from_padded(ids)) - net.hidden(Packed.from_padded(changed))).norm(dim=-1)
        left[cell] = (difference_T[-1] / difference_T[0]).item()
    assert min(left["gru"], left["lstm"]) > 100 * left["rnn"]


def test_dropout_is_at_work_while_training_alone() -> None:
    net, texts = make("gru", ""), texts_of((8, 4))
    still = net.hidden(texts)
    net.set_config(dropout=0.5)
    assert torch.equal(net.hidden(texts), still)
    assert not torch.allclose(net.train().hidden(texts), still)


@pytest.mark.parametrize("field", ["num_heads", "num_kv_heads", "head_size", "feed_forward_size", "window"])
def test_a_size_that_only_attention_has_is_refused_by_name(field: str) -> None:
    with pytest.raises(ModelError, match=field) as caught:
        preset_config("lstm-tiny", **{field: 4})
    assert caught.value.code == "E342"


def test_two_directions_need_an_even_size() -> None:
    assert preset_config("lstm-tiny", hidden_size=15).hidden_size == 15
    with pytest.raises(ModelError, match="hidden_size") as caught:
        preset_config("bilstm-tiny", hidden_size=15)
    assert caught.value.code == "E301"

"""A folder of a model in eight bits: there and back bit by bit, and nothing believed that does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych.errors import DiptychError
from diptych.formats import int8_folder
from diptych.formats.folder import read_model, write_model
from diptych.presets import create
from diptych.surgery.quantize import to_int8


def int8_net(preset: str, *heads: str) -> Any:
    net = create(preset, seed=1, vocab_size=97, hidden_size=32, num_layers=2, context_length=32).eval()
    for head in heads:
        net.ensure_head(head, labels=("好", "bad") if head in ("classes", "tags") else ())
    to_int8(net)
    return net


@pytest.mark.parametrize(
    "preset, heads",
    [
        ("gpt-tiny", ()),
        ("gpt2-tiny", ()),
        ("bert-tiny", ("classes",)),
        ("bert-tiny", ("tags",)),
        ("bart-tiny", ()),
        ("modernbert-tiny", ()),
        ("lstm-tiny", ()),
    ],
)
@torch.inference_mode()
def test_a_network_comes_back_as_it_was(preset: str, heads: tuple[str, ...], tmp_path: Path) -> None:
    net = int8_net(preset, *heads)
    write_model(net, tmp_path)
    again = read_model(tmp_path)
    assert list(again.heads) == list(net.heads) and again.config.labels == net.config.labels
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())
    ids = torch.arange(12)[None]
    assert torch.equal(again.logits(ids), net.logits(ids))
    assert not any(part.requires_grad for part in again.parameters())
    assert not (tmp_path / "model.safetensors").exists()


def spoil(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    first = next(key for key in tensors if key.endswith("int8_OI"))
    wrong = {
        "missing": {key: value for key, value in tensors.items() if key != first.replace("int8_OI", "scale_O")},
        "unexpected": {**tensors, "body.backdoor": torch.zeros(1)},
        "no such matrix": {**tensors, "body.norm.matrix.int8_OI": torch.zeros(1, 1, dtype=torch.int8)},
        "shape": {**tensors, first: tensors[first][:, 1:].contiguous()},
        "type": {**tensors, first: tensors[first].float()},
    }
    return wrong[name]


@pytest.mark.parametrize(
    "name, code", [("missing", "E316"), ("unexpected", "E316"), ("no such matrix", "E316"), ("shape", "E317"), ("type", "E317")]
)
def test_weights_that_do_not_fit_are_refused(name: str, code: str, tmp_path: Path) -> None:
    write_model(int8_net("gpt-tiny"), tmp_path)
    path = tmp_path / int8_folder.WEIGHTS
    save_file(spoil(load_file(path), name), path)
    with pytest.raises(DiptychError) as caught:
        read_model(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("said", [{}, {"heads": ["lm"]}, {"heads": ["../etc"], "labels": []}, {"heads": 3, "labels": []}])
def test_a_config_that_lies_is_refused(said: dict[str, Any], tmp_path: Path) -> None:
    write_model(int8_net("gpt-tiny"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), int8_folder.KEY: said}))
    with pytest.raises(DiptychError) as caught:
        read_model(tmp_path)
    assert caught.value.code == "E312"


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    write_model(int8_net("gpt-tiny"), tmp_path)
    path = tmp_path / int8_folder.WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DiptychError, match=r"int8\.safetensors"):
        read_model(tmp_path)
    path.unlink()
    with pytest.raises(DiptychError, match=r"int8\.safetensors"):
        read_model(tmp_path)

"""Old pickled folders become safetensors, and what hides in a pickle never runs."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import diptych as dt
from diptych.errors import ModelError
from diptych.formats.folder import write_model
from diptych.formats.pickles import convert
from diptych.presets import create


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as it was written before safetensors: GPT-2 with its tied head under a name of its own."""
    source = tmp_path / "旧 model"
    source.mkdir()
    write_model(create("gpt2-tiny", vocab_size=40, hidden_size=16, num_layers=1, num_heads=2, context_length=8), source)
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    state["lm_head.weight"] = state["transformer.wte.weight"]
    torch.save(state, source / "pytorch_model.bin")
    return source


def refused(call: Any, code: str) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def test_the_command_that_the_refusal_names_opens_the_folder(folder: Path, tmp_path: Path) -> None:
    assert f"diptych convert {folder}" in refused(lambda: dt.load(folder), "E315")
    target = dt.convert(folder, tmp_path / "new")
    state, old = load_file(target / "model.safetensors"), torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert state.keys() == old.keys() and all(torch.equal(state[name], old[name]) for name in old)
    assert dt.load(target).logits([[1, 2, 3]]).shape == (1, 3, 40)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch was-here",)


@pytest.mark.parametrize("body", [{"w": Evil()}, Evil(), {"w": torch.zeros(2), "x": 3}, [torch.zeros(2)]])
def test_a_pickle_that_is_more_than_tensors_is_refused_and_does_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(body, folder / "pytorch_model.bin")
    refused(lambda: convert(folder, tmp_path / "new"), "E336")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(body if not isinstance(body, list) else Evil()))
    refused(lambda: convert(folder, tmp_path / "new"), "E336")
    assert not (tmp_path / "was-here").exists() and not (tmp_path / "new").exists()


def test_damaged_missing_and_misled_files_are_named(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "pytorch_model.bin").read_bytes()
    for body in (b"", b"no pickle", whole[: len(whole) // 2]):
        (folder / "pytorch_model.bin").write_bytes(body)
        assert "pytorch_model.bin" in refused(lambda: convert(folder, tmp_path / "new"), "E336")
    (folder / "pytorch_model.bin").unlink()
    refused(lambda: convert(folder, tmp_path / "new"), "E311")
    index = folder / "pytorch_model.bin.index.json"
    for text, code in (('{"weight_map": {"a": "../x.bin"}}', "E312"), ("{", "E312"), ('{"weight_map": {"a": "gone.bin"}}', "E311")):
        index.write_text(text, encoding="utf-8")
        refused(lambda: convert(folder, tmp_path / "new"), code)


def test_weights_in_several_pickles_are_gathered(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(state)
    torch.save({name: state[name] for name in names[::2]}, folder / "a.bin")
    torch.save({name: state[name] for name in names[1::2]}, folder / "b.bin")
    places = {name: f"{'ab'[number % 2]}.bin" for number, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    assert load_file(convert(folder, tmp_path / "new") / "model.safetensors").keys() == state.keys()

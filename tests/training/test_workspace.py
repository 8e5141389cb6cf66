"""The folder of a run: whose it is, when it becomes a model, and what a resumed run may change."""

import errno
import os
from pathlib import Path

import pytest

from diptych.config import read_yaml
from diptych.errors import MachineError, RecipeError
from diptych.ledger import Ledger
from diptych.text.tokenizer import Tokenizer
from diptych.training import workspace as module
from diptych.training.workspace import Workspace, check_free, kept_tokenizer

RECIPE = {
    "model": {"preset": "gpt-tiny", "sizes": {"hidden_size": 16}},
    "task": {"name": "causal-lm", "text": "笔记.txt"},
    "train": {"steps": 10, "lr": 0.001, "warmup": 0.02, "evaluations": 2, "clip": 1.0, "seed": 0},
    "run": {"out": "my-gpt", "threads": 1, "log_steps": 10},
}


def changed(part, **values):
    return {**RECIPE, part: {**RECIPE[part], **values}}


def write_model(folder):
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def test_a_new_folder_gets_its_recipe(tmp_path):
    workspace = Workspace(tmp_path / "deep" / "out", RECIPE)
    assert read_yaml(workspace.inner / "recipe.yaml") == RECIPE
    assert "笔记.txt" in (workspace.inner / "recipe.yaml").read_text(encoding="utf-8")


def test_an_empty_folder_is_free(tmp_path):
    Workspace(tmp_path, RECIPE)
    assert (tmp_path / "diptych" / "recipe.yaml").exists()


def test_what_is_not_ours_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RecipeError) as caught:
            Workspace(tmp_path, RECIPE, **options)
        assert caught.value.code == "E413"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MachineError) as caught:
        check_free(tmp_path / "out")
    assert caught.value.code == "E904" and "out" in str(caught.value)


def test_an_unfinished_run_is_resumed_or_replaced_but_never_by_accident(tmp_path):
    first = Workspace(tmp_path, RECIPE)
    first.checkpoints.mkdir()
    with pytest.raises(RecipeError) as caught:
        Workspace(tmp_path, RECIPE)
    assert caught.value.code == "E412" and "--resume" in str(caught.value) and "--overwrite" in str(caught.value)
    assert Workspace(tmp_path, RECIPE, resume=True).checkpoints.exists()
    assert not Workspace(tmp_path, RECIPE, overwrite=True).checkpoints.exists()


def test_a_finished_model_is_kept_unless_it_is_to_be_overwritten(tmp_path):
    Workspace(tmp_path, RECIPE).finish(write_model)
    for options in ({}, {"resume": True}):
        with pytest.raises(RecipeError) as caught:
            Workspace(tmp_path, RECIPE, **options)
        assert caught.value.code == "E411"
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    Workspace(tmp_path, RECIPE, overwrite=True)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("train", {"seed": 1}),
        ("train", {"steps": 20}),
        ("train", {"dropout": 0.1}),
        ("task", {"text": "other.txt"}),
        ("model", {"sizes": {"hidden_size": 32}}),
    ],
)
def test_a_run_is_not_resumed_with_settings_that_make_it_another(part, values, tmp_path):
    Workspace(tmp_path, RECIPE)
    with pytest.raises(RecipeError) as caught:
        Workspace(tmp_path, changed(part, **values), resume=True)
    (name,) = values
    assert caught.value.code == "E414" and f"{part}.{name}" in str(caught.value)
    assert read_yaml(tmp_path / "diptych" / "recipe.yaml") == RECIPE


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("train", {"lr": 0.0003}),
        ("train", {"warmup": 0.1}),
        ("train", {"evaluations": 7}),
        ("train", {"clip": 0.1}),
        ("run", {"threads": 2, "log_steps": 1}),
    ],
)
def test_the_remedies_for_a_run_that_diverged_and_all_of_run_may_change(part, values, tmp_path):
    Workspace(tmp_path, RECIPE)
    Workspace(tmp_path, changed(part, **values), resume=True)
    assert read_yaml(tmp_path / "diptych" / "recipe.yaml") == changed(part, **values)


def test_a_finished_run_is_a_model_and_keeps_what_tells_of_it(tmp_path, tokenizers):
    workspace = Workspace(tmp_path, RECIPE)
    workspace.checkpoints.mkdir()
    workspace.keep_tokenizer(tokenizers["causal"])
    ledger = Ledger()
    ledger.add("corpus", "documents read", 3, where="甲.txt")
    workspace.write_ledger(ledger)
    workspace.write_provenance({"seed": 0})
    assert not (tmp_path / "config.json").exists()
    workspace.finish(write_model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diptych", "model.safetensors"]
    assert sorted(path.name for path in workspace.inner.iterdir()) == ["ledger.json", "provenance.json", "recipe.yaml"]
    assert Ledger.load(workspace.inner / "ledger.json").count("corpus", "documents read") == 3


def test_a_disk_that_is_full_at_the_end_leaves_the_run_as_it_stands(tmp_path):
    workspace = Workspace(tmp_path, RECIPE)
    workspace.checkpoints.mkdir()

    def half(folder):
        (folder / "model.safetensors").write_bytes(b"weig")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(MachineError) as caught:
        workspace.finish(half)
    assert caught.value.code == "E902"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diptych"]
    assert sorted(path.name for path in workspace.inner.iterdir()) == ["checkpoints", "recipe.yaml"]
    Workspace(tmp_path, RECIPE, resume=True).finish(write_model)
    assert (tmp_path / "config.json").exists()


def test_a_run_that_dies_while_its_files_are_moved_in_is_no_model_and_can_be_resumed(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path, RECIPE)
    workspace.checkpoints.mkdir()
    real = os.replace

    def dies(source, target):
        if Path(target).name == "config.json":
            raise SystemExit
        real(source, target)

    monkeypatch.setattr(module.os, "replace", dies)
    with pytest.raises(SystemExit):
        workspace.finish(write_model)
    monkeypatch.undo()
    assert (tmp_path / "model.safetensors").exists() and not (tmp_path / "config.json").exists()
    again = Workspace(tmp_path, RECIPE, resume=True)
    assert again.checkpoints.exists()
    again.finish(write_model)
    assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_file_that_cannot_be_written_is_an_error_with_a_remedy_and_the_old_one_stands(number, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path, RECIPE)

    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "replace", refuse)
    with pytest.raises(MachineError) as caught:
        workspace.write_text("recipe.yaml", "broken")
    assert caught.value.code == ("E902" if number == errno.ENOSPC else "E904")
    assert read_yaml(workspace.inner / "recipe.yaml") == RECIPE


def test_a_run_keeps_the_tokenizer_that_it_began_with(tmp_path, tokenizers):
    assert kept_tokenizer(tmp_path) is None
    workspace = Workspace(tmp_path, RECIPE)
    workspace.keep_tokenizer(tokenizers["masked"])
    workspace.keep_tokenizer(tokenizers["causal"])
    kept = kept_tokenizer(tmp_path)
    assert isinstance(kept, Tokenizer)
    assert kept.fingerprint() == tokenizers["masked"].fingerprint() != tokenizers["causal"].fingerprint()

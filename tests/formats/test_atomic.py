"""Writing a folder: whole or not at all, never over what is no model, and a full disk is named."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from diptych.errors import MachineError, RecipeError
from diptych.formats import folder as folders
from diptych.formats.atomic import atomic_folder, full_disk_is_named
from diptych.formats.folder import write_model


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path, folder: Path, is_there: bool) -> None:
    target = folder if is_there else tmp_path / "new" / "model"
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as part:
        (part / "config.json").write_text("half")
        raise ZeroDivisionError
    assert contents(tmp_path) == before

    with atomic_folder(target) as part:
        (part / "only").write_text("this")
    assert contents(target) == {"only": b"this"}
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


def test_when_the_last_step_fails_the_old_folder_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder.parent)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if (self / "new").exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(MachineError, match="Permission denied") as caught, atomic_folder(folder) as part:
        (part / "new").touch()
    assert caught.value.code == "E904"
    assert contents(folder.parent) == before


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_and_the_old_folder_stands(
    failure: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch, random_net: Callable[..., Any]
) -> None:
    before = contents(folder.parent)

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half of")
        raise failure

    monkeypatch.setattr(folders, "save_file", full)
    with pytest.raises(MachineError) as caught, atomic_folder(folder) as part:
        write_model(random_net("gpt"), part)
    assert caught.value.code == "E902"
    assert f"{folder}." in caught.value.what, "the folder that was asked for, not the one beside it"
    assert contents(folder.parent) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_disk_that_is_really_full_is_named(name: str, tmp_path: Path, random_net: Callable[..., Any]) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(MachineError) as caught, full_disk_is_named(tmp_path):
        write_model(random_net("gpt"), tmp_path)
    assert caught.value.code == "E902"


def test_what_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    """Saving to one's home or one's project must not cost one's home or one's project."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("论文")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.json").write_text('{"name": "another program"}')
    before = contents(tmp_path)
    for name in ("home", "project"):
        with pytest.raises(RecipeError) as caught, atomic_folder(tmp_path / name):
            pass
        assert caught.value.code == "E413"
    with pytest.raises(MachineError) as refused, atomic_folder(tmp_path / "home" / "thesis.txt"):
        pass
    assert refused.value.code == "E904"
    assert contents(tmp_path) == before


def test_a_folder_can_be_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "one/two", "../" + tmp_path.name + "/up"):
        with atomic_folder(Path(name)) as part:
            (part / "file").touch()
        assert (tmp_path / name / "file").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

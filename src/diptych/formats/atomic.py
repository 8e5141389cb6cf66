"""A folder that is written whole or not at all, and a full disk that is named."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from diptych.errors import ModelError, RecipeError, of_system
from diptych.formats.folder import read_config


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill beside `target`, which takes its place when all went well and is removed when not.

    Raises:
        RecipeError E413: `target` holds something that is no model. MachineError E902, E904: it cannot be written.
    """
    target = target.resolve()
    with full_disk_is_named(target):
        if target.exists() and any(target.iterdir()) and not _is_model(target):
            raise RecipeError("E413", path=target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield part
            os.chmod(part, 0o755)
            _replace(target, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def full_disk_is_named(path: Path) -> Iterator[None]:
    """Turn what the system refuses, such as "no space left on device", into an error that says where and what to do."""
    try:
        yield
    except OSError as error:
        raise of_system(error, path) from None
    except SafetensorError as error:
        is_full = "No space left" in str(error)
        raise of_system(OSError(errno.ENOSPC if is_full else errno.EIO, str(error)), path) from None


def _is_model(folder: Path) -> bool:
    with contextlib.suppress(ModelError):
        return "model_type" in read_config(folder)
    return False


def _replace(target: Path, part: Path) -> None:
    """Put `part` in the place of `target`, which stays where it was if that fails."""
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    has_old = target.exists()
    if has_old:
        target.rename(old)
    try:
        part.rename(target)
    except OSError:
        if has_old:
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)

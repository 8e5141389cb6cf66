"""A model folder to read, to damage and to replace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(tmp_path: Path, random_net: Callable[..., Any]) -> Path:
    """A sound folder of a small BERT."""
    from diptych.formats.folder import write_model

    path = tmp_path / "model"
    path.mkdir()
    write_model(random_net("bert"), path)
    return path

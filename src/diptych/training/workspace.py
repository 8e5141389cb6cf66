"""The folder that a run writes: what it keeps while it trains, and the moment it becomes a model.

While a run goes on, `out/` holds `diptych/` alone: recipe, ledger, events, checkpoints. The model's own files are written
beside, flushed and moved in at the end, `config.json` last; a folder without it is an unfinished run, never half a model.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from diptych.errors import RecipeError
from diptych.ledger import Ledger
from diptych.models.folder import full_disk_is_named

COMMIT_MARK = "config.json"


class Workspace:
    """The output folder of one run.

    Args:
        resume: go on with an unfinished run, or start where there is nothing yet.
        overwrite: remove a run or model of ours that lies there.

    Raises:
        RecipeError E411: a finished model lies there. E412: an unfinished run lies there. E413: the folder holds something else.
        E414: `resume` with other settings than the run had.
    """

    def __init__(self, out: str | Path, recipe: dict[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.out = Path(out)
        self.inner = self.out / "diptych"
        if self.out.exists() and any(self.out.iterdir()):
            self._enter(recipe, resume, overwrite)
        self.inner.mkdir(parents=True, exist_ok=True)
        self.write_text("recipe.yaml", yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False))

    def _enter(self, recipe: dict[str, Any], resume: bool, overwrite: bool) -> None:
        is_ours = self.inner.is_dir()
        if overwrite and is_ours:
            shutil.rmtree(self.out)
        elif not is_ours:
            raise RecipeError("E413", path=self.out)
        elif self.is_finished and not resume:
            raise RecipeError("E411", path=self.out)
        elif not resume:
            raise RecipeError("E412", path=self.out)
        else:
            self._check_same(recipe)

    def _check_same(self, recipe: dict[str, Any]) -> None:
        path = self.inner / "recipe.yaml"
        before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else recipe
        changed = [
            f"{part}.{name}: {before.get(part, {}).get(name)!r} -> {value!r}"
            for part in ("model", "task", "train")
            for name, value in (recipe.get(part) or {}).items()
            if (part, name) not in FREE_TO_CHANGE and before.get(part, {}).get(name) != value
        ]
        if changed:
            raise RecipeError("E414", path=self.out, changes="; ".join(changed))

    @property
    def is_finished(self) -> bool:
        return (self.out / COMMIT_MARK).exists()

    @property
    def checkpoints(self) -> Path:
        return self.inner / "checkpoints"

    @property
    def journal(self) -> Path:
        return self.inner / "metrics.jsonl"

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of `diptych/` whole or not at all."""
        path = self.inner / name
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
        return path

    def write_ledger(self, ledger: Ledger) -> None:
        self.write_text("ledger.json", json.dumps(ledger.to_json(), ensure_ascii=False, indent=1))

    def write_provenance(self, facts: dict[str, Any]) -> None:
        """Versions, machine and time, with the `facts` that the run adds."""
        packages = {name: version(name) for name in ("diptych", "torch", "tokenizers", "safetensors", "numpy")}
        machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        record = {"finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "packages": packages, "machine": machine, **facts}
        self.write_text("provenance.json", json.dumps(record, ensure_ascii=False, indent=1))

    def finish(self, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder beside, then move its files in, the one that makes a model of the folder last.

        Raises:
            MachineError E902: the disk is full; the run and its checkpoints stand.
        """
        part = self.inner / ".model"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            with full_disk_is_named(part):
                write(part)
            for path in sorted(part.iterdir(), key=lambda path: path.name == COMMIT_MARK):
                os.replace(path, self.out / path.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)


FREE_TO_CHANGE = {("train", "lr"), ("train", "evaluations"), ("train", "clip")}
"""What a resumed run may change and still be the same run to a person: the remedies for a run that diverged, and how often
it is looked at."""

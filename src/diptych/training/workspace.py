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

from diptych.config import differences, read_yaml, to_yaml
from diptych.errors import RecipeError, of_system
from diptych.formats.atomic import full_disk_is_named
from diptych.ledger import Ledger
from diptych.text.tokenizer import Tokenizer

COMMIT_MARK = "config.json"


class Workspace:
    """The output folder of one run.

    Args:
        resume: go on with an unfinished run, or start where there is nothing yet. A finished one is left as it is.
        overwrite: remove a run or model of ours that lies there.

    Raises:
        RecipeError E411: a finished model lies there. E412: an unfinished run lies there. E413: the folder holds something else.
        E414: `resume` with other settings than the run had. MachineError E902, E904: nothing can be written there.
    """

    def __init__(self, out: str | Path, recipe: dict[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.out = Path(out)
        self.inner = self.out / "diptych"
        check_free(self.out, resume=resume, overwrite=overwrite)
        try:
            if overwrite and self.inner.is_dir():
                shutil.rmtree(self.out)
            elif self.inner.is_dir():
                self._check_same(recipe)
            self.inner.mkdir(parents=True, exist_ok=True)
            self.write_text("recipe.yaml", to_yaml(recipe))
        except OSError as error:
            raise of_system(error, self.out) from None

    @classmethod
    def of_first_rank(cls, out: str | Path) -> "Workspace":
        """The folder as the other ranks of a run see it, once the first has opened it: they write checkpoints there, no more."""
        workspace = cls.__new__(cls)
        workspace.out = Path(out)
        workspace.inner = workspace.out / "diptych"
        return workspace

    def _check_same(self, recipe: dict[str, Any]) -> None:
        path = self.inner / "recipe.yaml"
        before = read_yaml(path) if path.exists() else recipe
        deciding = {part: recipe.get(part) for part in ("model", "task", "train")}
        changed = differences(before, deciding, except_for=FREE_TO_CHANGE)
        if changed:
            raise RecipeError("E414", path=self.out, changes="; ".join(changed))

    @property
    def checkpoints(self) -> Path:
        return self.inner / "checkpoints"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that the run began with: the weights speak its numbers, and learning it again takes time."""
        return self.inner / "tokenizer"

    @property
    def journal(self) -> Path:
        return self.inner / "metrics.jsonl"

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Keep the tokenizer of a run that begins, whole or not at all; `kept_tokenizer` gives it back."""
        if self.tokenizer.exists():
            return
        part = self.inner / ".tokenizer"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            tokenizer.save(part)
            os.replace(part, self.tokenizer)
        except OSError as error:
            raise of_system(error, self.tokenizer) from None

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of `diptych/` whole or not at all.

        Raises:
            MachineError E902, E904: the disk is full, or it cannot be written to.
        """
        path = self.inner / name
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            raise of_system(error, path) from None
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
        try:
            with full_disk_is_named(self.out):
                part.mkdir()
                write(part)
            for path in sorted(part.iterdir(), key=lambda path: path.name == COMMIT_MARK):
                os.replace(path, self.out / path.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(self.tokenizer, ignore_errors=True)


def kept_tokenizer(out: str | Path) -> Tokenizer | None:
    """The tokenizer of the unfinished run in `out`; None where none has begun."""
    folder = Path(out) / "diptych" / "tokenizer"
    return Tokenizer.load(folder) if folder.exists() else None


def kept_recipe(out: str | Path) -> dict[str, Any]:
    """The recipe that the run in `out` began with, every blank filled in; empty where none has begun."""
    path = Path(out) / "diptych" / "recipe.yaml"
    return read_yaml(path) if path.exists() else {}


def check_free(out: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    """Whether a run may write to `out`; asked before anything is read, so that nobody waits for a refusal.

    Raises:
        RecipeError E411, E412, E413: see `Workspace`. MachineError E904: a file stands where the folder should be.
    """
    try:
        is_taken = out.exists() and any(out.iterdir())
    except OSError as error:
        raise of_system(error, out) from None
    is_ours = (out / "diptych").is_dir()
    if not is_taken or (overwrite and is_ours):
        return
    if not is_ours:
        raise RecipeError("E413", path=out)
    if (out / COMMIT_MARK).exists():
        raise RecipeError("E411", path=out)
    if not resume:
        raise RecipeError("E412", path=out)


FREE_TO_CHANGE = {("train", "lr"), ("train", "warmup"), ("train", "evaluations"), ("train", "clip")}
"""What a resumed run may change and still be the same run to a person: the remedies for a run that diverged, and how often
it is looked at."""

"""A recipe run many times, over seeds and over values of settings, and told in one table with mean and spread.

Each run is a folder of its own under the sweep's, so that a sweep that was ended goes on: what is finished is read, what is not is
resumed. A difference that is smaller than what the seeds alone make is seen to be.
"""

import hashlib
import itertools
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from diptych import api
from diptych.config import apply_sets
from diptych.errors import RecipeError
from diptych.evaluation.intervals import Scores
from diptych.messages import _
from diptych.recipe import Recipe, build
from diptych.runtime import write_lines
from diptych.training.progress import Listener

RESULT = "sweep.json"


@dataclass
class Setting:
    """One point of the grid, and what each seed scored there."""

    values: dict[str, Any]
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    """By seed, then by name of the score."""

    def spread(self, name: str) -> tuple[float, float | None, int]:
        """(mean, standard deviation of the seeds or None where there is one, number of seeds)."""
        found = [scores[name] for scores in self.scores.values() if name in scores]
        if not found:
            return float("nan"), None, 0
        return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found)


@dataclass
class Sweep:
    """All runs of a sweep."""

    settings: list[Setting]

    def names(self) -> list[str]:
        """The scores that any run has."""
        return list(dict.fromkeys(name for setting in self.settings for scores in setting.scores.values() for name in scores))

    def table(self) -> list[list[str]]:
        """Settings down, scores across, each as mean ± standard deviation of the seeds."""
        rows = [[_("setting"), _("seeds"), *(_(name) for name in self.names())]]
        for setting in self.settings:
            cells = []
            for name in self.names():
                mean, deviation, count = setting.spread(name)
                cells.append("–" if not count else f"{mean:.4g}" if deviation is None else f"{mean:.4g} ± {deviation:.2g}")
            shown = ", ".join(f"{key}={value}" for key, value in setting.values.items())
            rows.append([shown or "–", str(len(setting.scores)), *cells])
        return rows

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values: each setting with its runs, mean and standard deviation."""
        return [
            {
                "set": setting.values,
                "runs": {str(seed): scores for seed, scores in setting.scores.items()},
                "mean": {name: setting.spread(name)[0] for name in self.names()},
                "deviation": {name: setting.spread(name)[1] for name in self.names()},
            }
            for setting in self.settings
        ]


def sweep(
    recipe: Recipe | Mapping[str, Any],
    out: str | Path,
    *,
    sets: Sequence[str] = (),
    seeds: int | Sequence[int] = 3,
    source: Any = None,
    listener: Listener | None = None,
) -> Sweep:
    """Run `recipe` with every combination of the values in `sets`, once with each seed.

    Args:
        out: the folder of the sweep; what is finished in it is not run again.
        sets: settings with several values, "train.lr=1e-3,2e-3"; commas inside of brackets belong to a value.
        seeds: so many, from 0 on, or these.

    Raises:
        RecipeError E404: what `sets` says is no setting. E402, E403 …: a combination is no recipe, before anything is run.
    """
    data = recipe.to_dict() if isinstance(recipe, Recipe) else dict(recipe)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise RecipeError("E403", where=_("the command line"), key="seeds", value=repr(seeds), problem=_("Input should be greater than 0"))
    settings = [Setting(values) for values in grid(sets)]
    planned = [(setting, seed, _recipe(data, Path(out), setting.values, seed)) for setting in settings for seed in numbers]
    result = Sweep(settings)
    for setting, seed, each in planned:
        scores = finished(each)
        if scores is None:
            if listener is not None:
                listener.tell({"kind": "stage", "text": str(each.run.out)})
            done = api.run(each, source, resume=True, **({"listener": listener} if listener is not None else {}))
            if done.outcome.stopped == "interrupted":
                break
            scores = done.scores
            _keep(each, scores)
        setting.scores[seed] = {name: score.value for name, score in scores.items()}
        _write(Path(out) / RESULT, result.to_json())
    return result


def grid(sets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of each setting: {"train.lr": "1e-3"}.

    Raises:
        RecipeError E404: one has no `=`.
    """
    axes = []
    for item in sets:
        path, equals, values = item.partition("=")
        if not equals or not path.strip():
            raise RecipeError("E404", item=item)
        axes.append([(path.strip(), value) for value in split_values(values)])
    for chosen in itertools.product(*axes):
        yield dict(chosen)


def split_values(text: str) -> list[str]:
    """Values with commas between them; a comma inside of brackets, braces or quotes belongs to a value."""
    values, depth, quote, start = [], 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in ")}]":
            depth -= 1
        elif character == "," and depth == 0:
            values.append(text[start:place].strip())
            start = place + 1
    return [*values, text[start:].strip()]


def finished(recipe: Recipe) -> Scores | None:
    """The scores of a run that is done and was of this very recipe; None where it has to be run.

    Raises:
        RecipeError E411: in its place lies a model of something else.
    """
    out = Path(str(recipe.run.out))
    if not (out / "config.json").exists():
        return None
    try:
        kept = json.loads((out / "diptych" / "scores.json").read_text(encoding="utf-8"))
        if kept["recipe"] == _digest(recipe):
            return Scores.from_json(kept["scores"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RecipeError("E411", path=out)


def _recipe(data: Mapping[str, Any], out: Path, values: Mapping[str, Any], seed: int) -> Recipe:
    name = "_".join([*(re.sub(r"[^\w.=+-]+", "-", f"{path.split('.')[-1]}={value}") for path, value in values.items()), f"seed={seed}"])
    sets = [*(f"{path}={value}" for path, value in values.items()), f"train.seed={seed}", f"run.out={json.dumps(str(out / name))}"]
    return build(apply_sets(data, sets), where=", ".join(f"{path}={value}" for path, value in values.items()) or None)


def _keep(recipe: Recipe, scores: Scores) -> None:
    inner = Path(str(recipe.run.out)) / "diptych"
    _write(inner / "scores.json", {"recipe": _digest(recipe), "scores": scores.to_json()})


def _digest(recipe: Recipe) -> str:
    """Of what decides the result."""
    parts = {part: value for part, value in recipe.to_dict().items() if part != "run"}
    return hashlib.blake2b(yaml.safe_dump(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _write(path: Path, data: Any) -> None:
    write_lines(path, [json.dumps(data, ensure_ascii=False, indent=1) + "\n"])

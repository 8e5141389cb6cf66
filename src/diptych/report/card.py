"""The model card: README.md in a model folder, written from the run, good or bad."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from diptych.evaluation.intervals import Scores
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.report.privacy import promise


@dataclass
class CardData:
    """What a card says."""

    name: str
    what: str
    languages: Sequence[str]
    task: str
    """Hugging Face's name of the task: text-generation, fill-mask, text-classification."""
    data: Sequence[str]
    scores: dict[str, Scores] = field(default_factory=dict)
    """By system, ours first."""
    cost: Sequence[tuple[str, str]] = ()
    limits: Sequence[str] = ()
    ledger: Ledger | None = None
    parent: str | None = None
    use: str = ""
    privacy: Mapping[str, Any] | None = None
    """What a private run kept of itself."""


def write_card(path: Path, data: CardData) -> Path:
    """Write the card to `path`."""
    path.write_bytes(render(data).encode("utf-8", "replace"))
    return path


def render(data: CardData) -> str:
    """The card as Markdown with Hugging Face's front matter."""
    front: dict[str, object] = {
        "language": list(data.languages),
        "pipeline_tag": data.task,
        "tags": ["diptych"],
        "library_name": "transformers",
    }
    if data.parent:
        front["base_model"] = data.parent
    lines = ["---", yaml.safe_dump(front, allow_unicode=True, sort_keys=False).strip(), "---", "", f"# {data.name}", "", data.what, ""]
    lines += _block(_("Use"), [f"```\n{data.use}\n```"] if data.use else [], bullet="")
    lines += _block(_("Data"), data.data)
    lines += _block(_("Scores"), _score_lines(data.scores))
    lines += _block(_("Cost"), [f"{name}: {value}" for name, value in data.cost])
    lines += _block(_("Ledger: what was kept, cut and dropped"), data.ledger.lines() if data.ledger else [])
    lines += _block(_("Privacy"), promise(data.privacy))
    lines += _block(_("Limits"), data.limits)
    lines += _block(_("Licence"), [_("Not stated: it follows from the text and from the model it started from.")])
    return "\n".join(lines).rstrip() + "\n"


def put_section(path: Path, key: str, title: str, lines: Sequence[str]) -> Path:
    """A section that a later look at the model adds to its card, in the place of what an earlier one said.

    Args:
        key: a name that no language changes, by which the section is found again.
    """
    start, stop = f"<!-- diptych:{key} -->", f"<!-- /diptych:{key} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, found, rest = text.partition(start)
    after = rest.partition(stop)[2].lstrip("\n") if found else ""
    own = "\n".join([start, "", *_block(title, lines), stop])
    whole = "\n\n".join(part for part in (before.rstrip("\n"), own, after.rstrip("\n")) if part) + "\n"
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(whole.encode("utf-8", "replace"))
    part.replace(path)
    return path


def _block(title: str, lines: Sequence[str], bullet: str = "* ") -> list[str]:
    return [f"## {title}", "", *(f"{bullet}{line}" for line in lines), ""] if lines else []


def _score_lines(scores: dict[str, Scores]) -> list[str]:
    return [
        f"{_(system)}: " + ", ".join(f"{_(score.name)} {score} (n = {score.n:,})" for score in found.values())
        for system, found in scores.items()
        if found
    ]

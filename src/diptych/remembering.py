"""An audit of memory, from a model and its data to numbers, sentences and a section of the model card: `diptych audit privacy`.

Whoever has the model and some texts guesses which of these it was trained on; secrets that were planted are asked for; beginnings are gone
on with. What comes out stands beside what the training promised. Attacks that find nothing prove nothing: others may find more.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import runtime
from diptych.audit.memory.canaries import Canary, exposures, make_canaries, read_canaries, write_canaries
from diptych.audit.memory.extraction import extract
from diptych.audit.memory.guessing import Guessing, guess
from diptych.audit.memory.result import MemoryAudit
from diptych.audit.memory.signals import example_costs, hardest, text_costs, token_costs
from diptych.errors import DiptychError, UsageError
from diptych.finetuning import read_parts
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.recipe import Recipe, build
from diptych.report.card import put_section
from diptych.running import load_model
from diptych.streams import permute
from diptych.tasks import PRETRAINING, task_of_net
from diptych.text.corpus import Corpus
from diptych.text.tables import guess_text_column, read_table
from diptych.text.words import language_of
from diptych.tokenizing import open_corpus, tidy
from diptych.training.workspace import kept_recipe

LEAST = 20
"""Fewer texts on a side tell nothing."""
USUAL_DELTA = 1e-5
SECTION = "memory"


def audit_privacy(
    model: Model | str | Path,
    members: Any = None,
    others: Any = None,
    *,
    reference: Model | str | Path | None = None,
    canaries: str | Path | Sequence[Canary] = (),
    candidates: int = 1024,
    limit: int = 2000,
    delta: float | None = None,
    shows_text: bool = False,
    seed: int = 0,
    card: bool = True,
) -> MemoryAudit:
    """What can be told from a model about the texts that it was trained on.

    Args:
        members: texts or rows that it was trained on, and others like them that it was not: files, tables, or lists. What is left out is
            taken from the recipe in the model's folder, where its data is still there.
        reference: a model of the same task that has not seen them; a text that it finds as easy was no secret.
        canaries: what `plant` planted, or the file that it wrote.
        candidates: among so many the secret of a canary is ranked.
        limit: at most so many texts of a side.
        delta: of the bound for ε; None is the promised one, or 1e-5.
        shows_text: name texts that were given away; nothing else here holds a text.
        card: write a section into the model's card, and `diptych/memory.json` beside it.

    Raises:
        UsageError E818: nothing says what it was trained on. E819: too few texts. E821: the reference does another task.
        UsageError E820: a file without canaries.
    """
    runtime.prepare()
    model = model if isinstance(model, Model) else load_model(model)
    facts = _facts(model)
    claimed, task = facts.get("privacy"), task_of_net(model.net)
    ledger = Ledger()
    sides = _texts(model, members, others, ledger) if task is None else _rows(model, task, members, others, ledger)
    names = mark("texts trained on"), mark("other texts")
    few = [_some(list(side), limit, seed) for side in sides]
    for name, side in zip(names, few, strict=True):
        if len(side) < LEAST:
            raise UsageError("E819", count=len(side), side=_(name), least=LEAST)
        ledger.add("audit", name, len(side))
    bound_at = float(delta or (claimed or {}).get("delta") or USUAL_DELTA)
    planted = read_canaries(canaries) if isinstance(canaries, str | Path) else list(canaries)
    guesses = _guesses(model, task, few, None if reference is None else _reference(model, task, reference), bound_at, seed)
    found = MemoryAudit(
        guesses,
        claimed,
        exposures(planted, _costs_of(model, task), candidates, seed),
        candidates if planted else 0,
        extract(model.net, model.tokenizer, *few, shows_text=shows_text) if _goes_on(model, task) else None,
        facts.get("at_risk", ()),
        ledger,
    )
    if card and model.folder is not None and model.folder.is_dir():
        found.write(model.folder / "diptych" / "memory.json")
        put_section(model.folder / "README.md", SECTION, _("What it remembers"), found.lines())
    return found


def plant(
    source: Any, out: str | Path, *, count: int = 10, times: int = 1, text: str | None = None, label: str | None = None, seed: int = 0
) -> tuple[Path, Path]:
    """A copy of a table or of texts with canaries among them, as JSON lines, and beside it the file of the canaries.

    Args:
        times: how often each of them is planted.
        text, label: the columns; the text's is guessed, and without a label none is given.

    Raises:
        UsageError E822: there is no such column.
    """
    rows = [dict(row.fields) for row in read_table(source)]
    out = Path(out)
    column = text or guess_text_column(rows[:100], str(source))
    for name in (column, label):
        if name is not None and rows and name not in rows[0]:
            raise UsageError("E822", path=source, column=name, known=", ".join(map(str, rows[0])))
    labels = sorted({str(row[label]) for row in rows if row.get(label) is not None}) if label else []
    language = "zh" if language_of(" ".join(str(row.get(column) or "") for row in rows[:50])) == "zh" else "en"
    planted = make_canaries(count, language, labels, seed)
    for canary in planted:
        rows += [{column: canary.text, **({label: canary.label} if label else {})}] * times
    order = permute(np.arange(len(rows)), len(rows), seed, "plant")
    lines = [json.dumps(rows[place], ensure_ascii=False, default=str) for place in order.tolist()]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out, write_canaries(out.with_name(f"{out.name}.canaries.json"), planted)


def _guesses(model: Model, task: Any, sides: Sequence[Any], reference: Model | None, delta: float, seed: int) -> list[Guessing]:
    """Each way of guessing that suits the model; what costs less looks more like a text that was trained on."""
    ways: dict[str, list[np.ndarray]] = {}
    if task is None and model.config.writes:
        nats = [token_costs(model.net, model.tokenizer, side) for side in sides]
        ways["loss"] = [np.array([each.mean() if len(each) else np.nan for each in few]) for few in nats]
        ways["min-k"] = [np.array([hardest(each) for each in few]) for few in nats]
    else:
        ways["loss"] = [_costs(model, task, side) for side in sides]
    if reference is not None:
        ways["ratio"] = [
            mine - _costs(reference, task and task_of_net(reference.net), side) for mine, side in zip(ways["loss"], sides, strict=True)
        ]
    found = []
    for way, (members, others) in ways.items():
        found.append(guess(way, -members[np.isfinite(members)], -others[np.isfinite(others)], delta=delta, seed=seed))
    return found


def _costs(model: Model, task: Any, side: Sequence[Any]) -> np.ndarray:
    if task is None:
        return text_costs(model.net, model.tokenizer, side)
    return example_costs(model.net, task, task.meet(model.net, model.tokenizer), side)


def _costs_of(model: Model, task: Any) -> Callable[[Sequence[str], str | None], np.ndarray]:
    """What the candidates of a canary cost, with its label where the task has labels."""

    def costs(texts: Sequence[str], label: str | None) -> np.ndarray:
        if task is None:
            return text_costs(model.net, model.tokenizer, texts)
        rows, _found = task.read([{"text": each, "label": label} for each in texts], Ledger())
        return example_costs(model.net, task, model.tokenizer, rows)

    return costs


def _reference(model: Model, task: Any, reference: Model | str | Path) -> Model:
    other = reference if isinstance(reference, Model) else load_model(reference)
    asks = task_of_net(other.net)
    is_alike = (task is None and asks is None and "lm" in other.net.heads) or (
        task is not None and asks is not None and asks.name == task.name and other.config.labels == model.config.labels
    )
    if not is_alike:
        raise UsageError("E821", reference=other.folder or "?", model=model.folder or "?")
    return other


def _goes_on(model: Model, task: Any) -> bool:
    return task is None and model.config.writes and not model.config.is_encoder_decoder


def _texts(model: Model, members: Any, others: Any, ledger: Ledger) -> tuple[Iterable[str], Iterable[str]]:
    """Documents that a language model was trained on, and others."""
    if members is not None and others is not None:
        return tuple([document.text for document in Corpus(side)] for side in (members, others))  # type: ignore[return-value]
    recipe = _recipe(model)
    if recipe is None or recipe.task.name not in PRETRAINING:
        raise UsageError("E818", model=model.folder or "?")
    try:
        views = open_corpus(recipe).split(recipe.task.held_out)
        found = [[document.text for document in tidy(view, recipe, ledger)] for view in views]
    except (DiptychError, OSError):
        raise UsageError("E818", model=model.folder or "?") from None
    return tuple(found[number] if side is None else [d.text for d in Corpus(side)] for number, side in enumerate((members, others)))  # type: ignore[return-value]


def _rows(model: Model, task: Any, members: Any, others: Any, ledger: Ledger) -> tuple[list[Any], list[Any]]:
    """Rows that a network was trained on for its task, and others, those without an answer left out."""
    recipe = _recipe(model)
    sides: list[Any] = [members, others]
    if members is None or others is None:
        if recipe is None or recipe.task.name in PRETRAINING:
            raise UsageError("E818", model=model.folder or "?")
        try:
            parts = read_parts(recipe, None, ledger)
        except (DiptychError, OSError):
            raise UsageError("E818", model=model.folder or "?") from None
        sides = [part if side is None else side for part, side in zip((parts.train, parts.test), sides, strict=True)]
    read = [side if _are_rows(side) else task.read(side, ledger)[0] for side in sides]
    return tuple([row for row in side if row.gold is not None] for side in read)  # type: ignore[return-value]


def _are_rows(side: Any) -> bool:
    return isinstance(side, list) and bool(side) and hasattr(side[0], "gold")


def _some(side: list[Any], limit: int, seed: int) -> list[Any]:
    if len(side) <= limit:
        return side
    return [side[place] for place in sorted(permute(np.arange(limit), len(side), seed, "audited").tolist())]


def _recipe(model: Model) -> Recipe | None:
    kept = kept_recipe(model.folder) if model.folder is not None else {}
    return build(kept) if kept else None


def _facts(model: Model) -> dict[str, Any]:
    """What the folder keeps of how it was learnt."""
    try:
        return json.loads(((model.folder or Path()) / "diptych" / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


__all__ = ["MemoryAudit", "audit_privacy", "plant"]

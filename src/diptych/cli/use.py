"""Commands that use a model: `next`, `fill`, `predict`, `evaluate`, `export`, `report`, `models`."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.messages import _

if TYPE_CHECKING:
    from diptych.ledger import Ledger

Folder = Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Top = Annotated[int, typer.Option(help="How many to show.")]
TABLES = {"classification": "label", "embedding": "score", "in-context": "label"}
"""What the task calls the column that `--label` names."""


def next_(model: Folder, text: Annotated[str, typer.Argument(help="The text so far.")], top: Top = 5, as_json: Json = False) -> None:
    """The most probable next tokens, with their probabilities."""
    from diptych import api

    _print_candidates([api.load(model).next(text, top)], as_json)


def fill(
    model: Folder, text: Annotated[str, typer.Argument(help="A text with [MASK] in it.")], top: Top = 5, as_json: Json = False
) -> None:
    """The most probable tokens for each blank."""
    from diptych import api

    _print_candidates(api.load(model).fill(text, top), as_json)


def predict(
    model: Folder,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts, or a question and its text; without any, one a line from standard input.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="A table or text file to read them from.")] = None,
    column: Annotated[str | None, typer.Option("--text", help="The column that holds the text.")] = None,
    out: Annotated[str | None, typer.Option(help="Write JSON lines to this file.")] = None,
    as_json: Json = False,
) -> None:
    """What the model says of each text, in their order: its label, the stretches that it marks, the answer to a question."""
    from diptych import api, runtime
    from diptych.ledger import Ledger

    found = api.load(model)
    ledger = Ledger()
    if api.task_of(found) == "answering":
        given: Iterator[Any] = _questions(texts, file, ledger)
    else:
        given = _inputs(texts, file, column, _pair_column(found.folder), ledger)
    inputs, again = tee(given)
    pairs = zip(again, found.predictions(inputs, ledger), strict=True)
    if out is not None:
        lines = (json.dumps({"text": text, **each.to_json()}, ensure_ascii=False) + "\n" for text, each in pairs)
        count = runtime.write_lines(out, lines)
        print(_("{count:,} predictions written to {out}").format(count=count, out=out))
    else:
        for text, each in pairs:
            print(json.dumps({"text": text, **each.to_json()}, ensure_ascii=False) if as_json else f"{each}\t{text}")
    print_ledger(ledger)


def evaluate(
    model: Folder,
    data: Annotated[str, typer.Argument(help="Text for a language model, a table with labels for a classifier.")],
    task: Annotated[str | None, typer.Option(help="The task; None for what the model's head does.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    threshold: Annotated[float | None, typer.Option(help="How probable a label must be; of two classes, the positive one.")] = None,
    positive: Annotated[str | None, typer.Option(help="Of two classes the positive one; the last where it is not named.")] = None,
    also: Annotated[list[str] | None, typer.Option(help="Other data to put beside it; may be given often.")] = None,
    by: Annotated[str | None, typer.Option(help="A column whose groups are scored one by one.")] = None,
    noise: Annotated[
        float | None, typer.Option(help="Make such a share of the characters wrong and see what is lost.", min=0, max=1)
    ] = None,
    shots: Annotated[int | None, typer.Option(help="In-context: so many examples stand in the prompt.", min=0)] = None,
    limit: Annotated[int | None, typer.Option(help="Minimal pairs, last words, in-context: ask only so many.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Scores on data that the model was not trained on, with 95 % intervals."""
    from diptych import api
    from diptych.report.terminal import print_table
    from diptych.tasks import PRETRAINING

    found = api.load(model)
    name = task or api.task_of(found)
    columns = {"column": text} if name in PRETRAINING else {"text": text, TABLES[name]: label} if name in TABLES else {}
    columns |= {"shots": shots, "limit": limit, "threshold": threshold, "positive": positive}
    settings = {key: value for key, value in columns.items() if value is not None}
    if also or by is not None or noise is not None:
        _print_generalization(found, name, data, {"also": also or [], "by": by, "noise": noise}, settings, as_json=as_json)
        return
    scores = api.evaluate(found, name, data, **settings)
    if as_json:
        parts = {"parts": {part: each.to_json() for part, each in scores.parts.items()}} if scores.parts else {}
        print(json.dumps({**scores.to_json(), **parts}, ensure_ascii=False))
    else:
        print_table([(model, scores), *scores.parts.items()])
    print_ledger(scores.ledger)


def compare(
    first: Annotated[str, typer.Argument(help="A model folder.")],
    second: Annotated[str, typer.Argument(help="Another one, fine-tuned for the same task.")],
    data: Annotated[str, typer.Argument(help="Examples with their answers, which neither was trained on.")],
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    as_json: Json = False,
) -> None:
    """Whether one of two models is better on the same examples, by a paired test.

    Example: `diptych compare my-classifier small-classifier test.csv`
    """
    from diptych import api
    from diptych.report.terminal import print_table

    columns = {name: value for name, value in (("text", text), ("label", label)) if value is not None}
    found = api.compare(first, second, data, **columns)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        print_table(list(zip(found.names, found.scores, strict=True)))
        print(found.verdict())
    print_ledger(found.scores[0].ledger)


def export(
    model: Folder,
    out: Annotated[str, typer.Option(help="The file to write.")],
    to: Annotated[str, typer.Option(help="gguf, for llama.cpp and what builds on it.")] = "gguf",
    type_: Annotated[str, typer.Option("--type", help="How the weights are kept: f32, f16 or q8_0.")] = "f32",
    as_json: Json = False,
) -> None:
    """A model with its tokenizer as one file for another program."""
    from diptych import api
    from diptych.ledger import Ledger

    ledger = Ledger()
    path = api.export(model, out, to=to, type=type_, ledger=ledger)
    size = path.stat().st_size
    if as_json:
        print(json.dumps({"out": str(path), "bytes": size, "ledger": ledger.to_json()}, ensure_ascii=False))
    else:
        print(_("{path} written, {megabytes:,.1f} MB").format(path=path, megabytes=size / 1e6))
    print_ledger(ledger)


def report(model: Folder, as_json: Json = False) -> None:
    """Where the report of a trained model lies."""
    from diptych.errors import UsageError

    path = Path(model) / "diptych" / "report.html"
    if not path.exists():
        raise UsageError("E701", path=model)
    print(json.dumps({"report": str(path)}, ensure_ascii=False) if as_json else path)


def models(pattern: Annotated[str, typer.Argument(help='A pattern such as "gpt-*".')] = "*", as_json: Json = False) -> None:
    """The presets and installed models, with their sizes."""
    from diptych import api
    from diptych.config import nearest
    from diptych.errors import ModelError
    from diptych.presets import list_presets, num_parameters, preset_config

    if not api.models(pattern):
        raise ModelError("E305", name=pattern, hint=nearest(pattern, api.models()))
    rows = []
    for name in api.models(pattern):
        if name in list_presets():
            config = preset_config(name)
            sizes = {"layers": config.num_layers, "hidden": config.hidden_size, "context": config.context_length}
            rows.append({"name": name, "parameters": num_parameters(config), **sizes})
        else:
            rows.append({"name": name})
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        if "layers" in row:
            about = _("{parameters:>11,} parameters, {layers} layers of {hidden}, context {context}").format(**row)
        else:
            about = _("an installed model")
        print(f"{row['name']:26} {about}")


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command("next")(next_)
    app.command()(fill)
    app.command()(predict)
    app.command()(evaluate)
    app.command()(compare)
    app.command()(export)
    app.command()(report)
    app.command()(models)


def _inputs(
    texts: list[str] | None, file: str | None, column: str | None, pair: str | None, ledger: "Ledger"
) -> Iterator[str | tuple[str, str]]:
    if file is not None:
        from diptych.errors import DataError
        from diptych.text.corpus import read_table
        from diptych.text.tables import guess_text_column

        for row in read_table(file, ledger):
            column = column or guess_text_column([row.fields], row.where)
            wanted = [column] if pair is None else [column, pair]
            for name in wanted:
                if name not in row.fields:
                    raise DataError("E103", where=row.where, column=name, columns=", ".join(map(str, row.fields)))
            found = ["" if row.fields[name] is None else str(row.fields[name]) for name in wanted]
            yield found[0] if pair is None else (found[0], found[1])
    elif texts:
        yield from texts
    else:
        yield from (line.rstrip("\n") for line in sys.stdin)


def _questions(texts: list[str] | None, file: str | None, ledger: "Ledger") -> Iterator[Sequence[str]]:
    """Questions with their texts: of a file, one after the other as arguments, or a line each with a tab between the two."""
    if file is not None:
        from diptych.tasks.answering import Answering, AnsweringSettings

        task = Answering(AnsweringSettings())
        yield from task.inputs(task.read(file, ledger)[0])
    elif texts:
        yield from (tuple(texts[at : at + 2]) for at in range(0, len(texts), 2))
    else:
        yield from (tuple(line.rstrip("\n").split("\t", 1)) for line in sys.stdin)


def _pair_column(folder: Path | None) -> str | None:
    """The column of the second text, where the model was fine-tuned on pairs."""
    try:
        facts = json.loads(((folder or Path()) / "diptych" / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (facts.get("columns") or {}).get("pair")


def print_ledger(ledger: "Ledger") -> None:
    """What was cut or dropped, on stderr: the answers alone are on stdout."""
    for line in ledger.lines():
        print(f"  {line}", file=sys.stderr)


def _print_generalization(model: Any, task: str, data: str, beside: dict[str, Any], settings: dict[str, Any], *, as_json: bool) -> None:
    from diptych.generalizing import generalize
    from diptych.report.terminal import print_rows

    found = generalize(model, data, task=task, **beside, **settings)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        for table in found.tables():
            print_rows(table)
            print()
        for caveat in found.caveats():
            print(caveat)
    print_ledger(found.ledger)


def _print_candidates(places: list, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                [[{"token": c.token, "probability": c.probability, "id": c.id} for c in place] for place in places], ensure_ascii=False
            )
        )
        return
    for number, place in enumerate(places, 1):
        if len(places) > 1:
            print(_("blank {number}:").format(number=number))
        for candidate in place:
            print(f"{candidate.probability:8.4f}  {candidate.token!r}")

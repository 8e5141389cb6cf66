"""Commands that make a model smaller: `compress quantize`."""

import json
from typing import Annotated, Any

import typer

from diptych.cli.use import TABLES, Folder, Json, print_ledger


def quantize(
    model: Folder,
    out: Annotated[str, typer.Option(help="The folder to write.")],
    data: Annotated[str | None, typer.Option(help="Text or a table that both are scored on.")] = None,
    task: Annotated[str | None, typer.Option(help="The task; None for what the model's head does.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    as_json: Json = False,
) -> None:
    """A model with its matrices in eight bits, if it is faster so on this machine; size, speed and scores before and after.

    Example: `diptych compress quantize my-classifier --out small-classifier --data test.csv`
    """
    from diptych import api
    from diptych.ledger import Ledger
    from diptych.report.terminal import print_table
    from diptych.tasks import PRETRAINING

    found = api.load(model)
    name = task or api.task_of(found)
    columns: dict[str, Any] = {"column": text} if name in PRETRAINING else {"text": text, TABLES.get(name, "label"): label}
    ledger = Ledger()
    given = {key: value for key, value in columns.items() if value is not None}
    result = api.quantize(found, out, data, task=task, ledger=ledger, **given)
    if as_json:
        print(json.dumps({"out": out, **result.to_json()}, ensure_ascii=False))
    else:
        print(result)
        if result.before.scores is not None and result.after.scores is not None:
            print_table([(model, result.before.scores), (out, result.after.scores)])
    print_ledger(ledger)


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    compress = typer.Typer(no_args_is_help=True, help="Makes a model smaller.")
    compress.command("quantize")(quantize)
    app.add_typer(compress, name="compress")

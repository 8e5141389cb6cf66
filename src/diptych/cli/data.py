"""Commands for examples before a model learns from them: `data check`."""

import json
from typing import Annotated

import typer

from diptych.messages import _


def check(
    file: Annotated[str, typer.Argument(help="A table, or a file of tagged text.")],
    task: Annotated[str, typer.Option(help="What they are to teach: classification, ner, qa, seq2seq …")] = "classification",
    test: Annotated[str | None, typer.Option(help="The examples to test on: texts in both are counted.")] = None,
    base: Annotated[str | None, typer.Option(help="A model, to count the texts longer than its context.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is wrong with examples, before anything is trained on them.

    Example: `diptych data check tickets.csv --test new-tickets.csv --base minilm`
    """
    from diptych.checking import check_data

    columns = {name: value for name, value in (("text", text), ("label", label)) if value is not None}
    ledger = check_data(file, task, test=test, base=base, **columns)
    if as_json:
        print(json.dumps(ledger.to_json(), ensure_ascii=False))
        return
    for line in ledger.lines():
        print(line)
    if all(what == "rows read" for _stage, what, entry in ledger if entry.count):
        print(_("Nothing was found."))


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    data = typer.Typer(help="Look for defects in examples.", no_args_is_help=True)
    data.command()(check)
    # Without a callback a group of one command would be that command.
    data.callback()(lambda: None)
    app.add_typer(data, name="data")

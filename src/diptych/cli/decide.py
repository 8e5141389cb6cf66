"""The command that says which classifier to ship."""

import json
from typing import Annotated

import typer


def decide(
    data: Annotated[str, typer.Argument(help="A table of texts with a label each.")],
    base: Annotated[list[str] | None, typer.Option(help="What to start from: minilm, a folder, or a preset such as bilstm-mini.")] = None,
    minutes: Annotated[float, typer.Option(help="About how long it may take in all.", min=0.05)] = 5.0,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    test: Annotated[str | None, typer.Option(help="Ask about the rows of this table in place of a share of the other.")] = None,
    leave_out: Annotated[str | None, typer.Option(help="Leave each group of this column out in turn: how well it carries over.")] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Also learn from a half, a quarter … of the labels.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed splits otherwise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """TF-IDF, frozen embeddings and fine-tuning side by side within minutes, and in one sentence which of them to ship.

    Example: `diptych decide tickets.csv`
    """
    from diptych.cli.use import print_ledger
    from diptych.deciding import decide as decide_on
    from diptych.report.terminal import print_rows
    from diptych.training.progress import display

    settings = {name: value for name, value in (("text", text), ("label", label), ("test", test)) if value is not None}
    listener = display("quiet" if as_json else "auto")
    try:
        found = decide_on(
            data, base=base or "minilm", minutes=minutes, leave_out=leave_out, curve=curve, seed=seed, listener=listener, **settings
        )
    finally:
        listener.close()
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        for table in (found.table(), found.group_table() if found.groups else [], found.curve_table()):
            if table:
                print_rows(table)
                print()
        print("\n".join([*found.notes, found.verdict()]))
    print_ledger(found.ledger)


def add_to(app: typer.Typer) -> None:
    """Hang this command in."""
    app.command()(decide)

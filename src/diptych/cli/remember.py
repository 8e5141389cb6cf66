"""Commands that ask what a model remembers: `audit privacy`, and `audit plant` for what is asked for later."""

import json
from typing import Annotated

import typer

from diptych.messages import _


def privacy(
    model: Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")],
    members: Annotated[str | None, typer.Option(help="Texts that it was trained on; left out, those of its recipe.")] = None,
    others: Annotated[str | None, typer.Option(help="Texts that it was not trained on; left out, those that its recipe held out.")] = None,
    reference: Annotated[str | None, typer.Option(help="A model of the same task that has not seen them.")] = None,
    canaries: Annotated[str | None, typer.Option(help="The file that diptych audit plant wrote.")] = None,
    candidates: Annotated[int, typer.Option(help="Among so many the secret of a canary is ranked.", min=2)] = 1024,
    limit: Annotated[int, typer.Option(help="At most so many texts of a side.", min=20)] = 2000,
    delta: Annotated[float | None, typer.Option(help="Of the bound for ε; left out, the promised one.")] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Print texts that were given away.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed draws the same texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What can be told from a model about its training texts, beside what was promised; it goes into the model card.

    Example: `diptych audit privacy my-classifier`
    """
    from diptych.remembering import audit_privacy

    told = {"candidates": candidates, "limit": limit, "delta": delta, "shows_text": show_text, "seed": seed}
    found = audit_privacy(model, members, others, reference=reference, canaries=canaries or (), **told)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    print(found)
    for text in found.extraction.examples if found.extraction is not None else ():
        print(f"  {text}")
    for line in found.ledger.lines():
        print(line)


def plant(
    source: Annotated[str, typer.Argument(help="The table or text that a model will be trained on.")],
    out: Annotated[str, typer.Option(help="Where the copy with canaries goes, as JSON lines.")],
    count: Annotated[int, typer.Option(help="So many canaries.", min=1)] = 10,
    times: Annotated[int, typer.Option(help="How often each of them is planted.", min=1)] = 1,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed plants the same.")] = 0,
) -> None:
    """Plant secrets in a copy of a table, to ask a model for them when it was trained on it.

    Example: `diptych audit plant notes.csv --out planted.jsonl`
    """
    from diptych import remembering

    for path in remembering.plant(source, out, count=count, times=times, text=text, label=label, seed=seed):
        print(_("{path} written").format(path=path))


def add_to(app: typer.Typer) -> None:
    """Hang these commands in the group of audits, which is made where there is none."""
    group = next((each.typer_instance for each in app.registered_groups if each.name == "audit"), None)
    if group is None:
        group = typer.Typer(help="What a model should not have learnt.", no_args_is_help=True)
        app.add_typer(group, name="audit")
    group.command()(privacy)
    group.command()(plant)

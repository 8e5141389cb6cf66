"""Commands that look for what a model should not have learnt: `audit bias`."""

import json
from typing import Annotated, Any

import typer

from diptych.messages import _


def bias(
    model: Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")],
    data: Annotated[str | None, typer.Argument(help="Labelled texts for a classifier; text of any kind for another model.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Which groups: gender, names or regions; may be given often; left out, all.")
    ] = None,
    crows_pairs: Annotated[str | None, typer.Option(help="The file of CrowS-Pairs.")] = None,
    weat: Annotated[str | None, typer.Option(help="A file or a folder of WEAT and SEAT tests.")] = None,
    winobias: Annotated[str | None, typer.Option(help="The folder of WinoBias.")] = None,
    screen: Annotated[
        str | None, typer.Option(help="A classifier of offensive language, for what a model that writes goes on with.")
    ] = None,
    offensive: Annotated[list[str] | None, typer.Option(help="A label of it that stands for offensive; may be given often.")] = None,
    each: Annotated[int, typer.Option(help="So many texts are written to each prompt.", min=1)] = 5,
    remedy: Annotated[str | None, typer.Option(help="Train it again with counterfactual texts into this folder, and compare.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many texts are varied.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="The same seed draws the same texts.")] = 0,
    out: Annotated[str | None, typer.Option(help="Write a page with pictures to this file; it needs no network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whom a model treats unfairly: the corpus first, then the model, each number with an interval; it goes into the model card.

    Example: `diptych audit bias my-classifier reviews.csv --out bias.html`
    """
    from diptych.auditing import audit_bias
    from diptych.text.people import AXES

    columns: dict[str, Any] = {name: value for name, value in (("text", text), ("label", label)) if value is not None}
    found = audit_bias(
        model,
        data,
        axes=axis or tuple(AXES),
        crows_pairs=crows_pairs,
        weat=weat,
        winobias=winobias,
        screen_with=screen,
        offensive=offensive or (),
        each=each,
        remedy=remedy,
        limit=limit,
        seed=seed,
        **columns,
    )
    if out is not None:
        found.save(out)
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else found)
    if as_json:
        return
    for line in found.ledger.lines():
        print(line)
    if out is not None:
        print(_("{path} written").format(path=out))


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    audit = typer.Typer(help="What a model should not have learnt.", no_args_is_help=True)
    audit.command()(bias)
    # Without a callback a group of one command would be that command.
    audit.callback()(lambda: None)
    app.add_typer(audit, name="audit")

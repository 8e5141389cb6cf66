"""Commands that choose among what there is: `rescore` and `recommend`."""

import json
from typing import Annotated

import typer

from diptych.cli.use import print_ledger
from diptych.messages import _

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def rescore(
    model: Annotated[str, typer.Argument(help="A language model's folder, or the name of an installed one.")],
    lists: Annotated[str, typer.Argument(help="JSON lines of hypotheses with their scores, and references where they are known.")],
    dev: Annotated[str | None, typer.Option(help="Lists to choose the weight on; without, each half is rescored by the other.")] = None,
    weight: Annotated[float | None, typer.Option(help="How much the language model counts; nothing is chosen then.")] = None,
    bonus: Annotated[float, typer.Option(help="What each word more is worth, beside --weight.")] = 0.0,
    out: Annotated[str | None, typer.Option(help="Write the best texts to this file, one a line.")] = None,
    as_json: Json = False,
) -> None:
    """The best of each list of hypotheses, of a recognizer or a translator, for a language model as well.

    Example: `diptych rescore my-gpt nbest.jsonl --dev dev.jsonl --out best.txt`
    """
    from diptych import runtime
    from diptych.report.terminal import print_table
    from diptych.rescoring import rescore as choose

    found = choose(model, lists, dev=dev, weight=weight, bonus=bonus)
    if out is not None:
        runtime.write_lines(out, (" ".join(text.splitlines()) + "\n" for text in found.texts))
    if as_json:
        print(json.dumps({**found.to_json(), "texts": found.texts}, ensure_ascii=False))
    else:
        if out is None:
            for text in found.texts:
                print(text)
        for mixture in found.mixtures:
            print(_("weight {weight:.3g}, bonus {bonus:.3g}").format(weight=mixture.weight, bonus=mixture.bonus))
        print_table([(system.name, system.scores) for system in found.systems])
        print(found.verdict())
    print_ledger(found.ledger)


def recommend(
    items: Annotated[str, typer.Argument(help="A table of items: an identity and a text for each.")],
    like: Annotated[list[str] | None, typer.Option(help="The identity of an item to find others like. May be given often.")] = None,
    choices: Annotated[str | None, typer.Option(help="A table of user, item and time.")] = None,
    user: Annotated[str | None, typer.Option(help="Recommend by what this user chose.")] = None,
    model: Annotated[str, typer.Option(help="The model that makes the vectors.")] = "minilm",
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="The column of the identity.")] = None,
    top: Annotated[int, typer.Option(help="How many to recommend.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """Items like one, or like those that a user chose. With choices and no user: how much of what was chosen later is found.

    Example: `diptych recommend books.csv --choices loans.csv --user 17`
    """
    from diptych.ledger import Ledger
    from diptych.report.terminal import print_table
    from diptych.searching import judge_recommendations
    from diptych.searching import recommend as find

    ledger = Ledger()
    if choices is not None and user is None and not like:
        found = judge_recommendations(items, choices, model=model, text=text, identity=identity, top=top, ledger=ledger)
        if as_json:
            print(json.dumps({system.name: system.scores.to_json() for system in found.systems}, ensure_ascii=False))
        else:
            print_table([(system.name, system.scores) for system in found.systems])
            print(found.verdict())
    else:
        for each in find(
            items, like=like or None, choices=choices, user=user, model=model, text=text, identity=identity, top=top, ledger=ledger
        ):
            print(json.dumps(each.to_json(), ensure_ascii=False) if as_json else f"{each.score:.3f}  {each.item}  {each.text}")
    print_ledger(ledger)


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(rescore)
    app.command()(recommend)

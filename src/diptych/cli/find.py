"""Commands that find: `search` and `ask`."""

import json
import sys
from typing import Annotated, Any

import typer

from diptych.cli.use import print_ledger
from diptych.messages import _

Texts = Annotated[str, typer.Argument(help="A folder or a file of texts.")]
Index = Annotated[str | None, typer.Option(help="The folder that keeps the index; one in the cache where none is named.")]
Method = Annotated[str, typer.Option(help="vectors, by meaning; or words, by the words that are shared (BM25).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def search(
    source: Texts,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    model: Annotated[str, typer.Option(help="The model that makes the vectors.")] = "minilm",
    index: Index = None,
    top: Annotated[int, typer.Option(help="How many to show.", min=1)] = 5,
    method: Method = "vectors",
    as_json: Json = False,
) -> None:
    """The passages of a folder that come nearest to a question, with file and line; the index is kept and brought up to date."""
    from diptych.ledger import Ledger
    from diptych.searching import search as find

    ledger = Ledger()
    hits = find(source, query, model=model, index=index, top=top, method=_method(method), ledger=ledger)
    for number, hit in enumerate(hits, 1):
        if as_json:
            print(json.dumps(hit.to_json(), ensure_ascii=False))
        else:
            print(f"[{number}] {hit.score:.3f}  {hit.where}\n{hit.text}\n")
    if not hits:
        print(_("Nothing was found."), file=sys.stderr)
    print_ledger(ledger)


def ask(
    source: Texts,
    question: Annotated[str, typer.Argument(help="What to answer.")],
    model: Annotated[str, typer.Option(help="The model that answers.")] = "smollm2",
    embedder: Annotated[str, typer.Option(help="The model that makes the vectors.")] = "minilm",
    index: Index = None,
    top: Annotated[int, typer.Option(help="How many passages to show the model.", min=1)] = 4,
    method: Method = "vectors",
    max_new_tokens: Annotated[int, typer.Option(help="Write at most so many tokens.")] = 128,
    as_json: Json = False,
) -> None:
    """An answer from a folder of documents, with the passages that it was made from."""
    from diptych.ledger import Ledger
    from diptych.searching import ask as answer

    ledger = Ledger()
    options: dict[str, Any] = {"model": model, "embedder": embedder, "index": index, "top": top, "max_new_tokens": max_new_tokens}
    found = answer(source, question, method=_method(method), ledger=ledger, **options)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        print(found.text + "\n")
        for number, hit in enumerate(found.passages, 1):
            print(f"[{number}] {hit.where}")
    print_ledger(ledger)


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(search)
    app.command()(ask)


def _method(name: str) -> Any:
    from diptych.errors import RecipeError

    if name not in ("vectors", "words"):
        raise RecipeError("E403", where="search", key="method", value=name, problem="vectors, words")
    return name

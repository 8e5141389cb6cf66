"""`pull` and `convert`: a model to start from, fetched from the hub or freed from a pickle."""

import json
import sys
from typing import Annotated

import typer

from diptych.messages import _

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def pull(
    name: Annotated[str, typer.Argument(help="A model of the hub, OWNER/MODEL, or a folder to copy.")],
    out: Annotated[str | None, typer.Option(help="The folder to write to; the last part of the name where it is not given.")] = None,
    revision: Annotated[str, typer.Option(help="A branch, a tag or a commit.")] = "main",
    as_json: Json = False,
) -> None:
    """Fetch a model from the Hugging Face hub or the mirror that HF_ENDPOINT names: safetensors alone, checked.

    Example: `diptych pull google-bert/bert-base-chinese --out bert-chinese`
    """
    from diptych.hub import pull as fetch

    folder = fetch(name, out, revision=revision, tell=lambda line: print(line, file=sys.stderr))
    print(
        json.dumps({"folder": str(folder)}, ensure_ascii=False)
        if as_json
        else _("{name} lies in {folder}").format(name=name, folder=folder)
    )


def convert(
    folder: Annotated[str, typer.Argument(help="A folder with pytorch_model.bin.")],
    out: Annotated[str, typer.Option(help="The folder to write to.")],
    as_json: Json = False,
) -> None:
    """Write a folder with pickled weights anew, with safetensors, by a loader that builds tensors and nothing else."""
    from diptych.formats.pickles import convert as rewrite

    target = rewrite(folder, out)
    print(
        json.dumps({"folder": str(target)}, ensure_ascii=False)
        if as_json
        else _("{name} lies in {folder}").format(name=folder, folder=target)
    )


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(pull)
    app.command()(convert)

"""`diptych`: the commands, and the one place where an error becomes a message.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import io
import json
import os
import sys
from typing import Annotated, Any

import typer

from diptych.cli import text, train, use
from diptych.messages import _, set_language

app = typer.Typer(
    name="diptych",
    help="From your own text, English or Chinese, to your own language model on the machine you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=False)
def main(
    lang: Annotated[str | None, typer.Option(help="The language of messages and reports: en or zh.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.", is_eager=True)] = False,
) -> None:
    """From your own text, English or Chinese, to your own language model on the machine you have."""
    if lang is not None:
        os.environ["DIPTYCH_LANG"] = lang
    set_language(lang)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where the demo's models and report go.")] = "diptych-demo",
    minutes: Annotated[float, typer.Option(help="About how long it may take.")] = 8.0,
) -> None:
    """The main job on embedded data: a GPT, a Chinese BERT, an English BERT; about eight minutes, no network."""
    from diptych.demo import run_demo

    run_demo(out, minutes)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """What this machine is, how fast it is, what is installed and what is missing."""
    from diptych.doctor import checks

    found = checks()
    if as_json:
        print(json.dumps([{"what": what, "finding": finding, "ok": ok} for what, finding, ok in found], ensure_ascii=False))
        return
    width = max(len(what) for what, _finding, _ok in found)
    for what, finding, ok in found:
        print(f"{'  ' if ok else '! '}{what:{width}}  {finding}")


text.add_to(app)
train.add_to(app)
use.add_to(app)


def run(arguments: list[str] | None = None) -> None:
    """The entry point: run a command, and turn what goes wrong into a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--version"]:
        from diptych import __version__

        print(f"diptych {__version__}")
        return
    try:
        app(given, standalone_mode=False)
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Print what a person can act on; what nobody foresaw keeps its traceback."""
    from click.exceptions import Abort, ClickException, Exit

    from diptych.errors import DiptychError

    if isinstance(error, Exit):
        return error.exit_code
    if isinstance(error, Abort):
        return 130
    if isinstance(error, ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, DiptychError):
        print(error, file=sys.stderr)
        return 1
    if isinstance(error, BrokenPipeError):
        return 0
    raise error


def emit(data: Any) -> None:
    """Print one JSON value on a line of its own."""
    print(json.dumps(data, ensure_ascii=False))


__all__ = ["_", "app", "emit", "run"]

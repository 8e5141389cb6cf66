"""`diptych`: the commands, and the one place where an error becomes a message.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import io
import json
import os
import sys
from typing import Annotated

import typer
from typer.main import get_command

from diptych import runtime
from diptych.cli import audit, choose, compress, data, decide, fetch, find, plan, remember, serve, speech, text, train, trust, use, write
from diptych.errors import DiptychError, of_system
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


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from diptych import __version__

        print(f"diptych {__version__}")
        raise typer.Exit


@app.callback()
def main(
    lang: Annotated[str | None, typer.Option(help="The language of messages and reports: en or zh.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)] = False,
) -> None:
    """From your own text, English or Chinese, to your own language model on the machine you have."""
    if lang is not None:
        os.environ["DIPTYCH_LANG"] = lang
    set_language(lang)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where the demo's models and report go.")] = "diptych-demo",
    minutes: Annotated[float, typer.Option(help="About how long it may take.")] = 7.0,
) -> None:
    """The main job on embedded data: a GPT, a Chinese BERT, an English BERT; less than ten minutes, no network."""
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
    from diptych.report.terminal import width

    widest = max(width(what) for what, _finding, _ok in found)
    for what, finding, ok in found:
        print(f"{'  ' if ok else '! '}{what}{' ' * (widest - width(what))}  {finding}")


text.add_to(app)
data.add_to(app)
train.add_to(app)
decide.add_to(app)
plan.add_to(app)
fetch.add_to(app)
write.add_to(app)
use.add_to(app)
trust.add_to(app)
audit.add_to(app)
remember.add_to(app)
compress.add_to(app)
serve.add_to(app)
find.add_to(app)
choose.add_to(app)


def run(arguments: list[str] | None = None) -> None:
    """The entry point: run a command and exit; what a person can act on is said in a sentence.

    Typer exits by itself with 0, with 2 for flags that it does not know, with 130 for Ctrl-C and with 1 where a pipe was
    closed. What nobody foresaw keeps its traceback.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    given = sys.argv[1:] if arguments is None else arguments
    speech.listen(given)
    try:
        speech.translate(get_command(app))(given, prog_name="diptych")
    except DiptychError as error:
        print(_said_by(error), file=sys.stderr)
    except OSError as error:
        print(_said_by(of_system(error)), file=sys.stderr)
    sys.exit(1)


def _said_by(error: DiptychError) -> str:
    """The message, with the rank that has the problem where there are several."""
    return str(error) if runtime.speaks() else _("rank {rank}: {error}").format(rank=os.environ["RANK"], error=error)

"""The help of the commands in the user's language.

It is written where a command is, and typer has taken it before anybody knows the language; so it is translated in the tree
of commands, before one of them runs. What typer says by itself goes through the standard gettext.
"""

import gettext
import os
from collections.abc import Iterator, Sequence
from typing import Any

from diptych.messages import FOLDER, _, language, mark, set_language

TYPER_SAYS = (
    mark("Arguments"),
    mark("Options"),
    mark("Commands"),
    mark("Error"),
    mark("[default: {}]"),
    mark("[required]"),
    mark("Missing command."),
    mark("No such command {name!r}."),
    mark("Try [blue]'{command_path} {help_option}'[/] for help."),
)


def listen(arguments: Sequence[str]) -> None:
    """Speak the language that `--lang` names before the command line is taken apart: help and errors are shown before that."""
    named = None
    for item, following in zip(arguments, [*arguments[1:], ""]):
        if item == "--lang":
            named = following
        elif item.startswith("--lang="):
            named = item.partition("=")[2]
    set_language(named or None)
    os.environ["LANGUAGE"] = language()  # gettext asks the environment
    gettext.bindtextdomain("diptych", str(FOLDER))
    gettext.textdomain("diptych")


def translate(command: Any) -> Any:
    """`command` with its help, and that of the commands below it, in the user's language."""
    for owner, name in help_texts(command):
        setattr(owner, name, _(getattr(owner, name)))
    return command


def help_texts(command: Any, parent: Any = None) -> Iterator[tuple[Any, str]]:
    """(owner, attribute) of every text that the help of `command` and of those below it shows."""
    context = command.context_class(command, info_name=command.name, parent=parent, **command.context_settings)
    for owner in (command, *command.get_params(context)):
        for name in ("help", "short_help", "epilog"):
            if getattr(owner, name, None):
                yield owner, name
    for below in getattr(command, "commands", {}).values():
        yield from help_texts(below, context)

"""Gather the messages of src/diptych into the Chinese catalogue and compile it; `--check` says whether that is needed.

A message is the text in `_("…")` and `mark("…")`, the stage and the line of `ledger.add("…", "…")`, and the help of the
commands. The English text is the key: change it, and its translation has to be written again. Translations stand in
src/diptych/locale/zh/LC_MESSAGES/diptych.po, sorted, without line numbers and dates, so that a change shows as itself.
"""

import argparse
import ast
import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

SOURCE = Path(__file__).resolve().parents[1] / "src" / "diptych"
PO = SOURCE / "locale" / "zh" / "LC_MESSAGES" / "diptych.po"
MARKED = {"_": 1, "mark": 1, "add": 2}
"""Which calls hold messages, and in how many of their first arguments."""


class Chinese(Catalog):
    """A catalogue whose header says nothing that changes by itself."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [("Language", "zh"), ("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "8bit")]


def gather() -> set[str]:
    """Every message of the source."""
    return help_texts().union(*(marked(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")))


def marked(code: str) -> set[str]:
    """The messages in the calls of one file. Babel's own search misses those inside an f-string, so the syntax tree is searched."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            count = MARKED.get(name, 0)
            for argument in node.args[:count] if len(node.args) >= count else ():
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value:
                    found.add(argument.value)
    return found


def help_texts() -> set[str]:
    """What `--help` shows, of every command."""
    from typer.main import get_command

    from diptych.cli import speech
    from diptych.cli.main import app

    return {getattr(owner, name) for owner, name in speech.help_texts(get_command(app))}


def read(po: Path = PO) -> dict[str, str]:
    """The translations that are there: empty where one is still to be written."""
    if not po.exists():
        return {}
    with po.open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file) if message.id}


def render(translations: dict[str, str]) -> tuple[bytes, bytes]:
    """The catalogue as text (.po) and compiled (.mo)."""
    catalog = Chinese(locale="zh", fuzzy=False, header_comment="# The Chinese of Diptych's messages; see tools/messages.py.")
    for text, chinese in translations.items():
        catalog.add(text, chinese).flags.clear()
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, catalog, width=0, no_location=True, sort_output=True)
    write_mo(mo, catalog)
    return po.getvalue(), mo.getvalue()


def main(arguments: list[str] | None = None, po: Path = PO) -> int:
    """Update the catalogue, or with `--check` only look; the exit code: 0 when it is complete and up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the catalogue is stale or incomplete")
    is_check = parser.parse_args(arguments).check
    known = read(po)
    translations = {text: known.get(text, "") for text in gather()}
    files = dict(zip((po, po.with_suffix(".mo")), render(translations), strict=True))
    stale = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
    missing = sorted(text for text, chinese in translations.items() if not chinese)
    for text in missing:
        print(f"no Chinese for: {text!r}")
    print(f"{len(translations)} messages, {len(missing)} without Chinese, {len(known.keys() - translations)} no longer used")
    if is_check:
        for path in stale:
            print(f"{path.name} is stale: run `make messages`")
        return 1 if stale or missing else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[path])
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

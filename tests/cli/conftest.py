"""A small bilingual corpus, a small table, tiny trained models, and two ways to run a command: here and as a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import diptych as dt
from diptych.cli.main import run

ENGLISH = ["The cat sat on the mat.", "A dog ran over the hill.", "Rain fell on the town all day.", "She reads a book in the garden."]
CHINESE = ["今天天气很好，我们去公园散步。", "这家酒店很干净，早餐也不错。", "他每天早上跑步，然后去上班。", "图书馆里很安静，适合读书。"]
GOOD, BAD = ("good", "great", "好吃", "干净"), ("bad", "awful", "难吃", "很脏")
PLACES = ("food", "room", "菜", "房间")
TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list:
        """Each line of stdout as JSON: nothing else may stand there."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four documents in two languages, with an emoji, CRLF and an empty file."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        english = "\r\n".join(ENGLISH[(number + i) % 4] for i in range(5)) + f"\r\nNumber {number} 🙂\r\n"
        (folder / f"en{number}.txt").write_bytes(english.encode())
        chinese = "\n".join(CHINESE[(number + i) % 4] for i in range(5)) + f"\n第{number}篇\n"
        (folder / f"zh{number}.txt").write_text(chinese, encoding="utf-8")
    (folder / "empty.txt").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and sixty reviews whose first word gives their label away."""
    path = tmp_path_factory.mktemp("table") / "reviews.csv"
    rows = [
        (f"{word} {place} {number}", label)
        for number in range(5)
        for words, label in ((GOOD, "好评"), (BAD, "差评"))
        for word in words
        for place in PLACES
    ]
    path.write_text("review,stars\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def models(corpus: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a tiny GPT, a tiny BERT and a classifier that was fine-tuned from it."""
    os.environ.setdefault("DIPTYCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    folder = tmp_path_factory.mktemp("models")
    common = {"sizes": TINY, "tokenizer": {"vocab_size": 320}, "steps": 8, "precision": "float32"}
    dt.pretrain("gpt-tiny", corpus, out=folder / "gpt", **common)
    dt.pretrain("bert-tiny", corpus, out=folder / "bert", **common)
    dt.finetune(folder / "bert", table, out=folder / "classifier", steps=30, lr=3e-3, precision="float32")
    return {name: folder / name for name in ("gpt", "bert", "classifier")}


@pytest.fixture
def diptych(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Run a command in this process, in an empty folder: fast, and with all that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIPTYCH_LANG", "en")
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Ran]:
    """Run a command as a process of its own, the way a person does, with stdout and stderr apart."""

    def call(*arguments: object, stdin: bytes = b"", **environment: str) -> Ran:
        command = [sys.executable, "-c", "from diptych.cli.main import run; run()", *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=tmp_path, env={**os.environ, **environment}, timeout=240)
        return Ran(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))

    return call


@pytest.fixture
def tiny() -> list[str]:
    """Flags that make a training take a moment."""
    sizes = [part for name, value in TINY.items() for part in ("--set", f"model.sizes.{name}={value}")]
    return [*sizes, "--set", "model.tokenizer.vocab_size=320", "--steps", "4"]

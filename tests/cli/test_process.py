"""Commands as processes of their own: what a person really sees on stdout and stderr, in any locale, through any pipe."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import diptych as dt

HEAVY = ("torch", "sklearn", "matplotlib", "pandas", "transformers", "scipy")
PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOISE = ("Warning", "warn", "Traceback", "Glyph", "FutureWarning", "site-packages")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_quiet(text: str) -> bool:
    return not any(word in text for word in NOISE)


def test_importing_diptych_imports_nothing_heavy() -> None:
    out = python("import sys, diptych; diptych.set_language; diptych.DiptychError; print(*sys.modules)")
    assert not set(HEAVY) & set(out.split())


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom diptych.cli.main import run\ntry: run(['--help'])\nexcept SystemExit: pass\nprint('modules', *sys.modules)"
    out = python(code)
    assert "pretrain" in out and not set(HEAVY) & set(out.split("modules")[-1].split())


def test_a_refusal_imports_nothing_heavy() -> None:
    end = "except SystemExit as end: print('code', end.code, *sys.modules)"
    out = python(f"import sys\nfrom diptych.cli.main import run\ntry: run(['report', 'nowhere'])\n{end}")
    assert "code 1" in out and not set(HEAVY) & set(out.split())


@pytest.mark.slow
def test_using_a_model_leaves_torchs_compiler_out(models: dict[str, Path]) -> None:
    """It takes a second to import, and nobody asked for it."""
    code = f"import sys, diptych as dt; dt.load({str(models['gpt'])!r}).generate('The', 3); print(*sys.modules)"
    modules = python(code).split()
    assert "torch" in modules and not {"torch._dynamo", "sklearn.linear_model", "matplotlib"} & set(modules)


def test_a_training_shows_no_warning_of_a_dependency(shell: Callable, table: Path, models: dict[str, Path], tmp_path: Path) -> None:
    """The longest way through the dependencies: torch, tokenizers, scikit-learn, matplotlib with Chinese labels."""
    ran = shell("--lang", "zh", "finetune", table, "--base", models["bert"], "--steps", "4", "--out", "clf", "--json")
    assert ran.code == 0 and ran.err == "", "with --json even progress goes to stdout"
    assert ran.json[-1]["kind"] == "result" and len(ran.json) > 4
    assert "好评" in (tmp_path / "clf/diptych/report.html").read_text(encoding="utf-8")


def test_chinese_goes_in_and_out_where_the_locale_knows_ascii_alone(shell: Callable, models: dict[str, Path]) -> None:
    ran = shell("predict", models["classifier"], "--json", stdin="很好吃 🙂\r\ngood room\n".encode(), **PLAIN)
    assert ran.code == 0 and is_quiet(ran.err), ran.err
    assert [row["text"].rstrip("\r") for row in ran.json] == ["很好吃 🙂", "good room"]
    assert {row["label"] for row in ran.json} <= {"好评", "差评"}


def test_a_user_error_is_a_sentence_and_an_exit_code(shell: Callable) -> None:
    ran = shell("corpus", "stats", "不存在", **PLAIN)
    assert ran.code == 1 and ran.out == "" and ran.err.startswith("E101")
    assert is_quiet(ran.err) and len(ran.err.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGPIPE")
def test_a_closed_pipe_ends_a_command_quietly(models: dict[str, Path], table: Path, tmp_path: Path) -> None:
    """`diptych predict … | head -1`"""
    big = tmp_path / "big.csv"
    big.write_text("review\n" + "good food\n" * 20_000, encoding="utf-8")
    command = [sys.executable, "-c", "from diptych.cli.main import run; run()", "predict", str(models["classifier"]), "--file", str(big)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().count(b"\t") == 2
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=240) in (0, 1, 141) and error == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for a process alone")
def test_ctrl_c_saves_and_says_how_to_go_on(corpus: Path, tiny: list[str], tmp_path: Path) -> None:
    arguments = ["pretrain", str(corpus), "--base", "bert-tiny", "--out", "bert", *tiny[:-2], "--steps", "100000"]
    command = [sys.executable, "-c", "from diptych.cli.main import run; run()", *arguments, "--set", "train.evaluations=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True, encoding="utf-8")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    _out, error = process.communicate(timeout=240)
    lines += error.splitlines()
    assert process.returncode == 130, lines
    assert any("diptych pretrain bert/diptych/recipe.yaml --resume" in line for line in lines)
    starts = ("reading the text", "bert with", "step ", "Interrupted")
    assert all(line.startswith(starts) for line in lines), lines
    with pytest.raises(dt.DiptychError) as caught:
        dt.load(tmp_path / "bert")
    assert caught.value.code == "E318", "a run that is not finished is no model"

"""Everything a person can do wrong: each is a sentence with a code and a remedy, or a count, and never a traceback."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors import SafetensorError

import diptych as dt
from diptych.cli.main import run
from diptych.finetuning import finetune_recipe, read_parts
from diptych.ledger import Ledger
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build, load
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
COMMON = {"sizes": TINY, "tokenizer": {"vocab_size": 300}, "steps": 2, "precision": "float32"}
TEXTS = [f"The cat sat on mat {number}. 今天天气很好，第{number}天。🙂\r\n" for number in range(8)]
ROWS = [(f"{word} food {number}", label) for number in range(8) for word, label in (("good", "好评"), ("很脏", "差评"))]


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "gpt"
    dt.pretrain("gpt-tiny", TEXTS, out=folder, **COMMON)
    return folder


def refusal(call: Callable[[], Any], code: str) -> str:
    """What is said when `call` is refused: the code, what happened, and what to do, in two lines."""
    with pytest.raises(dt.DiptychError) as caught:
        call()
    said = str(caught.value)
    assert caught.value.code == code, said
    first, second = said.split("\n", 1)
    assert first.startswith(f"{code}  ") and second.strip(), "what happened, and what to do"
    assert not any(f"{{{name}}}" in said or f"{{{name}:" in said for name in caught.value.values), "every blank is filled in"
    return said


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestText:
    def test_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "empty" in refusal(lambda: dt.pretrain("gpt-tiny", tmp_path / "empty", **COMMON), "E102")

    def test_a_folder_without_any_kind_of_text(self, tmp_path: Path) -> None:
        write(tmp_path / "photos/cat.jpg", b"\xff\xd8\xff")
        assert ".txt" in refusal(lambda: dt.pretrain("gpt-tiny", tmp_path / "photos", **COMMON), "E102")

    def test_a_path_that_does_not_exist(self, tmp_path: Path) -> None:
        assert "gone" in refusal(lambda: dt.pretrain("gpt-tiny", tmp_path / "gone.txt", **COMMON), "E101")
        assert "gone" in refusal(lambda: dt.finetune("bert-tiny", str(tmp_path / "gone*.csv"), **COMMON), "E101")

    def test_a_binary_file_that_is_called_a_text_is_counted_and_skipped(self, tmp_path: Path) -> None:
        write(tmp_path / "notes/picture.txt", bytes(range(256)) * 20)
        with pytest.raises(dt.DiptychError) as caught:
            dt.pretrain("gpt-tiny", tmp_path / "notes", **COMMON)
        assert caught.value.code in ("E201", "E501")
        for number, text in enumerate(TEXTS):
            write(tmp_path / f"notes/{number}.txt", text)
        ledger = dt.pretrain("gpt-tiny", tmp_path / "notes", **COMMON).pretrained.ledger
        (entry,) = [entry for _stage, what, entry in ledger if "hold no text" in what]
        assert entry.count == 1 and "picture.txt" in entry.examples[0]

    def test_bytes_that_cannot_be_read_are_counted(self, tmp_path: Path) -> None:
        for number, text in enumerate(TEXTS):
            write(tmp_path / f"{number}.txt", text.encode() + (b"\xff\xfe broken" if number == 0 else b""))
        ledger = dt.pretrain("gpt-tiny", tmp_path, **COMMON).pretrained.ledger
        assert any("not valid text" in what and entry.count >= 1 and "0.txt" in entry.examples[0] for _stage, what, entry in ledger)

    def test_white_space_alone(self, tmp_path: Path) -> None:
        refusal(lambda: dt.pretrain("gpt-tiny", write(tmp_path / "white.txt", " \r\n\t\n\u3000"), **COMMON), "E201")
        refusal(lambda: dt.pretrain("gpt-tiny", ["", "  "], **COMMON), "E201")

    def test_a_column_that_does_not_exist(self, tmp_path: Path) -> None:
        table = write(tmp_path / "a.csv", "id,body\n" + "".join(f"{i},some text {i}\n" for i in range(9)))
        said = refusal(lambda: dt.pretrain("gpt-tiny", table, column="txt", **COMMON), "E103")
        assert "a.csv" in said and "id, body" in said

    def test_an_encoding_that_does_not_exist(self, tmp_path: Path) -> None:
        refusal(lambda: dt.pretrain("gpt-tiny", write(tmp_path / "a.txt", TEXTS[0]), encoding="utf-99", **COMMON), "E105")

    def test_a_line_that_is_no_json(self, tmp_path: Path) -> None:
        broken = write(tmp_path / "a.jsonl", '{"text": "one"}\n{"text": two}\n')
        assert "line 2" in refusal(lambda: dt.pretrain("gpt-tiny", broken, **COMMON), "E106")

    def test_half_an_emoji_in_json_is_learnt_around(self, tmp_path: Path) -> None:
        lines = [json.dumps({"text": text + "\ud83d", "label": str(number % 2)}) for number, text in enumerate(TEXTS)]
        path = write(tmp_path / "a.jsonl", "\n".join(lines))
        assert dt.pretrain("gpt-tiny", path, out=tmp_path / "gpt", **COMMON).generate("half \ud83d", 3) is not None
        model = dt.finetune("bert-tiny", path, out=tmp_path / "clf", **COMMON)
        assert len(model.predict(["half \ud83d", "whole"])) == 2


class TestTables:
    @pytest.mark.parametrize(
        ("content", "code", "told"),
        [
            ("", "E132", "no rows"),
            ("text,label\n", "E132", "no rows"),
            ("text,label\nonly this row here,pos\n", "E131", "pos"),
            ("text,label\none text,pos\nanother text,pos\n", "E131", "2 rows"),
            ("text,label\none text,pos\nanother text,\n", "E121", "line 3"),
            ("a,b\n1,2\n3,4\n5,2\n", "E134", "a, b"),
            ("number,label\n1,x\n2,y\n3,x\n4,y\n", "E134", "number"),
            ("review\njust one column of words\nand nothing else\n", "E134", "review"),
        ],
    )
    def test_a_table_that_cannot_be_learnt_from(self, tmp_path: Path, content: str, code: str, told: str) -> None:
        assert told in refusal(lambda: dt.finetune("bert-tiny", write(tmp_path / "a.csv", content), **COMMON), code)

    def test_a_column_that_does_not_exist_gets_the_nearest_name(self, tmp_path: Path) -> None:
        table = write(tmp_path / "a.csv", "review,stars\ngood food,1\nbad food,0\n")
        for columns, hint in (({"text": "reviw"}, "review"), ({"label": "start"}, "stars")):
            assert f'Did you mean "{hint}"' in refusal(lambda columns=columns: dt.finetune("bert-tiny", table, **columns, **COMMON), "E133")
        refusal(lambda: dt.finetune("bert-tiny", table, group="customer", **COMMON), "E133")

    def test_one_column_for_text_and_label(self, tmp_path: Path) -> None:
        table = write(tmp_path / "a.csv", "review,stars\ngood food,1\nbad food,0\n")
        assert "stars" in refusal(lambda: dt.finetune("bert-tiny", table, text="stars", label="stars", **COMMON), "E136")

    def test_labels_that_are_measurements(self, tmp_path: Path) -> None:
        rows = "".join(f"a house of {i} rooms,{i * 1037}\n" for i in range(500))
        said = refusal(lambda: dt.finetune("bert-tiny", write(tmp_path / "a.csv", "text,price\n" + rows), label="price", **COMMON), "E135")
        assert "500 different numbers in 500 rows" in said

    def test_many_labels_of_which_most_occur_once_are_counted(self) -> None:
        rows = [(f"text {number}", f"word {number}") for number in range(40)]
        ledger = dt.finetune("bert-tiny", rows, **COMMON).finetuned.ledger
        (entry,) = [entry for _stage, what, entry in ledger if "one example only" in what]
        assert (entry.count, entry.total) == (40, 40)

    def test_texts_that_are_numbers_are_learnt_from_on_demand_and_counted(self) -> None:
        rows = [{"code": str(number), "label": "ab"[number % 2]} for number in range(30)]
        ledger = dt.finetune("bert-tiny", rows, text="code", **COMMON).finetuned.ledger
        assert ledger.count("table", "texts that are nothing but a number") == 30

    def test_cells_that_are_missing_or_too_many_are_counted(self, tmp_path: Path) -> None:
        table = write(tmp_path / "a.csv", "text,label\ngood,a\n,b\nbad,b,extra\n" + "more words,a\nother words,b\n" * 3)
        ledger = Ledger()
        parts = read_parts(build({"model": {"preset": "bert-tiny"}, "task": {"name": "classification"}}), str(table), ledger)
        assert ledger.count("table", "rows without a text, dropped") == 1
        assert ledger.count("table", "rows with too many or too few cells") == 1
        assert len(parts.train) + len(parts.dev) + len(parts.test) == 4

    def test_a_frame_with_nan_and_none_and_na(self) -> None:
        frame = pd.DataFrame({"text": ["good", None, float("nan"), pd.NA, "bad"], "label": ["a", "b", "a", "b", "b"]}, dtype=object)
        ledger = dt.finetune("bert-tiny", frame, **COMMON).finetuned.ledger
        assert ledger.count("table", "rows without a text, dropped") == 3

    @pytest.mark.parametrize("data", [42, object(), [1, 2, 3], [("text", "label", "x", "y")], b"bytes", {1, 2}])
    def test_what_is_no_table_at_all(self, data: Any) -> None:
        refusal(lambda: dt.finetune("bert-tiny", data, **COMMON), "E107")

    def test_a_row_longer_than_the_context_is_cut_and_counted(self) -> None:
        rows = [*ROWS, ("long " * 100, "好评")]
        settings = {
            "model": {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}},
            "task": {"name": "classification", "long": "cut"},
        }
        done = finetune_recipe(build({**settings, "train": {"steps": 2}}), rows, listener=Several([]), hold_out=False)
        assert done.ledger.count("texts", "texts longer than the context, cut at the end") == 1
        assert done.ledger.count("texts", "tokens cut off") > 50

    def test_a_context_that_has_no_room_for_a_text(self) -> None:
        refusal(lambda: dt.finetune("bert-tiny", ROWS, max_length=2, **COMMON), "E403")
        with pytest.raises(dt.DiptychError):
            dt.finetune("bert-tiny", [(a, a, label) for a, label in ROWS], **{**COMMON, "sizes": {**TINY, "context_length": 2}})

    def test_a_label_that_training_never_saw_is_counted_and_missed(self, tmp_path: Path) -> None:
        write(tmp_path / "test.csv", "text,label\ngood food,好评\nso so,中评\n")
        done = dt.finetune("bert-tiny", ROWS, test=str(tmp_path / "test.csv"), **COMMON).finetuned
        assert any("not seen in training" in what and entry.count == 1 for _stage, what, entry in done.ledger)
        assert done.scores["accuracy"].value <= 0.5


class TestModelFolders:
    @pytest.fixture
    def copy(self, gpt: Path, tmp_path: Path) -> Path:
        return shutil.copytree(gpt, tmp_path / "copy")

    @pytest.mark.parametrize(("name", "code"), [("config.json", "E318"), ("model.safetensors", "E311")])
    def test_a_missing_file(self, copy: Path, name: str, code: str) -> None:
        (copy / name).unlink()
        refusal(lambda: dt.load(copy), code)

    def test_a_folder_that_is_no_model(self, tmp_path: Path) -> None:
        write(tmp_path / "notes/a.txt", "x")
        assert "config.json" in refusal(lambda: dt.load(tmp_path / "notes"), "E311")

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_file_that_was_cut_short(self, copy: Path, name: str, share: float) -> None:
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data[: int(len(data) * share)])
        said = refusal(lambda: dt.load(copy), "E202" if name == "tokenizer.json" else "E312")
        assert "copy" in said

    def test_a_folder_without_a_tokenizer_reads_numbers_but_no_text(self, copy: Path) -> None:
        for path in copy.glob("*token*.json"):
            path.unlink()
        refusal(lambda: dt.load(copy).generate("hi"), "E604")

    @pytest.mark.parametrize(
        ("name", "hint"), [("gpt-mni", "gpt-mini"), ("minillm", "minilm"), ("bert-smal", "bert-small"), ("something else", "Known are")]
    )
    def test_a_base_that_does_not_exist_gets_the_nearest_name(self, name: str, hint: str) -> None:
        for call in (lambda: dt.load(name), lambda: dt.pretrain(name, TEXTS, **COMMON), lambda: dt.finetune(name, ROWS, steps=1)):
            assert hint in refusal(call, "E308")

    def test_weights_that_nobody_has(self) -> None:
        for name in ("gpt-3", "GPT3"):
            refusal(lambda name=name: dt.load(name), "E307")


class TestRecipes:
    @pytest.mark.parametrize(
        ("change", "code", "told"),
        [
            ({"trian": {"steps": 1}}, "E402", 'Did you mean "train"'),
            ({"train": {"stepz": 1}}, "E402", 'Did you mean "steps"'),
            ({"model": {"preset": "gpt-tiny", "tokenizer": {"vocabsize": 9}}}, "E402", 'Did you mean "vocab_size"'),
            ({"task": {"name": "causal-lm", "held_ot": 0.1}}, "E402", 'Did you mean "held_out"'),
            ({"task": {"name": "casual-lm"}}, "E406", 'Did you mean "causal-lm"'),
            ({"task": {"text": "x"}}, "E405", "task.name"),
            ({"model": {"preset": "gpt-tiny", "base": "x"}}, "E403", "either"),
            ({"model": {}}, "E403", "either"),
            ({"train": {"steps": 1, "minutes": 2.0}}, "E403", "one budget"),
            ({"train": {"steps": "many"}}, "E403", "many"),
            ({"train": {"steps": 0}}, "E403", "steps"),
            ({"train": {"lr": -1.0}}, "E403", "lr"),
            ({"run": {"device": "tpu"}}, "E403", "tpu"),
            ({"train": 3}, "E403", "train"),
        ],
    )
    def test_a_recipe_that_is_wrong(self, change: dict, code: str, told: str) -> None:
        data = {"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm", "text": "x"}, **change}
        assert told in refusal(lambda: build(data), code)

    @pytest.mark.parametrize("content", ["", "- a\n- b\n", "model: {preset: gpt\n", "just words", b"\xff\xfe\x00bad", "a: &x [*x"])
    def test_a_file_that_is_no_recipe(self, tmp_path: Path, content: str | bytes) -> None:
        assert "r.yaml" in refusal(lambda: load(write(tmp_path / "r.yaml", content)), "E401")
        refusal(lambda: load(tmp_path / "gone.yaml"), "E401")
        refusal(lambda: load(tmp_path), "E401")

    def test_a_size_or_a_regime_or_a_device_that_does_not_exist(self) -> None:
        assert "hidden_size" in refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, sizes={"hiden_size": 8}, steps=1), "E306")
        refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, **{**COMMON, "sizes": {**TINY, "head_size": 15, "hidden_size": 15}}), "E301")
        assert "frozen" in refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, regime=["frozn"], **COMMON), "E407")
        import torch

        if not torch.cuda.is_available():
            assert "cpu" in refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, device="cuda", **COMMON), "E903")


class TestOut:
    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        write(tmp_path / "file", "mine")
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert str(out) in refusal(lambda out=out: dt.pretrain("gpt-tiny", TEXTS, out=out, **COMMON), "E904")
            refusal(lambda out=out: dt.finetune("bert-tiny", ROWS, out=out, **COMMON), "E904")
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Path, *arguments: Any, **options: Any) -> None:
            if self.is_relative_to(tmp_path):
                raise PermissionError(errno.EACCES, "Permission denied", str(self))
            make(self, *arguments, **options)

        make = Path.mkdir
        monkeypatch.setattr(Path, "mkdir", refuse)
        said = refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "sub" / "gpt", **COMMON), "E904")
        assert "Permission denied" in said

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything may be written by this user")
    def test_a_folder_that_really_may_not_be_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o500)
        refusal(lambda: dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "locked" / "gpt", **COMMON), "E904")

    def test_a_folder_of_somebody_else(self, tmp_path: Path) -> None:
        write(tmp_path / "mine/thesis.txt", "years of work")
        for switches in ({}, {"overwrite": True}, {"resume": True}):
            refusal(lambda switches=switches: dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "mine", **switches, **COMMON), "E413")
        assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"

    def test_a_refusal_comes_before_anything_is_read(self, gpt: Path, tmp_path: Path) -> None:
        """The text does not even exist, and still the folder is what is complained about."""
        refusal(lambda: dt.pretrain("gpt-tiny", tmp_path / "no text", out=gpt, **COMMON), "E411")
        refusal(lambda: dt.finetune("bert-tiny", tmp_path / "no.csv", out=gpt, **COMMON), "E411")


def recipe(out: Path, **train: Any):
    model = {"preset": "gpt-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}}
    run_settings = {"out": str(out), "precision": "float32", "checkpoint_steps": 2}
    return build({"model": model, "task": {"name": "causal-lm"}, "train": {"steps": 4, **train}, "run": run_settings})


class TestFullDisk:
    """No space left while saving: it is said where, nothing that was whole is touched, and the run can go on."""

    @pytest.mark.parametrize(
        "problem",
        [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device (os error 28)")],
        ids=["oserror", "safetensors"],
    )
    def test_while_the_model_is_saved(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
        out = tmp_path / "gpt"
        with monkeypatch.context() as full:
            full.setattr("diptych.formats.folder.save_file", _raising(problem))
            said = refusal(lambda: pretrain_recipe(recipe(out), TEXTS, listener=Several([])), "E902")
        assert str(out) in said
        assert not (out / "config.json").exists() and not (out / "model.safetensors").exists(), "half a model is no model"
        refusal(lambda: dt.load(out), "E318")
        done = pretrain_recipe(recipe(out), TEXTS, listener=Several([]), resume=True)
        assert done.outcome.steps == 4 and dt.load(out).generate("The", 2) is not None
        whole = tmp_path / "whole"
        pretrain_recipe(recipe(whole), TEXTS, listener=Several([]))
        assert (whole / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()

    def test_while_a_checkpoint_is_saved_the_run_goes_on_and_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        out = tmp_path / "gpt"
        full = _raising(OSError(errno.ENOSPC, "No space left on device"))
        monkeypatch.setattr("diptych.training.checkpoint.save_file", full)
        assert pretrain_recipe(recipe(out), TEXTS, listener=Several([])).outcome.steps == 4
        assert dt.load(out).generate("The", 2) is not None
        assert "E902" in (out / "diptych/metrics.jsonl").read_text(encoding="utf-8")

    def test_while_a_model_is_saved_over_an_older_one(self, gpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = shutil.copytree(gpt, tmp_path / "gpt")
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        model = dt.create("gpt-tiny", vocab_size=40, **TINY)
        monkeypatch.setattr("diptych.formats.folder.save_file", _raising(OSError(errno.ENOSPC, "No space left on device")))
        refusal(lambda: model.save(folder), "E902")
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["gpt"], "and nothing is left beside it"

    @pytest.mark.parametrize("place", ["numpy.save", "diptych.training.progress.Journal.tell", "diptych.report.report.render"])
    def test_anywhere_else_the_command_line_says_it_in_a_sentence(
        self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        text = write(tmp_path / "text.txt", "\n\n".join(TEXTS) + place)
        monkeypatch.setattr(place, _raising(OSError(errno.ENOSPC, "No space left on device", "/full")))
        sizes = [part for name, value in TINY.items() for part in ("--set", f"model.sizes.{name}={value}")]
        with pytest.raises(SystemExit) as ended:
            run(["pretrain", str(text), "--base", "gpt-tiny", "--steps", "1", "--out", str(tmp_path / "gpt"), *sizes])
        error = capsys.readouterr().err
        assert ended.value.code == 1 and "E902" in error and "Traceback" not in error


def _raising(problem: Exception) -> Callable[..., None]:
    def fail(*arguments: Any, **options: Any) -> None:
        raise problem

    return fail


@pytest.mark.skipif(sys.platform == "win32", reason="paths are text there")
def test_a_path_that_is_no_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    for number, text in enumerate(TEXTS):
        with open(folder + b"/%d.txt" % number, "wb") as file:
            file.write(text.encode())
    model = dt.pretrain("gpt-tiny", Path(os.fsdecode(folder)), out=tmp_path / "gpt", **COMMON)
    assert model.pretrained.outcome.steps == 2 and (tmp_path / "gpt/diptych/report.html").exists()

"""Distillation in one call: a teacher, a table or a text, and a student that is a folder like any other."""

import json

import pytest
import yaml

import diptych as dt
from diptych.cli.main import run
from diptych.distilling import distilled_parts, prompts_of, write_texts
from diptych.errors import TrainingError

ROWS = [(f"{'这家酒店很干净' if n % 2 else '太吵了，不好'}，room {n} 🙂\r\n", "good" if n % 2 else "坏") for n in range(40)]
FAST = {"precision": "float32", "steps": 6}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    settings = {"sizes": {"num_layers": 4, "hidden_size": 32, "context_length": 32}, "out": folder / "t", **FAST}
    dt.finetune("bert-tiny", ROWS, **settings)
    return folder / "t"


def test_half_the_layers_of_the_teacher_are_the_usual_student(teacher, tmp_path):
    student = dt.distill(teacher, ROWS, out=tmp_path / "s", relations=0.5, **FAST)
    assert student.config.num_layers == 2 and student.config.labels == dt.load(teacher).config.labels
    again = dt.load(tmp_path / "s")
    assert [each.label for each in again.predict(["很干净", "太吵"])] == [each.label for each in student.predict(["很干净", "太吵"])]
    kept = yaml.safe_load((tmp_path / "s" / "diptych" / "recipe.yaml").read_text(encoding="utf-8"))
    (regime,) = kept["train"]["regime"]
    assert regime["teacher"] == str(teacher) and regime["relations"] == 0.5 and regime["temperature"] == 2.0
    assert kept["model"]["layers"] == 2
    assert dt.run(kept | {"run": {**kept["run"], "out": None}}, ROWS).model.config.num_layers == 2


def test_another_shape_takes_the_teachers_tokenizer(teacher):
    student = dt.distill(teacher, ROWS, student="bert-tiny", layers=1, soft=0.0, relations=1.0, **FAST)
    assert student.config.num_layers == 1
    assert student.tokenizer.fingerprint() == dt.load(teacher).tokenizer.fingerprint()


def test_the_verb_writes_the_same_recipe(teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--student-layers", "3", "--temperature", "4", "--steps", "2", "--set", "train.regime.distilled.hidden=0.1"]
    with pytest.raises(SystemExit) as end:
        run(["distill", str(teacher), "rows.jsonl", "--out", "s", *flags])
    assert not end.value.code and "TF-IDF" in capsys.readouterr().out
    kept = yaml.safe_load((tmp_path / "s" / "diptych" / "recipe.yaml").read_text(encoding="utf-8"))
    (regime,) = kept["train"]["regime"]
    assert (regime["temperature"], regime["hidden"], kept["model"]["layers"]) == (4.0, 0.1, 3)
    assert dt.load("s").config.num_layers == 3


def test_a_language_model_teaches_writing(tmp_path):
    text = ["今天天气很好。The cat sat on the mat 🙂.\r\n" * 5, "Once upon a time. 从前有座山。" * 5, "short"] * 3
    settings = {"sizes": {"num_layers": 2, "hidden_size": 32, "context_length": 32}, "cache": tmp_path / "cache", **FAST}
    dt.pretrain("gpt-tiny", text, out=tmp_path / "t", **settings)
    student = dt.distill(tmp_path / "t", text, cache=tmp_path / "cache", **FAST)
    assert student.config.num_layers == 1 and student.config.is_causal


def test_a_service_writes_what_the_student_learns_from(tmp_path):
    class Fake:
        asked: list[str] = []

        def write(self, prompt, *, max_tokens, temperature, seed):
            self.asked.append(prompt)
            return f"{prompt}: 好的 🙂 {seed}"

    fake, file = Fake(), tmp_path / "written.jsonl"
    prompts = prompts_of(["first\r\n\r\n第二", "third"])
    assert prompts == ["first", "第二", "third"]
    assert write_texts(fake, prompts[:2], file) == 2
    assert write_texts(fake, prompts, file) == 3 and fake.asked == prompts
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert rows[2] == {"prompt": "third", "text": "third: 好的 🙂 2"}


def test_a_service_needs_a_student():
    with pytest.raises(TrainingError) as caught:
        distilled_parts("http://127.0.0.1:1/v1", model="m")
    assert caught.value.code == "E542"
    parts = distilled_parts("http://127.0.0.1:1/v1", student="bert-mini", model="m", key=None)
    assert parts["model"] == {"preset": "bert-mini"} and "key" not in parts["train"]["regime"][0]

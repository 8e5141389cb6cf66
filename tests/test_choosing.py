"""`preset: auto`: what is chosen follows machine, minutes and text, is said, and is kept as plain numbers."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import diptych as dt
from diptych import choosing
from diptych.choosing import choose
from diptych.cli.main import app
from diptych.config import read_yaml
from diptych.errors import RecipeError
from diptych.messages import set_language
from diptych.planning import plan
from diptych.presets import num_parameters
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build
from diptych.text.corpus import Document
from diptych.training.progress import Several
from diptych.training.rehearsal import Pace

ENGLISH = "The cat sat on the mat, and a dog ran by in the rain. Nobody said a word about it, and number {n} was gone. "
CHINESE = "话说天下大势，分久必合，合久必分。今天天气很好，我们去第{n}个公园散步吧！"


def documents(text=ENGLISH, count=400):
    return [Document(text.format(n=n) * 5, "") for n in range(count)]


def recipe(task="causal-lm", model=None, train=None, **run):
    return build({"model": {"preset": "auto", **(model or {})}, "task": {"name": task}, "train": train or {"minutes": 10.0}, "run": run})


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many products a second, which also needs a millisecond for each layer of each step."""

    def of(gflops):
        def pace(config, load, train, *, precision, device):
            return Pace(load.in_flight * 6 * num_parameters(config) / (gflops * 1e9) + 1e-3 * config.num_layers, 1e-3)

        monkeypatch.setattr(choosing.rehearsal, "pace", pace)

    of(100)
    return of


@pytest.fixture
def much(monkeypatch):
    """As much text as anybody could read."""
    monkeypatch.setattr(choosing._Text, "tokens", lambda self, vocab_size: 1e12)


def size_of(chosen):
    return chosen.recipe.model.sizes["num_layers"] * chosen.recipe.model.sizes["hidden_size"] ** 2


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm"])
def test_a_better_machine_and_more_time_take_larger_models(task, machine, much):
    texts = documents()
    sizes = {}
    for gflops in (20, 200, 20_000):
        machine(gflops)
        for minutes in (2.0, 30.0, 600.0):
            sizes[gflops, minutes] = size_of(choose(recipe(task, train={"minutes": minutes}), texts))
    assert sizes[20, 2.0] <= sizes[20, 30.0] <= sizes[20, 600.0]
    assert sizes[20, 600.0] < sizes[200, 600.0] < sizes[20_000, 600.0]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_little_text_takes_a_smaller_model_and_vocabulary_however_long_there_is(text, machine):
    machine(2000)
    chosen = [choose(recipe(train={"minutes": 60.0}), documents(text, count)) for count in (4, 3000)]
    assert size_of(chosen[0]) < size_of(chosen[1])
    vocabularies = [each.recipe.model.tokenizer.vocab_size for each in chosen]
    assert vocabularies[0] < vocabularies[1]


def test_what_the_recipe_names_is_kept(machine):
    named = {"sizes": {"context_length": 64}, "tokenizer": {"vocab_size": 500, "lowercase": True}}
    chosen = choose(recipe(model=named, train={"minutes": 5.0, "batch_size": 3, "lr": 1e-4, "optimizer": "adamw"}), documents()).recipe
    assert chosen.model.sizes["context_length"] == 64 and chosen.model.tokenizer.vocab_size == 500 and chosen.model.tokenizer.lowercase
    assert (chosen.train.batch_size, chosen.train.lr, chosen.train.optimizer) == (3, 1e-4, "adamw")


def test_it_is_said_in_two_sentences_in_both_languages(machine):
    said = choose(recipe(), documents()).reason
    assert "Chosen for 10 minutes" in said and said.count(". ") == 1
    set_language("zh")
    try:
        spoken = choose(recipe(), documents()).reason
    finally:
        set_language("en")
    assert "10 分钟" in spoken and spoken.count("。") == 2


def test_it_is_said_how_often_the_text_is_read(machine, monkeypatch):
    """All of the text counts, however little of it can be read in the time."""
    monkeypatch.setattr(choosing, "tokens_per_character", lambda *_arguments, **_named: 0.5)
    machine(0.01)
    texts = documents(count=1000)
    said = choose(recipe(train={"minutes": 1.0}), texts).reason
    tokens, passes = (float(said.partition(before)[2].split()[0].replace(",", "")) for before in ("shows it ", "that time, "))
    assert passes == pytest.approx(tokens / (0.5 * sum(len(text.text) for text in texts)), rel=0.06)


def test_a_text_of_nothing_and_a_text_of_two_sentences_are_chosen_for_as_well(machine):
    for texts in ([], [Document("", "")], [Document("Hello there. 你好。", "")]):
        assert size_of(choose(recipe(), texts)) > 0


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("E419", {"task": {"name": "causal-lm"}, "train": {"steps": 100}}),
        ("E419", {"task": {"name": "causal-lm"}, "train": {"words": 100}}),
        ("E420", {"task": {"name": "denoising"}, "train": {"minutes": 1.0}}),
        ("E420", {"task": {"name": "classification"}}),
    ],
    ids=str,
)
def test_what_cannot_be_chosen_for_is_refused(code, parts):
    with pytest.raises(RecipeError) as caught:
        build({"model": {"preset": "auto"}, **parts})
    assert caught.value.code == code


def test_sizes_that_are_too_large_to_be_tried_are_refused():
    with pytest.raises(RecipeError) as caught:
        choose(recipe(model={"sizes": {"hidden_size": 32_768, "head_size": 64}}), documents(count=2))
    assert caught.value.code == "E424"


@pytest.fixture
def small(machine, monkeypatch):
    """A ladder of one small rung, so that a whole run takes a moment."""
    monkeypatch.setattr(choosing, "LADDER", (choosing.Rung(1, 32, 300, 32),))


@pytest.fixture
def folder(tmp_path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number, document in enumerate(documents(count=6) + documents(CHINESE, 6)):
        (texts / f"{number}.txt").write_text(document.text, encoding="utf-8")
    return texts


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm"])
def test_the_short_form_trains_and_leaves_plain_numbers(task, small, folder, tmp_path):
    out = tmp_path / "chosen"
    done = CliRunner().invoke(app, ["pretrain", str(folder), "--preset", "auto", "--minutes", "0.01", "--task", task, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Chosen for 0.01 minutes: 1 layers of 32" in " ".join(done.output.split())
    kept = read_yaml(out / "diptych" / "recipe.yaml")
    assert "auto" not in (kept["model"]["preset"], kept["run"]["precision"])
    assert kept["model"]["sizes"] == {"num_layers": 1, "hidden_size": 32, "context_length": 32}
    assert None not in (kept["train"]["batch_size"], kept["train"]["lr"], kept["train"]["minutes"])
    assert dt.load(out).config.hidden_size == 32


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_size_whatever_would_be_chosen_now(small, folder, tmp_path, monkeypatch):
    out = tmp_path / "run"
    asked = build(
        {
            "model": {"preset": "auto"},
            "task": {"name": "causal-lm", "text": str(folder)},
            "train": {"minutes": 0.02, "evaluations": 0},
            "run": {"out": str(out), "checkpoint_steps": 1},
        }
    )
    with monkeypatch.context() as patch:
        patch.setattr("diptych.training.workspace.Workspace.finish", lambda *_: pytest.fail("never finished"))
        with pytest.raises(pytest.fail.Exception):
            pretrain_recipe(asked, listener=Several([]))
    monkeypatch.setattr(choosing, "LADDER", (choosing.Rung(2, 64, 500, 64),))
    resumed = pretrain_recipe(asked, resume=True, listener=Several([]))
    assert resumed.model.config.hidden_size == 32 and resumed.recipe.model.preset != "auto"


def test_a_plan_says_what_would_be_chosen(small, folder, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model: {{preset: auto}}\ntask: {{name: causal-lm, text: {folder}}}\ntrain: {{minutes: 5}}\n", encoding="utf-8")
    found = plan(path)
    assert found.config.hidden_size == 32 and "Chosen for 5 minutes" in found.notes[0]


def test_python_takes_it_by_name_as_well(small, folder):
    model = dt.pretrain("auto", folder, minutes=0.01)
    assert model.config.hidden_size == 32
    model = dt.pretrain("auto", folder, task="masked-lm", hours=0.01 / 60)
    assert model.config.fills

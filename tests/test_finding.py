"""`corpus find`: a model's folder knows which documents it learnt from, those held out are not among them, and it can be told to forget."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import diptych as dt
from diptych.cli.main import app
from diptych.errors import DataError
from diptych.finetuning import finetune_recipe
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
TEXTS = [f"Document {number}: the fox of house {number} met the crow.\r\n第{number}篇：狐狸遇见了乌鸦 🙂。" for number in range(40)]
ROWS = [
    (f"{place} {number} {word}", label) for number in range(10) for place in ("room", "菜") for word, label in (("好", "a"), ("bad", "b"))
]


def finetuned(out: Path, run: dict | None = None, base: Path | None = None, **train):
    model = {"base": str(base)} if base else {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}}
    parts = {"model": model, "task": {"name": "classification"}, "train": {"steps": 2, **train}}
    recipe = build({**parts, "run": {"out": str(out), "precision": "float32", **(run or {})}})
    finetune_recipe(recipe, ROWS, listener=Several([]), with_baselines=False)
    return out


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    for number, text in enumerate(TEXTS):
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8", newline="")
    recipe = build(
        {
            "model": {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}},
            "task": {"name": "masked-lm", "text": str(folder), "held_out": 0.2},
            "train": {"steps": 2},
            "run": {"out": str(folder / "model"), "cache": str(folder / "cache"), "precision": "float32"},
        }
    )
    pretrain_recipe(recipe, listener=Several([]))
    return folder / "model"


def test_what_was_trained_on_is_found_and_what_was_held_out_is_not(pretrained):
    found = dt.find_in_training(pretrained, TEXTS)
    is_held = {document.text for document in dt.Corpus([Path(pretrained).parent / f"{n:02d}.txt" for n in range(40)]).split(0.2)[1]}
    held = [any(text.split() == other.split() for other in is_held) for text in TEXTS]
    assert 0 < sum(held) < 20
    assert [each.seen.is_exact for each in found] == [not is_out for is_out in held]


def test_a_text_is_cleaned_as_the_training_text_was(pretrained):
    trained = next(text for text, each in zip(TEXTS, dt.find_in_training(pretrained, TEXTS)) if each.seen.is_exact)
    assert dt.find_in_training(pretrained, trained.replace(" ", "\u200b \u00a0") + "\n\n\n\n").seen.is_exact


def test_a_text_that_was_changed_a_little_is_near_and_another_is_not(pretrained):
    trained = next(text for text, each in zip(TEXTS, dt.find_in_training(pretrained, TEXTS)) if each.seen.is_exact)
    near = dt.find_in_training(pretrained, trained.replace("crow", "raven"))
    assert not near.seen.is_exact and near.seen.is_near
    assert not dt.find_in_training(pretrained, "Something else altogether, 完全是另一回事。" * 3).seen.is_near


def test_rows_are_found_and_so_is_the_text_of_the_base(pretrained, tmp_path):
    folder = finetuned(tmp_path / "clf", base=pretrained)
    found = dt.find_in_training(folder, [text for text, _label in ROWS])
    assert 0.5 * len(ROWS) < sum(each.seen.is_exact for each in found) < len(ROWS)
    of_base = next(each for each in dt.find_in_training(folder, TEXTS) if each.seen.is_exact)
    assert of_base.folder == str(pretrained)


@pytest.mark.parametrize("how", ["told so", "federated"])
def test_a_folder_that_keeps_none_says_so(how, tmp_path):
    regime = [{"name": "federated", "clients": 2, "rounds": 2}] if how == "federated" else []
    folder = finetuned(tmp_path / "clf", run={"fingerprints": how != "told so"}, regime=regime)
    with pytest.raises(DataError) as caught:
        dt.find_in_training(folder, "菜 1 好")
    assert caught.value.code == "E196" and str(folder) in str(caught.value)


def test_the_command_answers_for_a_text_and_for_a_file(pretrained):
    files = sorted(Path(pretrained).parent.glob("*.txt"))
    answers = [CliRunner().invoke(app, ["corpus", "find", str(file), "--file", "--model", str(pretrained)]).output for file in files[:4]]
    assert all(answer.startswith(str(file)) for answer, file in zip(answers, files))
    exact = [each.seen.is_exact for each in dt.find_in_training(pretrained, TEXTS[:4])]
    assert [": yes" in answer for answer in answers] == exact
    shown = CliRunner().invoke(app, ["corpus", "find", "nothing of the kind", "--model", str(pretrained), "--json"])
    assert json.loads(shown.output)[0]["exact"] is False

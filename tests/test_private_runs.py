"""Private runs from a recipe to a folder: what is promised in the card, what is refused before anything is read, no text in the report."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import diptych as dt
from diptych.cli.main import app
from diptych.config import to_yaml
from diptych.errors import TrainingError
from diptych.presets import create
from diptych.recipe import build
from diptych.remembering import audit_privacy, plant
from diptych.report.privacy import promise
from diptych.running import check_private, is_private, resolve
from diptych.text.tokenizer import Tokenizer

SIZES = {"hidden_size": 16, "head_size": 8, "num_layers": 1, "context_length": 32}
GOOD, BAD = ["great fun", "很好看", "loved it"], ["dull", "太无聊", "hated it"]


@pytest.fixture
def table(tmp_path):
    path, draw = tmp_path / "reviews.csv", np.random.default_rng(0)
    rows = [f"{draw.choice([BAD, GOOD][number % 2])} {number},{number % 2},p{number % 9}\n" for number in range(90)]
    path.write_text("review,stars,person\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path):
    """A folder to start from: a private run makes no tokenizer of its own."""
    tokenizer = Tokenizer.train(["great fun dull loved hated it 很好看太无聊 0123456789"], "characters", 100, panel="masked")
    net = create("bert-tiny", **SIZES, vocab_size=tokenizer.vocab_size)
    net.ensure_head("lm")
    net.set_config(token_ids=tokenizer.token_ids)
    model = dt.Model(net, tokenizer)
    model.save(tmp_path / "base")
    return tmp_path / "base"


def recipe(**parts):
    train = {"regime": [{"name": "private", "noise": 1.0}], "steps": 5, "batch_size": 8, **parts.pop("train", {})}
    model = parts.pop("model", {"base": "somewhere"})
    return build({"model": model, "task": {"name": "classification", "data": "x.csv"}, "train": train, **parts})


def test_a_private_run_says_in_its_folder_what_it_promises_and_nothing_of_its_texts(table, base, tmp_path):
    out = tmp_path / "private"
    told = ["--set", "train.regime.private.accountant=rdp", "--set", "train.batch_size=16", "--set", "task.group=person"]
    told += ["--text", "review", "--label", "stars", "--epochs", "1", "--set", "train.regime.private.unit=document"]
    done = CliRunner().invoke(app, ["finetune", str(table), "--base", str(base), "--out", str(out), "--private", "--epsilon", "6", *told])
    assert done.exit_code == 0, done.output
    kept = json.loads((out / "diptych" / "provenance.json").read_text(encoding="utf-8"))["privacy"]
    assert 5.5 < kept["epsilon"] <= 6.0
    assert (kept["unit"], kept["accountant"], kept["is_repeatable"]) == ("document", "rdp", False)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"ε = {kept['epsilon']:.2f}" in card and "RDP" in card and "one row or document" in card
    events = [json.loads(line) for line in (out / "diptych" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert steps[-1]["epsilon"] == pytest.approx(kept["epsilon"], abs=0.02) and steps[-1]["delta"] == kept["delta"]
    # The key that the noise came from is nowhere in the folder, and no more is any text.
    recipe_yaml = (out / "diptych" / "recipe.yaml").read_text(encoding="utf-8")
    assert "key: null" in recipe_yaml
    report = (out / "diptych" / "report.html").read_text(encoding="utf-8")
    for text in (report, card, *(json.dumps(event, ensure_ascii=False) for event in events)):
        assert not any(phrase in text for phrase in (*GOOD, *BAD))
    assert not (out / "diptych" / "checkpoints").exists()


def test_groups_are_protected_as_one_and_empty_cells_are_refused(table, base):
    told = {"batch_size": 4, "steps": 2, "text": "review", "label": "stars", "group": "person", "evaluations": 0}
    regime = [{"name": "private", "noise": 1.0, "unit": "group", "accountant": "rdp"}]
    model = dt.finetune(str(base), str(table), regime=regime, **told)
    assert model.config.labels == ("0", "1")
    table.write_text(table.read_text(encoding="utf-8").replace(",p3\n", ",\n"), encoding="utf-8")
    with pytest.raises(TrainingError, match="E555"):
        dt.finetune(str(base), str(table), regime=regime, **told)


def test_whatever_would_learn_without_noise_is_refused_before_anything_is_read():
    check_private(recipe())
    fresh = {"preset": "bert-tiny"}
    with pytest.raises(TrainingError, match=r"E568.*tokenizer"):
        check_private(recipe(model=fresh))
    check_private(recipe(model={**fresh, "tokenizer": {"folder": "elsewhere"}}))
    with pytest.raises(TrainingError, match=r"E568.*embeddings"):
        check_private(recipe(model={**fresh, "tokenizer": {"folder": "elsewhere"}, "start": "counts"}))
    with pytest.raises(TrainingError, match=r"E568.*more tokens"):
        check_private(recipe(model={"base": "somewhere", "more_tokens": 10}))
    with pytest.raises(TrainingError, match="E562"):
        check_private(recipe(run={"recompute": True}))
    with pytest.raises(TrainingError, match=r"E564.*sharding"):
        check_private(recipe(run={"sharding": "full"}))
    with pytest.raises(TrainingError, match=r"E564.*length_ramp"):
        check_private(recipe(train={"length_ramp": [{"length": 8, "until": 0.5}]}))
    with pytest.raises(TrainingError, match=r"E564.*batch_ramp"):
        check_private(recipe(train={"batch_ramp": {"start": 0.5}}))
    check_private(recipe(train={"regime": []}, run={"recompute": True}))


def test_a_private_run_takes_large_batches_and_is_not_stopped_by_held_out_rows():
    net = create("bert-tiny", **SIZES, vocab_size=50)
    filled = resolve(recipe(train={"batch_size": None}), net).train
    assert (filled.batch_size, filled.patience, filled.lr) == (256, None, 5e-4)
    assert resolve(recipe(train={"batch_size": None, "regime": []}), net).train.patience == 3
    assert is_private(filled)


def test_the_flags_stand_for_settings_of_the_recipe(tmp_path):
    from diptych.cli.train import _private

    assert _private(False, None, []) == []
    assert _private(True, None, []) == ["train.regime.private.epsilon=8.0"]
    assert _private(True, None, ["train.regime.private.noise=1"]) == []
    assert _private(False, 3.0, []) == ["train.regime.private.epsilon=3.0"]
    file = tmp_path / "r.yaml"
    file.write_text(to_yaml({"model": {"base": "b"}, "task": {"name": "classification"}, "train": {"regime": ["lora"]}}), encoding="utf-8")
    from diptych.recipe import load

    names = [each["name"] if isinstance(each, dict) else each for each in load(file, _private(True, 3.0, [])).train.regime]
    assert names == ["lora", "private"]


def test_what_is_promised_is_said_in_both_languages():
    from diptych.messages import set_language

    kept = {"epsilon": 3.0, "delta": 1e-5, "unit": "group", "units": 90, "accountant": "prv", "noise": 1.0, "clip": 1.0, "rate": 0.1}
    kept |= {"steps": 10, "cryptographic": False, "is_repeatable": True}
    assert "ε = 3.00" in promise(kept)[0] and any("take the noise away" in line for line in promise(kept))
    assert "nothing is promised" in promise({**kept, "epsilon": None})[0]
    assert "None was applied" in promise(None)[0]
    set_language("zh")
    assert "差分隐私" in promise(kept)[0]


@pytest.mark.slow
def test_a_planted_secret_is_found_without_privacy_and_lost_with_it(tmp_path):
    """Canaries are exposed at log2 of the candidates less one bit without noise, at three bits on average with it."""
    notes, draw = tmp_path / "notes.jsonl", np.random.default_rng(0)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "red", "blue", "old", "new"]
    texts = [" ".join(draw.choice(words, 12)) + "." for _text in range(400)]
    notes.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    planted, canaries = plant(str(notes), tmp_path / "planted.jsonl", count=4, times=4)
    tokenizer = Tokenizer.train(["abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ .0123456789"], "characters", 100, panel="causal")
    tokenizer.save(tmp_path / "tokenizer")
    sizes = {"hidden_size": 64, "head_size": 32, "num_layers": 2, "context_length": 96}
    told = {
        "tokenizer": {"folder": str(tmp_path / "tokenizer")},
        "sizes": sizes,
        "held_out": 0.05,
        "clean": {"dedup": "none"},
        "evaluations": 0,
    }
    found = {}
    for name, regime in (("open", []), ("private", [{"name": "private", "epsilon": 8.0, "accountant": "rdp"}])):
        budget = {"steps": 400, "batch_size": 32, "lr": 3e-3}
        dt.pretrain("gpt-tiny", str(planted), out=tmp_path / name, regime=regime, **budget, **told)
        found[name] = audit_privacy(tmp_path / name, canaries=canaries, candidates=256)
    assert min(found["open"].exposures) >= 8 - 1
    assert np.mean(found["private"].exposures) <= 3
    assert not found["private"].is_broken
    assert found["private"].claimed["epsilon"] <= 8

"""Sweeps: every combination once, mean and spread as statistics has them, and what is finished is not run again."""

import json
import math

import pytest

import diptych as dt
from diptych.cli.main import run
from diptych.errors import RecipeError
from diptych.sweeping import Setting, Sweep, grid, split_values, sweep

ROWS = [(f"{'很干净' if n % 2 else '太吵'} room {n} 🙂", "good" if n % 2 else "bad") for n in range(40)]
SIZES = {"num_layers": 1, "hidden_size": 16, "head_size": 8, "context_length": 32}
RECIPE = {
    "model": {"preset": "bert-tiny", "sizes": SIZES},
    "task": {"name": "classification"},
    "train": {"steps": 2},
    "run": {"precision": "float32"},
}


@pytest.mark.parametrize(
    ("text", "values"),
    [("1e-3,2e-3", ["1e-3", "2e-3"]), ("[1, 2], [3]", ["[1, 2]", "[3]"]), ('"a,b",{c: [1,2]}', ['"a,b"', "{c: [1,2]}"]), ("x", ["x"])],
)
def test_commas_part_values_but_not_inside_of_brackets(text, values):
    assert split_values(text) == values


def test_the_grid_is_every_combination_once():
    found = list(grid(["train.lr=1,2", "train.regime=frozen,[{name: lora, rank: 2}],plain"]))
    assert len(found) == 6 and len({tuple(each.items()) for each in found}) == 6
    assert list(grid([])) == [{}]
    with pytest.raises(RecipeError) as caught:
        list(grid(["train.lr"]))
    assert caught.value.code == "E404"


def test_mean_and_spread_are_those_of_a_hand_calculation():
    setting = Setting({"a": 1}, {0: {"x": 1.0, "y": 2.0}, 1: {"x": 3.0}, 2: {"x": 5.0}})
    assert setting.spread("x") == (3.0, 2.0, 3)
    assert setting.spread("y") == (2.0, None, 1)
    assert math.isnan(setting.spread("z")[0])
    assert Sweep([setting]).table()[1] == ["a=1", "3", "3 ± 2", "2"]


def test_a_sweep_runs_what_is_missing_and_reads_what_is_there(tmp_path, monkeypatch):
    ran = []
    from diptych import api

    plain = api.run
    monkeypatch.setattr(api, "run", lambda recipe, *a, **k: ran.append(recipe.run.out) or plain(recipe, *a, **k))
    first = sweep(RECIPE, tmp_path / "s", sets=["train.lr=1e-3,2e-3"], seeds=2, source=ROWS)
    assert len(ran) == 4 and [len(setting.scores) for setting in first.settings] == [2, 2]
    again = sweep(RECIPE, tmp_path / "s", sets=["train.lr=1e-3,2e-3"], seeds=3, source=ROWS)
    assert len(ran) == 6 and "seed=2" in ran[-1]
    assert again.settings[0].scores[0] == first.settings[0].scores[0]
    kept = json.loads((tmp_path / "s" / "sweep.json").read_text(encoding="utf-8"))
    assert kept == again.to_json() and kept[1]["set"] == {"train.lr": "2e-3"} and "accuracy" in kept[0]["mean"]
    assert dt.load(ran[0]).config.labels == ("bad", "good")
    changed = {**RECIPE, "train": {"steps": 3}}
    with pytest.raises(RecipeError) as caught:
        sweep(changed, tmp_path / "s", sets=["train.lr=1e-3"], seeds=1, source=ROWS)
    assert caught.value.code == "E411"


def test_a_wrong_value_is_refused_before_anything_is_run(tmp_path):
    with pytest.raises(RecipeError) as caught:
        sweep(RECIPE, tmp_path / "s", sets=["train.lr=1e-3,-1"], source=ROWS)
    assert caught.value.code == "E403" and not (tmp_path / "s").exists()
    with pytest.raises(RecipeError):
        sweep(RECIPE, tmp_path / "s", seeds=0, source=ROWS)


@pytest.mark.slow
def test_the_verb_prints_one_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")
    recipe = "model: {preset: bert-tiny, sizes: {num_layers: 1, hidden_size: 16, head_size: 8, context_length: 32}}\n"
    recipe += "task: {name: classification, data: rows.csv}\ntrain: {steps: 2}\nrun: {precision: float32}\n"
    (tmp_path / "my.yaml").write_text(recipe, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        run(["sweep", "my.yaml", "--seeds", "2", "--set", "train.lr=1e-3,1e-2", "--out", "s"])
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("train.lr=1e-3") and "±" in line for line in lines)

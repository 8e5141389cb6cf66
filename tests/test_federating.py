"""Sites and a center that exchange arrays alone come to the weights of the simulation, to the last bit, and a liar is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diptych.errors import MachineError, TrainingError
from diptych.federating import Center, Site
from diptych.finetuning import Parts, finetune_parts, finetune_recipe
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.running import load_model
from diptych.tasks.tables import LabelledRow
from diptych.training.federation.server import STAGE
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
ROWS = [
    LabelledRow((f"{what} {number} {word}",), label, "", place)
    for number in range(6)
    for what, place in (("room", "北京"), ("菜", "London"))
    for word, label in (("好", "good"), ("bad 🙂", "poor"))
]
REGIMES = {"whole": [], "lora": ["lora"]}


def recipe(base: Path, inner: str = "whole", **federated):
    regime = [*REGIMES[inner], {"name": "federated", "by": "group", "rounds": 3, **federated}]
    train = {"epochs": 2.0, "lr": 0.01, "batch_size": 3, "dropout": 0.1, "evaluations": 0, "regime": regime}
    return build({"model": {"base": str(base)}, "task": {"name": "classification"}, "train": train, "run": {"precision": "float32"}})


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A model that has the head and the labels: what all begin with."""
    out = tmp_path_factory.mktemp("start") / "model"
    model = {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}}
    parts = {"model": model, "task": {"name": "classification"}, "train": {"steps": 1}, "run": {"out": str(out), "precision": "float32"}}
    finetune_recipe(build(parts), [("public 公开", "good"), ("other 其他", "poor")], listener=Several([]), hold_out=False)
    return out


def table(rows):
    return [{"text": row.texts[0], "label": row.label} for row in rows]


def sites_of(base, inner="whole"):
    groups = list(dict.fromkeys(row.group for row in ROWS))
    return [Site(recipe(base, inner), table([row for row in ROWS if row.group == group]), group, n) for n, group in enumerate(groups)]


def run(center, sites, change=lambda answer: answer):
    arrays = center.start()
    for round in range(center.rounds):
        answers = [change(site.train(arrays, round)) for site in sites]
        arrays = center.merge(arrays, round, [site.client.name for site in sites], answers)
    return arrays


@pytest.mark.parametrize("inner", list(REGIMES))
def test_sites_and_a_center_come_to_what_the_simulation_comes_to(inner, start, tmp_path):
    center = Center(recipe(start, inner))
    model = center.finish(run(center, sites_of(start, inner)), tmp_path / "out")
    simulated = finetune_parts(recipe(start, inner), Parts(ROWS, [], [], {}, is_split=False), Ledger(), listener=Several([])).model
    ours, theirs = model.net.state_dict(), simulated.net.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in ours)
    assert load_model(tmp_path / "out").predict(["room 好"])


LIES = {
    "no number": lambda answer: replace(answer, arrays={name: value * np.nan for name, value in answer.arrays.items()}),
    "no array": lambda answer: replace(answer, arrays={name: np.array(["x"]) for name in answer.arrays}),
    "replay": lambda answer: replace(answer, round=answer.round - 1),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_a_site_that_lies_is_named_and_left_out(lie, start):
    center, sites = Center(recipe(start)), sites_of(start)
    arrays = run(center, sites, lambda answer: LIES[lie](answer) if answer.site == "London" else answer)
    alone = Center(recipe(start))
    for name, value in run(alone, sites_of(start)[:1]).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert [place for stage, _what, entry in center.ledger if stage == STAGE for place in entry.examples] == ["London"]


def test_without_a_common_model_with_the_head_there_is_no_federation(start, tmp_path):
    bare = build({**recipe(start).to_dict(), "model": {"preset": "bert-tiny"}})
    for make in (lambda: Center(bare), lambda: Site(bare, table(ROWS), "x")):
        with pytest.raises(TrainingError) as caught:
            make()
        assert caught.value.code == "E584"


def test_privacy_that_would_not_be_counted_is_refused(start):
    with pytest.raises(TrainingError) as caught:
        Center(recipe(start, clip=1.0, noise=1.0))
    assert caught.value.code == "E591"


def test_flower_is_asked_for_by_name_where_it_is_missing():
    flower = pytest.importorskip("diptych.flower")
    if flower_is_here():
        pytest.skip("Flower is installed here")
    with pytest.raises(MachineError) as caught:
        flower.client_app({})
    assert caught.value.code == "E901" and "flwr" in str(caught.value)


def flower_is_here() -> bool:
    from importlib.util import find_spec

    return find_spec("flwr") is not None

"""Regimes: the frozen one trains heads alone, they compose by wrapping, and the loop asks none of them what it is."""

import ast
from pathlib import Path

import pytest
import torch

import diptych.training
from diptych.errors import RecipeError, TrainingError
from diptych.training.checkpoint import load_checkpoint
from diptych.training.regimes import Plain, compose
from diptych.training.regimes.frozen import Frozen
from diptych.training.regimes.regime import Wrapper


def before_and_after(run, setting, name, family=None, **settings):
    made = setting(name, family=family, **settings.pop("task", {}))
    before = {key: tensor.clone() for key, tensor in made.net.state_dict().items()}
    done = run(name, made=made, regime=("frozen",), steps=6, **settings)
    return made, before, done.net.state_dict()


@pytest.mark.parametrize(
    ("name", "family", "heads"),
    [
        ("classification", "bert", {"classes", "pooler"}),
        ("classification", "modernbert", {"classes"}),
        ("classification", "gpt", {"classes"}),
        ("masked-lm", "bert", {"lm", "nsp", "pooler"}),
        ("masked-lm", "modernbert", {"lm", "nsp"}),
    ],
)
def test_frozen_changes_the_heads_of_the_task_and_not_a_bit_besides(name, family, heads, run, setting):
    _made, before, after = before_and_after(run, setting, name, family, dropout=0.1)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert {key.split(".")[1] for key in changed} == heads
    assert not any(key.startswith("body.") for key in changed)
    trained = {key for key in before if key.startswith("heads.") and key.split(".")[1] in heads}
    assert changed == trained


def test_a_head_that_shares_the_embedding_leaves_it_frozen(run, setting):
    made, before, after = before_and_after(run, setting, "masked-lm", task={"nsp": False})
    assert torch.equal(before["body.embedding.tokens.weight"], after["body.embedding.tokens.weight"])
    assert not torch.equal(before["heads.lm.bias_V"], after["heads.lm.bias_V"])
    assert made.net.heads["lm"].weight_VD is made.net.body.embedding.tokens.weight


def test_a_module_of_the_body_inside_a_head_stays_frozen_too(setting):
    made = setting("classification")
    made.net.heads["classes"].borrowed = made.net.body.layers[0]
    Frozen(Plain()).prepare(made.net, made.task)
    assert not any(parameter.requires_grad for parameter in made.net.body.parameters())
    assert made.net.heads["classes"].output.weight.requires_grad


def test_a_head_with_no_weight_of_its_own_is_refused_not_trained_in_vain(run):
    with pytest.raises(TrainingError) as caught:
        run("causal-lm", steps=3, regime=("frozen",))
    assert caught.value.code == "E505" and "lm" in str(caught.value) and "train.regime" in str(caught.value)


def test_a_frozen_head_learns(run):
    done = run("classification", family="gpt", steps=60, lr=0.05, regime=("frozen",), schedule="constant")
    losses = [event["loss"] for event in done.listener.of("step")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_after_a_frozen_run_every_weight_can_be_trained_again(run, setting):
    made, _before, _after = before_and_after(run, setting, "classification")
    assert all(parameter.requires_grad for parameter in made.net.parameters())


def test_the_optimizer_and_the_checkpoint_hold_moments_of_heads_alone(run, tmp_path):
    run("classification", steps=4, regime=("frozen",), folder=tmp_path)
    tensors, _state = load_checkpoint(tmp_path)
    assert tensors["optimizer"] and all(name.startswith("heads.") for name in tensors["optimizer"])


class Counting(Wrapper):
    """A regime that counts its steps, doubles the gradient and keeps its count in the checkpoint."""

    def __init__(self, inner):
        super().__init__(inner)
        self.steps, self.log = 0, []

    def prepare(self, net, task):
        self.log.append("prepare")
        return super().prepare(net, task)

    def step(self, net, task, batches, seed):
        result = super().step(net, task, batches, seed)
        self.steps += 1
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(2)
        return result

    def state(self):
        return {**super().state(), "counted": self.steps}

    def restore(self, state):
        super().restore(state)
        self.steps = state["counted"]

    def finish(self, net):
        self.log.append("finish")
        return super().finish(net)


@pytest.mark.parametrize("order", ["outside", "inside"])
def test_regimes_compose_by_wrapping_in_either_order(order, run, setting):
    counting = Counting(Frozen(Plain())) if order == "outside" else Counting(Plain())
    regime = counting if order == "outside" else Frozen(counting)
    made = setting("classification")
    before = {key: tensor.clone() for key, tensor in made.net.state_dict().items()}
    done = run("classification", made=made, regime=regime, steps=5)
    changed = {key for key, tensor in done.net.state_dict().items() if not torch.equal(before[key], tensor)}
    assert changed and all(key.startswith("heads.") for key in changed)
    assert counting.steps == 5 and counting.log == ["prepare", "finish"]
    assert regime.state() == {"counted": 5}


def test_the_key_of_all_chance_in_a_step_is_the_seed_and_the_step(run, heard, killed, tmp_path):
    keys = []

    class Spy(Plain):
        def step(self, net, task, batches, seed):
            keys.append(seed)
            return super().step(net, task, batches, seed)

    with pytest.raises(killed):
        run("causal-lm", steps=6, seed=7, regime=Spy(), folder=tmp_path, checkpoint_steps=2, listener=heard(3))
    run("causal-lm", steps=6, seed=7, regime=Spy(), folder=tmp_path, resume=True)
    assert keys == [(7, step) for step in (0, 1, 2, 2, 3, 4, 5)]


def test_what_a_regime_keeps_comes_back_from_the_checkpoint(run, heard, killed, tmp_path):
    with pytest.raises(killed):
        run("masked-lm", steps=9, regime=Frozen(Counting(Plain())), folder=tmp_path, listener=heard(5))
    counting = Counting(Plain())
    run("masked-lm", steps=9, regime=Frozen(counting), folder=tmp_path, resume=True)
    assert counting.steps == 9


def test_names_are_wrapped_around_the_plain_step_the_last_outermost():
    regime = compose(["frozen", "frozen"])
    assert isinstance(regime, Frozen) and isinstance(regime.inner, Frozen) and isinstance(regime.inner.inner, Plain)
    assert isinstance(compose([]), Plain)


def test_a_misspelt_regime_is_met_with_the_nearest_one():
    with pytest.raises(RecipeError) as caught:
        compose(["frozne"])
    assert caught.value.code == "E407" and "frozen" in str(caught.value)


def test_nothing_in_training_imports_a_task_by_name():
    """The seam: how it is learnt does not know what is learnt. Only what is common to all tasks is used."""
    allowed = {f"diptych.tasks.{name}" for name in ("task", "head_task", "measure")}
    files = list(Path(diptych.training.__file__).parent.rglob("*.py"))
    assert len(files) > 8
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
                if node.module == "diptych.tasks":
                    names = [f"diptych.tasks.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # A module named in a string is imported by it, as the registry of regimes does.
                names = [node.value.partition(":")[0]] if node.value.startswith("diptych.tasks") else []
            assert all(name in allowed for name in names if name.startswith("diptych.tasks")), (path, names)


def test_the_loop_never_names_a_task_or_a_regime():
    source = (Path(diptych.training.__file__).parent / "loop.py").read_text(encoding="utf-8")
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not strings & {"causal-lm", "masked-lm", "classification", "lm", "nsp", "classes", "frozen", "plain"}

"""Distillation: each term against a brute force, a student at its teacher's side costs nothing, and wrong teachers are named."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diptych.errors import RecipeError, TrainingError
from diptych.packed import Packed
from diptych.presets import create
from diptych.surgery.depth import keep_layers
from diptych.tasks.head_task import Features, Logits
from diptych.tasks.task import Place
from diptych.training.checkpoint import load_checkpoint
from diptych.training.regimes import Surroundings, compose
from diptych.training.regimes.distilled import PARTS, soft_nats
from diptych.training.regimes.insides import relation_heads, relation_nats, watched

TASKS = ["classification", "masked-lm", "causal-lm"]


def taught(setting, name, teacher=None, *, seed=1, tokenizer=None, **settings):
    """(what is made for the student, a regime with a teacher of another seed)"""
    made = setting(name)
    teacher = teacher or setting(name, seed=seed).net
    around = Surroundings(made.tokenizer, None, lambda _name: SimpleNamespace(net=teacher, tokenizer=tokenizer or made.tokenizer))
    return made, compose([{"name": "distilled", "teacher": "t", **settings}], around), teacher


def one_step(made, regime, size=3):
    net = regime.prepare(made.net, made.task).eval()
    batch = made.task.collate(made.examples, [Place(0, 0, index) for index in range(size)])
    return net, batch, regime.step(net, made.task, [batch], (0, 0))


@pytest.mark.parametrize("name", TASKS)
def test_soft_answers_cost_what_kl_divergence_says(name, setting):
    made, regime, teacher = taught(setting, name, hard=0.25, soft=0.75, temperature=3.0)
    net, batch, result = one_step(made, regime)
    own, theirs = made.task.forward(net, batch), made.task.forward(teacher.eval(), batch)
    for head in own:
        ours_MC, theirs_MC = (torch.softmax(each[head].logits().double() / 3.0, -1) for each in (own, theirs))
        expected = float((theirs_MC * (theirs_MC.log() - ours_MC.log())).sum().detach())
        assert result.totals[f"soft {head}"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert result.counts[f"soft {head}"] == result.counts[head] == batch.counts()[head]
        assert result.weights[f"soft {head}"] == pytest.approx(0.75 * 9 * (result.weights[head] / 0.25))


@pytest.mark.parametrize("name", TASKS)
def test_the_gradient_is_that_of_the_sum_of_the_terms(name, setting):
    made, regime, teacher = taught(setting, name, hard=0.5, soft=0.5, temperature=2.0)
    net, batch, _result = one_step(made, regime)
    found = {key: parameter.grad.clone() for key, parameter in net.named_parameters() if parameter.grad is not None}
    net.zero_grad()
    with torch.no_grad():
        theirs = made.task.forward(teacher.eval(), batch)
    objective = torch.zeros(())
    for head, answers in made.task.forward(net, batch).items():
        targets, weight = batch.targets[head], made.task.weights.get(head, 1.0)
        logits_MC = answers.logits()
        soft = F.kl_div(
            F.log_softmax(logits_MC / 2, -1), F.log_softmax(theirs[head].logits() / 2, -1), reduction="batchmean", log_target=True
        )
        objective = objective + weight * (0.5 * F.cross_entropy(logits_MC, targets.gold_M) + 0.5 * 4 * soft)
    objective.backward()
    for key, parameter in net.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[key], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pieces", [1, 3])
def test_pieces_of_a_step_add_up_to_the_whole(pieces, setting):
    grads = []
    for groups in ([[0, 1, 2]], [[0, 1, 2]] if pieces == 1 else [[0], [1], [2]]):
        made, regime, _teacher = taught(setting, "masked-lm", hidden=1.0, relations=1.0)
        net = regime.prepare(made.net, made.task).eval()
        batches = [made.task.collate(made.examples, [Place(0, 0, index) for index in group]) for group in groups]
        regime.step(net, made.task, batches, (0, 0))
        grads.append({key: parameter.grad for key, parameter in net.named_parameters() if parameter.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(name, setting):
    teacher = setting(name).net
    made, regime, _teacher = taught(setting, name, teacher, hard=0.0, soft=1.0, hidden=1.0, relations=1.0)
    _net, _batch, result = one_step(made, regime)
    assert result.totals.keys() > {"hidden", "relations"}
    assert result.loss == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_relations_are_those_of_a_loop_over_texts_and_heads(is_causal):
    draw = torch.Generator().manual_seed(0)
    lengths, heads = (5, 1, 9, 3), 2
    texts = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths)
    own_NW, theirs_NW = (torch.randn(sum(lengths), width, generator=draw) for width in (6, 10))
    found = relation_nats(own_NW, theirs_NW, texts, heads, is_causal=is_causal)
    expected, start = [], 0
    for length in lengths:
        rows = []
        for head in range(heads):
            both = []
            for x_NW in (own_NW, theirs_NW):
                size = x_NW.shape[1] // heads
                x_TK = x_NW[start : start + length, head * size : (head + 1) * size].double().numpy()
                scores = x_TK @ x_TK.T / np.sqrt(size)
                if is_causal:
                    scores[np.triu_indices(length, 1)] = -np.inf
                chances = np.exp(scores - scores.max(1, keepdims=True))
                both.append(chances / chances.sum(1, keepdims=True))
            own, theirs = both
            rows.append(np.where(theirs > 0, theirs * np.log(np.where(theirs > 0, theirs / np.maximum(own, 1e-300), 1)), 0).sum(1))
        expected += list(np.mean(rows, axis=0))
        start += length
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("widths", "most", "heads"), [((16, 16), 2, 2), ((384, 128), 12, 8), ((256, 64, 96), 8, 8), ((10, 15), 12, 5), ((7, 5), 3, 1)]
)
def test_relation_heads_divide_every_width(widths, most, heads):
    assert relation_heads(*widths, most=most) == heads


@pytest.mark.parametrize("name", TASKS)
def test_a_narrower_student_learns_relations_and_hidden_states(name, run, setting, tmp_path):
    made = setting(name)
    shape = {"hidden_size": 24, "head_size": 8, "num_heads": 3, "num_kv_heads": 3, "num_layers": 3, "context_length": 24}
    family = "gpt" if name == "causal-lm" else "bert"
    wide = create(f"{family}-tiny", seed=3, vocab_size=made.net.config.vocab_size, **shape)
    made, regime, _teacher = taught(setting, name, wide, soft=0.0, hidden=1.0, relations=1.0, hard=0.0)
    before = set(made.net.state_dict())
    done = run(name, made=made, regime=regime, steps=30, lr=0.02, folder=tmp_path, schedule="constant")
    terms = [event["terms"] for event in done.listener.of("step")]
    assert terms[-1]["relations"] < 0.8 * terms[0]["relations"] and terms[-1]["hidden"] < 0.8 * terms[0]["hidden"]
    tensors, _state = load_checkpoint(tmp_path)
    assert "to_teacher.weight" in tensors["weights"] and "to_teacher.weight|exp_avg" in tensors["optimizer"]
    assert set(done.net.state_dict()) == before


def test_a_killed_run_goes_on_to_the_same_bits(run, setting, heard, killed, tmp_path, same_bits):
    def regime():
        return taught(setting, "masked-lm", hidden=0.5, relations=0.5)[1]

    whole = run("masked-lm", steps=6, regime=regime(), folder=tmp_path / "a")
    with pytest.raises(killed):
        run("masked-lm", steps=6, regime=regime(), folder=tmp_path / "b", listener=heard(3))
    again = run("masked-lm", steps=6, regime=regime(), folder=tmp_path / "b", resume=True)
    same_bits(whole.net, again.net)


def test_the_teacher_is_left_as_it_was_and_answers_without_dropout(run, setting):
    teacher = setting("classification", seed=1).net
    teacher.set_config(dropout=0.5)
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    made, regime, _teacher = taught(setting, "classification", teacher)
    run("classification", made=made, regime=regime, steps=5)
    assert not teacher.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())


def test_labels_in_another_order_are_matched_by_name(setting):
    made, _regime, _teacher = taught(setting, "classification")
    twin = setting("classification").net
    twin.heads["classes"].output.weight.data = twin.heads["classes"].output.weight.data.flip(0)
    twin.heads["classes"].output.bias.data = twin.heads["classes"].output.bias.data.flip(0)
    twin.set_config(labels=tuple(reversed(twin.config.labels)))
    made, regime, _teacher = taught(setting, "classification", twin, hard=0.0, soft=1.0)
    assert one_step(made, regime)[2].loss == pytest.approx(0.0, abs=1e-6)


def test_many_targets_are_compared_in_parts_with_the_same_gradient():
    draw = torch.Generator().manual_seed(0)
    size = 2 * PARTS + 3
    own_MD, weight_VD, theirs_MV = (torch.randn(*shape, generator=draw) for shape in ((size, 4), (11, 4), (size, 11)))
    grads = []
    for parts in (True, False):
        own = own_MD.clone().requires_grad_()
        student = Features(own, weight_VD, None)
        if parts:
            total = soft_nats(student, Logits(theirs_MV), 2.0).sum()
        else:
            whole = F.kl_div(F.log_softmax(own @ weight_VD.T / 2, -1), F.log_softmax(theirs_MV / 2, -1), reduction="sum", log_target=True)
            total = whole
        total.backward()
        grads.append((float(total), own.grad))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-5)
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-4, atol=1e-6)


def test_wrong_teachers_are_named(setting, tokenizers):
    teacher = setting("classification", seed=1).net
    teacher.set_config(labels=("cat", "dog"))
    refused = [
        ("classification", {"teacher": teacher}, "E530", "cat"),
        ("masked-lm", {"tokenizer": tokenizers["causal"]}, "E531", "model.tokenizer.folder"),
        ("classification", {"teacher": setting("causal-lm").net}, "E532", "classes"),
        ("masked-lm", {"relations": 1.0, "relation_layer": 9}, "E533", "relation_layer: 9"),
        ("masked-lm", {"relations": 1.0, "relation_heads": 5}, "E533", "relation_heads: 5"),
    ]
    for name, wrong, code, says in refused:
        made, regime, _teacher = taught(setting, name, **wrong)
        with pytest.raises(TrainingError) as caught:
            regime.prepare(made.net, made.task)
        assert caught.value.code == code and says in str(caught.value)


def test_a_teacher_without_the_head_can_teach_relations(setting):
    bare = setting("classification", seed=1).net
    bare.keep_heads(())
    made, regime, _teacher = taught(setting, "classification", bare, soft=0.0, relations=1.0)
    assert one_step(made, regime)[2].totals["relations"] > 0


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, "E405"),
        ({"teacher": "t", "temperature": 0}, "E403"),
        ({"teacher": "t", "temprature": 1}, "E402"),
        ({"teacher": "t", "soft": 0.0}, "E403"),
    ],
)
def test_settings_are_strict(settings, code):
    with pytest.raises(RecipeError) as caught:
        compose([{"name": "distilled", **settings}])
    assert caught.value.code == code


def test_watching_leaves_no_hook_behind(setting):
    made = setting("masked-lm")
    layer = made.net.body.layers[1]
    with pytest.raises(KeyError), watched(made.net, [1], [1]):
        raise KeyError
    assert not layer._forward_hooks and not layer.attention.qkv._forward_hooks


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt", "modernbert"])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_layers_that_are_kept_are_layers_of_the_teacher_of_their_own_kind(family, count):
    names = {"gpt2": "gpt2-tiny", "gpt": "gpt-tiny", "bert": "bert-tiny", "modernbert": "modernbert-tiny"}
    net = create(names[family], vocab_size=50, num_layers=6, hidden_size=32, context_length=32)
    small = keep_layers(net, count)
    assert small.config.num_layers == len(small.body.layers) == count
    for place, layer in enumerate(small.body.layers):
        assert layer.attention.layer == place
        assert bool(layer.attention.window) == small.config.is_local(place)
        twins = [
            number for number, other in enumerate(net.body.layers) if torch.equal(layer.attention.qkv.weight, other.attention.qkv.weight)
        ]
        assert len(twins) == 1
    ids = torch.arange(12)[None] % 50
    if count == 6:
        torch.testing.assert_close(small.hidden(Packed.from_padded(ids)), net.hidden(Packed.from_padded(ids)))
    small.hidden(Packed.from_padded(ids))
    assert net.config.num_layers == 6

"""Clipped gradients beside a loop over single examples by autograd alone, in float64, for every family and task."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from diptych.errors import TrainingError
from diptych.kernels.chunked_loss import replaced
from diptych.kernels.ghost import Rows, TableSums, linear_squares
from diptych.presets import create
from diptych.tasks.task import Batch, Place, Targets
from diptych.training.private import language
from diptych.training.private.clipping import add_clipped, single_gradients
from diptych.training.private.guard import check_layers
from diptych.training.private.units import UnitBatch, Units, UnitTask
from diptych.training.regimes import compose

CASES = [
    ("causal-lm", "gpt", {}),
    ("causal-lm", "gpt2", {}),
    ("causal-lm", "gpt3", {}),
    ("causal-lm", "mpt", {}),
    ("causal-lm", "llama", {}),
    ("causal-lm", "mistral", {}),
    ("masked-lm", "bert", {"nsp": False}),
    ("masked-lm", "bert", {"sop": True}),
    ("masked-lm", "roberta", {"nsp": False}),
    ("masked-lm", "distilbert", {"nsp": False}),
    ("masked-lm", "modernbert", {"nsp": False}),
    ("hybrid-lm", "hybrid", {"causal_share": 0.5}),
    ("prefix-lm", "gpt", {}),
    ("prefix-lm", "bart", {}),
    ("denoising", "t5", {}),
    ("denoising", "bart", {"noise": "infilling"}),
    ("denoising", "transformer", {"noise": "infilling"}),
    ("classification", "bert", {}),
    ("classification", "modernbert", {}),
    ("classification", "gpt", {}),
    ("classification", "bart", {}),
    ("classification", "t5", {}),
]


@pytest.fixture
def in_float64(monkeypatch) -> None:
    """Losses are taken in float32 as a rule, wherever they begin; here nothing is rounded before the comparison."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def by_hand(features_MD, weight_VD, bias_V, gold_M, smoothing):
    return F.cross_entropy(F.linear(features_MD, weight_VD, bias_V), gold_M, reduction="none", label_smoothing=smoothing)


def compare(net: Any, task: Any, alone: list[UnitBatch], together: UnitBatch, *, clip: float | None = None) -> float:
    """The largest difference between the sum of clipped gradients in one pass and that of a loop over the units."""
    with replaced(by_hand):
        singles = single_gradients(net, task, alone)
    lengths = [torch.stack([each.norm() for each in single.values()]).norm() for single in singles]
    clip = clip or float(sum(lengths) / len(lengths))  # the half is clipped, the half is not
    expected: dict[str, torch.Tensor] = {}
    for single, length in zip(singles, lengths, strict=True):
        for name, each in single.items():
            expected[name] = expected.get(name, 0.0) + each * min(1.0, clip / float(length))
    _terms, found = add_clipped(net, task, together, clip)
    torch.testing.assert_close(found, torch.stack(lengths), atol=1e-10, rtol=1e-10)
    assert max(float(each.abs().max()) for each in expected.values()) > 1e-4
    wrong = 0.0
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            given = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            wrong = max(wrong, float((given - expected.get(name, torch.zeros_like(parameter))).abs().max()))
        else:
            assert parameter.grad is None
    return wrong


def units_of(made: Any, count: int = 6, epoch: int = 2) -> tuple[list[UnitBatch], UnitBatch]:
    units, shown = Units(made.examples, "document", 8), UnitTask(made.task)
    places = [Place(3, epoch, index) for index in range(min(count, len(units)))]
    kind = units.kind(places[0])
    places = [place for place in places if units.kind(place) == kind]
    assert len(places) > 2
    return [shown.collate(units, [place]) for place in places], shown.collate(units, places)


@pytest.mark.parametrize(("name", "family", "settings"), CASES)
def test_clipped_gradients_are_those_of_a_loop_over_single_examples(name, family, settings, setting, in_float64):
    made = setting(name, family=family, **settings)
    net = made.net.double().eval()
    check_layers(net)
    alone, together = units_of(made)
    assert compare(net, made.task, alone, together) <= 1e-10
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("name", "family", "regime"),
    [
        ("causal-lm", "gpt2", [{"name": "lora", "rank": 2}]),
        ("classification", "bert", [{"name": "lora", "rank": 2, "targets": ["query", "value"]}]),
        ("denoising", "t5", [{"name": "lora", "rank": 2}]),
        ("classification", "modernbert", ["frozen"]),
        ("masked-lm", "bert", ["frozen"]),
    ],
)
def test_adapters_and_frozen_bodies_are_clipped_as_exactly(name, family, regime, setting, in_float64):
    made = setting(name, family=family, **({"nsp": False} if name == "masked-lm" else {}))
    made.net.double()
    net = compose(regime).prepare(made.net, made.task).eval()
    chance = torch.Generator().manual_seed(1)
    for key, parameter in net.named_parameters():
        if "b_OR" in key:  # it begins as 0, through which nothing comes back to the other half
            parameter.data.normal_(0, 0.3, generator=chance)
    check_layers(net)
    alone, together = units_of(made)
    assert compare(net.double(), made.task, alone, together) <= 1e-10


@pytest.mark.parametrize("family", ["gpt2", "bert", "bart", "modernbert"])
def test_as_many_texts_as_each_has_tokens_are_not_mixed_up(family, in_float64):
    """Opacus' hooks take the positions of such a batch for its texts and are wrong by a hundredth, without a word."""
    size = 6
    net = create(f"{family}-tiny", hidden_size=16, head_size=8, num_layers=2, context_length=24, vocab_size=40, initializer_range=0.1)
    net.ensure_head("lm")
    net = net.double().eval()
    ids = torch.randint(5, 40, (size, size), generator=torch.Generator().manual_seed(0))

    class Copy:
        weights: dict = {}

        def forward(self, net, batch):
            from diptych.tasks.head_task import ask

            return {"lm": ask(net, "lm", net.hidden(batch.texts), batch.texts, batch.targets["lm"].at_M)}

        def loss(self, outputs, batch):
            from diptych.tasks.head_task import HeadTask

            return HeadTask.loss(self, outputs, batch)  # type: ignore[arg-type]

    def batch(rows):
        from diptych.packed import Packed

        chosen = ids[rows]
        example_N = torch.arange(len(chosen)).repeat_interleave(size)
        targets = Targets(torch.arange(chosen.numel()), chosen.flip(1).flatten(), example_N)
        texts = Packed(chosen.flatten(), (size,) * len(chosen))
        return UnitBatch(Batch(texts, {"lm": targets}, tuple(range(len(chosen)))), tuple(range(len(chosen))), len(chosen))

    assert compare(net, Copy(), [batch([row]) for row in range(size)], batch(list(range(size)))) <= 1e-10


@pytest.mark.parametrize("kept", [0, 1 << 25])
def test_a_vocabulary_too_large_to_keep_is_multiplied_again(kept, setting, in_float64, monkeypatch):
    monkeypatch.setattr(language, "KEPT", kept)
    monkeypatch.setattr(language, "AT_ONCE", 7)
    made = setting("causal-lm", family="gpt2")
    alone, together = units_of(made)
    assert compare(made.net.double().eval(), made.task, alone, together) <= 1e-10


def test_several_examples_of_a_unit_are_clipped_as_one(setting, in_float64):
    """Long documents take several rows; a group takes several documents."""
    made = setting("classification")
    units = Units(made.examples, "group", 8, groups=["a", "b", "a", "c", "b", "a", "c", "b"])
    assert [len(units.of(unit)) for unit in range(len(units))] == [3, 3, 2]
    shown = UnitTask(made.task)
    places = [Place(0, 0, index) for index in range(3)]
    alone, together = [shown.collate(units, [place]) for place in places], shown.collate(units, places)
    net = made.net.double().eval()
    assert compare(net, made.task, alone, together) <= 1e-10
    # The whole batch as one unit has the gradient of the mean over its rows, clipped once.
    one = UnitBatch(together.inner, (0,) * len(together.unit_B), 1)
    assert compare(net, made.task, [one], one, clip=1e-3) <= 1e-10


@pytest.mark.parametrize("shape", [(1, 3, 5), (9, 3, 5), (30, 3, 5), (4, 20, 30)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_lengths_of_matrices_that_are_never_made(shape, has_bias):
    """Units of any length and in any order, by the squares of dot products and by making the matrices."""
    longest, inputs, outputs = shape
    chance = torch.Generator().manual_seed(0)
    unit_N = torch.repeat_interleave(torch.arange(5), torch.tensor([longest, 0, 1, longest, max(1, longest // 2)]))
    unit_N = unit_N[torch.randperm(len(unit_N), generator=chance)]
    x, g = (torch.randn(len(unit_N), width, dtype=torch.float64, generator=chance) for width in (inputs, outputs))
    found = linear_squares(x, g, Rows(unit_N, 5), has_bias=has_bias)
    for unit in range(5):
        rows = unit_N == unit
        made = (g[rows].T @ x[rows]).square().sum() + (g[rows].sum(0).square().sum() if has_bias else 0)
        torch.testing.assert_close(found[unit], made)


def test_tables_are_summed_by_unit_and_row():
    unit_N, ids_N = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([3, 3, 3, 0, 3])
    g = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sums = TableSums(ids_N, g, Rows(unit_N, 3), 4)
    torch.testing.assert_close(sums.squares()[0], (g[0] + g[1]).square().sum())
    torch.testing.assert_close(sums.squares()[1], g[3].square().sum() + (g[2] + g[4]).square().sum())
    assert float(sums.squares()[2]) == 0
    ids, values = sums.of(1)
    assert ids.tolist() == [0, 3]
    torch.testing.assert_close(values[1], g[2] + g[4])


@pytest.fixture
def watched_layers(setting) -> Iterator[Any]:
    yield setting("classification", family="gpt")


def test_a_recurrent_layer_a_batch_norm_and_a_shared_weight_are_refused(watched_layers):
    net = watched_layers.net
    net.body.extra = torch.nn.BatchNorm1d(4)
    with pytest.raises(TrainingError, match=r"E551.*body.extra.*BatchNorm1d"):
        check_layers(net)
    del net.body.extra
    net.body.extra = torch.nn.LSTM(4, 4)
    with pytest.raises(TrainingError, match=r"E551.*LSTM"):
        check_layers(net)
    net.body.extra = torch.nn.Linear(16, 16, bias=False)
    net.body.extra.weight = net.body.layers[0].attention.output.weight
    with pytest.raises(TrainingError, match=r"E552.*attention.output.weight"):
        check_layers(net)
    del net.body.extra

    class Twice(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    net.body.extra = Twice(2, 2)
    with pytest.raises(TrainingError, match=r"E551.*Twice"):
        check_layers(net)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"E556"):
        check_layers(net)


def test_a_recurrent_net_is_refused_and_its_head_alone_is_not(tokenizers):
    net = create("lstm-tiny", vocab_size=50, hidden_size=16, num_layers=1, context_length=24)
    net.ensure_head("classes", labels=("a", "b"))
    with pytest.raises(TrainingError, match=r"E551.*LSTM"):
        check_layers(net)
    for parameter in net.body.parameters():
        parameter.requires_grad_(False)
    check_layers(net)


def test_a_layer_that_is_given_rows_of_nobody_is_refused(setting):
    made = setting("classification", family="modernbert")
    _alone, together = units_of(made)
    made.net.heads["classes"].output.register_forward_pre_hook(lambda _module, args: (args[0].repeat(2, 1),))
    with pytest.raises(TrainingError, match=r"E553.*heads.classes.output"):
        add_clipped(made.net, made.task, together, 1.0)
    assert all(parameter.requires_grad for parameter in made.net.parameters())

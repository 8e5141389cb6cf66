"""The network around its layers: fresh weights, heads that come and go, gradients that reach every weight."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from diptych.errors import ModelError
from diptych.models.transformer import Network
from diptych.packed import Packed
from diptych.presets import create

FAMILIES = ("bert", "gpt2", "gpt", "modernbert", "modernbert-decoder")
HEADS = [
    *((family, "lm") for family in FAMILIES),
    *((family, "classes") for family in FAMILIES),
    *((family, "tags") for family in ("bert", "gpt2", "gpt")),
    ("bert", "nsp"),
    ("modernbert", "nsp"),
    ("bert", "span"),
]


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("family, head", HEADS)
def test_a_gradient_arrives_at_every_weight(family: str, head: str, is_tied: bool, random_net: Callable[..., Any]) -> None:
    net = random_net(family, head, is_tied=is_tied).train()
    net.keep_heads((head,))
    lengths = (30, 12, 22)
    ids_N = torch.randint(0, 61, (64,), generator=torch.Generator().manual_seed(0))
    texts = Packed(ids_N, lengths, torch.arange(64) % 2)
    hidden_ND = net.hidden(texts)
    module = net.heads[head]
    answers = module(hidden_ND, texts) if head in ("nsp", "classes") else module(hidden_ND)
    answers.square().sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    # All positions were used, up to the longest text, and no other.
    if net.body.embedding.positions is not None:
        assert net.body.embedding.positions.weight.grad.any(-1).nonzero().flatten().tolist() == list(range(30))


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_matrices_are_normal_norms_are_one_and_biases_zero(family: str) -> None:
    net = create(f"{family}-tiny", seed=3, is_tied=False, num_layers=3, initializer_range=0.03)
    net.ensure_head("classes", labels=("a", "b", "c"))
    is_post_norm = family == "bert"
    for owner, module in net.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, nn.LayerNorm | nn.RMSNorm):
                assert (weight == (1.0 if name == "weight" else 0.0)).all(), owner
            elif weight.dim() == 1:
                assert not weight.any(), owner
            elif owner != "body.embedding.positions":  # these begin as sinusoids
                joins_the_stream = owner.endswith(("attention.output", "feed_forward.down")) and not is_post_norm
                expected = 0.03 / 6**0.5 if joins_the_stream else 0.03
                # Five standard errors of a standard deviation.
                assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5), owner
                assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5, owner


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_matrices_begin_alike(family: str) -> None:
    net = create(f"{family}-tiny", is_tied=False)
    net.ensure_head("classes", labels=tuple("abc"))
    beginnings = [tuple(weight.flatten()[:4].tolist()) for weight in net.parameters() if weight.dim() > 1]
    assert len(set(beginnings)) == len(beginnings)


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_weights_are_a_function_of_the_seed(family: str) -> None:
    torch.manual_seed(1)
    first = states(family, seed=7)
    torch.manual_seed(2)
    torch.rand(3)
    again, other = states(family, seed=7), states(family, seed=8)
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    alike = {name for name, weight in first.items() if weight.dim() > 1 and torch.equal(weight, other[name])}
    assert alike <= {"body.embedding.positions.weight"}, "learned positions begin as sinusoids, whatever the seed"


def test_making_a_network_leaves_the_chance_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    create("bert-tiny").ensure_head("classes", labels=("a", "b"))
    assert torch.equal(torch.rand(3), expected)


def test_tied_weights_are_one_and_counted_once() -> None:
    tied, untied = (create("gpt-tiny", vocab_size=100, is_tied=is_tied) for is_tied in (True, False))
    assert tied.heads["lm"].weight_VD is tied.body.embedding.tokens.weight
    assert sum(map(torch.numel, untied.parameters())) - sum(map(torch.numel, tied.parameters())) == 100 * 128
    assert not any("heads" in name for name in tied.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_longer_than_the_context_is_refused_by_name(family: str, random_net: Callable[..., Any]) -> None:
    net = random_net(family)
    assert net.logits(torch.zeros(1, 64, dtype=torch.int64)).shape == (1, 64, 61)
    with pytest.raises(ModelError, match=r"65 tokens.* context of 64") as caught:
        net.logits(torch.zeros(1, 65, dtype=torch.int64))
    assert caught.value.code == "E302"


def test_a_head_is_added_once_and_replaced_for_other_labels(random_net: Callable[..., Any]) -> None:
    net = random_net("bert", "classes")
    first = net.heads["classes"]
    net.ensure_head("classes", labels=("a", "b", "c"))
    assert net.heads["classes"] is first
    net.ensure_head("classes", labels=("c", "b"))
    assert net.heads["classes"] is not first and net.config.labels == ("c", "b")
    assert net.heads["classes"].pooler is net.heads["pooler"]
    net.keep_heads(("classes",))
    assert set(net.heads) == {"pooler", "classes"}
    net.keep_heads(())
    assert set(net.heads) == set()
    with pytest.raises(ModelError, match="no head") as caught:
        net.logits(torch.zeros(1, 2, dtype=torch.int64))
    assert caught.value.code == "E303"


def test_dropout_is_at_work_while_training_alone(random_net: Callable[..., Any]) -> None:
    ids = torch.arange(20)[None]
    for family in FAMILIES:
        net = random_net(family)
        still = net.logits(ids)
        net.train()
        assert torch.equal(net.logits(ids), still), "no dropout unless it is asked for"
        net.set_config(dropout=0.5)
        assert not torch.allclose(net.logits(ids), still)
        net.set_config(dropout=0.0, attention_dropout=0.5)
        assert not torch.allclose(net.logits(ids), still)
        assert torch.equal(net.eval().logits(ids), still)


def states(family: str, seed: int) -> dict[str, torch.Tensor]:
    net: Network = create(f"{family}-tiny", seed=seed, is_tied=False)
    net.ensure_head("classes", labels=("a", "b"), seed=seed)
    return net.state_dict()

"""A head in closed form: beside what chance gives, on vectors whose answer is known, for every kind of head."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import diptych as dt
from diptych.presets import create
from diptych.surgery.closed_form import NEAR, begin_language_head, embeddings_from_counts

V, D, M = 60, 16, 4000


def network(family: str, **sizes: Any) -> Any:
    sizes = {"hidden_size": D, "num_layers": 1, "head_size": 8, "vocab_size": V, "context_length": 16, **sizes}
    net = create(f"{family}-tiny", **sizes)
    with torch.no_grad():
        net.body.embedding.tokens.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    return net


def vectors(net: Any, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Places whose vectors are an unknown turn of the embeddings of their tokens, shifted, with noise; few tokens are frequent."""
    draw = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(7)))[0]
    gold_M = torch.multinomial(1 / torch.arange(1.0, V + 1), M, replacement=True, generator=draw)
    h_MD = net.body.embedding.tokens.weight.detach()[gold_M] @ turn + 3.0
    return h_MD + noise * torch.randn(M, D, generator=draw), gold_M


HEADS = [("bert", {}), ("modernbert", {}), ("gpt", {"is_tied": False}), ("bert", {"activation": "relu"})]


@pytest.mark.parametrize(("family", "sizes"), HEADS, ids=["bert", "no bias in the transform", "untied", "another activation"])
def test_it_knows_tokens_where_chance_knows_none_and_beats_their_frequencies(family: str, sizes: dict) -> None:
    net = network(family, **sizes)
    head = net.heads["lm"]
    h_MD, gold_M = vectors(net, 0.5, seed=3)
    frequencies = torch.bincount(gold_M, minlength=V).float() / M
    entropy = float(-(frequencies[gold_M] + 1e-9).log().mean())
    with torch.no_grad():
        before = float(F.cross_entropy(head(h_MD), gold_M))
        assert begin_language_head(head, net.body.embedding.tokens.weight, [vectors(net, 0.5, seed=2)], frequencies * M) == M
        after = head(h_MD)
    assert float(F.cross_entropy(after, gold_M)) < 0.5 * entropy < before
    assert (after.argmax(1) == gold_M).float().mean() > 0.8


def test_vectors_that_say_nothing_leave_the_frequencies() -> None:
    """Not the best of guesses is worse than no guess: the line must not be trusted for what it has by chance."""
    net = network("bert")
    draw = torch.Generator().manual_seed(5)
    gold_M = torch.multinomial(1 / torch.arange(1.0, V + 1), M, replacement=True, generator=draw)
    counts_V = torch.bincount(gold_M, minlength=V)
    begin_language_head(net.heads["lm"], net.body.embedding.tokens.weight, [(torch.randn(M, D, generator=draw), gold_M)], counts_V)
    frequencies = torch.bincount(gold_M, minlength=V).float() / M
    with torch.no_grad():
        found = F.cross_entropy(net.heads["lm"](torch.randn(M, D, generator=draw)), gold_M)
    assert found < float(-(frequencies[gold_M] + 1e-9).log().mean()) + 0.1


def test_a_head_without_a_matrix_of_its_own_is_left_alone() -> None:
    net = network("gpt", is_tied=True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert begin_language_head(net.heads["lm"], net.body.embedding.tokens.weight, [vectors(net, 0.5, seed=2)], torch.ones(V)) == 0
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())
    bert = network("bert").heads["lm"]
    assert begin_language_head(bert, network("bert").body.embedding.tokens.weight, [], torch.ones(V)) == 0


def test_a_body_without_a_head_gets_one_when_it_is_pretrained_and_a_model_that_has_one_keeps_it(tmp_path) -> None:
    texts = [f"The cat sat on mat {number}. 今天天气很好，第{number}次。" for number in range(60)]
    common = {"precision": "float32", "steps": 1, "lr": 1e-9, "nsp": False}
    sizes = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}
    bert = dt.pretrain("bert-tiny", texts, sizes=sizes, tokenizer={"vocab_size": 300}, **common)
    bert.save(tmp_path / "whole")
    bert.net.keep_heads(())
    bert.save(tmp_path / "bare")
    whole, begun = (dt.pretrain(tmp_path / name, texts, **common) for name in ("whole", "bare"))
    line = ("model", "places from which the language head was solved for, before training")
    assert whole.pretrained.ledger.count(*line) == 0 < begun.pretrained.ledger.count(*line)
    assert begun.pretrained.outcome.held_out["lm"] < whole.pretrained.outcome.held_out["lm"] - 1


def test_embeddings_keep_the_company_that_a_brute_force_count_finds() -> None:
    draw = np.random.default_rng(0)
    borders = np.cumsum([0, 7, 1, 30, 12, 50])
    tokens = draw.integers(0, 12, borders[-1]).astype(np.uint16)
    counts = np.zeros((12, 12))
    for start, stop in pairwise(borders):
        for here in range(start, stop):
            for there in range(max(start, here - NEAR), min(stop, here + NEAR + 1)):
                if here != there:
                    counts[tokens[here], tokens[there]] += 1 / abs(here - there)
    context = counts.sum(0) ** 0.75
    context *= counts.sum() / context.sum()
    with np.errstate(divide="ignore"):
        table = np.maximum(0, np.log(counts * counts.sum() / np.outer(counts.sum(1), context)))
    left, values, _right = np.linalg.svd(table)
    expected = (left[:, :5] * values[:5]) @ left[:, :5].T
    found = embeddings_from_counts(tokens, borders, 12, 5)
    assert abs((found**2).mean() - 1) < 1e-5
    gram = found @ found.T
    assert np.allclose(gram / np.trace(gram), expected / np.trace(expected), atol=1e-4)
    wider = embeddings_from_counts(tokens, borders, 20, 32)
    assert wider.shape == (20, 32) and not wider[12:].any() and np.isfinite(wider).all()


def test_a_run_may_begin_with_counts_and_then_knows_more_before_its_first_step() -> None:
    texts = [
        f"{who} sat on the {what}, {how}. {谁}很{怎样}。"
        for who, what in (("cat", "mat"), ("dog", "rug"), ("owl", "oak"))
        for how in ("softly", "slowly")
        for 谁 in ("天气", "房间", "书")
        for 怎样 in ("好", "干净", "大")
    ] * 3
    common = {"sizes": {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}, "tokenizer": {"vocab_size": 200}}
    common |= {"steps": 1, "lr": 1e-9, "precision": "float32", "nsp": False, "clean": {"dedup": "none"}, "held_out": 0.3}
    chance, counts = (dt.pretrain("modernbert-tiny", texts, model={"start": start}, **common) for start in ("chance", "counts"))
    assert counts.pretrained.outcome.held_out["lm"] < chance.pretrained.outcome.held_out["lm"] - 0.5
    with pytest.raises(dt.DiptychError, match="E403"):
        dt.pretrain("minilm", texts, model={"start": "counts"})

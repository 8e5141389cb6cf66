"""How far an explanation is to be trusted: by the definitions, by trying every order, and on models whose reasons are known."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from diptych.evaluation.baselines import tfidf
from diptych.explain.explain import METHODS, explain
from diptych.explain.faithfulness import Yardstick, agreement
from diptych.explain.perturb import Subject
from diptych.explain.simple import disagreements, simple_view

GOOD, BAD = ("good", "干"), ("bad", "小")


def chance(subject: Subject, chosen: Any) -> float:
    score = subject(np.isin(np.arange(subject.num_units), list(chosen))[None])[0]
    return float(1 / (1 + np.exp(-score)))


def test_the_two_numbers_are_those_of_their_definition(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of("bert", "the food was good, but the room was bad. I liked it.")
    yardstick = Yardstick(subject)
    size = subject.num_units
    order = np.random.default_rng(0).permutation(size)
    levels = sorted({int(np.ceil(share * size)) for share in (0.01, 0.05, 0.1, 0.2, 0.5)})
    whole = chance(subject, range(size))
    without = np.mean([whole - chance(subject, set(range(size)) - set(order[:level].tolist())) for level in levels])
    alone = np.mean([whole - chance(subject, order[:level].tolist()) for level in levels])
    assert yardstick.raw(order) == pytest.approx((without, alone))


def test_the_bound_is_nearly_that_of_the_best_of_all_orders(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of("bert", "good food, bad 很小")
    yardstick = Yardstick(subject)
    every = np.array([yardstick.raw(order) for order in permutations(range(subject.num_units))])
    best, mean = np.array([every[:, 0].max(), every[:, 1].min()]), every.mean(0)
    assert yardstick.best[0] <= best[0] + 1e-9 and yardstick.best[1] >= best[1] - 1e-9
    assert abs(yardstick.best - best).max() <= 0.1 * abs(best - mean).max() + 1e-9
    judged = yardstick.judge(-np.argsort(np.argsort(every[:, 0])).astype(float)[: subject.num_units])
    assert judged.normalized is None or judged.normalized <= 1.0 + 1e-9


def rule(made: Callable[..., Any], tokenizer_word: str) -> Any:
    """A classifier that looks for one token: its vector and nothing else decides."""
    net, tokenizer = made("bert", "classes", num_layers=1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.zero_()
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
        # A direction per token; attention is even, so the first token's view holds the mean of all.
        tokens = net.body.embedding.tokens.weight
        tokens.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        tokens[:, 0] = 0.0
        tokens[tokenizer.id(tokenizer_word), 0] = 8.0
        layer = net.body.layers[0].attention
        size = net.config.hidden_size
        layer.qkv.weight[2 * size :] = torch.eye(size) * 4
        layer.output.weight.copy_(torch.eye(size))
        net.heads["pooler"].dense.weight[0, 0] = 1.0
        net.heads["classes"].output.weight[0, 0] = 6.0
        net.heads["classes"].output.weight[1, 0] = -6.0
    return net.eval(), tokenizer


@pytest.mark.parametrize("text", [pytest.param("I had the X food and room", marks=pytest.mark.slow), "这家酒店很X，早餐也不错。"])
def test_a_planted_word_comes_first_and_its_order_is_nearly_the_best(made: Callable[..., Any], text: str) -> None:
    word = "净" if "酒" in text else "m"
    net, tokenizer = rule(made, word)
    text = text.replace("X", word)
    for method in ("shapley", "owen", "occlusion", "integrated-gradients"):
        found = explain(net, tokenizer, text, label="a", method=method, units="tokens")
        assert found.top(1)[0][0] == word, method
        assert found.faithfulness is not None and (found.faithfulness.normalized or 0) > 0.9, method
    backwards = explain(net, tokenizer, text, label="a", units="tokens")
    yardstick = Yardstick(Subject(net, backwards.question, backwards.units, 0))
    assert (yardstick.judge(-backwards.values).normalized or 0) < 0


def test_a_model_that_does_not_look_has_nothing_to_measure(made: Callable[..., Any]) -> None:
    net, tokenizer = made("bert", "classes")
    with torch.no_grad():
        net.heads["classes"].output.weight.zero_()
    found = explain(net, tokenizer, "这家酒店很干净 good")
    assert found.faithfulness is not None and found.faithfulness.normalized is None
    assert "no order of the units makes a difference" in str(found)


@pytest.mark.slow
def test_other_seeds_are_asked_where_chance_is_in_it(made: Callable[..., Any]) -> None:
    net, tokenizer = made("bert", "classes")
    text = "the food was good, but the room was bad. I liked it."
    few, many = (explain(net, tokenizer, text, budget=budget, units="tokens").stability for budget in (60, 400))
    assert few is not None and many is not None and -1 <= few < many <= 1
    assert explain(net, tokenizer, text, method="owen").stability == 1.0
    again = [explain(net, tokenizer, text, budget=60, seed=3, judged=False) for _time in range(2)]
    assert (again[0].values == again[1].values).all() and again[0].faithfulness is None


def test_agreement_is_spearmans() -> None:
    assert agreement(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 9.0])) == pytest.approx(1.0)
    assert agreement(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 4.0, 3.0])) == pytest.approx(0.6)
    assert agreement(np.ones(3), np.arange(3.0)) is None and agreement(np.ones(1), np.ones(1)) is None


def test_the_simple_model_loses_what_its_words_weigh(subject_of: Callable[..., Subject]) -> None:
    texts = [f"{word} {place}" for word in (*GOOD, *BAD) for place in ("food", "room", "酒店", "it")] * 3
    labels = ["a" if text.split()[0] in GOOD else "b" for text in texts]
    baseline = tfidf(texts, labels)
    subject = subject_of("bert", "good food, 很小 room", label="a")
    view = simple_view(baseline, subject.question, subject.units)
    assert view is not None
    words = [subject.question.reading.texts[0][unit.start : unit.stop] for unit in subject.units]
    values = dict(zip(words, view.values, strict=True))
    assert values["good"] > 0 > min(values[word] for word in values if "小" in word)
    assert abs(values[","]) < 1e-6, "a comma is no word"
    assert subject.question.answer == "a"
    other = subject_of("bert", "good food", label="c")
    assert simple_view(baseline, other.question, other.units) is None, "it knows no such label"


def test_disagreements_are_weighty_on_both_sides() -> None:
    ours, theirs = np.array([5.0, -3.0, 0.1, 2.0]), np.array([4.0, 3.0, -6.0, -1.0])
    assert disagreements(ours, theirs) == [1, 3]


def test_every_method_answers_in_both_languages_and_says_how_far_to_trust_it(made: Callable[..., Any]) -> None:
    net, tokenizer = made("bert", "classes")
    for method in METHODS:
        for text in ("good food, bad room 🙂", "这家酒店很干净。"):
            found = explain(net, tokenizer, text, method=method, budget=40)
            assert len(found.values) == len(found.units) and np.isfinite(found.values).all()
            kept = found.to_json()
            assert [unit["text"] for unit in kept["units"]] == found.words and kept["method"] == method
            assert "faithfulness" in str(found)

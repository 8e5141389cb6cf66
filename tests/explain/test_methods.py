"""The values of each method, beside brute force, closed forms and captum."""

from collections.abc import Callable
from itertools import combinations, permutations
from math import comb, factorial
from typing import Any

import numpy as np
import pytest
import torch

from diptych.explain.explain import METHODS
from diptych.explain.gradients import input_x_gradient, integrate, integrated_gradients
from diptych.explain.lime import fit, lime, variants
from diptych.explain.occlusion import occlusion
from diptych.explain.owen import halfway, owen, sentence_ends
from diptych.explain.perturb import Subject
from diptych.explain.sets import values_of_sets
from diptych.explain.shapley import coalitions, kernel_shap, shapley, solve

SHORT = ("the food was good", "这家酒店很干净")

SubjectOf = Callable[..., Subject]


def value(subject: Subject, chosen: Any) -> float:
    """The answer with these units and no others."""
    return float(subject(np.isin(np.arange(subject.num_units), list(chosen))[None])[0])


def shapley_by_definition(game: Callable[[Any], float], size: int) -> np.ndarray:
    """Shapley 1953, eq. 12: what a unit adds to every set of the others, weighted by s!(n-s-1)!/n!."""
    found = np.zeros(size)
    for unit in range(size):
        others = [each for each in range(size) if each != unit]
        for few in range(size):
            weight = factorial(few) * factorial(size - few - 1) / factorial(size)
            found[unit] += sum(weight * (game((*chosen, unit)) - game(chosen)) for chosen in combinations(others, few))
    return found


@pytest.mark.parametrize("text", SHORT)
@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_shapley_values_are_exact_where_every_set_fits_the_budget(subject_of: SubjectOf, family: str, text: str) -> None:
    subject = subject_of(family, text, "tokens" if "酒" in text else "words")
    exact = shapley_by_definition(lambda chosen: value(subject, chosen), subject.num_units)
    found = shapley(subject, 2**subject.num_units, seed=0)
    assert found.values == pytest.approx(exact, abs=1e-6)
    assert found.base == pytest.approx(value(subject, ()))


def test_drawn_coalitions_come_in_pairs_without_repetition_and_weigh_as_the_kernel_does() -> None:
    size, budget = 14, 600
    kept_MU, weights_M = coalitions(size, budget, seed=3)
    assert len(kept_MU) <= budget and len({row.tobytes() for row in kept_MU}) == len(kept_MU)
    rows = {row.tobytes() for row in kept_MU}
    assert all((~row).tobytes() in rows for row in kept_MU)
    assert not kept_MU.all(1).any() and kept_MU.any(1).all()
    # Sizes 1, 2 and their complements are whole, each set with the kernel's weight; the rest has the rest of the weight.
    sizes = kept_MU.sum(1)
    for few in (1, 2, 12, 13):
        assert (sizes == few).sum() == comb(size, few)
        assert weights_M[sizes == few] == pytest.approx((size - 1) / (comb(size, few) * few * (size - few)))
    rest = sum((size - 1) / (few * (size - few)) for few in range(3, 12))
    assert weights_M[(sizes > 2) & (sizes < 12)].sum() == pytest.approx(rest)
    other, _weights = coalitions(size, budget, seed=4)
    assert {row.tobytes() for row in other} != rows


def test_a_game_of_twenty_units_is_solved_with_few_sets() -> None:
    draw = np.random.default_rng(0)
    alone, pairs = draw.normal(size=20), np.triu(draw.normal(size=(20, 20)) * 0.2, 1)
    kept_MU, weights_M = coalitions(20, 500, seed=0)
    gains = kept_MU @ alone + np.einsum("mi,ij,mj->m", kept_MU, pairs, kept_MU)
    total = alone.sum() + pairs.sum()
    # What two units do together is shared alike (Shapley's symmetry).
    exact = alone + (pairs.sum(0) + pairs.sum(1)) / 2
    found = solve(kept_MU, weights_M, gains, total)
    assert found.sum() == pytest.approx(total, abs=1e-9)
    assert np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()


def game(size: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A game of which the exact values are known: single units, pairs, and one product of three; a few of them weigh most."""
    draw = np.random.default_rng(seed)
    strength = draw.gamma(0.5, size=size)
    alone = strength * draw.normal(size=size)
    pairs = np.triu(np.outer(strength, strength) * draw.normal(size=(size, size)), 1)
    three = np.argsort(-strength)[:3]

    def play(kept_MU: np.ndarray) -> np.ndarray:
        kept = kept_MU.astype(float)
        return kept @ alone + np.einsum("mi,ij,mj->m", kept, pairs, kept) + 2.0 * kept[:, three].prod(1)

    exact = alone + (pairs.sum(0) + pairs.sum(1)) / 2
    exact[three] += 2.0 / 3
    play.exact = exact  # type: ignore[attr-defined]
    return play


def test_what_is_learnt_from_sets_is_exact_with_all_of_them() -> None:
    play = game(7, 1)
    every = (np.arange(2**7)[:, None] >> np.arange(7) & 1).astype(bool)
    assert values_of_sets(every, play(every)) == pytest.approx(play.exact, abs=1e-4)
    assert not values_of_sets(every, np.zeros(128)).any()


def test_what_is_learnt_from_sets_is_at_most_half_as_wrong_as_regression() -> None:
    errors = []
    for seed in range(4):
        play = game(10, seed)
        kept_MU, weights_M = coalitions(10, 74, seed=seed)
        everything, nothing = np.ones((1, 10), bool), np.zeros((1, 10), bool)
        total = float(play(everything)[0])
        regressed = solve(kept_MU, weights_M, play(kept_MU), total)
        sets = np.concatenate([everything, nothing, kept_MU])
        learnt = values_of_sets(sets, play(sets))
        assert learnt.sum() == pytest.approx(total, abs=1e-9)
        errors.append([np.abs(found - play.exact).mean() for found in (learnt, regressed)])
    learnt, regressed = np.mean(errors, axis=0)
    assert learnt <= 0.5 * regressed


def test_owen_values_are_the_mean_over_the_orders_in_which_halves_come_together(subject_of: SubjectOf) -> None:
    subject = subject_of("bert", "good food. bad room 很")
    size = subject.num_units
    ends = sentence_ends(subject.units, subject.question.reading.texts)

    def leaves(first: int, last: int) -> Any:
        if last - first == 1:
            return [(first,)]
        middle = halfway(first, last, ends)
        left, right = leaves(first, middle), leaves(middle, last)
        return [a + b for a in left for b in right] + [b + a for a in left for b in right]

    orders = leaves(0, size)
    assert len(orders) == 2 ** (size - 1) < factorial(size)
    exact = np.zeros(size)
    for order in orders:
        for place, unit in enumerate(order):
            exact[unit] += (value(subject, order[: place + 1]) - value(subject, order[:place])) / len(orders)
    assert owen(subject, 10_000, seed=0).values == pytest.approx(exact, abs=1e-6)
    few = owen(subject, 9, seed=0)
    assert few.values.sum() == pytest.approx(subject.full - subject.empty, abs=1e-5)


def test_the_text_is_halved_where_a_sentence_ends(subject_of: SubjectOf) -> None:
    subject = subject_of("bert", "good food, bad room. I liked it very much")
    (end,) = sentence_ends(subject.units, subject.question.reading.texts)
    assert subject.question.reading.texts[0][subject.units[end].start :].startswith("I liked")
    assert halfway(0, 10, [4]) == 4 and halfway(0, 10, [1]) == 5 and halfway(2, 4, [3]) == 3


@pytest.mark.parametrize("name", ["shapley", "owen"])
@pytest.mark.parametrize("text", ["the food was good, but the room was bad. I liked it.", "这家酒店很干净，早餐也不错。房间有点小。"])
def test_values_add_up_whatever_the_budget(subject_of: SubjectOf, name: str, text: str) -> None:
    for budget in (6, 30, 90):
        subject = subject_of("bert", text)
        found = METHODS[name][0](subject, budget, 0)
        assert found.base is not None
        assert found.values.sum() == pytest.approx(subject.full - found.base, abs=1e-5)
        assert subject.num_evaluations <= budget + 32, "a round of halves may be begun"


def test_lime_is_the_weighted_ridge_regression_of_scikit_learn(subject_of: SubjectOf) -> None:
    from sklearn.linear_model import Ridge

    subject = subject_of("bert", SHORT[0], "tokens")
    kept_MU = variants(subject.num_units, 80, seed=5)
    scores_M = subject(kept_MU)
    cosine_M = kept_MU.sum(1) / np.sqrt(kept_MU.sum(1) * kept_MU.shape[1], where=kept_MU.any(1), out=np.ones(len(kept_MU)))
    weights_M = np.sqrt(np.exp(-((100 * (1 - cosine_M)) ** 2) / 25**2))
    theirs = Ridge(alpha=1.0).fit(kept_MU, scores_M, sample_weight=weights_M).coef_
    assert fit(kept_MU, scores_M) == pytest.approx(theirs, abs=1e-8)
    assert lime(subject, 80, seed=5).values == pytest.approx(theirs, abs=1e-8)


def test_a_linear_game_is_read_off_by_every_method_of_sets() -> None:
    """Where units do not meet, a unit's value is its weight."""

    class Linear(Subject):
        def __init__(self, weights: np.ndarray, question: Any, units: Any) -> None:
            self.weights, self.question, self.units, self.num_evaluations = weights, question, units, 0

        def __call__(self, kept_MU: np.ndarray) -> np.ndarray:
            return kept_MU @ self.weights

    class Bare:
        class reading:
            texts = ("",)

    from diptych.explain.reading import Unit

    weights = np.random.default_rng(1).normal(size=9)
    subject = Linear(weights, Bare, [Unit(0, number, number + 1, (number,)) for number in range(9)])
    for method in (kernel_shap, owen, occlusion):
        assert method(subject, 60, 0).values == pytest.approx(weights, abs=1e-9)
    assert shapley(subject, 60, 0).values == pytest.approx(weights, abs=1e-3)
    assert np.corrcoef(lime(subject, 300, 0).values, weights)[0, 1] > 0.99


class Captum:
    """What captum needs to know of a question: token ids in, its number out."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __call__(self, ids_BT: torch.Tensor) -> torch.Tensor:
        from diptych.packed import Packed

        question = self.subject.question
        types = torch.from_numpy(question.reading.types).repeat(len(ids_BT))
        texts = Packed(ids_BT.flatten(), (ids_BT.shape[1],) * len(ids_BT), types, question.is_causal)
        at = torch.tensor([question.places], dtype=torch.int64).reshape(1, -1) + texts.starts_B[:, None]
        return question.score(self.subject.net, texts, at)

    @property
    def ids(self) -> torch.Tensor:
        return torch.from_numpy(self.subject.question.reading.ids)[None]

    @property
    def blanks(self) -> torch.Tensor:
        return torch.from_numpy(self.subject.gone_ids())[None]


@pytest.mark.parametrize("family", ["bert", "gpt", "modernbert"])
def test_integrated_gradients_are_captums(subject_of: SubjectOf, family: str) -> None:
    attr = pytest.importorskip("captum.attr")
    for text in SHORT:
        subject = subject_of(family, text)
        peer = Captum(subject)
        theirs = attr.LayerIntegratedGradients(peer, subject.net.body.embedding.tokens)
        found = theirs.attribute(peer.ids, peer.blanks, n_steps=24, method="gausslegendre").sum(-1).detach().numpy()
        ours, base, full = integrate(subject, 24)
        assert ours == pytest.approx(found, abs=1e-4)
        assert base == pytest.approx(float(peer(peer.blanks)), abs=1e-4) and full == pytest.approx(float(peer(peer.ids)), abs=1e-4)


def test_integrated_gradients_go_on_until_they_add_up(subject_of: SubjectOf) -> None:
    subject = subject_of("bert", "the food was good, but the room was bad.")
    found = integrated_gradients(subject, 400, 0)
    assert found.error is not None and found.base is not None
    missed = abs(found.values.sum() - (subject.full - found.base)) / abs(subject.full - found.base)
    assert missed == pytest.approx(found.error, abs=1e-3) and missed < 0.01


def test_input_x_gradient_is_captums(subject_of: SubjectOf) -> None:
    attr = pytest.importorskip("captum.attr")
    subject = subject_of("gpt", SHORT[1], "tokens")
    peer = Captum(subject)
    theirs = attr.LayerGradientXActivation(peer, subject.net.body.embedding.tokens).attribute(peer.ids).sum(-1).detach().numpy()
    assert input_x_gradient(subject, 0, 0).values == pytest.approx(subject.by_unit(theirs), abs=1e-4)


def test_occlusion_and_shapley_values_are_captums_where_blanks_stand_for_what_is_gone(subject_of: SubjectOf) -> None:
    attr = pytest.importorskip("captum.attr")
    subject = subject_of("bert", "Anna in Rom 的", head="tags", of="Rom", label="LOC")
    assert not subject.question.can_shorten
    peer = Captum(subject)
    # Captum counts special tokens as a group of their own, which its baseline does not change.
    groups = torch.full_like(peer.ids, subject.num_units)
    for number, unit in enumerate(subject.units):
        groups[0, list(unit.tokens)] = number
    first = [unit.tokens[0] for unit in subject.units]
    left_out = attr.FeatureAblation(peer).attribute(peer.ids, peer.blanks, feature_mask=groups)[0].detach().numpy()
    assert occlusion(subject, 0, 0).values == pytest.approx(left_out[first], abs=1e-5)
    exact = attr.ShapleyValues(peer).attribute(peer.ids, peer.blanks, feature_mask=groups)[0].detach().numpy()
    assert shapley(subject, 2**subject.num_units, 0).values == pytest.approx(exact[first], abs=1e-5)


def test_every_order_counts_the_same_in_the_definition() -> None:
    """The brute force above against another one: the mean over all orders."""
    weights = np.random.default_rng(2).normal(size=(4, 4))

    def game(chosen: Any) -> float:
        chosen = list(chosen)
        return float(weights[np.ix_(chosen, chosen)].sum())

    by_orders = np.zeros(4)
    for order in permutations(range(4)):
        for place, unit in enumerate(order):
            by_orders[unit] += (game(order[: place + 1]) - game(order[:place])) / 24
    assert shapley_by_definition(game, 4) == pytest.approx(by_orders)

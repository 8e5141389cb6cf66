"""Both panels in one task: which rows are which, what each is asked, and that both are judged."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest

from diptych.errors import DataError
from diptych.evaluation.evaluate import score_language, to_judge
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.hybrid_lm import HybridLM, HybridLMSettings
from diptych.tasks.measure import by_tokens, measure
from diptych.tasks.task import Mixed, Place


@pytest.fixture
def hybrid(shards_of, texts, masked_tokenizer):
    """(task, examples, shards) on the bilingual corpus."""

    def build(row_length=24, rows=None, tokenizer=masked_tokenizer, **settings):
        task = HybridLM(HybridLMSettings(**settings))
        documents = rows or [tokenizer.encode(text) for text in texts]
        shards = shards_of(documents, task.separator(tokenizer))
        return task, task.examples(shards, tokenizer, row_length, Ledger()), shards

    return build


def batches(task, examples, seed=0, epoch=0):
    places = [Place(seed, epoch, index) for index in range(len(examples))]
    return [(few, task.collate(examples, few)) for few in by_tokens(examples, places, 60)]


def test_a_batch_is_of_one_kind_and_every_row_is_in_one(hybrid):
    task, examples, _shards = hybrid()
    assert isinstance(examples, Mixed)
    found = batches(task, examples)
    for places, batch in found:
        assert {examples.kind(place) for place in places} == {int(bool(batch.texts.is_causal))}
        assert set(batch.targets) == ({"causal"} if batch.texts.is_causal else {"masked"})
    assert sorted(place.index for places, _ in found for place in places) == list(range(len(examples)))
    assert {batch.texts.is_causal for _, batch in found} == {True, False}


@pytest.mark.parametrize("share", [0.0, 1 / 16, 0.5, 1.0])
def test_the_share_is_that_of_the_rows_and_of_the_weights(hybrid, share):
    task, examples, _shards = hybrid(causal_share=share)
    kinds = Counter(examples.kind(Place(0, epoch, index)) for epoch in range(300) for index in range(len(examples)))
    assert binomtest(kinds[1], kinds.total(), share).pvalue > 0.001
    assert task.weights == {"causal": share, "masked": 1 - share}


def test_a_causal_row_asks_what_a_causal_model_is_asked(hybrid, masked_tokenizer):
    task, examples, shards = hybrid(causal_share=1.0)
    plain = CausalLM(CausalLMSettings())
    same = plain.examples(shards, masked_tokenizer, 24, Ledger())
    places = [Place(0, 0, index) for index in range(len(examples))]
    one, other = task.collate(examples, places), plain.collate(same, places)
    assert one.texts.ids_N.equal(other.texts.ids_N) and one.targets["causal"].gold_M.equal(other.targets["lm"].gold_M)


def test_a_hidden_token_is_asked_of_the_place_before_it_in_its_own_text(hybrid, wide_tokenizer):
    """Every token is another one, so that the text tells where each belongs."""
    ends = np.cumsum([10, 30, 7, 55, 2, 90])
    rows = [list(range(a, b)) for a, b in itertools.pairwise(ends)]
    task, examples, shards = hybrid(rows=rows, tokenizer=wide_tokenizer, causal_share=0.0, mask_rate=0.4)
    places_of = {int(token): place for place, token in enumerate(shards.tokens.tolist())}
    asked, hidden = 0, 0
    for epoch in range(20):
        for index in range(len(examples)):
            batch = task.collate(examples, [Place(0, epoch, index)])
            whole = np.concatenate([shards.tokens[piece.start : piece.stop] for piece in examples.row(index)])
            targets = batch.targets["masked"]
            assert not batch.texts.is_causal
            for at, gold in zip(targets.at_M.tolist(), targets.gold_M.tolist(), strict=True):
                assert gold == whole[at + 1] and gold not in wide_tokenizer.special_ids
                assert int(batch.texts.text_N[at]) == int(batch.texts.text_N[at + 1])
                hidden += int(batch.texts.ids_N[at + 1]) == wide_tokenizer.mask_id
                asked += 1
                assert places_of[gold]
            rest = np.setdiff1d(np.arange(len(whole)), targets.at_M.numpy() + 1)
            assert (batch.texts.ids_N.numpy()[rest] == whole[rest]).all()
    assert hidden / asked == pytest.approx(0.8, abs=0.05)


def test_the_losses_are_minus_log_p_with_and_without_a_view_ahead(hybrid, tiny_net):
    task, examples, _shards = hybrid(mask_rate=0.4)
    net = tiny_net("hybrid", 400)
    task.prepare(net, 0)
    for _places, batch in batches(task, examples):
        (name,) = batch.targets
        targets = batch.targets[name]
        with torch.inference_mode():
            term = task.loss(task.forward(net, batch), batch)[name]
            expected = torch.zeros(len(batch.keys))
            for number, (start, length) in enumerate(zip(batch.texts.starts_B.tolist(), batch.texts.lengths, strict=True)):
                ids = batch.texts.ids_N[start : start + length]
                mine = targets.example_M == number
                for at, gold in zip(targets.at_M[mine].tolist(), targets.gold_M[mine].tolist(), strict=True):
                    # Causally, what comes after a place can be cut away.
                    seen = ids[: at - start + 1] if batch.texts.is_causal else ids
                    logits = net.heads["lm"](net.hidden(Packed(seen, (len(seen),), is_causal=batch.texts.is_causal)))[at - start]
                    expected[number] += F.cross_entropy(logits[None], torch.tensor([gold]), reduction="sum")
        assert torch.allclose(term.total_B, expected, rtol=1e-4, atol=1e-5)


def test_both_skills_are_judged_on_every_document_whatever_the_share(hybrid, tiny_net):
    task, examples, shards = hybrid(causal_share=0.9)
    net = tiny_net("hybrid", 400)
    task.prepare(net, 0)
    measured = measure(net, task, to_judge(examples))
    assert set(measured.totals) == {"causal", "masked"}
    # The first separator is nobody's target; each document is ended by one.
    assert measured.counts["causal"].sum() == shards.num_tokens - 1
    asked = {key for key, count in zip(measured.keys.tolist(), measured.counts["masked"], strict=True) if count}
    assert asked == {number for number in range(shards.num_documents) if shards.borders[number + 1] - shards.borders[number] > 2}
    again = measure(net, task, to_judge(examples), batch_tokens=30)
    for name in measured.totals:
        assert again.mean(name) == pytest.approx(measured.mean(name), rel=1e-5)
    scores = score_language(net, task, examples, shards)
    assert set(scores) == {"nats per token", "perplexity", "bits per byte", "nats per masked token"}
    assert scores["nats per token"].value == pytest.approx(measured.mean("causal"), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_changing_one_document_leaves_the_losses_of_the_others_alone(share, hybrid, wide_tokenizer, tiny_net):
    net = tiny_net("hybrid", wide_tokenizer.vocab_size, context_length=80)
    rows = [list(range(start, start + size)) for start, size in ((20, 9), (40, 14), (70, 5), (90, 20))]

    def losses(rows):
        task, examples, _shards = hybrid(80, rows, wide_tokenizer, causal_share=share, mask_rate=0.4)
        batch = task.collate(examples, [Place(0, 0, 0)])
        with torch.inference_mode():
            (term,) = task.loss(task.forward(net, batch), batch).values()
        return dict(zip(batch.keys, term.total_B.tolist(), strict=True))

    before = losses(rows)
    after = losses([rows[0], [token + 500 for token in rows[1]], *rows[2:]])
    assert before[1] != after[1]
    assert all(before[other] == after[other] for other in (0, 2, 3))


@pytest.mark.parametrize("family", ["bert", "gpt", "modernbert"])
def test_a_model_of_one_panel_is_refused(family, hybrid, tiny_net):
    task, *_rest = hybrid()
    with pytest.raises(DataError) as caught:
        task.prepare(tiny_net(family, 400), 0)
    assert caught.value.code == "E208" and "hybrid-mini" in str(caught.value)


def test_two_sentences_are_enough_to_train(hybrid, masked_tokenizer, tiny_net):
    task, examples, _shards = hybrid(rows=[masked_tokenizer.encode(text) for text in ("the cat sat.", "我有一本书。")])
    net = tiny_net("hybrid", masked_tokenizer.vocab_size)
    task.prepare(net, 0)
    for epoch in range(6):
        for _places, batch in batches(task, examples, epoch=epoch):
            for term in task.loss(task.forward(net, batch), batch).values():
                assert torch.isfinite(term.total_B).all() and term.count_B.sum() > 0

"""Masked words in the ratio 80 : 10 : 10, next sentences whose negatives are true ones, and chance that is a function of the place."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest, chisquare

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.pairs import FOLLOWS, RANDOM, PairRows
from diptych.tasks.task import Place

CHINESE = ["今天天气很好，我们去公园散步吧！昨天下雨了。", "我有一本书。他有两本书。书在桌子上。", "话说天下大势，分久必合，合久必分。"]


@pytest.fixture
def masked(masked_shards, masked_tokenizer):
    """(task, examples) without next sentences on the bilingual corpus."""
    task = MaskedLM(MaskedLMSettings(nsp=False))
    return task, task.examples(masked_shards, masked_tokenizer, 24, Ledger())


@pytest.fixture
def many(shards_of, wide_tokenizer):
    """(task, examples) of forty documents of a thousand different tokens."""
    draw = np.random.default_rng(5)
    documents = [draw.integers(5, wide_tokenizer.vocab_size, draw.integers(20, 200)).tolist() for _ in range(40)]

    def build(**settings):
        task = MaskedLM(MaskedLMSettings(**settings))
        return task, task.examples(shards_of(documents), wide_tokenizer, 64, Ledger())

    return build


def questions(task, examples, epochs=1, seed=0):
    """(true tokens, shown tokens, whether asked) of whole epochs, row by row."""
    for epoch in range(epochs):
        for index in range(len(examples)):
            texts = task._row(examples, Place(seed, epoch, index))
            yield tuple(np.concatenate([getattr(text, name) for text in texts]) for name in ("tokens", "shown", "asked"))


def test_of_the_asked_tokens_80_percent_are_masked_10_replaced_and_10_left(many, wide_tokenizer):
    task, examples = many(nsp=False)
    masked = same = other = 0
    for tokens, shown, asked in questions(task, examples, epochs=10):
        is_mask = shown == wide_tokenizer.mask_id
        masked += int((asked & is_mask).sum())
        same += int((asked & (shown == tokens)).sum())
        other += int((asked & ~is_mask & (shown != tokens)).sum())
    total = masked + same + other
    ordinary = wide_tokenizer.vocab_size - len(wide_tokenizer.special_ids)
    by_chance = 0.1 / ordinary  # a replacement that happens to be the token itself
    expected = np.array([0.8, 0.1 + by_chance, 0.1 - by_chance]) * total
    assert total > 5000
    assert chisquare([masked, same, other], expected).pvalue > 0.001


def test_about_15_percent_of_the_ordinary_tokens_of_each_row_are_asked(many):
    task, examples = many(nsp=False)
    asked_total, expected = 0, 0.0
    for tokens, _shown, asked in questions(task, examples, epochs=10):
        wanted = 0.15 * (~np.isin(tokens, list(task.tokenizer.special_ids))).sum()
        assert abs(asked.sum() - wanted) < 1 or (wanted < 1 and asked.sum() == 1)
        asked_total += int(asked.sum())
        expected += max(wanted, 1)
    assert asked_total == pytest.approx(expected, rel=0.02)


def test_replacements_are_ordinary_tokens_from_the_whole_vocabulary(many, wide_tokenizer):
    task, examples = many(nsp=False)
    found = []
    for tokens, shown, asked in questions(task, examples, epochs=10):
        found += shown[asked & (shown != wide_tokenizer.mask_id) & (shown != tokens)].tolist()
    assert not set(found) & wide_tokenizer.special_ids
    halves = np.histogram(found, bins=10, range=(len(wide_tokenizer.special_ids), wide_tokenizer.vocab_size))[0]
    assert chisquare(halves).pvalue > 0.001


def test_special_tokens_are_never_asked_and_what_is_not_asked_is_shown_as_it_is(masked):
    task, examples = masked
    special = list(task.tokenizer.special_ids)
    for tokens, shown, asked in questions(task, examples, epochs=5):
        assert not np.isin(tokens[asked], special).any()
        assert (shown[~asked] == tokens[~asked]).all()
        assert asked.any()


def test_masks_differ_from_epoch_to_epoch_and_from_seed_to_seed(masked):
    task, examples = masked

    def asked(seed, epoch):
        return [tuple(np.flatnonzero(row[2])) for row in questions_at(task, examples, seed, epoch)]

    assert asked(0, 0) == asked(0, 0)
    assert len({tuple(asked(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def questions_at(task, examples, seed, epoch):
    for index in range(len(examples)):
        texts = task._row(examples, Place(seed, epoch, index))
        yield tuple(np.concatenate([getattr(text, name) for text in texts]) for name in ("tokens", "shown", "asked"))


@pytest.mark.parametrize("nsp", [False, True])
def test_a_row_is_masked_alike_whatever_is_asked_before_or_beside_it(nsp, masked_shards, masked_tokenizer):
    """Masks and partners depend on (seed, epoch, index) alone: not on the batch, nor on what was drawn before."""
    task = MaskedLM(MaskedLMSettings(nsp=nsp))
    examples = task.examples(masked_shards, masked_tokenizer, 24, Ledger())
    together = task.collate(examples, [Place(4, 2, index) for index in reversed(range(len(examples)))])
    torch.rand(3)  # nothing here listens to torch's own generator
    for index in range(len(examples)):
        fresh = MaskedLM(MaskedLMSettings(nsp=nsp))
        alone = fresh.collate(fresh.examples(masked_shards, masked_tokenizer, 24, Ledger()), [Place(4, 2, index)])
        stop = together.num_tokens - sum(len(text.tokens) for earlier in range(index) for text in task._row(examples, Place(4, 2, earlier)))
        assert torch.equal(together.texts.ids_N[stop - alone.num_tokens : stop], alone.texts.ids_N)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_loss_is_minus_log_p_of_the_true_tokens_at_the_asked_places(family, masked, tiny_net):
    task, examples = masked
    net = tiny_net(family, task.tokenizer.vocab_size)
    place = Place(1, 0, 1)
    batch = task.collate(examples, [place])
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["lm"]
        for number, text in enumerate(task._row(examples, place)):
            ids, types = torch.from_numpy(text.shown)[None], torch.from_numpy(text.types)[None]
            logits = net.logits(ids, token_type_ids=types)[0]
            asked = torch.from_numpy(text.asked)
            expected = F.cross_entropy(logits[asked], torch.from_numpy(text.tokens)[asked], reduction="sum")
            assert int(term.count_B[number]) == int(asked.sum())
            assert float(term.total_B[number]) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


def test_the_next_sentence_loss_is_minus_log_p_of_what_the_pair_is(masked_shards, masked_tokenizer, tiny_net):
    task = MaskedLM(MaskedLMSettings())
    examples = task.examples(masked_shards, masked_tokenizer, 24, Ledger())
    net = tiny_net("bert", masked_tokenizer.vocab_size)
    task.prepare(net, 0)
    batch = task.collate(examples, [Place(1, 0, index) for index in range(len(examples))])
    rows = [text for index in range(len(examples)) for text in task._row(examples, Place(1, 0, index))]
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["nsp"]
        assert len(rows) == len(batch.keys)
        for text, total in zip(rows, term.total_B.tolist(), strict=True):
            alone = Packed(torch.from_numpy(text.shown), (len(text.shown),), torch.from_numpy(text.types))
            logits = net.heads["nsp"](net.hidden(alone), alone)
            assert total == pytest.approx(float(F.cross_entropy(logits, torch.tensor([text.follows]))), rel=1e-4, abs=1e-6)


def pairs_of(task, examples, epoch):
    """(document of A, document of B, whether B begins where A ends, what the task says) of every pair of an epoch."""
    shards = examples.shards
    owner = {int(token): document for document in range(shards.num_documents) for token in shards.document(document)}
    position = {int(token): number for number, token in enumerate(shards.tokens)}
    special = task.tokenizer.special_ids
    for index in range(len(examples)):
        for text in task._row(examples, Place(0, epoch, index)):
            if text.follows is None:
                continue
            a = [token for token, kind in zip(text.tokens.tolist(), text.types.tolist(), strict=True) if not kind and token not in special]
            b = [token for token, kind in zip(text.tokens.tolist(), text.types.tolist(), strict=True) if kind and token not in special]
            yield owner[a[0]], owner[b[0]], position[b[0]] == position[a[-1]] + 1, text.follows


@pytest.fixture
def distinct(shards_of, wide_tokenizer):
    """Pairs over documents in which no token occurs twice, so that each token says where it comes from."""

    def build(lengths, row_length=24):
        ends = np.cumsum([5, *lengths])
        documents = [list(range(a, b)) for a, b in itertools.pairwise(ends)]
        task = MaskedLM(MaskedLMSettings())
        return task, task.examples(shards_of(documents), wide_tokenizer, row_length, Ledger())

    return build


def test_a_negative_shows_a_passage_of_another_document_and_a_positive_the_true_next_one(distinct):
    task, examples = distinct([30, 7, 55, 12, 40, 3, 90, 21])
    kinds = Counter()
    for epoch in range(-1, 8):
        for first, second, is_next, follows in pairs_of(task, examples, epoch):
            kinds[follows] += 1
            assert is_next == (follows == FOLLOWS)
            assert (first != second) == (follows == RANDOM)
    assert set(kinds) == {FOLLOWS, RANDOM}


@pytest.mark.parametrize("lengths", [[30, 7, 55, 12, 40, 3, 90, 21], [40] * 12, [200, 200]])
def test_half_of_the_pairs_are_negatives(distinct, lengths):
    task, examples = distinct(lengths)
    found = Counter(pair[3] for epoch in range(60) for pair in pairs_of(task, examples, epoch))
    total = found.total()
    assert total > 500
    # Pairs are swapped two by two, so their number varies as that of half as many coins does.
    assert binomtest(found[RANDOM] // 2, total // 2, 0.5).pvalue > 0.001


def test_where_one_document_outweighs_the_others_all_that_can_be_is_swapped(distinct):
    task, examples = distinct([400, 30, 20])
    documents = examples.pieces[:, 0]
    assert (documents == 0).mean() > 0.8
    for epoch in range(5):
        negatives = sum(follows == RANDOM for *_pair, follows in pairs_of(task, examples, epoch))
        # Of an odd number of texts, one has nobody to swap with.
        assert 2 * (documents != 0).sum() - 2 <= negatives <= 2 * (documents != 0).sum()


def test_pairs_are_drawn_anew_in_each_epoch(distinct):
    _task, examples = distinct([40] * 12)
    assert isinstance(examples, PairRows)
    assert len({tuple(examples.partners(0, epoch).tolist()) for epoch in range(10)}) == 10


def test_the_second_passage_begins_after_a_sentence_where_there_is_one_near_the_middle(shards_of, masked_tokenizer):
    text = "今天天气很好。我们去公园。"
    other = "the cat sat. the dog saw."
    task = MaskedLM(MaskedLMSettings())
    examples = task.examples(shards_of([masked_tokenizer.encode(each) for each in (text, other)]), masked_tokenizer, 64, Ledger())
    halves = [
        tuple(masked_tokenizer.decode(examples.shards.tokens[slice(*half)].tolist()).strip() for half in examples.halves(number))
        for number in range(2)
    ]
    assert halves == [("今天天气很好。", "我们去公园。"), ("the cat sat.", "the dog saw.")]


def test_a_corpus_of_one_document_is_told_and_learns_masked_words_alone(shards_of, masked_tokenizer, tiny_net):
    task, ledger = MaskedLM(MaskedLMSettings()), Ledger()
    examples = task.examples(shards_of([masked_tokenizer.encode(CHINESE[0])]), masked_tokenizer, 24, ledger)
    assert task.heads == ("lm",)
    assert any("one document" in line and "true negatives" in line for line in ledger.lines())
    assert set(task.collate(examples, [Place(0, 0, 0)]).targets) == {"lm"}
    net = tiny_net("bert", masked_tokenizer.vocab_size)
    task.prepare(net, 0)
    assert "nsp" not in net.heads


def test_next_sentences_that_were_asked_for_cannot_be_had_from_one_document(shards_of, masked_tokenizer):
    task = MaskedLM(MaskedLMSettings(nsp=True))
    with pytest.raises(DataError) as caught:
        task.examples(shards_of([masked_tokenizer.encode(CHINESE[0])]), masked_tokenizer, 24, Ledger())
    assert caught.value.code == "E204" and "nsp=false" in str(caught.value)


def test_one_held_out_document_is_asked_the_same_as_the_training_text(shards_of, masked_shards, masked_tokenizer, tiny_net):
    task = MaskedLM(MaskedLMSettings())
    task.examples(masked_shards, masked_tokenizer, 24, Ledger())
    held_out = task.examples(shards_of([masked_tokenizer.encode(CHINESE[0])]), masked_tokenizer, 24, Ledger())
    batch = task.collate(held_out, [Place(0, -1, 0)])
    assert batch.targets["nsp"].gold_M.tolist() == [FOLLOWS] * len(batch.keys)


def test_a_tokenizer_without_a_mask_is_refused(causal_shards, causal_tokenizer):
    with pytest.raises(DataError) as caught:
        MaskedLM(MaskedLMSettings()).examples(causal_shards, causal_tokenizer, 24, Ledger())
    assert caught.value.code == "E203" and "mask" in str(caught.value)


def test_chinese_characters_are_hidden_one_by_one_and_the_answer_is_the_text(shards_of, masked_tokenizer):
    text = CHINESE[1]
    task = MaskedLM(MaskedLMSettings(nsp=False, mask_rate=0.5))
    examples = task.examples(shards_of([masked_tokenizer.encode(text)]), masked_tokenizer, 32, Ledger())
    batch = task.collate(examples, [Place(0, 0, 0)])
    asked = batch.targets["lm"]
    assert len(asked.gold_M) == round(0.5 * len(text))
    # Position 0 is [CLS]: what is asked at place p is character p - 1 of the text.
    assert [masked_tokenizer.token(token) for token in asked.gold_M.tolist()] == [text[place - 1] for place in asked.at_M.tolist()]
    shown = batch.texts.ids_N.tolist()
    assert sum(token == masked_tokenizer.mask_id for token in shown) >= 0.6 * len(asked.gold_M)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_logits_of_places_that_are_not_asked_are_never_made(family, masked, tiny_net, monkeypatch):
    task, examples = masked
    net = tiny_net(family, task.tokenizer.vocab_size)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    seen = []
    features = type(net.heads["lm"]).features
    monkeypatch.setattr(type(net.heads["lm"]), "features", lambda head, hidden: seen.append(len(hidden)) or features(head, hidden))
    task.loss(task.forward(net, batch), batch)
    assert seen == [batch.counts()["lm"]] and seen[0] < 0.3 * batch.num_tokens


def test_a_text_that_spells_a_special_token_is_text_and_may_be_asked(masked_tokenizer):
    ids = masked_tokenizer.encode("[MASK] the cat")
    assert masked_tokenizer.mask_id not in ids

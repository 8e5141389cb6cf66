"""Damaged texts, restored: both languages, nothing lost, each text from its own source alone."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError, RecipeError
from diptych.evaluation.evaluate import score_language
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.tasks.denoising import Denoising, DenoisingSettings
from diptych.tasks.measure import measure
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer

KINDS = [{}, {"noise": "infilling"}, {"noise": "infilling", "shuffle_sentences": True}]
FAMILIES = ["t5", "bart", "transformer"]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return Tokenizer.train(texts, "characters", 400, panel="denoising")


@pytest.fixture
def noisy(shards_of, texts, tokenizer, tiny_net):
    """(task, examples, network) on the bilingual corpus, or on `rows` of tokens."""

    def build(family="t5", rows=None, row_length=24, **given):
        task = Denoising(DenoisingSettings(**given))
        shards = shards_of(rows or [tokenizer.encode(text) for text in texts])
        examples = task.examples(shards, tokenizer, row_length, Ledger())
        net = tiny_net(family, tokenizer.vocab_size, context_length=row_length)
        net.set_config(token_ids=tokenizer.token_ids)
        task.prepare(net, 0)
        return task, examples, net

    return build


def parts(batch):
    """(what is read, what is shown to the decoder, what is to be written) of each text."""
    source, texts = batch.texts.source, batch.texts
    for number, (a, b) in enumerate(zip(source.starts_B.tolist(), texts.starts_B.tolist(), strict=True)):
        stop = b + texts.lengths[number]
        asked = batch.targets["lm"].gold_M[b:stop]
        yield source.ids_N[a : a + source.lengths[number]].tolist(), texts.ids_N[b:stop].tolist(), asked.tolist()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_decoder_is_shown_what_it_was_to_write_one_place_behind(kind, noisy, tokenizer):
    task, examples, net = noisy(**kind)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    for read, shown, written in parts(batch):
        assert shown == [net.config.decoder_start_id, *written[:-1]]
        assert written[-1] == tokenizer.sep_id and read[0] == tokenizer.cls_id and read[-1] == tokenizer.sep_id
    assert batch.num_tokens == batch.texts.num_tokens + batch.texts.source.num_tokens


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    row_length=st.integers(6, 40),
    seed=st.integers(0, 9),
    kind=st.sampled_from(KINDS),
)
def test_every_token_is_in_one_text_of_an_epoch_and_nothing_is_too_long(shards_of, texts, lengths, row_length, seed, kind):
    tokenizer = Tokenizer.train(["".join(map(chr, range(0x4E00, 0x4E00 + 900)))], "characters", 2000, panel="denoising")
    ends = np.cumsum([120, *lengths])
    rows = [list(range(a, b)) for a, b in itertools.pairwise(ends)]
    task = Denoising(DenoisingSettings(**kind))
    examples = task.examples(shards_of(rows), tokenizer, row_length, Ledger())
    task._start_id = tokenizer.cls_id
    batch = task.collate(examples, [Place(seed, 0, index) for index in range(len(examples))])
    assert max(batch.texts.lengths) <= row_length and max(batch.texts.source.lengths) <= row_length
    assert len(batch.keys) == batch.texts.num_texts == batch.texts.source.num_texts
    seen = Counter()
    for read, _shown, written in parts(batch):
        whole = written if kind else read + written
        seen.update(token for token in whole if token >= 120)
        assert set(read) - tokenizer.special_ids <= set(range(120, 2000))
    assert seen == Counter(range(120, ends[-1]))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_noise_is_drawn_from_the_place_alone(kind, noisy):
    task, examples, _net = noisy(**kind)

    def read(seed, epoch, places):
        return [source for index in places for source, *_ in parts(task.collate(examples, [Place(seed, epoch, index)]))]

    count = len(examples)
    together = [source for source, *_ in parts(task.collate(examples, [Place(1, 2, index) for index in range(count)]))]
    assert together == read(1, 2, range(count))
    assert len({str(read(seed, epoch, range(count))) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
def test_the_loss_is_minus_log_p_of_what_is_to_be_written_given_its_own_source(family, kind, noisy):
    task, examples, net = noisy(family, **kind)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["lm"]
        for number, (read, shown, written) in enumerate(parts(batch)):
            logits = net.logits(torch.tensor([read]), decoder_input_ids=torch.tensor([shown]))[0]
            expected = F.cross_entropy(logits, torch.tensor(written), reduction="sum")
            assert float(term.total_B[number]) == pytest.approx(float(expected), rel=1e-4)
            assert int(term.count_B[number]) == len(written)


def test_changing_one_document_leaves_the_losses_of_the_others_alone(noisy):
    rows = [list(range(start, start + size)) for start, size in ((20, 9), (30, 14), (46, 5), (52, 12))]
    changed = [rows[0], [token + 20 for token in rows[1]], *rows[2:]]
    found = []
    for each in (rows, changed):
        task, examples, net = noisy("bart", each, row_length=60)
        batch = task.collate(examples, [Place(0, 0, 0)])
        with torch.inference_mode():
            found.append(task.loss(task.forward(net, batch), batch)["lm"].total_B.tolist())
    assert found[0][1] != found[1][1]
    assert all(found[0][other] == found[1][other] for other in (0, 2, 3))


def test_its_score_has_its_own_name_and_does_not_depend_on_the_batch(noisy):
    task, examples, net = noisy()
    one, other = (measure(net, task, examples, batch_tokens=size) for size in (10_000, 1))
    assert one.mean("lm") == pytest.approx(other.mean("lm"), rel=1e-5)
    assert set(score_language(net, task, examples, examples.shards)) == {"nats per restored token"}


@pytest.mark.parametrize("family", ["gpt", "bert"])
def test_a_model_without_a_decoder_beside_an_encoder_is_refused(family, noisy):
    with pytest.raises(DataError) as caught:
        noisy(family)
    assert caught.value.code == "E208" and "t5-mini" in str(caught.value)


def test_a_tokenizer_without_sentinels_can_only_infill(shards_of, masked_tokenizer, causal_tokenizer):
    shards = shards_of([[10, 11, 12]])
    with pytest.raises(DataError) as caught:
        Denoising(DenoisingSettings()).examples(shards, masked_tokenizer, 24, Ledger())
    assert caught.value.code == "E209" and "infilling" in str(caught.value)
    infilling = Denoising(DenoisingSettings(noise="infilling"))
    assert len(infilling.examples(shards, masked_tokenizer, 24, Ledger())) == 1
    with pytest.raises(DataError) as caught:
        infilling.examples(shards, causal_tokenizer, 24, Ledger())
    assert caught.value.code == "E203" and "mask" in str(caught.value)


def test_shuffled_sentences_without_infilling_are_refused():
    with pytest.raises(RecipeError) as caught:
        build({"model": {"preset": "t5-tiny"}, "task": {"name": "denoising", "shuffle_sentences": True}})
    assert caught.value.code == "E403" and "infilling" in str(caught.value)

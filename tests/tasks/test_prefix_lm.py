"""Going on from a beginning: what is asked, what each token sees, with one stack and with two."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.evaluation.evaluate import score_language
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks.prefix_lm import PrefixLM, PrefixLMSettings
from diptych.tasks.task import Place


@pytest.fixture
def parted(shards_of, texts, causal_tokenizer, tiny_net):
    """(task, examples, network) on the bilingual corpus, or on `rows` of tokens."""

    def build(family="gpt", rows=None, row_length=24):
        task = PrefixLM(PrefixLMSettings())
        shards = shards_of(rows or [causal_tokenizer.encode(text) for text in texts], task.separator(causal_tokenizer))
        net = tiny_net(family, causal_tokenizer.vocab_size, context_length=row_length)
        net.set_config(token_ids=causal_tokenizer.token_ids)
        examples = task.examples(shards, causal_tokenizer, row_length, Ledger())
        task.prepare(net, 0)
        return task, examples, net

    return build


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=10), row_length=st.integers(2, 30), seed=st.integers(0, 9))
def test_every_token_is_shown_or_asked_and_each_is_asked_from_its_beginning_on(shards_of, causal_tokenizer, lengths, row_length, seed):
    ends = np.cumsum([10, *lengths])
    rows = [list(range(a, b)) for a, b in itertools.pairwise(ends)]
    task = PrefixLM(PrefixLMSettings())
    shards = shards_of(rows, 0)
    examples = task.examples(shards, causal_tokenizer, row_length, Ledger())
    found = {}
    for start in (None, 1):
        task._start_id = start
        found[start] = task.collate(examples, [Place(seed, 0, index) for index in range(len(examples))])
    one, two = found[None], found[1]
    assert one.targets["lm"].gold_M.tolist() == two.targets["lm"].gold_M.tolist()
    asked = one.targets["lm"]
    for number, (start, length, prefix) in enumerate(
        zip(one.texts.starts_B.tolist(), one.texts.lengths, one.texts.prefix_lengths, strict=True)
    ):
        mine = asked.at_M[asked.example_M == number]
        assert 1 <= prefix <= length
        assert mine.tolist() == list(range(start + prefix - 1, start + length))
    # With two stacks, what one reads and the other writes is the row and the token after it.
    whole = Counter(two.texts.source.ids_N.tolist()) + Counter(two.targets["lm"].gold_M.tolist())
    expected = Counter(shards.tokens.tolist())
    cuts = [piece for index in range(len(examples)) for piece in examples.row(index)]
    for before, after in itertools.pairwise(cuts):
        expected[int(shards.tokens[after.start])] += 1  # the end of one row is the beginning of the next
        assert before.stop == after.start
    assert whole == expected


def test_the_beginnings_are_of_every_length_and_drawn_from_the_place(parted):
    task, examples, _net = parted(rows=[list(range(5, 25))], row_length=21)
    lengths = Counter(task.collate(examples, [Place(0, epoch, 0)]).texts.prefix_lengths[0] for epoch in range(400))
    assert set(lengths) == set(range(1, 22))
    again = [task.collate(examples, [Place(0, 3, 0)]).texts.prefix_lengths for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("family", ["gpt", "gpt2", "hybrid"])
def test_the_beginning_is_seen_by_all_of_it_and_nothing_later_is_seen_by_anyone(family, parted):
    task, examples, net = parted(family, rows=[list(range(5, 25))], row_length=21)
    batch = next(batch for epoch in range(50) if 5 < (batch := task.collate(examples, [Place(0, epoch, 0)])).texts.prefix_lengths[0] < 15)
    prefix, ids = batch.texts.prefix_lengths[0], batch.texts.ids_N

    def hidden(changed):
        other = ids.clone()
        if changed is not None:
            other[changed] = 30
        texts = Packed(other, batch.texts.lengths, is_causal=True, prefix_lengths=batch.texts.prefix_lengths)
        with torch.inference_mode():
            return net.hidden(texts)

    plain = hidden(None)
    for changed in (0, prefix - 1, prefix, 20):
        differs = (hidden(changed) - plain).abs().amax(1) > 0
        assert differs.tolist() == [changed < prefix or place >= changed for place in range(21)]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_with_two_stacks_the_loss_is_minus_log_p_of_the_rest_given_the_beginning(family, parted):
    task, examples, net = parted(family)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    source, starts = batch.texts.source, batch.texts.starts_B.tolist()
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["lm"]
        for number, (a, b) in enumerate(zip(source.starts_B.tolist(), starts, strict=True)):
            read = source.ids_N[None, a : a + source.lengths[number]]
            stop = b + batch.texts.lengths[number]
            logits = net.logits(read, decoder_input_ids=batch.texts.ids_N[None, b:stop])[0]
            expected = F.cross_entropy(logits, batch.targets["lm"].gold_M[b:stop], reduction="sum")
            assert float(term.total_B[number]) == pytest.approx(float(expected), rel=1e-4)


def test_changing_one_document_leaves_the_losses_of_the_others_alone(parted):
    rows = [list(range(start, start + size)) for start, size in ((5, 9), (20, 14), (36, 5), (42, 12))]
    changed = [rows[0], [token + 20 for token in rows[1]], *rows[2:]]
    found = []
    for each in (rows, changed):
        task, examples, net = parted("gpt", each, row_length=60)
        batch = task.collate(examples, [Place(0, 0, 0)])
        with torch.inference_mode():
            found.append(task.loss(task.forward(net, batch), batch)["lm"].total_B.tolist())
    assert found[0][1] != found[1][1]
    assert all(found[0][other] == found[1][other] for other in (0, 2, 3))


def test_its_score_is_not_called_perplexity(parted):
    task, examples, net = parted()
    assert set(score_language(net, task, examples, examples.shards)) == {"nats per token after a beginning"}


def test_a_model_that_does_not_write_is_refused(parted):
    with pytest.raises(DataError) as caught:
        parted("bert")
    assert caught.value.code == "E208"

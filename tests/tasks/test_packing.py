"""Rows: every token once per epoch, nothing across a border, documents that go on in the next row."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.streams import permute
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.packing import DocumentRows, StreamRows, TextRows, cut_documents, fill_rows
from diptych.tasks.pairs import PairRows
from diptych.tasks.task import Place
from diptych.text.corpus import Corpus
from diptych.text.shards import write_shards

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=20)
SEPARATOR = 0


def distinct_documents(lengths, first=10):
    """Documents of these lengths in which no token occurs twice."""
    ends = np.cumsum([0, *lengths]) + first
    return [list(range(start, stop)) for start, stop in itertools.pairwise(ends)]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20), row_length=st.integers(1, 30))
def test_every_token_but_the_first_is_predicted_exactly_once(shards_of, lengths, row_length):
    documents = distinct_documents(lengths)
    shards = shards_of(documents, SEPARATOR)
    examples = StreamRows(shards, row_length)
    task = CausalLM(CausalLMSettings())
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    asked = Counter(batch.targets["lm"].gold_M.tolist())
    expected = Counter(token for document in documents for token in document)
    expected[SEPARATOR] = len(documents)  # each document is ended by one; the very first separator has nothing before it
    assert asked == expected


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, row_length=st.integers(1, 30))
def test_rows_of_the_stream_are_full_but_for_the_last(shards_of, lengths, row_length):
    examples = StreamRows(shards_of(distinct_documents(lengths), SEPARATOR), row_length)
    sizes = [examples.num_tokens(index) for index in range(len(examples))]
    assert sizes[:-1] == [row_length] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= row_length
    assert sum(sizes) == sum(lengths) + len(lengths)
    for index, size in enumerate(sizes):
        assert sum(piece.stop - piece.start for piece in examples.row(index)) == size


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, row_length=st.integers(1, 30))
def test_no_token_is_predicted_from_another_document(shards_of, lengths, row_length):
    """Each document has a token of its own; its neighbour's must never be the question or the answer."""
    documents = [[10 + number] * length for number, length in enumerate(lengths)]
    examples = StreamRows(shards_of(documents, SEPARATOR), row_length)
    batch = CausalLM(CausalLMSettings()).collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    start = 0
    for length, key in zip(batch.texts.lengths, batch.keys, strict=True):
        text = {*batch.texts.ids_N[start : start + length].tolist(), *batch.targets["lm"].gold_M[start : start + length].tolist()}
        assert text <= {SEPARATOR, 10 + key}
        start += length


def test_a_document_longer_than_a_row_goes_on_in_the_next_one(shards_of):
    examples = StreamRows(shards_of([list(range(10, 20)), list(range(30, 33))], SEPARATOR), 4)
    rows = [[(piece.document, piece.stop - piece.start) for piece in examples.row(index)] for index in range(len(examples))]
    # Eleven inputs of the first document, its separator included, then four of the second.
    assert rows == [[(0, 4)], [(0, 4)], [(0, 3), (1, 1)], [(1, 3)]]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20), row_length=st.integers(1, 30))
def test_to_be_judged_each_document_has_rows_of_its_own_and_every_token_is_asked_once(shards_of, lengths, row_length):
    shards = shards_of(distinct_documents(lengths), SEPARATOR)
    task, stream, rows = CausalLM(CausalLMSettings()), StreamRows(shards, row_length), DocumentRows(shards, row_length)
    one, other = (task.collate(each, [Place(0, -1, index) for index in range(len(each))]) for each in (stream, rows))
    assert Counter(other.targets["lm"].gold_M.tolist()) == Counter(one.targets["lm"].gold_M.tolist())
    for index in range(len(rows)):
        (piece,) = rows.row(index)
        assert 1 <= piece.stop - piece.start == rows.num_tokens(index) <= row_length
        assert (piece.start - shards.borders[piece.document]) % row_length == 0
        assert piece.stop <= shards.borders[piece.document + 1]


def test_an_empty_corpus_has_no_rows(shards_of):
    assert len(StreamRows(shards_of([], SEPARATOR), 8)) == 0
    assert len(DocumentRows(shards_of([], SEPARATOR), 8)) == 0
    assert len(TextRows(shards_of([]), 8, extra=2)) == 0


def test_the_tokens_of_a_written_corpus_are_all_trained_on(tmp_path, both_languages, causal_tokenizer):
    corpus = Corpus(both_languages)
    shards = write_shards(corpus, causal_tokenizer, tmp_path / "tokens", separator=causal_tokenizer.eos_id, ledger=Ledger())
    examples = CausalLM(CausalLMSettings()).examples(shards, causal_tokenizer, 7, Ledger())
    batch = CausalLM(CausalLMSettings()).collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    expected = Counter(token for text in both_languages for token in causal_tokenizer.encode(text))
    expected[causal_tokenizer.eos_id] += len(both_languages)
    assert Counter(batch.targets["lm"].gold_M.tolist()) == expected


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, longest=st.integers(1, 15))
def test_documents_are_cut_into_equal_pieces_that_hold_all_of_them(lengths, longest):
    borders = np.cumsum([0, *lengths])
    pieces = cut_documents(borders, longest)
    assert pieces[:, 1].tolist() == [0, *pieces[:-1, 2].tolist()]
    assert pieces[-1, 2] == borders[-1]
    for document, length in enumerate(lengths):
        sizes = (pieces[:, 2] - pieces[:, 1])[pieces[:, 0] == document]
        assert sizes.sum() == length
        assert len(sizes) == -(-length // longest)
        assert sizes.max() <= longest
        assert sizes.max() - sizes.min() <= 1


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_a_row_is_only_closed_when_the_next_piece_does_not_fit(lengths):
    starts = fill_rows(np.array(lengths), 12).tolist()
    assert starts[0] == 0 and starts[-1] == len(lengths)
    rows = [lengths[a:b] for a, b in itertools.pairwise(starts)]
    assert all(0 < sum(row) <= 12 for row in rows)
    assert all(sum(row) + after[0] > 12 for row, after in itertools.pairwise(rows))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=15), row_length=st.integers(5, 40))
def test_a_masked_epoch_shows_every_token_once(shards_of, wide_tokenizer, lengths, row_length):
    shards = shards_of(distinct_documents(lengths, first=10))
    task = MaskedLM(MaskedLMSettings(nsp=False))
    examples = task.examples(shards, wide_tokenizer, row_length, Ledger())
    seen, special = [], wide_tokenizer.special_ids
    for index in range(len(examples)):
        texts = task._row(examples, Place(0, 0, index))
        assert sum(len(text.tokens) for text in texts) == examples.num_tokens(index) <= row_length
        seen += [token for text in texts for token in text.tokens.tolist() if token not in special]
    assert seen == shards.tokens.tolist()


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=2, max_size=15), row_length=st.integers(5, 40), epoch=st.integers(-1, 3))
def test_an_epoch_of_pairs_shows_every_token_once_and_no_pair_is_too_long(shards_of, wide_tokenizer, lengths, row_length, epoch):
    shards = shards_of(distinct_documents(lengths, first=10))
    task = MaskedLM(MaskedLMSettings(nsp=True))
    examples = task.examples(shards, wide_tokenizer, row_length, Ledger())
    assert isinstance(examples, PairRows)
    seen = []
    for index in range(len(examples)):
        for text in task._row(examples, Place(0, epoch, index)):
            assert len(text.tokens) <= row_length
            seen += [token for token in text.tokens.tolist() if token not in wide_tokenizer.special_ids]
    assert sorted(seen) == shards.tokens.tolist()


@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "modernbert"])
def test_changing_one_document_leaves_the_losses_of_the_others_alone(family, shards_of, tiny_net, masked_tokenizer):
    documents = distinct_documents([5, 9, 3, 12], first=10)
    is_causal = family.startswith("gpt")
    net = tiny_net(family, masked_tokenizer.vocab_size, context_length=60)
    task = CausalLM(CausalLMSettings()) if is_causal else MaskedLM(MaskedLMSettings(nsp=False, mask_rate=0.5))

    def losses(rows):
        examples = task.examples(shards_of(rows, SEPARATOR if is_causal else None), masked_tokenizer, 60, Ledger())
        assert len(examples) == 1
        batch = task.collate(examples, [Place(0, 0, 0)])
        with torch.inference_mode():
            term = task.loss(task.forward(net, batch), batch)["lm"]
        return dict(zip(batch.keys, term.total_B.tolist(), strict=True))

    before = losses(documents)
    changed = [list(row) for row in documents]
    changed[1] = [token + 30 for token in changed[1]]
    after = losses(changed)
    assert before[1] != pytest.approx(after[1], abs=1e-4)
    for other in (0, 2, 3):
        assert before[other] == pytest.approx(after[other], abs=1e-6)


def test_a_packed_row_gives_what_each_text_gives_alone(tiny_net):
    net = tiny_net("gpt", 50)
    texts = [torch.randint(50, (length,), generator=torch.Generator().manual_seed(length)) for length in (3, 11, 1, 7)]
    with torch.inference_mode():
        together = net.hidden(Packed(torch.cat(texts), tuple(map(len, texts)))).split([len(text) for text in texts])
        for text, part in zip(texts, together, strict=True):
            torch.testing.assert_close(part, net.hidden(Packed(text, (len(text),))), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_a_keyed_shuffle_is_a_permutation(size, seed, epoch):
    assert sorted(permute(np.arange(size), size, seed, "order", epoch).tolist()) == list(range(size))

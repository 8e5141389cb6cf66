"""Next word: the losses against −log p taken from the model's logits, document by document."""

import pytest
import torch
import torch.nn.functional as F

from diptych.ledger import Ledger
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.task import Place

FAMILIES = ["gpt", "gpt2", "modernbert-decoder"]


def totals_by_document(task, net, examples):
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["lm"]
    totals, counts = {}, {}
    for key, total, count in zip(batch.keys, term.total_B.tolist(), term.count_B.tolist(), strict=True):
        totals[key] = totals.get(key, 0.0) + total
        counts[key] = counts.get(key, 0) + count
    return totals, counts


def minus_log_p(net, run):
    """The nats of run[1:] given what stands before, by the plain padded way through the model."""
    ids = torch.tensor(run)
    with torch.inference_mode():
        logits = net.logits(ids[None, :-1])[0]
    return float(F.cross_entropy(logits, ids[1:], reduction="sum"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sum_over_a_row_is_minus_log_p_of_each_document(family, texts, causal_tokenizer, causal_shards, tiny_net):
    net = tiny_net(family, causal_tokenizer.vocab_size, context_length=causal_shards.num_tokens)
    task = CausalLM(CausalLMSettings())
    examples = task.examples(causal_shards, causal_tokenizer, causal_shards.num_tokens, Ledger())
    assert len(examples) == 1
    totals, counts = totals_by_document(task, net, examples)
    end = causal_tokenizer.eos_id
    for document, text in enumerate(texts):
        ids = causal_tokenizer.encode(text)
        assert counts[document] == len(ids) + 1
        assert totals[document] == pytest.approx(minus_log_p(net, [end, *ids, end]), rel=1e-5)


@pytest.mark.parametrize("context", [5, 16, 24])
def test_a_document_cut_by_rows_begins_anew_in_each(context, texts, causal_tokenizer, causal_shards, tiny_net):
    net = tiny_net("gpt", causal_tokenizer.vocab_size, context_length=24)
    task = CausalLM(CausalLMSettings())
    totals, counts = totals_by_document(task, net, task.examples(causal_shards, causal_tokenizer, context, Ledger()))
    end, place = causal_tokenizer.eos_id, 0
    for document, text in enumerate(texts):
        whole = [end, *causal_tokenizer.encode(text), end]
        expected, start = 0.0, 0
        while start < len(whole) - 1:
            stop = min(len(whole) - 1, start + context - place % context)
            expected += minus_log_p(net, whole[start : stop + 1])
            place += stop - start
            start = stop
        assert counts[document] == len(whole) - 1
        assert totals[document] == pytest.approx(expected, rel=1e-5)


def test_an_empty_document_is_one_question_whose_answer_is_its_end(shards_of, causal_tokenizer, tiny_net):
    end = causal_tokenizer.eos_id
    net = tiny_net("gpt", causal_tokenizer.vocab_size)
    task = CausalLM(CausalLMSettings())
    hello = causal_tokenizer.encode("the cat")
    totals, counts = totals_by_document(task, net, task.examples(shards_of([[], hello], end), causal_tokenizer, 24, Ledger()))
    assert counts == {0: 1, 1: len(hello) + 1}
    assert totals[0] == pytest.approx(minus_log_p(net, [end, end]), rel=1e-5)


def test_documents_are_parted_by_the_token_that_ends_them(causal_tokenizer, masked_tokenizer):
    task = CausalLM(CausalLMSettings())
    assert task.separator(causal_tokenizer) == causal_tokenizer.id("<|endoftext|>")
    assert task.separator(masked_tokenizer) == masked_tokenizer.id("[SEP]")


def test_there_is_no_chance_in_next_words(causal_tokenizer, causal_shards):
    task = CausalLM(CausalLMSettings())
    examples = task.examples(causal_shards, causal_tokenizer, 16, Ledger())
    one, other = (task.collate(examples, [Place(seed, epoch, 2)]) for seed, epoch in ((0, 0), (9, 4)))
    assert torch.equal(one.texts.ids_N, other.texts.ids_N)
    assert torch.equal(one.targets["lm"].gold_M, other.targets["lm"].gold_M)

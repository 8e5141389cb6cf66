"""Perplexity, bits per byte and the loss on masked tokens against brute force, and what evaluation refuses."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.evaluation.evaluate import score_language, to_judge
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.presets import create
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.measure import measure
from diptych.tasks.packing import DocumentRows, StreamRows
from diptych.tasks.task import Place
from diptych.text.corpus import Document
from diptych.text.shards import TokenShards, write_shards

CONTEXT = 24
DOCUMENTS = [
    "The cat sat on the mat, and the dog lay beside it all day long while the rain fell on the roof of the house.",
    "今天天气很好，我们去公园散步吧！晚上回家吃饭，然后看书。",
    "Short.",
    "Mixed 中文 and English，🙂🙂 with an emoji.",
    "A cat.\nA dog.\nA bird that sings 你好 in the morning, and another one that does not sing at all, ever, anywhere.",
]
Maker = Callable[..., dt.Model]


@pytest.fixture(scope="module")
def make() -> Maker:
    """A tiny model with fresh weights, made uneven so that its guesses differ from token to token."""

    def build(preset: str, kind: str, panel: str, vocab_size: int = 300, heads: Sequence[str] = ()) -> dt.Model:
        tokenizer = dt.Tokenizer.train(DOCUMENTS[:3], kind, vocab_size, panel=panel)
        net = create(preset, vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=2, head_size=8, context_length=CONTEXT, seed=1)
        for head in heads:
            net.ensure_head(head)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(6)
        return dt.Model(net, tokenizer)

    return build


@pytest.fixture(scope="module")
def gpt(make: Maker) -> dt.Model:
    return make("gpt-tiny", "bpe", "causal")


@torch.no_grad()
def brute_force(model: dt.Model, text: str) -> tuple[float, int]:
    """(nats, targets) of one document, window by window, from `model.logits` alone."""
    end = model.tokenizer.eos_id
    ids = [end, *model.tokenizer.encode(text), end]
    nats = 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        run = torch.tensor(ids[start : start + CONTEXT + 1])
        log_probabilities = torch.log_softmax(model.logits(run[None, :-1]).double()[0], -1)
        nats -= float(log_probabilities.gather(1, run[1:, None]).sum())
    return nats, len(ids) - 1


def test_scores_are_those_of_brute_force_with_logits(gpt: dt.Model) -> None:
    each = [brute_force(gpt, text) for text in DOCUMENTS]
    nats, count = sum(total for total, _ in each), sum(count for _, count in each)
    num_bytes = sum(len(text.encode("utf-8")) for text in DOCUMENTS)
    scores = dt.evaluate(gpt, "causal-lm", DOCUMENTS)
    assert max(count for _, count in each) > 2 * CONTEXT, "a document longer than the context belongs to this test"
    assert scores["nats per token"].value == pytest.approx(nats / count, rel=1e-5)
    assert scores["perplexity"].value == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert scores["bits per byte"].value == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert {score.n for score in scores.values()} == {len(DOCUMENTS)}


def test_a_document_costs_the_same_whatever_lies_beside_it(gpt: dt.Model) -> None:
    alone = [dt.evaluate(gpt, None, [text])["bits per byte"].value * len(text.encode()) for text in DOCUMENTS]
    total = sum(len(text.encode()) for text in DOCUMENTS)
    together = dt.evaluate(gpt, None, DOCUMENTS)["bits per byte"].value
    turned = dt.evaluate(gpt, None, DOCUMENTS[::-1])["bits per byte"].value
    assert together == pytest.approx(sum(alone) / total, rel=1e-6)
    assert turned == pytest.approx(together, rel=1e-6)


def test_scores_do_not_depend_on_the_size_of_the_batches(gpt: dt.Model, tmp_path) -> None:
    task = CausalLM(CausalLMSettings())
    shards = shards_of(gpt, task, tmp_path)
    rows = to_judge(task.examples(shards, gpt.tokenizer, CONTEXT, Ledger()))
    measured = [measure(gpt.net, task, rows, batch_tokens=size) for size in (1, 40, 100_000)]
    for other in measured[1:]:
        assert other.totals["lm"].sum() == pytest.approx(measured[0].totals["lm"].sum(), rel=1e-6)
        assert (other.counts["lm"] == measured[0].counts["lm"]).all()


def shards_of(model: dt.Model, task, folder) -> TokenShards:
    documents = [Document(text, str(number)) for number, text in enumerate(DOCUMENTS)]
    return write_shards(documents, model.tokenizer, folder / "shards", separator=task.separator(model.tokenizer), ledger=Ledger())


@pytest.mark.parametrize("row_length", [1, 2, 5, 24, 1000])
def test_rows_to_judge_hold_every_target_of_the_stream_exactly_once(gpt: dt.Model, tmp_path, row_length: int) -> None:
    shards = shards_of(gpt, CausalLM(CausalLMSettings()), tmp_path)
    for rows in (StreamRows(shards, row_length), DocumentRows(shards, row_length)):
        pieces = [piece for number in range(len(rows)) for piece in rows.row(number)]
        assert [place for piece in pieces for place in range(piece.start, piece.stop)] == list(range(shards.num_tokens - 1))
        assert sum(rows.num_tokens(number) for number in range(len(rows))) == shards.num_tokens - 1
    firsts = {piece.document: piece.start for piece in reversed(pieces)}
    assert firsts == dict(enumerate(shards.borders[:-1].tolist()))


def test_bytes_are_those_of_the_text_even_where_the_tokenizer_knows_none_of_its_characters(make: Maker) -> None:
    """A tokenizer that turns every Chinese character into [UNK] must not make the text look shorter."""
    model = make("gpt2-tiny", "characters", "causal", vocab_size=64)
    text = "鑫淼焱垚龘" * 3
    assert set(model.tokenizer.encode(text)) == {model.tokenizer.unk_id}
    scores = dt.evaluate(model, None, [text])
    nats = scores["nats per token"].value * (len(model.tokenizer.encode(text)) + 1)
    assert scores["bits per byte"].value == pytest.approx(nats / math.log(2) / (3 * 15), rel=1e-6)
    assert scores.ledger.count("tokenizer", "unknown tokens") == 15


def test_the_loss_on_masked_tokens_and_sentence_pairs_is_that_of_brute_force(make: Maker, tmp_path) -> None:
    model = make("bert-tiny", "wordpiece", "masked", heads=("nsp",))
    task = MaskedLM(MaskedLMSettings())
    shards = shards_of(model, task, tmp_path)
    rows = task.examples(shards, model.tokenizer, CONTEXT, Ledger())
    scores = score_language(model.net, task, rows, shards)
    nats, count, pair_nats, pairs = 0.0, 0, 0.0, 0
    for index in range(len(rows)):
        batch = task.collate(rows, [Place(0, -1, index)])
        logits, pair_logits = [], []
        start = 0
        for length in batch.texts.lengths:
            alone = Packed(batch.texts.ids_N[start : start + length], (length,), batch.texts.types_N[start : start + length])
            with torch.no_grad():
                hidden = model.net.hidden(alone)
                logits.append(torch.log_softmax(model.net.heads["lm"](hidden).double(), -1))
                pair_logits.append(torch.log_softmax(model.net.heads["nsp"](hidden, alone).double(), -1))
            start += length
        asked = batch.targets["lm"]
        nats -= float(torch.cat(logits)[asked.at_M, asked.gold_M].sum())
        count += len(asked.gold_M)
        asked = batch.targets["nsp"]
        pair_nats -= float(torch.cat(pair_logits)[asked.at_M, asked.gold_M].sum())
        pairs += len(asked.gold_M)
    assert count and pairs
    assert scores["nats per masked token"].value == pytest.approx(nats / count, rel=1e-5)
    assert scores["nats per next sentence"].value == pytest.approx(pair_nats / pairs, rel=1e-5)
    assert "perplexity" not in scores


def test_evaluating_twice_gives_the_same_and_leaves_the_model_as_it_was(make: Maker) -> None:
    model = make("bert-tiny", "wordpiece", "masked", heads=("nsp",))
    before = {name: parameter.clone() for name, parameter in model.net.named_parameters()}
    assert dt.evaluate(model, None, DOCUMENTS) == dt.evaluate(model, None, DOCUMENTS)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.net.named_parameters())
    assert not model.net.training


def test_a_model_without_a_next_sentence_head_is_not_asked_about_pairs(make: Maker) -> None:
    scores = dt.evaluate(make("modernbert-tiny", "wordpiece", "masked"), None, DOCUMENTS)
    assert set(scores) == {"nats per masked token"}


def test_text_that_occurs_twice_counts_twice(gpt: dt.Model) -> None:
    once = dt.evaluate(gpt, None, [DOCUMENTS[0], DOCUMENTS[2]])
    twice = dt.evaluate(gpt, None, [DOCUMENTS[0], DOCUMENTS[2], DOCUMENTS[2]])
    assert twice["bits per byte"].n == 3
    assert twice["bits per byte"].value != once["bits per byte"].value


def test_empty_documents_are_dropped_and_counted(gpt: dt.Model) -> None:
    scores = dt.evaluate(gpt, None, ["", *DOCUMENTS, "   \r\n "])
    assert scores == dt.evaluate(gpt, None, DOCUMENTS)
    assert sum(entry.count for _stage, what, entry in scores.ledger if "empty" in what) == 2


@pytest.mark.parametrize(
    ("preset", "kind", "panel", "task", "code"),
    [
        ("bert-tiny", "wordpiece", "masked", "causal-lm", "E602"),
        ("gpt-tiny", "bpe", "causal", "masked-lm", "E606"),
        ("gpt-tiny", "bpe", "causal", "classification", "E609"),
    ],
)
def test_a_model_is_not_judged_by_a_task_that_it_cannot_do(make: Maker, preset: str, kind: str, panel: str, task: str, code: str) -> None:
    data = [("a text", "a label"), ("another", "b")] if task == "classification" else DOCUMENTS
    with pytest.raises(dt.DiptychError) as caught:
        dt.evaluate(make(preset, kind, panel), task, data)
    assert caught.value.code == code


def test_nothing_to_evaluate_on_is_an_error(gpt: dt.Model, tmp_path) -> None:
    (tmp_path / "empty.txt").write_text("  \n")
    for data in (tmp_path / "empty.txt", ["", " "]):
        with pytest.raises(dt.DiptychError) as caught:
            dt.evaluate(gpt, None, data)
        assert caught.value.code == "E702"


def test_resampling_is_by_document_so_that_repeating_tokens_of_one_document_gains_nothing(gpt: dt.Model) -> None:
    """The same texts cut into many rows: n stays the number of documents."""
    long_documents = [text * 20 for text in DOCUMENTS]
    assert dt.evaluate(gpt, None, long_documents)["perplexity"].n == len(DOCUMENTS)
    assert np.isfinite(dt.evaluate(gpt, None, long_documents)["perplexity"].high)

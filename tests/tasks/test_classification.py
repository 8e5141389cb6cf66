"""Classes: losses against scikit-learn, what is cut and what cannot be learnt is counted, answers in the order of the questions."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.classification import Classification, ClassificationSettings
from diptych.tasks.labels import classes_of
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Place
from diptych.tasks.windows import frame_texts

LABELS = ["good", "bad", "bad", "good", "no idea", "good"]


def row(text, label, number=0):
    return LabelledRow(text if isinstance(text, tuple) else (text,), label, f"row {number}")


def labels_of_rows(rows):
    return classes_of([each.label for each in rows], "single")


@pytest.fixture
def rows(texts):
    return [row(text, label, number) for number, (text, label) in enumerate(zip(texts, LABELS, strict=True), 1)]


@pytest.fixture
def fitted(masked_tokenizer, tiny_net):
    """A network with a classifier of fresh weights, large enough to have an opinion: `fitted(rows, "bert")`."""

    def build(rows, family="bert", tokenizer=masked_tokenizer, context=128, **settings):
        task = Classification(ClassificationSettings(**settings))
        net = tiny_net(family, tokenizer.vocab_size, context_length=context)
        examples = task.examples(rows, tokenizer, context, Ledger())
        task.prepare(net, 1)
        return task, net, examples

    return build


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt", "gpt2"])
def test_the_loss_is_scikit_learns_log_loss(family, rows, fitted, masked_tokenizer):
    task, net, examples = fitted(rows, family)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(rows))])
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["classes"]
        alone = [net.logits(torch.tensor([masked_tokenizer.frame(masked_tokenizer.encode(each.texts[0]))[0]])) for each in rows]
    chances = torch.softmax(torch.cat(alone).double(), -1).numpy()
    assert term.count_B.tolist() == [1] * len(rows)
    expected = log_loss([each.label for each in rows], chances, labels=list(task.labels), normalize=False)
    assert float(term.total_B.sum()) == pytest.approx(expected, rel=1e-5)


def test_predictions_are_the_models_chances_in_the_order_of_the_inputs(texts, rows, fitted, masked_tokenizer):
    task, net, _examples = fitted(rows)
    inputs = [texts[index % len(texts)] + "!" * (index % 7) for index in range(70)]
    predictions = list(task.predict(net, masked_tokenizer, iter(inputs)))
    assert len(predictions) == len(inputs)
    for text, prediction in zip(inputs, predictions, strict=True):
        with torch.inference_mode():
            logits = net.logits(torch.tensor([masked_tokenizer.frame(masked_tokenizer.encode(text))[0]]))[0]
        chances = torch.softmax(logits, -1)
        assert prediction.label == task.labels[int(chances.argmax())]
        assert prediction.probability == pytest.approx(float(chances.max()), abs=1e-5)
        assert list(prediction.probabilities.values()) == pytest.approx(chances.tolist(), abs=1e-5)


def test_more_inputs_than_one_chunk_keep_their_order(texts, rows, fitted, masked_tokenizer):
    task, net, _examples = fitted(rows)
    inputs = [texts[index % 5][: 1 + index % 11] for index in range(600)]
    alike = {text: prediction.probability for text, prediction in zip(inputs[:60], task.predict(net, masked_tokenizer, inputs[:60]))}
    for text, prediction in zip(inputs, task.predict(net, masked_tokenizer, inputs), strict=True):
        assert prediction.probability == pytest.approx(alike[text], abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt"])
@pytest.mark.parametrize("panel", ["causal_tokenizer", "masked_tokenizer"])
def test_an_empty_text_is_judged_for_itself_and_not_by_its_neighbour(family, panel, rows, fitted, request):
    tokenizer = request.getfixturevalue(panel)
    task, net, _examples = fitted(rows, family, tokenizer)
    alone = next(iter(task.predict(net, tokenizer, [""]))).probabilities
    for inputs in (["the cat sat", "", "short."], ["", "今天天气很好"], ["  \r\n", "🙂", ""]):
        found = list(task.predict(net, tokenizer, inputs))
        assert len(found) == len(inputs)
        assert found[inputs.index("")].probabilities == pytest.approx(alone, abs=1e-5)


def test_no_input_has_no_answer(rows, fitted, masked_tokenizer):
    task, net, _examples = fitted(rows)
    assert list(task.predict(net, masked_tokenizer, [])) == []


def test_a_pair_is_framed_as_two_segments(fitted, masked_tokenizer):
    pairs = [row(("the cat", "今天 🙂"), "yes"), row(("short.", "a fox"), "no")]
    task, net, examples = fitted(pairs)
    a, b = (masked_tokenizer.encode(text) for text in pairs[0].texts)
    cls, sep = masked_tokenizer.id("[CLS]"), masked_tokenizer.id("[SEP]")
    assert examples.windows[0][0].ids.tolist() == [cls, *a, sep, *b, sep]
    assert examples.windows[0][0].types.tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    batch = task.collate(examples, [Place(0, 0, 0)])
    with torch.inference_mode():
        logits = net.logits(torch.tensor(examples.windows[0][0].ids)[None], token_type_ids=torch.tensor(examples.windows[0][0].types)[None])
        total = float(task.loss(task.forward(net, batch), batch)["classes"].total_B.sum())
        found = next(iter(task.predict(net, masked_tokenizer, [pairs[0].texts])))
    assert total == pytest.approx(-float(torch.log_softmax(logits, -1)[0, task.labels.index("yes")]), rel=1e-5)
    assert found.probability == pytest.approx(float(torch.softmax(logits, -1).max()), abs=1e-5)


def test_what_is_longer_than_the_context_is_cut_at_the_end_and_counted(rows, masked_tokenizer):
    ledger = Ledger()
    task = Classification(ClassificationSettings(long="cut"))
    examples = task.examples(rows, masked_tokenizer, 20, ledger)
    whole = [masked_tokenizer.encode(each.texts[0]) for each in rows]
    too_long = [ids for ids in whole if len(ids) > 18]
    assert 0 < len(too_long) < len(rows)
    assert ledger.count("texts", "texts longer than the context, cut at the end") == len(too_long)
    assert ledger.count("texts", "tokens cut off") == sum(len(ids) - 18 for ids in too_long)
    first = next(number for number, ids in enumerate(whole) if len(ids) > 18)
    assert any(rows[first].where in line for line in ledger.lines())
    for ids, [kept] in zip(whole, examples.windows, strict=True):
        assert kept.ids[1:-1].tolist() == ids[:18]
        assert len(kept.ids) <= 20


def test_max_length_cuts_before_the_context_does(rows, masked_tokenizer):
    task = Classification(ClassificationSettings(max_length=10, long="cut"))
    examples = task.examples(rows, masked_tokenizer, 20, Ledger())
    assert max(len(each.ids) for [each] in examples.windows) == 10


@pytest.mark.parametrize(
    ("lengths", "kept"), [((10, 4), (8, 4)), ((4, 10), (4, 8)), ((9, 9), (6, 6)), ((30, 2), (10, 2)), ((5, 7), (5, 7))]
)
def test_of_a_pair_the_longer_text_is_cut_first(lengths, kept, masked_tokenizer):
    """What Hugging Face calls longest_first: tokens go one at a time from the longer of the two."""
    ledger = Ledger()
    texts = tuple("a" * length for length in lengths)
    framed = frame_texts([texts], masked_tokenizer, 15, ledger)[0]
    ids, types = framed.ids, framed.types
    assert (int((types == 0).sum()) - 2, int((types == 1).sum()) - 1) == kept
    assert len(ids) <= 15
    assert ledger.count("texts", "tokens cut off") == sum(lengths) - sum(kept)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_too_small_for_any_word_leaves_the_frame_alone(limit, masked_tokenizer):
    assert len(frame_texts([("abc",)], masked_tokenizer, limit, Ledger())[0].ids) == max(2, limit)
    assert len(frame_texts([("abc", "de")], masked_tokenizer, limit, Ledger())[0].ids) == 3


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(DataError) as caught:
        labels_of_rows([row("a", "good"), row("b", "good")])
    assert caught.value.code == "E131"
    assert "good" in str(caught.value) and "2" in str(caught.value) and "task.label" in str(caught.value)


def test_labels_are_sorted_as_numbers_where_they_are_and_as_words_elsewhere():
    assert labels_of_rows([row("a", label) for label in ("10", "9", "-1")]) == ("-1", "9", "10")
    assert labels_of_rows([row("a", label) for label in ("b", "差", "10", "a")]) == ("10", "a", "b", "差")
    assert labels_of_rows([row("a", label) for label in ("2", "nan", "1")]) == ("1", "2", "nan")


def test_labels_that_are_the_same_number_stand_in_one_order_only():
    """In a set their order is that of the hash, which is another in each process; a resumed run would mix them up."""
    labels = [f"1{'0' * zeros}e-{zeros}" for zeros in range(1, 15)]
    assert labels_of_rows([row("a", label) for label in labels]) == labels_of_rows([row("a", label) for label in reversed(labels)])
    assert list(labels_of_rows([row("a", label) for label in labels])) == sorted(labels)


def test_measurements_are_not_classes():
    with pytest.raises(DataError) as caught:
        labels_of_rows([row("a", str(number / 7)) for number in range(40)])
    assert caught.value.code == "E135"


def test_a_label_with_one_example_is_counted(rows, masked_tokenizer):
    ledger = Ledger()
    Classification(ClassificationSettings()).examples(rows, masked_tokenizer, 64, ledger)
    assert ledger.count("labels", "labels with one example only") == 1


def test_a_label_unseen_in_training_is_counted_and_asked_of_nobody(texts, rows, fitted, masked_tokenizer):
    task, net, _examples = fitted(rows)
    ledger = Ledger()
    strange = [row(texts[0], "good", 1), row(texts[1], "unheard-of", 2), row(texts[3], "bad", 3)]
    examples = task.examples(strange, masked_tokenizer, 128, ledger)
    what = "rows whose label was not seen in training: they cannot be predicted right"
    assert ledger.count("labels", what) == 1
    assert any("row 2" in line for line in ledger.lines())
    batch = task.collate(examples, [Place(0, -1, index) for index in range(3)])
    with torch.inference_mode():
        judged = task.judge(task.forward(net, batch), batch)
    for name in ("classes", "errors"):
        assert judged[name].count_B.tolist() == [1, 0, 1]
        assert judged[name].total_B[1] == 0


def test_errors_are_the_wrong_answers(rows, fitted, masked_tokenizer):
    task, net, examples = fitted(rows)
    batch = task.collate(examples, [Place(0, -1, index) for index in range(len(rows))])
    with torch.inference_mode():
        errors = task.judge(task.forward(net, batch), batch)["errors"]
    predicted = [prediction.label for prediction in task.predict(net, masked_tokenizer, [each.texts[0] for each in rows])]
    expected = [float(label != each.label) for label, each in zip(predicted, rows, strict=True)]
    assert 0 < sum(expected) < len(expected)
    assert errors.total_B.tolist() == expected
    assert task.watched == "errors"


def test_the_labels_are_kept_from_the_first_examples(rows, masked_tokenizer):
    task = Classification(ClassificationSettings())
    task.examples(rows, masked_tokenizer, 64, Ledger())
    later = task.examples(rows[:2], masked_tokenizer, 64, Ledger())
    assert task.labels == ("bad", "good", "no idea")
    assert later.gold.tolist() == [1, 0]
    assert np.array_equal(later.windows[0][0].ids, np.asarray(masked_tokenizer.frame(masked_tokenizer.encode(rows[0].texts[0]))[0]))

"""Several labels, grades, windows and class weights: losses against transformers', torch and a loop, and a model that learns each."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import diptych as dt
from diptych.ledger import Ledger
from diptych.tasks import task_of_net
from diptych.tasks.answers import Grade, SeveralLabels, choice_of
from diptych.tasks.classification import WINDOWS_AT_ONCE, Classification, ClassificationSettings
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Place
from diptych.tasks.windows import frame_windows

TEXTS = ["the cat sat", "今天天气很好", "a 🙂 fox", "short.", "a dog\r\nran", ""]
SEVERAL = [("animal",), ("weather", "天气"), ("animal", "emoji"), (), ("animal",), ("天气",)]
GRADES = [0.5, 3.25, 4.0, 1.0, 2.5, 0.0]


def rows_of(labels, texts=TEXTS):
    return [LabelledRow((text,), label, f"row {number}") for number, (text, label) in enumerate(zip(texts, labels, strict=False), 1)]


@pytest.fixture
def asked(masked_tokenizer, tiny_net):
    def build(rows, **settings):
        task = Classification(ClassificationSettings(**settings))
        net = tiny_net("bert", masked_tokenizer.vocab_size, context_length=64)
        examples = task.examples(rows, masked_tokenizer, 64, Ledger())
        task.prepare(net, 1)
        return task, net, examples

    return build


def alone(net, tokenizer, text):
    ids = tokenizer.frame(tokenizer.encode(text))[0]
    with torch.inference_mode():
        return net.logits(torch.tensor([ids]))[0]


@pytest.mark.parametrize(("labels", "problem"), [(SEVERAL, "multi_label_classification"), (GRADES, "regression")])
def test_the_loss_is_that_of_the_folder_in_transformers(labels, problem, asked, masked_tokenizer, tmp_path):
    from transformers import AutoModelForSequenceClassification

    rows = rows_of(labels)
    task, net, examples = asked(rows)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(rows))])
    with torch.inference_mode():
        term = task.loss(task.forward(net, batch), batch)["classes"]
    dt.Model(net, masked_tokenizer).save(tmp_path / "model")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert theirs.config.problem_type == problem
    gold = [[name in label for name in task.labels] for label in labels] if problem.startswith("multi") else [[grade] for grade in labels]
    losses = []
    for row, target in zip(rows, gold, strict=True):
        ids = torch.tensor([masked_tokenizer.frame(masked_tokenizer.encode(row.texts[0]))[0]])
        with torch.inference_mode():
            losses.append(float(theirs(ids, labels=torch.tensor([target], dtype=torch.float32)).loss))
    assert float(term.total_B.sum() / term.count_B.sum()) == pytest.approx(np.mean(losses), rel=1e-4)
    assert int(term.count_B.sum()) == batch.counts()["classes"], "a step divides by what it was told before"
    again = task_of_net(dt.load(tmp_path / "model").net)
    assert (again.kind, again.labels) == (task.kind, task.labels)


def test_a_folder_of_transformers_with_one_label_gives_grades(tmp_path, tiny_net, masked_tokenizer):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=1)
    theirs = BertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    net = dt.load(tmp_path / "theirs").net
    assert net.config.label_kind == "graded"
    ids = torch.tensor([[2, 5, 7, 3]])
    with torch.inference_mode():
        assert float(net.logits(ids)[0]) == pytest.approx(float(theirs(ids).logits[0]), abs=1e-5)


def test_several_labels_are_those_whose_sigmoid_reaches_the_threshold(asked, masked_tokenizer):
    task, net, _examples = asked(rows_of(SEVERAL))
    for threshold in (0.3, 0.5, 0.7):
        task.settings = task.settings.model_copy(update={"threshold": threshold})
        for text, found in zip(TEXTS, task.predict(net, masked_tokenizer, TEXTS), strict=True):
            if not text:
                continue
            chances = torch.sigmoid(alone(net, masked_tokenizer, text))
            assert isinstance(found, SeveralLabels)
            assert list(found.probabilities.values()) == pytest.approx(chances.tolist(), abs=1e-5)
            assert found.labels == tuple(name for name, chance in zip(task.labels, chances, strict=True) if chance >= threshold)
            assert found.to_json()["labels"] == list(found.labels) and str(found)


def test_early_stopping_counts_wrong_labels_and_squared_errors():
    several = choice_of("several", ("a", "b"))
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
    assert several.wrong(logits, torch.tensor([[1.0, 1.0], [0.0, 0.0]])).tolist() == [1.0, 2.0]
    graded = choice_of("graded", ("score",))
    assert graded.wrong(torch.tensor([[3.0], [1.0]]), torch.tensor([1.0, 1.5])).tolist() == [4.0, 0.25]
    assert graded.prediction(torch.tensor([2.5])) == Grade(2.5)


def test_windows_hold_every_token_and_their_votes_are_averaged(asked, masked_tokenizer):
    long = "今天天气很好 the cat sat 🙂 " * 40
    ids = masked_tokenizer.encode(long)
    windows = frame_windows([(long,)], masked_tokenizer, 64, Ledger())[0]
    seen = np.zeros(len(ids), dtype=int)
    starts = [next(i for i in range(len(ids)) if ids[i : i + 62] == each.ids[1:-1].tolist()) for each in windows[:1]]
    assert starts == [0] and all(len(each.ids) == 64 for each in windows)
    step, size = 62 - 62 // 4, 62
    for number, each in enumerate(windows):
        first = min(number * step, len(ids) - size)
        assert each.ids[1:-1].tolist() == ids[first : first + size]
        seen[first : first + size] += 1
    assert seen.min() >= 1 and seen.max() <= 3
    task, net, _examples = asked(rows_of(["good", "bad", "good", "bad", "good", "bad"]))
    ledger = Ledger()
    found = next(iter(task.predict(net, masked_tokenizer, [long], ledger)))
    with torch.inference_mode():
        mean = torch.stack([net.logits(torch.from_numpy(each.ids)[None])[0] for each in windows]).mean(0)
    assert list(found.probabilities.values()) == pytest.approx(torch.softmax(mean, -1).tolist(), abs=1e-5)
    assert ledger.count("texts", "texts longer than the context, read in windows") == 1 and not ledger.count("texts", "tokens cut off")


def test_a_long_text_is_learnt_by_the_same_mean(asked, masked_tokenizer):
    rows = rows_of(["good", "bad"], ["the cat sat " * 20, "short."])
    task, net, examples = asked(rows)
    assert 1 < len(examples.windows[0]) <= WINDOWS_AT_ONCE
    batch = task.collate(examples, [Place(0, 0, 0), Place(0, 0, 1)])
    with torch.inference_mode():
        totals = task.loss(task.forward(net, batch), batch)["classes"].total_B.tolist()
        mean = torch.stack([net.logits(torch.from_numpy(each.ids)[None])[0] for each in examples.windows[0]]).mean(0)
    assert totals[0] == pytest.approx(-float(torch.log_softmax(mean, -1)[task.labels.index("good")]), rel=1e-5)
    assert totals[1] == pytest.approx(
        -float(torch.log_softmax(alone(net, masked_tokenizer, "short."), -1)[task.labels.index("bad")]), rel=1e-5
    )


def test_of_a_book_a_step_sees_some_windows_and_each_epoch_others(asked):
    task, _net, examples = asked(rows_of(["good", "bad"], ["今天天气很好 the cat sat " * 400, "short."]))
    assert len(examples.windows[0]) > 3 * WINDOWS_AT_ONCE
    seen = [task.collate(examples, [Place(0, epoch, 0)]).texts.ids_N.tolist() for epoch in (0, 0, 1, -1)]
    assert seen[0] == seen[1] != seen[2] != seen[3]
    assert len(seen[0]) <= examples.num_tokens(0) == WINDOWS_AT_ONCE * 64


def test_of_a_pair_the_longer_text_is_read_in_windows(masked_tokenizer):
    ledger = Ledger()
    windows = frame_windows([("a" * 5, "b" * 100)], masked_tokenizer, 32, ledger)[0]
    assert all(int((each.types == 0).sum()) == 5 + 2 for each in windows) and max(len(each.ids) for each in windows) <= 32
    assert not ledger.count("texts", "tokens cut off")
    both = frame_windows([("a" * 90, "b" * 100)], masked_tokenizer, 32, ledger)[0]
    assert max(len(each.ids) for each in both) <= 32 and ledger.count("texts", "tokens cut off") == 90 - 29 // 2


def test_balanced_weights_are_scikit_learns_and_weigh_the_loss_alone(asked):
    labels = ["good", "good", "good", "bad", "good", "中"]
    rows = rows_of(labels)
    task, net, examples = asked(rows, class_weights="balanced")
    expected = dict(zip(task.labels, compute_class_weight("balanced", classes=np.array(task.labels), y=labels), strict=True))
    assert examples.weights.tolist() == pytest.approx([expected[label] for label in labels])
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(rows))])
    with torch.inference_mode():
        outputs = task.forward(net, batch)
        loss, judged = task.loss(outputs, batch)["classes"], task.judge(outputs, batch)["classes"]
    assert loss.total_B.tolist() == pytest.approx((judged.total_B * torch.tensor(examples.weights, dtype=torch.float32)).tolist(), rel=1e-5)
    _task, _net, examples = asked(rows, class_weights={"bad": 3.0})
    assert examples.weights[3] == pytest.approx(3 * examples.weights[0]) and examples.weights.mean() == pytest.approx(1)


TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}


def test_several_labels_are_learnt_judged_and_kept(tmp_path):
    words = {"food": "tasty", "room": "clean", "价格": "便宜"}
    data = []
    for number in range(160):
        chosen = [name for bit, name in enumerate(words) if number >> bit & 1]
        data.append({"text": " ".join(words[name] for name in chosen) + f" {number}", "labels": chosen})
    model = dt.finetune(
        "bert-tiny", data, out=tmp_path / "model", sizes=TINY, tokenizer={"vocab_size": 200}, steps=120, lr=5e-3, precision="float32"
    )
    scores = model.finetuned.scores
    assert set(scores) == {"micro-F1", "macro-F1", "all labels right"} and scores["micro-F1"].value > 0.9
    assert [system.name for system in model.finetuned.comparison.systems] == ["fine-tuned", "majority", "TF-IDF"]
    again = dt.load(tmp_path / "model")
    assert set(again.predict("tasty 便宜 7")[0].labels) == {"food", "价格"}
    assert dt.evaluate(again, None, data)["micro-F1"].value > 0.9
    assert dt.evaluate(again, None, data, threshold=0.999)["micro-F1"].value < 0.9, "the threshold is the one that was asked for"
    assert "micro-F1" in (tmp_path / "model" / "diptych" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(dt.DiptychError) as caught:
        dt.distill(tmp_path / "model", data, steps=1, precision="float32")
    assert caught.value.code == "E130" and "several" in str(caught.value) and "soft=0" in str(caught.value)


def test_names_beside_a_text_are_labels_and_beside_tokens_tags():
    from diptych.api import guess_task

    assert guess_task([("便宜", ["价格", "味道"])]) == "classification"
    assert guess_task([(["我", "在"], ["O", "O"])]) == guess_task([("北京", [(0, 2, "LOC")])]) == "tagging"


def test_grades_of_pairs_are_learnt_beside_shared_words(tmp_path):
    rng = np.random.default_rng(0)
    vocabulary = ["cat", "dog", "sun", "好", "坏", "雨", "red", "blue"]
    data = []
    for _number in range(200):
        first, second = (list(rng.choice(vocabulary, 4, replace=False)) for _side in range(2))
        shared = len(set(first) & set(second))
        data.append({"sentence1": " ".join(first), "sentence2": " ".join(second), "score": shared + rng.normal() / 10})
    model = dt.finetune("bert-tiny", data, out=tmp_path / "m", sizes=TINY, tokenizer={"vocab_size": 200}, steps=5, precision="float32")
    systems = model.finetuned.comparison.systems
    assert [system.name for system in systems] == ["fine-tuned", "mean grade", "TF-IDF", "shared words"]
    assert systems[3].scores["Spearman"].value > 0.7 and systems[1].scores["Spearman"].value == 0
    assert isinstance(dt.load(tmp_path / "m").predict([("cat dog", "dog 好")])[0], Grade)


def test_what_a_classifier_answers_by_stays_with_its_folder(asked, masked_tokenizer, tmp_path):
    rows = rows_of(SEVERAL)
    _task, net, _examples = asked(rows, threshold=0.3, long="cut", max_length=9)
    folder = dt.Model(net, masked_tokenizer).save(tmp_path / "kept")
    again = task_of_net(dt.load(folder).net)
    assert (again.settings.threshold, again.settings.long, again.settings.max_length) == (0.3, "cut", 9)
    assert (again.kind, again.labels) == ("several", ("animal", "emoji", "weather", "天气"))
    texts = ["the cat " * 30, "今天天气很好"]
    cut = list(task_of_net(net).predict(net, masked_tokenizer, texts))
    assert dt.load(folder).predict(texts) == cut
    _task, usual, _examples = asked(rows)
    assert usual.config.task == (), "what is usual is not said"


@pytest.mark.parametrize(("positive", "number"), [(None, 1), ("坏", 1), ("good", 0)])
def test_of_two_classes_the_positive_one_is_said_where_it_reaches_the_threshold(positive, number):
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    choice = choice_of("single", ("good", "坏"), 0.3, positive)
    chances = torch.softmax(logits, -1)[:, number]
    said = [choice.prediction(row) for row in logits]
    expected = [("good", "坏")[number if chance >= 0.3 else 1 - number] for chance in chances.tolist()]
    assert [each.label for each in said] == expected
    gold = torch.randint(0, 2, (200,), generator=torch.Generator().manual_seed(1))
    wrong = [("good", "坏").index(label) != right for label, right in zip(expected, gold.tolist(), strict=True)]
    assert choice.wrong(logits, gold).tolist() == wrong
    assert all(each.probability == each.probabilities[each.label] for each in said)


@pytest.mark.parametrize(("kind", "classes"), [("single", ("a", "b", "c")), ("single", ("b", "c")), ("several", ("a", "b"))])
def test_a_positive_class_is_one_of_exactly_two(kind, classes):
    with pytest.raises(dt.DiptychError) as caught:
        choice_of(kind, classes, 0.5, "a")
    assert caught.value.code == "E707"

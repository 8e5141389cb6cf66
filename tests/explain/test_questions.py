"""What is asked, of which tokens, and what is taken away: beside the model's own answers, and the texts as they were given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diptych.errors import UsageError
from diptych.explain.perturb import Subject, blank_of
from diptych.explain.question import question_of
from diptych.explain.reading import read_framed, units_of
from diptych.packed import Packed
from diptych.tasks import task_of_net
from diptych.text.tokenizer import Tokenizer

Made = Callable[..., tuple[Any, Tokenizer]]


def odds(chance: float) -> float:
    return float(np.log(chance / (1 - chance)))


def test_units_cover_the_text_and_each_token_once(tokenizers: dict[str, Tokenizer], both_languages: list[str]) -> None:
    for panel in tokenizers.values():
        for text in both_languages[:3]:
            reading = read_framed([text], panel, 500)
            for kind in ("words", "tokens", "sentences"):
                units = units_of(reading, kind)  # type: ignore[arg-type]
                taken = [place for unit in units for place in unit.tokens]
                assert taken == [place for place, span in enumerate(reading.spans) if span is not None]
                shown = "".join(text[unit.start : unit.stop] for unit in units)
                assert "".join(shown.split()) == "".join(text.split())


def test_words_are_the_segmenters_and_sentences_end_where_they_end(tokenizers: dict[str, Tokenizer]) -> None:
    text = "这家酒店很干净，早餐也不错。房间有点小。"
    reading = read_framed([text], tokenizers["masked"], 500)
    words = [text[unit.start : unit.stop] for unit in units_of(reading, "words")]
    assert "酒店" in words and "，" in words and "早餐" in words
    assert [text[unit.start : unit.stop] for unit in units_of(reading, "sentences")] == ["这家酒店很干净，早餐也不错。", "房间有点小。"]


def test_marked_stretches_are_units_and_the_rest_stays(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    text = "the food was good, but the room was bad."
    question = question_of(net, tokenizer, text)
    units = units_of(question.reading, ["food was good", (27, 39)])
    assert [text[unit.start : unit.stop] for unit in units] == ["food was good", text[27:39]]
    subject = Subject(net, question, units, blank_of(tokenizer))
    left = text.replace("food was good", "").replace(text[27:39], "")
    expected = net.logits(torch.tensor([tokenizer.frame(tokenizer.encode(left))[0]])).softmax(-1)[0, question.chosen[0]]
    assert subject.empty == pytest.approx(odds(float(expected)), abs=1e-4)
    with pytest.raises(UsageError, match="E805"):
        units_of(question.reading, ["food was", "was good"])
    with pytest.raises(UsageError, match="E805"):
        units_of(question.reading, [])
    with pytest.raises(UsageError, match="E804"):
        units_of(question.reading, ["汽车"])
    with pytest.raises(UsageError, match="E804"):
        units_of(question.reading, [(30, 400)])
    with pytest.raises(UsageError, match="E806"):
        units_of(question.reading, "letters")  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["bert", "gpt", "modernbert"])
def test_a_text_without_some_words_is_answered_as_its_remaining_tokens_are(made: Made, family: str) -> None:
    net, tokenizer = made(family, "classes")
    for text in ("the food was good, but", "这家酒店很干净，早餐"):
        question = question_of(net, tokenizer, text)
        prediction = next(iter(task_of_net(net).predict(net, tokenizer, [text])))
        assert question.answer == prediction.label
        subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
        assert subject.full == pytest.approx(odds(prediction.probability), abs=1e-4)
        kept = np.random.default_rng(0).random((7, subject.num_units)) < 0.6
        for row, score in zip(kept, subject(kept), strict=True):
            gone = [place for unit, is_kept in zip(subject.units, row, strict=True) if not is_kept for place in unit.tokens]
            ids = np.delete(question.reading.ids, gone)
            if not len(ids):
                continue
            chances = net.logits(torch.from_numpy(ids)[None]).softmax(-1)[0]
            assert score == pytest.approx(odds(float(chances[question.chosen[0]])), abs=1e-4)
        before = subject.num_evaluations
        subject(kept)
        assert subject.num_evaluations == before, "no variant is read twice"


def test_why_one_label_rather_than_another(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    question = question_of(net, tokenizer, "good food", label="a", against="c")
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    logits = net.logits(torch.tensor([tokenizer.frame(tokenizer.encode("good food"))[0]]))[0]
    assert subject.full == pytest.approx(float(logits[0] - logits[2]), abs=1e-4)
    for asked in ({"label": "好"}, {"against": "x"}, {"label": "a", "against": "a"}):
        with pytest.raises(UsageError, match="E802"):
            question_of(net, tokenizer, "good food", **asked)


def test_several_labels_and_grades_are_asked_as_they_are_answered(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    logits = net.logits(torch.tensor([tokenizer.frame(tokenizer.encode("good food"))[0]]))[0]
    net.set_config(label_kind="several")
    question = question_of(net, tokenizer, "good food", label="b")
    assert Subject(net, question, units_of(question.reading, "words"), 0).full == pytest.approx(float(logits[1]), abs=1e-4)
    net.set_config(label_kind="graded")
    question = question_of(net, tokenizer, "good food")
    assert question.scale == "number" and question.chance(0.7) == 0.7
    assert Subject(net, question, units_of(question.reading, "words"), 0).full == pytest.approx(float(logits[0]), abs=1e-4)


def test_a_pair_is_read_together_and_both_texts_have_units(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    pair = ("这家酒店", "很干净 good")
    question = question_of(net, tokenizer, pair)
    units = units_of(question.reading, "words")
    assert {unit.part for unit in units} == {0, 1}
    assert "".join(pair[unit.part][unit.start : unit.stop] for unit in units).replace(" ", "") == "".join(pair).replace(" ", "")
    chance = next(iter(task_of_net(net).predict(net, tokenizer, [pair]))).probability
    assert Subject(net, question, units, blank_of(tokenizer)).full == pytest.approx(odds(chance), abs=1e-4)


@pytest.mark.parametrize("text", ["Anna food in Rom", "我 在 酒店"])
def test_a_tag_is_asked_at_its_place_with_blanks_for_what_is_gone(made: Made, text: str) -> None:
    net, tokenizer = made("bert", "tags")
    word = text.split()[-1]
    question = question_of(net, tokenizer, text, of=word, label="LOC", against="PER")
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    kept = np.zeros((1, subject.num_units), dtype=bool)
    kept[0, 0] = True
    ids = question.reading.ids.copy()
    for unit in subject.units[1:]:
        ids[list(unit.tokens)] = tokenizer.mask_id
    start = text.index(word)
    places = [place for place, span in enumerate(question.reading.spans) if span is not None and span[2] > start]
    logits = net.heads["tags"](net.hidden(Packed(torch.from_numpy(ids), (len(ids),))))[places]
    tags = net.config.labels
    of_kind = [[number for number, tag in enumerate(tags) if tag.endswith(kind)] for kind in ("LOC", "PER")]
    expected = (logits[:, of_kind[0]].logsumexp(-1) - logits[:, of_kind[1]].logsumexp(-1)).mean()
    assert subject(kept)[0] == pytest.approx(float(expected), abs=1e-4)
    with pytest.raises(UsageError, match="E802"):
        question_of(net, tokenizer, text, of=word, label="ORG")


def test_a_tagger_that_marks_nothing_says_so(made: Made) -> None:
    net, tokenizer = made("bert", "tags")
    with torch.no_grad():
        net.heads["tags"].output.bias[0] += 1000
    with pytest.raises(UsageError, match="E807"):
        question_of(net, tokenizer, "Anna in Rom")
    question = question_of(net, tokenizer, "Anna in Rom", of="Anna")
    assert question.answer == "Anna: nothing"


def test_an_answer_is_asked_where_it_begins_and_ends(made: Made) -> None:
    net, tokenizer = made("bert")
    net.set_config(labels=("start", "end"))
    net.ensure_head("span", seed=2)
    pair = ("where? 哪里", "the food was in Rom. 酒店在那里")
    question = question_of(net, tokenizer, pair)
    answer = next(iter(task_of_net(net).predict(net, tokenizer, [pair])))
    assert question.answer == answer.text and answer.start is not None
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    reading = question.reading
    logits = net.heads["span"](net.hidden(Packed(torch.from_numpy(reading.ids), (len(reading.ids),), torch.from_numpy(reading.types))))
    inside = [place for place, span in enumerate(reading.spans) if span and span[0] == 1 and answer.start <= span[1] < answer.end]
    logs = logits.log_softmax(0)
    expected = np.mean([odds(float(logs[inside[0], 0].exp())), odds(float(logs[inside[-1], 1].exp()))])
    assert subject.full == pytest.approx(expected, abs=1e-3)
    # Others of another length in the same pass change nothing.
    kept = np.ones((3, subject.num_units), dtype=bool)
    kept[1, :2] = False
    assert subject(kept)[0] == pytest.approx(subject.full, abs=1e-6)


def test_what_would_do_nothing_is_refused(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    with pytest.raises(UsageError, match="E816"):
        question_of(net, tokenizer, "good food", of="good")
    net.set_config(label_kind="graded")
    with pytest.raises(UsageError, match="E816"):
        question_of(net, tokenizer, "good food", label="a")


def test_an_encoder_decoder_is_asked_for_what_it_writes(tokenizers: dict[str, Tokenizer]) -> None:
    from diptych.explain.explain import explain
    from diptych.presets import create

    tokenizer = tokenizers["masked"]
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "head_size": 8, "num_layers": 1, "num_decoder_layers": 1}
    net = create("transformer-tiny", seed=1, token_ids=tokenizer.token_ids, **sizes).eval()
    question = question_of(net, tokenizer, "the food 酒店", label="酒店 food")
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    written = [net.config.decoder_start_id, *tokenizer.encode("酒店 food")]
    source = torch.from_numpy(question.reading.ids)[None]
    logs = net.logits(source, decoder_input_ids=torch.tensor([written[:-1]])).log_softmax(-1)[0]
    expected = logs[torch.arange(len(written) - 1), written[1:]].mean()
    assert subject.full == pytest.approx(float(expected), abs=1e-5)
    for method in ("shapley", "integrated-gradients"):
        found = explain(net, tokenizer, "the food 酒店", label="酒店 food", method=method)
        assert found.base is not None and found.values.sum() + found.base == pytest.approx(
            found.full, abs=2e-2 * abs(found.full - found.base) + 1e-5
        )
    net.ensure_head("classes", labels=("a", "b"))
    with pytest.raises(UsageError, match="E817"):
        explain(net, tokenizer, "the food", method="gradient")


def test_the_next_word_and_the_hidden_one(made: Made) -> None:
    net, tokenizer = made("gpt", "lm")
    question = question_of(net, tokenizer, "这家酒店很")
    ids = [tokenizer.bos_id, *tokenizer.encode("这家酒店很")]
    chances = net.logits(torch.tensor([ids]))[0, -1].softmax(-1)
    assert question.chosen == (int(chances.argmax()),)
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    assert subject.full == pytest.approx(odds(float(chances.max())), abs=1e-4)
    nothing = net.logits(torch.tensor([[tokenizer.bos_id]]))[0, -1].softmax(-1)[question.chosen[0]]
    assert subject.empty == pytest.approx(odds(float(nothing)), abs=1e-4)
    with pytest.raises(UsageError, match="E808"):
        question_of(net, tokenizer, "这家酒店很", label="干净")

    net, tokenizer = made("bert", "lm")
    question = question_of(net, tokenizer, "这家[MASK]店很", label="酒", against="早")
    ids = tokenizer.frame([*tokenizer.encode("这家"), tokenizer.mask_id, *tokenizer.encode("店很")])[0]
    logits = net.logits(torch.tensor([ids]))[0, 3]
    expected = float(logits[tokenizer.id("酒")] - logits[tokenizer.id("早")])
    subject = Subject(net, question, units_of(question.reading, "words"), blank_of(tokenizer))
    assert subject.full == pytest.approx(expected, abs=1e-4)
    alone = net.logits(torch.tensor([tokenizer.frame([tokenizer.mask_id])[0]]))[0, 1]
    assert subject.empty == pytest.approx(float(alone[tokenizer.id("酒")] - alone[tokenizer.id("早")]), abs=1e-4)
    with pytest.raises(UsageError, match="E607"):
        question_of(net, tokenizer, "no blank")


def test_bad_texts_are_refused_with_a_reason(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    for text in ("", " \n", ("", "")):
        with pytest.raises(UsageError, match="E801"):
            question_of(net, tokenizer, text)
    filler, tokenizer = made("bert", "lm")
    with pytest.raises(UsageError, match="E803"):
        question_of(filler, tokenizer, "long " * 60 + "[MASK]")
    bare, tokenizer = made("bert")
    bare.keep_heads(())
    with pytest.raises(UsageError, match="E809"):
        question_of(bare, tokenizer, "text")


def test_a_text_of_one_token_is_one_unit(made: Made) -> None:
    from diptych.explain.explain import METHODS, explain

    net, tokenizer = made("bert", "classes")
    for method in METHODS:
        found = explain(net, tokenizer, "好", method=method)
        assert len(found.values) == 1 and np.isfinite(found.values).all() and found.faithfulness is None

"""Writing from a source: what is read, what is asked, what is kept, and that a model learns it in both directions."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.api import guess_task
from diptych.errors import DiptychError
from diptych.evaluation.judges import judge_of
from diptych.evaluation.judges.seq2seq import Lead, Nearest
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.tasks.head_task import Features
from diptych.tasks.measure import measure
from diptych.tasks.parallel import WrittenRow
from diptych.tasks.seq2seq import Seq2Seq, Seq2SeqSettings, Written, kind_of
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer

PAIRS = [("the cat sat 🙂.", "猫坐着🙂。"), ("a dog runs.\u00a0", "一只狗在跑。"), ("hello", "你好"), ("two\tdogs", "两只狗")]
ROWS = [WrittenRow(source, target, f"row {number}") for number, (source, target) in enumerate(PAIRS, 1)]


def code_of(action) -> str:
    with pytest.raises(DiptychError) as error:
        action()
    return error.value.code


def read(source, ledger: Ledger | None = None, **settings) -> tuple[list[WrittenRow], dict]:
    return Seq2Seq(Seq2SeqSettings(**settings)).read(source, ledger if ledger is not None else Ledger())


def sides(rows: list[WrittenRow]) -> list[tuple[str, str | None]]:
    return [(row.source, row.target) for row in rows]


def made(preset: str, rows: list[WrittenRow] = ROWS, context: int = 64, **settings):
    """(net, tokenizer, task, examples, ledger) of a small fresh model."""
    task, ledger = Seq2Seq(Seq2SeqSettings(**settings)), Ledger()
    sizes = {"hidden_size": 16, "head_size": 8} if preset != "lstm-tiny" else {"hidden_size": 16}
    shape = create(preset, vocab_size=300, context_length=context, num_layers=1, **sizes).config
    tokenizer = Tokenizer.train(task.vocabulary(rows), "bpe", 300, panel=task.panel_of(shape))
    net = create(preset, seed=1, vocab_size=tokenizer.vocab_size, context_length=context, num_layers=1, **sizes)
    net.set_config(token_ids=tokenizer.token_ids)
    tokenizer = task.meet(net, tokenizer)
    examples = task.examples(rows, tokenizer, context, ledger)
    task.prepare(net, 0)
    return net.eval(), tokenizer, task, examples, ledger


def test_two_files_are_read_line_by_line_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes("\r\n".join(source for source, _target in PAIRS).encode())
    with gzip.open(tmp_path / "train.zh.gz", "wb") as file:
        file.write("\n".join(target for _source, target in PAIRS).encode("gb18030"))
    want = [(source.strip(), target) for source, target in PAIRS]
    rows, found = read(f"{tmp_path}/train.{{en,zh}}")
    assert sides(rows) == want and (found["from"], found["to"], found["kind"]) == ("en", "zh", "translation")
    assert rows[1].where.endswith("train.en, line 2") or "line 2" in rows[1].where
    assert sides(read([tmp_path / "train.en", tmp_path / "train.zh"])[0]) == want
    assert sides(read(f"{tmp_path}/train.{{zh,en}}", directions="backward")[0]) == want
    assert guess_task(f"{tmp_path}/train.{{en,zh}}") == "seq2seq"


def test_files_that_do_not_belong_together_and_lines_without_a_side(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\n\nthree\n")
    (tmp_path / "a.de").write_text("eins\nzwei\ndrei\n")
    ledger = Ledger()
    assert sides(read(f"{tmp_path}/a.{{en,de}}", ledger)[0]) == [("one", "eins"), ("three", "drei")]
    assert "pairs that lack a side" in str(list(ledger.lines()))
    (tmp_path / "a.de").write_text("eins\n")
    assert code_of(lambda: read(f"{tmp_path}/a.{{en,de}}")) == "E155"
    assert code_of(lambda: read(f"{tmp_path}/a.{{en,fr}}")) == "E101"
    (tmp_path / "a.de").write_text("\n\n\n")
    assert code_of(lambda: read(f"{tmp_path}/a.{{en,de}}")) == "E160"


@pytest.mark.parametrize("names", [("source", "target"), ("article", "summary"), ("原文", "译文"), ("en", "zh"), ("摘要", "标题")])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_the_columns_of_a_table_are_guessed(tmp_path: Path, names: tuple[str, str], kind: str) -> None:
    path, pairs = tmp_path / f"a.{kind}", [(s.replace("\t", " ").strip(), t) for s, t in PAIRS]
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(names, pair)), ensure_ascii=False) for pair in pairs), encoding="utf-8")
    else:
        joint = {"csv": ",", "tsv": "\t"}[kind]
        path.write_text("\n".join(joint.join(row) for row in [names, *pairs]), encoding="utf-8")
    rows, found = read(str(path))
    assert sides(rows) == pairs and (found["source"], found["target"]) == names


def test_other_forms_of_tables(tmp_path: Path) -> None:
    assert sides(read([{"translation": {"en": "a b", "de": "c d"}}])[0]) == [("a b", "c d")]
    assert sides(read([{"source": ["One.", "Two."], "target": ["first", "second"]}])[0]) == [("One. Two.", "first")]
    assert sides(read([("x y", "z")])[0]) == [("x y", "z")]
    (tmp_path / "cmn.txt").write_text("Hi.\t嗨。\tCC-BY 1\nRun!\t跑！\tCC-BY 2\n", encoding="utf-8")
    assert sides(read(str(tmp_path / "cmn.txt"))[0]) == [("Hi.", "嗨。"), ("Run!", "跑！")]
    assert code_of(lambda: read([{"a": "1", "b": "2", "c": "3"}])) == "E156"
    assert code_of(lambda: read([{"a": "1", "b": "2"}], target="x")) == "E133"
    assert code_of(lambda: read([])) == "E132"
    assert code_of(lambda: dt.finetune("gpt-tiny", [("a", "b")], task="seq2seq", template="no place", steps=1)) == "E403"


def test_both_directions_have_marks_and_stay_on_one_side_of_a_split() -> None:
    rows, _found = read([{"en": "a dog", "zh": "狗"}], directions="both")
    assert sides(rows) == [("<2zh> a dog", "狗"), ("<2en> 狗", "a dog")] and rows[0].group == rows[1].group is not None
    task = Seq2Seq(Seq2SeqSettings(directions="both", languages=["en", "zh"]))
    assert [task._directed(text) for text in ("a dog", "狗", "<2zh> a dog")] == ["<2zh> a dog", "<2en> 狗", "<2zh> a dog"]


@pytest.mark.parametrize("preset", ["transformer-tiny", "bart-tiny", "t5-tiny", "gpt-tiny", "lstm-tiny"])
def test_the_target_and_its_end_alone_are_asked(preset: str) -> None:
    """The loss is that of log p(target token | source, target before it), one by one, by a pass for each."""
    net, tokenizer, task, examples, _ledger = made(preset)
    places = [Place(0, 0, number) for number in range(len(ROWS))]
    measured = measure(net, task, examples)
    with torch.inference_mode():
        terms = task.judge(task.forward(net, task.collate(examples, places)), task.collate(examples, places))
    for number, row in enumerate(ROWS):
        answer = [*tokenizer.encode(row.target or ""), tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id]
        shown, nats = examples.sources[number].tolist(), 0.0
        for place, token in enumerate(answer):
            if net.config.is_encoder_decoder:
                written = torch.tensor([[net.config.decoder_start_id, *answer[:place]]])
                logits = net.logits(torch.tensor([shown]), decoder_input_ids=written)[0, -1]
            else:
                logits = net.logits(torch.tensor([[*shown, *answer[:place]]]))[0, -1]
            logits = logits.detach()
            nats -= float(torch.log_softmax(logits.double(), -1)[token])
        assert int(terms["lm"].count_B[number]) == len(answer)
        assert float(terms["lm"].total_B[number]) == pytest.approx(nats, rel=1e-4)
    assert measured.counts["lm"].sum() == sum(len(answer) for answer in examples.answers)


def test_label_smoothing_is_torchs_and_is_not_in_the_evaluation() -> None:
    draw = torch.Generator().manual_seed(0)
    features, weight, bias, gold = torch.randn(7, 5, generator=draw), torch.randn(11, 5, generator=draw), torch.randn(11), torch.arange(7)
    features.requires_grad_()
    want = torch.nn.functional.cross_entropy(features @ weight.T + bias, gold, reduction="none", label_smoothing=0.1)
    wanted = torch.autograd.grad(want.sum(), features)[0]
    ours = Features(features, weight, bias).smoothed_nats(gold, 0.1)
    assert torch.allclose(ours, want, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(ours.sum(), features)[0], wanted, atol=1e-5)
    net, _tokenizer, task, examples, _ledger = made("transformer-tiny")
    batch = task.collate(examples, [Place(0, 0, 0)])
    outputs = task.forward(net, batch)
    trained, judged = (float(terms["lm"].total_B.sum().detach()) for terms in (task.loss(outputs, batch), task.judge(outputs, batch)))
    task.settings = task.settings.model_copy(update={"label_smoothing": 0.0})
    assert trained != judged == float(task.loss(outputs, batch)["lm"].total_B.sum().detach())


@pytest.mark.parametrize("preset", ["transformer-tiny", "gpt-tiny"])
def test_what_is_too_long_is_cut_and_counted(preset: str) -> None:
    rows = [WrittenRow("狗" * 500, "猫" * 3, "row 1"), WrittenRow("dog", "cat " * 300, "row 2"), *ROWS]
    net, tokenizer, task, examples, ledger = made(preset, rows, context=32)
    assert all(examples.num_tokens(number) > 1 for number in range(len(rows)))
    batch = task.collate(examples, [Place(0, 0, number) for number in range(len(rows))])
    with torch.inference_mode():
        task.forward(net, batch)
    assert "longer than the context" in str(list(ledger.lines()))
    ends = {tokenizer.eos_id, tokenizer.sep_id}
    assert int(examples.answers[0][-1]) in ends and int(examples.answers[1][-1]) not in ends
    own = Ledger()
    answers = list(task.predict(net, tokenizer, ["狗" * 500, "", "hello"], own))
    assert len(answers) == 3 and all(isinstance(each, Written) for each in answers)
    assert "longer than the context" in str(list(own.lines()))


def test_an_answer_does_not_depend_on_what_else_is_asked() -> None:
    net, tokenizer, task, _examples, _ledger = made("transformer-tiny", max_ratio=0.5, min_tokens=4)
    texts = [source for source, _target in PAIRS] * 3
    together = list(task.predict(net, tokenizer, texts))
    for text, answer in zip(texts, together):
        (alone,) = task.predict(net, tokenizer, [text])
        assert alone.text == answer.text and math.isclose(alone.log_probability, answer.log_probability, abs_tol=1e-3)


def test_a_model_keeps_what_it_is_asked_by_in_its_folder(tmp_path: Path) -> None:
    net, tokenizer, task, _examples, _ledger = made("bart-tiny", directions="both", languages=["en", "zh"], beams=2)
    dt.Model(net, tokenizer).save(tmp_path / "m")
    again = dt.load(tmp_path / "m")
    assert Seq2Seq.of(again.net).settings == task.settings.model_copy(update={"label_smoothing": 0.1})
    assert [str(each) for each in again.predict(["hello", "你好"])] == [
        str(each) for each in task.predict(net, tokenizer, ["hello", "你好"])
    ]
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["diptych_task"]["beams"] = "many"
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert code_of(lambda: dt.load(tmp_path / "m").predict("hello")) == "E403"
    config["diptych_task"] = {"name": "rm -rf"}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert code_of(lambda: dt.load(tmp_path / "m").predict("hello")) == "E609"


def test_an_encoder_cannot_be_asked_to_write() -> None:
    task = Seq2Seq(Seq2SeqSettings())
    tokenizer = Tokenizer.train(["a b"], "bpe", 300, panel="masked")
    assert code_of(lambda: task.meet(create("bert-tiny", vocab_size=300), tokenizer)) == "E208"


def test_baselines_and_kinds() -> None:
    assert kind_of(ROWS) == "translation"
    texts = ["First one. " + "More words follow here. " * 9, "第一句话很长很长。" + "后面还有很多话要说。" * 9]
    rows = [WrittenRow(texts[0], "First one.", "1"), WrittenRow(texts[1], "第一句话。", "2")]
    assert kind_of(rows) == "summary"
    assert [each.text for each in Lead([row.target or "" for row in rows]).answers(texts)] == ["First one.", "第一句话很长很长。"]
    near = Nearest([source for source, _target in PAIRS], [target for _source, target in PAIRS])
    assert [each.text for each in near.answers(["a dog ran.", "hello!"])] == ["一只狗在跑。", "你好"]


def test_scores_of_two_languages_stand_apart() -> None:
    rows = [WrittenRow("a", "ein Hund läuft im Park", "1", to="de"), WrittenRow("b", "今天天气很好。", "2", to="zh")]
    judge = judge_of("seq2seq")
    task = Seq2Seq(Seq2SeqSettings(kind="translation"))
    scores = judge.scores(task, rows, [Written("ein Hund läuft im Park"), Written("不对")])
    assert scores["BLEU → de"].value == 1 and scores["BLEU → zh"].value == 0 and 0 < scores["chrF"].value < 1
    assert all(np.isfinite(score.value) for score in scores.values())


@pytest.mark.slow
def test_both_directions_are_learnt_from_a_table(tmp_path: Path) -> None:
    words = {"one": "一", "two": "二", "three": "三", "four": "四"}
    pairs = [{"en": f"{a} {b}", "zh": words[a] + words[b]} for a in words for b in words] * 2
    sizes = {"hidden_size": 32, "head_size": 16, "num_layers": 1, "num_decoder_layers": 1}
    settings = {"tokenizer": {"kind": "characters", "vocab_size": 64}, "sizes": sizes, "out": str(tmp_path / "m")}
    model = dt.finetune("transformer-tiny", pairs, directions="both", steps=150, lr=1e-2, dropout=0.0, **settings)
    done = model.finetuned
    assert [system.name for system in done.comparison.systems] == ["fine-tuned", "nearest example"]
    assert (tmp_path / "m" / "diptych" / "report.html").exists()
    answers = [str(each) for each in dt.load(tmp_path / "m").predict(["<2zh> two one", "三四"])]
    assert answers == ["二一", "three four"]
    scores = dt.evaluate(tmp_path / "m", None, pairs)
    assert scores["chrF → zh"].value > 0.5 and scores["nats per written token"].value < 1

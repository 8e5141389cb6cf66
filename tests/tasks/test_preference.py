"""Preferences: forms of data, the loss against a closed form and a plain implementation, and what the model was asked before."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.api import guess_task
from diptych.errors import DataError
from diptych.evaluation.judges import judge_of
from diptych.finetuning import finetune_recipe
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.recipe import build
from diptych.tasks.preference import Preference, PreferenceSettings, Preferred
from diptych.tasks.preference_texts import PreferenceRow, read_preferences
from diptych.tasks.task import Place
from diptych.text.chat_template import with_chatml
from diptych.text.tokenizer import Tokenizer
from diptych.training.progress import Several

ROWS = [
    {"prompt": "Hi 🙂", "chosen": "Hello, how are you?", "rejected": "What?"},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}], "chosen": "你好！", "rejected": "走开。"},
    {
        "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c\r\nd"}],
        "chosen": {"from": "gpt", "value": "e"},
        "rejected": {"from": "gpt", "value": "再见"},
    },
]
SIZES = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": 128}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return with_chatml(Tokenizer.train([json.dumps(row, ensure_ascii=False) for row in ROWS] * 3, "bpe", 320))


def net_of(tokenizer: Tokenizer) -> Any:
    return create("gpt-tiny", seed=3, vocab_size=tokenizer.vocab_size, initializer_range=0.3, **SIZES).eval()


def prepared(tokenizer: Tokenizer, net: Any, **settings: Any) -> tuple[Preference, Any]:
    task = Preference(PreferenceSettings(**settings))
    task.meet(net, tokenizer)
    pairs = task.examples(task.read(ROWS, Ledger())[0], tokenizer, 128, Ledger())
    task.prepare(net, 0)
    return task, pairs


def plain_log_probabilities(net: Any, tokenizer: Tokenizer, row: PreferenceRow) -> torch.Tensor:
    """Token by token: the answer and the one token that ends it, after ChatML written out by hand."""
    before = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in row.messages) + "<|im_start|>assistant\n"
    found = []
    for answer in (row.chosen, row.rejected):
        start, end = tokenizer.id("<|im_start|>"), tokenizer.id("<|im_end|>")
        ids: list[int] = []
        for piece in before.split("<|im_start|>")[1:]:
            head, _mark, tail = piece.partition("<|im_end|>")
            ids += [start, *tokenizer.encode(head), *([end, *tokenizer.encode(tail)] if _mark else [])]
        said = [*tokenizer.encode(answer), end]
        log_TV = torch.log_softmax(net.logits(torch.tensor([[*ids, *said]]))[0].float(), dim=-1)
        found.append(sum(log_TV[len(ids) + at - 1, token] for at, token in enumerate(said)))
    return torch.stack(found)


def test_every_form_is_read_and_what_teaches_nothing_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), encoding="utf-8")
    rows = read_preferences(str(path), Ledger())
    assert [row.messages for row in rows] == [
        (("user", "Hi 🙂"),),
        (("system", "Be brief."), ("user", "你好")),
        (("user", "a"), ("assistant", "b"), ("user", "c\r\nd")),
    ]
    assert [(row.chosen, row.rejected) for row in rows] == [("Hello, how are you?", "What?"), ("你好！", "走开。"), ("e", "再见")]
    whole = {side: [{"role": "user", "content": "q"}, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    assert read_preferences([whole], Ledger())[0].messages == (("user", "q"),) and guess_task([whole]) == "preference"
    assert guess_task(str(path)) == "preference" and guess_task([{"prompt": "a", "completion": "b"}]) != "preference"
    ledger = Ledger()
    dull = [{"prompt": "a", "chosen": "x", "rejected": "x "}, {"prompt": "a", "chosen": "", "rejected": "x"}]
    assert len(read_preferences([*ROWS, *dull], ledger)) == 3
    assert ledger.count("pairs", "pairs of equal answers, of which none is preferred, dropped") == 1
    assert ledger.count("pairs", "pairs that lack a side, dropped") == 1
    assert [row.group for row in read_preferences([{**ROWS[0], "who": 7}], Ledger(), group="who")] == ["7"]
    with pytest.raises(DataError, match="E132"):
        read_preferences(dull, Ledger())
    for broken in (
        {"prompt": "a", "chosen": "x"},
        {"chosen": "x", "rejected": "y"},
        {**whole, "rejected": [{"role": "user", "content": "z"}] * 2},
    ):
        with pytest.raises(DataError, match="E181"):
            read_preferences([broken], Ledger())


def test_before_it_learns_a_pair_costs_log_two_and_has_the_slope_of_the_closed_form(tokenizer: Tokenizer) -> None:
    net = net_of(tokenizer)
    task, pairs = prepared(tokenizer, net, beta=0.3)
    batch = task.collate(pairs, [Place(0, 0, number) for number in range(3)])
    loss = task.loss(task.forward(net, batch), batch)["preference"]
    assert torch.allclose(loss.total_B, torch.full((3,), math.log(2)), atol=1e-5) and loss.count_B.tolist() == [1, 1, 1]
    assert batch.counts() == {"preference": 3}
    # At margin 0 the slope of -log σ(βm) is -β/2, so the gradient is that of -(β/2) (log π(chosen) - log π(rejected)).
    loss.total_B.sum().backward()
    got = {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}
    net.zero_grad()
    rows = task.read(ROWS, Ledger())[0]
    said = torch.stack([plain_log_probabilities(net, tokenizer, row) for row in rows])
    (-0.15 * (said[:, 0] - said[:, 1]).sum()).backward()
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(got[name], parameter.grad, atol=1e-4 * float(parameter.grad.abs().max()) + 1e-7), name


def test_the_loss_is_that_of_a_plain_implementation_with_two_models(tokenizer: Tokenizer) -> None:
    net, reference = net_of(tokenizer), net_of(tokenizer)
    task, pairs = prepared(tokenizer, net, beta=0.5)
    rows = task.read(ROWS, Ledger())[0]
    with torch.no_grad():
        before = torch.stack([plain_log_probabilities(reference, tokenizer, row) for row in rows])
        assert np.allclose(pairs.before, before.numpy(), rtol=1e-5)
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        said = torch.stack([plain_log_probabilities(net, tokenizer, row) for row in rows])
        margin = (said[:, 0] - before[:, 0]) - (said[:, 1] - before[:, 1])
        expected = -torch.log(torch.sigmoid(0.5 * margin))
        for places in ([0, 1, 2], [2, 0], [1]):
            batch = task.collate(pairs, [Place(0, 0, number) for number in places])
            outputs = task.forward(net, batch)
            assert torch.allclose(task.loss(outputs, batch)["preference"].total_B, expected[places], rtol=1e-4)
            assert task.judge(outputs, batch)["wrong"].total_B.tolist() == (margin[places] < 0).float().tolist()
    answers = list(task.predict(net, tokenizer, rows))
    assert np.allclose([each.margin for each in answers], margin.numpy(), rtol=1e-4, atol=1e-5)
    assert all(each.is_growth for each in answers)
    # Of a pair that it was never asked about, tokens are compared.
    (fresh,) = task.predict(net, tokenizer, [{"prompt": "Hi 🙂", "chosen": "What?", "rejected": "再见"}])
    assert not fresh.is_growth and fresh.margin == fresh.by_token and fresh.to_json()["prefers"] in ("chosen", "rejected")


def test_what_the_model_said_before_is_asked_once_and_no_second_model_is_kept(tokenizer: Tokenizer) -> None:
    net = net_of(tokenizer)
    seen = []
    net.body.register_forward_hook(lambda *_args: seen.append(1))
    task, pairs = prepared(tokenizer, net)
    assert len(seen) == 1 and not any(isinstance(value, torch.nn.Module) for value in vars(task).values())
    task.collate(pairs, [Place(0, 0, 0)])
    assert len(seen) == 1


def test_pairs_that_do_not_fit_are_counted_or_refused(tokenizer: Tokenizer) -> None:
    net = net_of(tokenizer)
    task = Preference(PreferenceSettings())
    task.meet(net, tokenizer)
    long = {"prompt": "Hi", "chosen": "Hello " * 60, "rejected": "走开"}
    rows = task.read([*ROWS, long], Ledger())[0]
    ledger = Ledger()
    assert len(task.examples(rows, tokenizer, 128, ledger)) == 3
    assert ledger.count("pairs", "pairs longer than the context, left out") == 1
    with pytest.raises(DataError, match="E182"):
        task.examples(rows[-1:], tokenizer, 128, Ledger())


def test_the_judge_counts_pairs_and_a_tie_is_half() -> None:
    rows = [PreferenceRow((("user", "q"),), "a longer one", "short", ""), PreferenceRow((("user", "q"),), "很长的回答", "短", "")] * 5
    judge, task = judge_of("preference"), Preference(PreferenceSettings())
    answers = [Preferred(1.0), Preferred(-1.0), Preferred(0.0), Preferred(2.0), Preferred(2.0)] * 2
    scores = judge.scores(task, rows, answers)
    assert scores["preference accuracy"].value == pytest.approx(0.7) and scores["preference accuracy"].has_interval
    (length,) = judge.baselines(task, rows)
    assert judge.scores(task, rows, length.answers(rows))["preference accuracy"].value == 1 and length.name == "the longer answer"


@pytest.mark.parametrize("regime", [[], [{"name": "lora", "rank": 4}]])
def test_it_learns_what_is_preferred_and_still_converses(tmp_path: Path, regime: list) -> None:
    draw = np.random.default_rng(0)
    rows = []
    for number in range(60):
        good, bad = ("yes", "no") if number % 2 else ("好", "坏")
        extra = " ".join(draw.choice(["well", "then", "嗯"], 3))
        rows.append({"prompt": f"{extra} {number}?", "chosen": f"{good} {extra}", "rejected": f"{bad} {extra}"})
    recipe = build(
        {
            "model": {"preset": "gpt-tiny", "sizes": SIZES, "tokenizer": {"vocab_size": 300}},
            "task": {"name": "preference"},
            "train": {"steps": 40, "lr": 2e-2 if regime else 5e-3, "regime": regime},
            "run": {"out": str(tmp_path / "out"), "precision": "float32"},
        }
    )
    done = finetune_recipe(recipe, rows, listener=Several([]))
    assert done.comparison is not None
    systems = {system.name: system.scores["preference accuracy"].value for system in done.comparison.systems}
    assert systems["fine-tuned"] > 0.9 and set(systems) > {"before training"}
    model = dt.load(tmp_path / "out")
    assert isinstance(model.chat("嗯 1?", 4), str) and dict(model.config.task)["name"] == "chat"
    scores = dt.evaluate(model, "preference", rows)
    assert set(scores) == {"preference accuracy"}
    assert not recipe.train.dropout and (tmp_path / "out" / "diptych" / "report.html").exists()

"""A service as the teacher of a classifier: each text is asked about once, and what it said survives a kill."""

import math

import pytest
import torch

from diptych.errors import TrainingError
from diptych.training.regimes import Surroundings, compose


@pytest.fixture
def asked(monkeypatch):
    seen = []

    def answer(service, text, labels):
        seen.append(text)
        return [math.log(0.9 if (label == "zh") == ("天" in text or "书" in text) else 0.1) for label in labels]

    monkeypatch.setattr("diptych.training.regimes.remote_teacher.choose", answer)
    return seen


def taught(tokenizers, **settings):
    entry = {"name": "distilled", "teacher": "http://127.0.0.1:1/v1", "model": "m", **settings}
    return compose([entry], Surroundings(tokenizers["masked"]))


def test_it_teaches_and_each_text_is_asked_about_once(run, tokenizers, asked):
    done = run("classification", regime=taught(tokenizers, hard=0.0, soft=1.0), steps=40, lr=0.02, schedule="constant")
    terms = [event["terms"]["soft classes"] for event in done.listener.of("step")]
    assert terms[-1] < 0.5 * terms[0]
    assert len(asked) == len(set(asked)) == 8 and any("天气" in text for text in asked)


def test_a_killed_run_asks_nothing_again(run, tokenizers, asked, heard, killed, tmp_path, same_bits):
    whole = run("classification", regime=taught(tokenizers), steps=8, folder=tmp_path / "a")
    asked.clear()
    with pytest.raises(killed):
        run("classification", regime=taught(tokenizers), steps=8, folder=tmp_path / "b", listener=heard(6))
    again = run("classification", regime=taught(tokenizers), steps=8, folder=tmp_path / "b", resume=True)
    same_bits(whole.net, again.net)
    assert len(asked) == 8
    assert torch.isfinite(torch.tensor(again.outcome.loss))


@pytest.mark.parametrize(
    ("name", "settings", "code"),
    [("masked-lm", {}, "E532"), ("classification", {"relations": 1.0}, "E541"), ("classification", {"model": None}, "E541")],
)
def test_what_a_service_cannot_teach_is_refused(name, settings, code, setting, tokenizers):
    made = setting(name)
    with pytest.raises(TrainingError) as caught:
        taught(tokenizers, **settings).prepare(made.net, made.task)
    assert caught.value.code == code

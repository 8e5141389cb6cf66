"""kill -9, Ctrl-C and resume through the public API, in processes of their own."""

import json
import os
import signal

import pytest

import diptych as dt
from diptych.errors import DiptychError
from diptych.text.tokenizer import Tokenizer
from diptych.training import checkpoint
from diptych.training.progress import read_events

SIZES = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": 32}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
RUN = {"precision": "float32", "threads": 1, "checkpoint_steps": 3, "log_steps": 1}
PRETRAIN_STEPS = 14


class Listener:
    """Keeps the sentences, and sends this process a signal at a step."""

    def __init__(self, at_step=None):
        self.at_step, self.said = at_step, []

    def tell(self, event):
        if event["kind"] == "stage":
            self.said.append(event["text"])
        if event["kind"] == "step" and event["step"] == self.at_step:
            signal.raise_signal(signal.SIGINT)

    def close(self):
        return


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of texts in both languages, and a table."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "texts").mkdir()
    sentences = ["the cat sat on mat {}.", "今天是第{}天，我们去公园。", "line {}\r\nanother 🙂 line"]
    for number in range(24):
        text = " ".join(sentence.format(number * 7) for sentence in sentences[number % 3 :])
        (folder / "texts" / f"{number}.txt").write_bytes(text.encode())
    (folder / "texts" / "empty.txt").write_bytes(b"")
    rows = [f'"the {"good" if number % 2 else "bad"} room {number}, 房间{number}",{"pos" if number % 2 else "neg"}' for number in range(60)]
    (folder / "reviews.csv").write_text("\r\n".join(["review,label", *rows]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pretraining(sources):
    def recipe(out, **train):
        return {
            "model": {"preset": "gpt-tiny", "sizes": SIZES, "tokenizer": {"kind": "characters", "vocab_size": 300}},
            "task": {"name": "causal-lm", "text": str(sources / "texts"), "held_out": 0.1},
            "train": {"steps": PRETRAIN_STEPS, "batch_size": 4, "dropout": 0.1, "evaluations": 3, **train},
            "run": {**RUN, "out": str(out), "cache": str(sources / "cache")},
        }

    return recipe


@pytest.fixture(scope="module")
def finetuning(sources):
    def recipe(out, **train):
        return {
            "model": {"preset": "bert-tiny", "sizes": SIZES, "tokenizer": {"kind": "characters", "vocab_size": 300}},
            "task": {"name": "classification", "data": str(sources / "reviews.csv")},
            "train": {"epochs": 3.0, "batch_size": 8, "dropout": 0.1, "evaluations": 4, "patience": 4, **train},
            "run": {**RUN, "out": str(out)},
        }

    return recipe


@pytest.fixture(scope="module")
def undisturbed(pretraining, finetuning, tmp_path_factory):
    """The folders of a pretraining and of a fine-tuning that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = {}
    for name, recipe in (("pretrain", pretraining), ("finetune", finetuning)):
        dt.run(recipe(folder / name), listener=Listener())
        made[name] = folder / name
    return made


def die(recipe, *, step=None, saving=None):
    """Run the recipe in another process, a fork, until it kills itself: at a step, or while it writes the checkpoint of a step."""
    child = os.fork()
    if not child:
        status = 1
        try:
            if saving:
                checkpoint._flush = deadly(checkpoint._flush, saving)
            dt.run(recipe, resume=True, listener=Deadly(step))
            status = 0
        finally:
            os._exit(status)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert end == (-signal.SIGKILL if step or saving else 0)


class Deadly(Listener):
    """A listener that does not survive a step."""

    def tell(self, event):
        if event["kind"] == "step" and event["step"] == self.at_step:
            os.kill(os.getpid(), signal.SIGKILL)


def deadly(flush, step):
    def flush_and_die(path):
        flush(path)
        if path.name == "state.json" and json.loads(path.read_text())["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return flush_and_die


def events_of(folder):
    """(step, loss) of every step and the evaluations, as if the run had never been interrupted."""
    events = read_events(folder / "diptych" / "metrics.jsonl")
    return [(event["step"], event["loss"], event["lr"]) for event in events if event["kind"] == "step"]


def same_model(one, other):
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert events_of(one) == events_of(other)


def test_a_pretraining_killed_at_a_step_and_while_saving_ends_with_the_same_bits(pretraining, undisturbed, tmp_path):
    out = tmp_path / "out"
    die(pretraining(out), step=5)
    assert [path.name for path in (out / "diptych" / "checkpoints").iterdir()] == ["step-00000003"]
    assert not (out / "config.json").exists()
    die(pretraining(out, evaluations=5), saving=12)
    assert sorted(path.name for path in (out / "diptych" / "checkpoints").glob("step-*")) == ["step-00000006", "step-00000009"]
    die(pretraining(out))
    same_model(out, undisturbed["pretrain"])
    assert [step for step, *_values in events_of(out)] == list(range(1, PRETRAIN_STEPS + 1))


def test_a_fine_tuning_killed_at_a_step_ends_with_the_same_bits(finetuning, undisturbed, tmp_path):
    out = tmp_path / "out"
    die(finetuning(out), step=7)
    done = dt.run(finetuning(out), resume=True, listener=Listener())
    same_model(out, undisturbed["finetune"])
    assert done.model.predict("the good room") == dt.load(undisturbed["finetune"]).predict("the good room")


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_ctrl_c_saves_and_says_how_to_go_on(kind, pretraining, finetuning, undisturbed, tmp_path):
    recipe = (pretraining if kind == "pretrain" else finetuning)(tmp_path / "out")
    listener = Listener(at_step=5)
    stopped = dt.run(recipe, listener=listener)
    assert stopped.outcome.stopped == "interrupted"
    assert f"diptych {kind} " in listener.said[-1] and "--resume" in listener.said[-1] and str(tmp_path / "out") in listener.said[-1]
    assert not (tmp_path / "out" / "config.json").exists()
    with pytest.raises(DiptychError) as caught:
        dt.load(tmp_path / "out")
    assert caught.value.code == "E318" and "--resume" in str(caught.value)
    with pytest.raises(DiptychError) as caught:
        dt.run(recipe, listener=Listener())
    assert caught.value.code == "E412" and "--resume" in str(caught.value)
    dt.run(recipe, listener=Listener(), resume=True)
    same_model(tmp_path / "out", undisturbed[kind])


def test_a_changed_recipe_is_refused_and_a_changed_text_too(pretraining, sources, tmp_path):
    out = tmp_path / "out"
    dt.run(pretraining(out), listener=Listener(at_step=5))
    with pytest.raises(DiptychError) as caught:
        dt.run(pretraining(out, seed=1), listener=Listener(), resume=True)
    assert caught.value.code == "E414" and "train.seed: 0 -> 1" in str(caught.value)
    added = sources / "texts" / "added.txt"
    added.write_text("one more text 多一篇", encoding="utf-8")
    try:
        with pytest.raises(DiptychError) as caught:
            dt.run(pretraining(out), listener=Listener(), resume=True)
    finally:
        added.unlink()
    assert caught.value.code == "E506"


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_resumed_run_goes_on_with_the_tokenizer_that_it_began_with(kind, pretraining, finetuning, tmp_path, monkeypatch):
    """With another one every number in the corpus would mean another word."""

    def recipe(out):
        made = (pretraining if kind == "pretrain" else finetuning)(tmp_path / out)
        made["model"] = {"preset": "bert-tiny", "sizes": SIZES, "tokenizer": {"kind": "wordpiece", "vocab_size": 300}}
        if kind == "pretrain":
            made["task"]["name"] = "masked-lm"
        return made

    dt.run(recipe("undisturbed"), listener=Listener())
    dt.run(recipe("out"), listener=Listener(at_step=4))
    began_with = Tokenizer.load(tmp_path / "out" / "diptych" / "tokenizer").fingerprint()
    monkeypatch.setattr(Tokenizer, "train", lambda *_arguments, **_named: pytest.fail("the tokenizer was learnt again"))
    dt.run(recipe("out"), listener=Listener(), resume=True)
    assert Tokenizer.load(tmp_path / "out").fingerprint() == began_with
    assert not (tmp_path / "out" / "diptych" / "tokenizer").exists()
    same_model(tmp_path / "out", tmp_path / "undisturbed")


def test_a_run_that_nobody_keeps_says_so_when_it_is_ended(pretraining):
    recipe = pretraining("nowhere")
    recipe["run"].pop("out")
    listener = Listener(at_step=2)
    assert dt.run(recipe, listener=listener).outcome.stopped == "interrupted"
    assert "nothing was kept" in listener.said[-1]

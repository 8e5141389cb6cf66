"""kill -9 at random moments of a run's whole life: reading, training, saving, finishing.

Each run is a fork of this process, so that many moments can be tried; it goes on again and again until it has ended.
"""

import os
import random
import shutil
import signal
import sys
import time

import pytest

import diptych as dt
from diptych.training.checkpoint import checkpoints
from diptych.training.progress import read_events

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
INTERVAL = 2


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(12):
        (folder / f"{number}.txt").write_bytes(f"the cat sat on mat {number}.\r\n今天是第{number}天，我们去公园 🙂。".encode())
    (folder / "empty.txt").touch()
    sizes = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": 16}

    def build(out):
        return {
            "model": {"preset": "gpt-tiny", "sizes": sizes, "tokenizer": {"kind": "characters", "vocab_size": 200}},
            "task": {"name": "causal-lm", "text": str(folder), "held_out": 0.1},
            "train": {"steps": 30, "batch_size": 4, "dropout": 0.1, "evaluations": 3},
            "run": {"precision": "float32", "threads": 1, "checkpoint_steps": INTERVAL, "log_steps": 1, "out": str(out)},
        }

    return build


class Silent:
    def tell(self, event):
        return

    def close(self):
        return


def run_in_a_fork(recipe):
    child = os.fork()
    if not child:
        status = 1
        try:
            dt.run(recipe, resume=True, listener=Silent())
            status = 0
        finally:
            os._exit(status)
    return child


def weights_of(out):
    return (out / "model.safetensors").read_bytes()


def kill_at_random(recipe, tmp_path, count, seed):
    """Kill `count` times, over as many runs as it takes; how many of the kills met a checkpoint half written."""
    # Here first, so that what a run imports and measures but once is there in every fork.
    dt.run(recipe(tmp_path / "undisturbed"), listener=Silent())
    expected = weights_of(tmp_path / "undisturbed")
    started = time.monotonic()
    child = run_in_a_fork(recipe(tmp_path / "another"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert weights_of(tmp_path / "another") == expected
    lifetime = time.monotonic() - started
    draw = random.Random(seed)
    out, killed, half_written, finished = tmp_path / "out", 0, 0, 0
    while killed < count or finished == 0:
        child = run_in_a_fork(recipe(out))
        if killed < count:
            time.sleep(draw.uniform(0, lifetime))  # the moment is the point of it
            os.kill(child, signal.SIGKILL)
        end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert end in (0, -signal.SIGKILL)
        if end:
            killed += 1
            half_written += bool(list((out / "diptych" / "checkpoints").glob(".writing-*")))
        if (out / "config.json").exists():
            assert weights_of(out) == expected
            finished += 1
            shutil.rmtree(out)
            continue
        assert end, "a run that was not killed has to end with a model"
        last = max((event["step"] for event in read_events(out / "diptych" / "metrics.jsonl") if event["kind"] == "step"), default=0)
        kept = max((int(path.name.partition("-")[2]) for path in checkpoints(out / "diptych" / "checkpoints")), default=0)
        assert kept >= last - INTERVAL
    print(f"{killed} kills, {half_written} of them while a checkpoint was written, {finished} runs of {lifetime:.2f} s", file=sys.stderr)
    return half_written


@pytest.mark.slow
def test_a_run_killed_a_few_times_ends_with_the_same_bits(recipe, tmp_path):
    kill_at_random(recipe, tmp_path, 3, seed=0)


@pytest.mark.slow
def test_runs_killed_a_hundred_times_end_with_the_same_bits(recipe, tmp_path):
    assert kill_at_random(recipe, tmp_path, 100, seed=1) > 0

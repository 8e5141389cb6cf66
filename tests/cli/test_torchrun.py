"""`torchrun -m diptych`: real processes, one log, and a run that goes on when one of them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from diptych.training.progress import read_events

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(20):
        text = f"the cat sat on mat {number * 7}. " * 6 + f"\r\n今天是第{number}天，我们去公园 🙂。"
        (tmp_path / "texts" / f"{number}.txt").write_bytes(text.encode())
    (tmp_path / "texts" / "empty.txt").touch()
    sizes = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": 32}
    parts = {
        "model": {"preset": "gpt-tiny", "sizes": sizes, "tokenizer": {"kind": "characters", "vocab_size": 300}},
        "task": {"name": "causal-lm", "text": str(tmp_path / "texts"), "held_out": 0.1},
        "train": {"steps": 60, "batch_size": 5, "micro_batch_tokens": 64, "dropout": 0.1, "evaluations": 3},
        "run": {"precision": "float32", "checkpoint_steps": 5, "log_steps": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    return tmp_path / "recipe.yaml"


def start(launcher, recipe, out, *more):
    line = [*launcher, "-m", "diptych", "pretrain", str(recipe), "--out", str(out), *more]
    return subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def curve(out):
    events = read_events(out / "diptych" / "metrics.jsonl")
    return [event["loss"] for event in events if event["kind"] == "step"]


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_write_one_log_and_the_model_that_one_writes(sharding, recipe, tmp_path):
    alone = start([sys.executable], recipe, tmp_path / "alone")
    assert alone.wait() == 0, alone.stdout.read()
    both = start(TORCHRUN, recipe, tmp_path / "both", "--set", f"run.sharding={sharding}")
    said, _ = both.communicate()
    assert both.returncode == 0, said
    assert said.count("reading the text") == 1 and said.count("report:") == 1 and said.count("ledger:") == 1
    assert curve(tmp_path / "both") == pytest.approx(curve(tmp_path / "alone"), rel=1e-5)
    assert {path.name for path in (tmp_path / "both").iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}


def test_a_killed_rank_is_missed_and_all_go_on_from_the_last_checkpoint(recipe, tmp_path):
    undisturbed = start(TORCHRUN, recipe, tmp_path / "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.stdout.read()
    out = tmp_path / "out"
    run = start([*TORCHRUN, "--max-restarts", "2"], recipe, out)
    while not list((out / "diptych" / "checkpoints").glob("step-*")):
        assert run.poll() is None
        time.sleep(0.02)  # until there is something to go on from
    ranks = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    said, _ = run.communicate()
    assert run.returncode == 0, said
    assert (out / "config.json").exists()
    events = [event["kind"] for event in read_events(out / "diptych" / "metrics.jsonl")]
    assert events.count("resumed") == 1
    assert curve(out) == pytest.approx(curve(tmp_path / "undisturbed"), rel=1e-5)


def test_a_mistake_is_one_message_for_each_rank_and_no_traceback_of_ours(recipe, tmp_path):
    run = start(TORCHRUN, recipe, tmp_path / "out", "--set", "run.sharding=half")
    said, _ = run.communicate()
    assert run.returncode == 1
    assert "E403" in said and "rank 1: E403" in said
    assert "diptych/cli" not in said

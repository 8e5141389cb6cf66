"""Tiny runs of each task: a network of a few thousand weights, a bilingual corpus of a dozen rows, and listeners."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diptych.config import TrainSettings
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.tasks import task_class
from diptych.tasks.tables import LabelledRow
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer
from diptych.training.loop import Plan, train
from diptych.training.regimes import compose

TEXTS = [
    "the cat sat on the mat. the dog saw it. nobody said a word.",
    "今天天气很好，我们去公园散步吧！昨天下雨了。明天呢？",
    "Mixed 中文 and English 🙂.\r\nA second line; a third one.",
    "short.",
    "a longer story of a fox, a crow and a piece of cheese. the fox won. the crow learnt. the cheese was gone.",
    "我有一本书。他有两本书。书在桌子上。",
    "nine plus one is ten. ten minus one is nine.",
    "话说天下大势，分久必合，合久必分。",
]
HELD_OUT = ["the dog sat on the cat. it was gone.", "明天我们去公园看书吧！"]
CONTEXT = 24
FAMILIES = {
    "causal-lm": "gpt",
    "masked-lm": "bert",
    "hybrid-lm": "hybrid",
    "prefix-lm": "gpt",
    "denoising": "t5",
    "classification": "bert",
}


class Killed(BaseException):
    """What a run in this process dies of in place of SIGKILL: nothing catches it, nothing is saved."""


class Heard:
    """A listener that keeps every event, and dies or does something at a step."""

    def __init__(self, at_step: int | None = None, action: Callable[[], None] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._at_step, self._action = at_step, action

    def tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["kind"] == "step" and self._at_step is not None and event["step"] >= self._at_step:
            if self._action is None:
                raise Killed
            self._at_step = None
            self._action()

    def close(self) -> None:
        return

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]


@pytest.fixture
def heard() -> type[Heard]:
    return Heard


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    return {panel: Tokenizer.train([*TEXTS, *HELD_OUT], "characters", 400, panel=panel) for panel in ("causal", "masked", "denoising")}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Runs are compared to the last bit, so each has the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def setting(tokenizers: dict[str, Tokenizer]) -> Callable[..., SimpleNamespace]:
    """A fresh task, network, examples and held-out examples by the name of the task; the same each time."""

    def build(name: str, *, family: str | None = None, seed: int = 0, dropout: float = 0.0, **settings: Any) -> SimpleNamespace:
        task = task_class(name)(task_class(name).Settings(**settings))
        tokenizer = tokenizers[task.panel if task.panel in tokenizers else "masked"]
        shape = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": CONTEXT, "vocab_size": tokenizer.vocab_size}
        net = create(f"{family or FAMILIES[name]}-tiny", seed=seed, initializer_range=0.1, **shape)
        examples, held_out = (task.examples(source, tokenizer, CONTEXT, Ledger()) for source in _sources(name, task, tokenizer))
        task.prepare(net, seed)
        net.set_config(dropout=dropout, attention_dropout=0.0)
        return SimpleNamespace(task=task, net=net, examples=examples, held_out=held_out, tokenizer=tokenizer)

    return build


def _sources(name: str, task: Any, tokenizer: Tokenizer) -> list[Any]:
    if name == "classification":
        parts = (TEXTS, HELD_OUT)
        return [[LabelledRow((text,), "zh" if "书" in text or "天" in text else "en", "") for text in part] for part in parts]
    return [_shards(part, tokenizer, task.separator(tokenizer)) for part in (TEXTS, HELD_OUT)]


def _shards(texts: list[str], tokenizer: Tokenizer, separator: int | None) -> TokenShards:
    rows = [[*([] if separator is None else [separator]), *tokenizer.encode(text)] for text in texts]
    tokens = [token for row in rows for token in row] + ([] if separator is None else [separator])
    sizes = np.array([len(text.encode()) for text in texts])
    return TokenShards(np.asarray(tokens, np.uint16), np.cumsum([0, *map(len, rows)]), sizes)


@pytest.fixture
def run(setting: Callable[..., SimpleNamespace]) -> Callable[..., SimpleNamespace]:
    """One whole run: `run("causal-lm", steps=6, folder=tmp_path)`; settings of `train` and `run` by their names.

    The result has net, outcome and the listener; `changes` are fields of the plan.
    """

    def go(
        name: str,
        *,
        folder: Path | None = None,
        resume: bool = False,
        listener: Any = None,
        regime: tuple[str, ...] = (),
        batch_size: int = 3,
        lr: float = 0.01,
        checkpoint_steps: int | None = 2,
        log_steps: int = 1,
        changes: dict[str, Any] | None = None,
        made: SimpleNamespace | None = None,
        family: str | None = None,
        **settings: Any,
    ) -> SimpleNamespace:
        made = made or setting(name, dropout=settings.get("dropout", 0.0), family=family)
        plan = Plan(
            TrainSettings(**settings),
            batch_size,
            lr,
            checkpoints=folder,
            checkpoint_steps=checkpoint_steps,
            log_steps=log_steps,
            eval_tokens=10_000,
        )
        listener = listener or Heard()
        steps = compose(regime) if isinstance(regime, tuple) else regime
        net, outcome = train(
            made.net, made.task, made.examples, made.held_out, steps, replace(plan, **(changes or {})), listener, resume=resume
        )
        return SimpleNamespace(net=net, outcome=outcome, listener=listener, made=made)

    return go


@pytest.fixture
def same_bits() -> Callable[[Any, Any], None]:
    """Assert that two networks have the same weights to the last bit."""

    def compare(one: Any, other: Any) -> None:
        left, right = one.state_dict(), other.state_dict()
        assert left.keys() == right.keys()
        different = [name for name in left if not torch.equal(left[name], right[name])]
        assert not different

    return compare

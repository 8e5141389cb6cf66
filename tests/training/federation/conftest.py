"""A federation of a few rows: whole runs of the loop with clients that share them, or that answer as they are told to."""

from types import SimpleNamespace

import pytest

from diptych.config import TrainSettings
from diptych.ledger import Ledger
from diptych.tasks.tables import LabelledRow
from diptych.training.federation import Client, federate
from diptych.training.loop import train
from diptych.training.plan import Plan
from diptych.training.regimes import compose

TEXTS = ["a cat sat", "今天天气很好", "the dog saw it 🙂", "我有一本书", "nobody said\r\na word", "话说天下大势", "nine is nine", "下雨了"]
ROWS = [LabelledRow((text,), "en" if text.isascii() or "🙂" in text else "zh", "") for text in TEXTS]

ALL = range(len(ROWS))


@pytest.fixture
def federated(setting, heard):
    """One whole federation: `federated(shares, rounds=3, epochs=2.0)`; `shares` are lists of indices into `ROWS`, or clients."""

    def go(shares, *, regime=(), folder=None, resume=False, listener=None, dropout=0.0, share=1.0, how=None, clip=1.0, **settings):
        made = setting("classification", dropout=dropout)
        rounds = (how or {}).get("rounds", 3)

        def examples_of(share):
            return made.task.examples([ROWS[number] for number in share], made.tokenizer, 24, Ledger())

        clients = [
            share(f"c{number}", examples_of(ALL)) if callable(share) else Client(f"c{number}", examples_of(share), number)
            for number, share in enumerate(shares)
        ]
        ledger = Ledger()
        plan = Plan(TrainSettings(clip=clip, **settings), 3, 0.01, checkpoints=folder, checkpoint_steps=1, log_steps=1)
        task, examples, outer = federate(made.task, clients, plan, rounds, share, ledger)
        steps = compose([*regime, {"name": "federated", "share": share, **(how or {})}])
        listener = listener or heard()
        net, outcome = train(made.net, task, examples, made.held_out, steps, outer, listener, resume=resume)
        return SimpleNamespace(net=net, outcome=outcome, ledger=ledger, listener=listener, clients=clients, made=made)

    return go


@pytest.fixture
def central(setting, heard):
    def go(rows=ALL, *, regime=(), dropout=0.0, **settings):
        made = setting("classification", dropout=dropout)
        examples = made.task.examples([ROWS[number] for number in rows], made.tokenizer, 24, Ledger())
        plan = Plan(TrainSettings(**settings), 3, 0.01, log_steps=1)
        net, outcome = train(made.net, made.task, examples, made.held_out, compose(regime), plan, heard())
        return SimpleNamespace(net=net, outcome=outcome)

    return go

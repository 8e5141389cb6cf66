"""Tiny models of both panels in both languages, an engine under them, and a client that speaks to the application in process."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from diptych.model import Model
from diptych.presets import create
from diptych.serve.app import Options, create_app
from diptych.serve.desk import Desk
from diptych.serve.gate import Rules
from diptych.serving import open_desk
from diptych.text.chat_template import with_chatml
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "The for statement iterates over the items of a sequence, in order.",
    "今天天气很好，我们去公园散步吧！🙂",
    'Mixed 中文 and English {"名字": 0123456789} true false null.',
]
HERE = "http://127.0.0.1"


def make_gpt(**sizes: Any) -> Model:
    """A model of chance that converses and writes in both languages."""
    tokenizer = with_chatml(Tokenizer.train(TEXTS * 3, "bpe", 330, panel="causal"))
    usual = {"hidden_size": 16, "num_layers": 2, "context_length": 256, "initializer_range": 0.6}
    return Model(create("gpt-tiny", seed=2, vocab_size=tokenizer.vocab_size, **{**usual, **sizes}), tokenizer)


def make_bert(*heads: str) -> Model:
    tokenizer = Tokenizer.train(TEXTS * 3, "wordpiece", 300, panel="masked")
    net = create("bert-tiny", seed=2, vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, context_length=96)
    labels = {"classes": ("好评", "bad"), "tags": ("O", "B-地点", "I-地点"), "span": ("start", "end")}
    for head in heads:
        net.ensure_head(head, labels=labels.get(head, ()))
        if head in labels:
            net.set_config(labels=labels[head])
    return Model(net, tokenizer)


def make_bart() -> Model:
    tokenizer = Tokenizer.train(TEXTS * 3, "bpe", 300, panel="causal")
    sizes = {"hidden_size": 16, "num_layers": 1, "num_decoder_layers": 1, "context_length": 96, "initializer_range": 0.6}
    return Model(create("bart-tiny", seed=2, vocab_size=tokenizer.vocab_size, **sizes), tokenizer)


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """Makers of models of chance, and of clients."""
    return SimpleNamespace(gpt=make_gpt, bert=make_bert, bart=make_bart, texts=TEXTS, client=client_of)


@pytest.fixture(scope="session")
def gpt() -> Model:
    return make_gpt()


@pytest.fixture(scope="session")
def desk(gpt: Model) -> Iterator[Desk]:
    """All that can be asked, with a running engine."""
    models = {
        "gpt": gpt,
        "bert": make_bert(),
        "judge": make_bert("classes"),
        "tagger": make_bert("tags"),
        "reader": make_bert("span"),
        "bart": make_bart(),
    }
    found = open_desk(models, slots=4, prefix_mb=8)
    yield found
    found.engine.stop()
    found.close()


@pytest.fixture(scope="session")
def client(desk: Desk) -> TestClient:
    return client_of(desk)


def client_of(desk: Desk, **rules: Any) -> TestClient:
    """A client of an application with its own rules; errors of the server are answers, as they are for anybody."""
    app = create_app(desk, Options(Rules(**{"hosts": ("127.0.0.1",), **rules})))
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)

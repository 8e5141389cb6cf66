"""The whole life of a model with every way to the network refused: nothing that is trained, asked or written here asks elsewhere."""

import socket

import pytest

import diptych as dt
from diptych.cli.main import app
from diptych.remembering import audit_privacy

SIZES = {"hidden_size": 16, "head_size": 8, "num_layers": 1, "context_length": 48}


@pytest.fixture
def refused(monkeypatch) -> list[str]:
    """Every attempt to look a name up or to connect, which fails."""
    tried: list[str] = []

    def refuse(*arguments: object, **_keywords: object) -> None:
        tried.append(repr(arguments[-2:]))
        raise OSError("no network here")

    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    return tried


def test_sockets_are_refused(refused):
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("example.org", 80))
    with socket.socket() as own, pytest.raises(OSError, match="no network"):
        own.connect(("127.0.0.1", 9))
    assert len(refused) == 2


def test_a_model_lives_its_whole_life_without_the_network(refused, tmp_path):
    from typer.testing import CliRunner

    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(24):
        text = f"the cat {number} sat on the mat, 今天天气很好 {number}. write to a{number}@example.org.\n"
        (notes / f"{number}.txt").write_text(text, encoding="utf-8")
    table = tmp_path / "t.csv"
    rows = [f"{word} {number},{label}\n" for number in range(30) for word, label in (("good 好", "yes"), ("bad 坏", "no"))]
    table.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    run = CliRunner().invoke
    clean = run(app, ["corpus", "clean", str(notes), "--out", str(tmp_path / "clean.jsonl"), "--scrub", "mask"])
    assert clean.exit_code == 0, clean.output
    told = {"sizes": SIZES, "steps": 2, "batch_size": 8}
    gpt = dt.pretrain("gpt-tiny", str(tmp_path / "clean.jsonl"), out=tmp_path / "gpt", tokenizer={"kind": "bpe", "vocab_size": 300}, **told)
    gpt.generate("the", 4)
    audit_privacy(tmp_path / "gpt", str(notes), [f"another text {number} 别的" for number in range(24)])
    dt.export(gpt, tmp_path / "gpt.gguf")
    bert = dt.pretrain("bert-tiny", str(tmp_path / "clean.jsonl"), out=tmp_path / "bert", tokenizer={"vocab_size": 200}, **told)
    assert bert.folder is not None
    regime = [{"name": "private", "noise": 1.0, "accountant": "rdp"}]
    classifier = dt.finetune(str(tmp_path / "bert"), str(table), out=tmp_path / "clf", regime=regime, steps=2, batch_size=8)
    dt.evaluate(classifier, None, str(table))
    classifier.explain("good 好 1", budget=8)
    for command in (["predict", str(tmp_path / "clf"), "good"], ["report", str(tmp_path / "clf")], ["doctor"]):
        done = run(app, command)
        assert done.exit_code == 0, done.output
    assert refused == []

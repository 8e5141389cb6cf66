"""An audit of memory from a model to its card: what was learnt by heart is found, what was not is not, and promises stand beside it."""

import json

import numpy as np
import pytest

import diptych as dt
from diptych.audit.memory import extraction
from diptych.audit.memory.guessing import guess
from diptych.audit.memory.result import MemoryAudit
from diptych.errors import UsageError
from diptych.ledger import Ledger
from diptych.remembering import audit_privacy, plant
from diptych.tasks.tables import LabelledRow
from diptych.training.regimes.traced import at_risk

WORDS = ["red", "blue", "green", "gold", "tin", "iron", "wood", "glass", "红", "蓝", "绿", "金"]


def lines(count, seed):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, 6)) + f" {draw.integers(10**6)}." for _line in range(count)]


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory):
    """A language model that has read forty short texts until it knew them, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("memory")
    members = lines(40, 0)
    (folder / "notes").mkdir()
    for number, text in enumerate(members):
        (folder / "notes" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    sizes = {"hidden_size": 48, "head_size": 24, "num_layers": 2, "context_length": 48}
    told = {"sizes": sizes, "tokenizer": {"kind": "characters", "vocab_size": 128}, "steps": 160, "batch_size": 8, "lr": 6e-3}
    model = dt.pretrain(
        "gpt-tiny", str(folder / "notes"), out=folder / "model", held_out=0.0, clean={"dedup": "none"}, evaluations=0, **told
    )
    return model, members, folder


def test_texts_that_a_model_knows_by_heart_are_told_from_others(by_heart, monkeypatch):
    monkeypatch.setattr(extraction, "SHOWN", 10)
    monkeypatch.setattr(extraction, "ASKED", 12)
    model, members, _folder = by_heart
    found = audit_privacy(model, members, lines(60, 1))
    ways = {each.way: each for each in found.guesses}
    assert set(ways) == {"loss", "min-k"}
    assert ways["loss"].area.low > 0.95 and ways["loss"].found.value > 0.8
    assert found.epsilon > 0.5
    assert found.extraction is not None and found.extraction.members.value > found.extraction.others.value
    assert "right one of two" in str(found) and not found.is_broken
    kept = json.loads((model.folder / "diptych" / "memory.json").read_text(encoding="utf-8"))
    assert kept["membership"]["loss"]["members"] == 40
    card = (model.folder / "README.md").read_text(encoding="utf-8")
    assert card.count("## What it remembers") == 1 and "## Privacy" in card
    # Nothing that is written holds a text, unless it is asked for.
    everything = json.dumps(kept, ensure_ascii=False) + card[card.index("## What it remembers") :]
    assert not any(text[:20] in everything for text in members)
    shown = audit_privacy(model, members, lines(60, 1), shows_text=True, card=False)
    assert any(text[:20] in " ".join(shown.extraction.examples) for text in members)


def test_texts_that_it_has_not_read_are_not_told_from_each_other(by_heart):
    model, _members, _folder = by_heart
    found = audit_privacy(model, lines(100, 2), lines(100, 3), card=False)
    assert found.best.area.low < 0.6
    assert found.epsilon < 0.5


def test_a_reference_that_read_the_same_takes_the_difference_away(by_heart):
    model, members, _folder = by_heart
    found = audit_privacy(model, members, lines(60, 1), reference=model, card=False)
    ratio = next(each for each in found.guesses if each.way == "ratio")
    assert ratio.area.value == pytest.approx(0.5)


def test_what_it_was_trained_on_must_be_known_and_enough(by_heart, tmp_path):
    model, members, _folder = by_heart
    with pytest.raises(UsageError, match="E819"):
        audit_privacy(model, members, lines(3, 1), card=False)
    with pytest.raises(UsageError, match="E818"):
        audit_privacy(dt.Model(model.net, model.tokenizer), card=False)
    classifier = dt.create("bert-tiny", vocab_size=60)
    classifier.net.ensure_head("classes", labels=("a", "b"))
    with pytest.raises(UsageError, match="E821"):
        audit_privacy(model, members, lines(60, 1), reference=dt.Model(classifier.net, model.tokenizer), card=False)


def test_planted_tables_hold_every_canary_as_often_as_asked(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,stars\n" + "".join(f"红色 {number},{number % 2}\n" for number in range(30)), encoding="utf-8")
    out, file = plant(str(table), tmp_path / "planted.jsonl", count=3, times=2, text="text", label="stars")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    canaries = json.loads(file.read_text(encoding="utf-8"))
    assert len(rows) == 36 and len(canaries) == 3
    for each in canaries:
        text = each["template"].replace("{secret}", each["secret"])
        assert "密码" in text
        assert [row["stars"] for row in rows if row["text"] == text] == [each["label"]] * 2
    with pytest.raises(UsageError, match=r"E822.*nothing"):
        plant(str(table), tmp_path / "x.jsonl", text="nothing")


def test_a_promise_that_the_measurement_contradicts_is_called_broken():
    draw = np.random.default_rng(0)
    surely = guess("loss", draw.normal(5, 1, 1000), draw.normal(0, 1, 1000), delta=1e-5)
    barely = guess("loss", draw.normal(0, 1, 1000), draw.normal(0, 1, 1000), delta=1e-5)
    assert MemoryAudit([surely], {"epsilon": 1.0, "delta": 1e-5}).is_broken
    assert "does not hold" in MemoryAudit([surely], {"epsilon": 1.0, "delta": 1e-5}).verdict()
    assert not MemoryAudit([barely], {"epsilon": 1.0, "delta": 1e-5}).is_broken
    assert "does not contradict" in MemoryAudit([barely], {"epsilon": 1.0, "delta": 1e-5}).verdict()
    assert "next to nothing" in MemoryAudit([barely]).verdict()
    assert not MemoryAudit([surely], {"epsilon": None, "delta": 1e-5}).is_broken


def test_those_whose_losses_moved_most_are_at_risk():
    traces = {0: [1.0, 1.0, 1.0], 1: [5.0, 2.0, 0.0], 2: [3.0], 3: [2.0, 1.5, 1.0]}
    found = at_risk(traces)
    assert [each["example"] for each in found] == [1, 3, 0]
    # Quarters of 0, 2 and 5 lie at 1 and 3.5.
    assert found[0] == {"example": 1, "spread": 2.5, "last": 0.0}


def test_a_classifier_is_audited_by_its_rows_and_names_where_those_at_risk_stand(tmp_path):
    table = tmp_path / "t.csv"
    draw = np.random.default_rng(0)
    rows = [(text, str(draw.integers(2))) for text in lines(120, 5)]  # labels of chance can be learnt by heart alone
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    told = {"steps": 60, "batch_size": 16, "lr": 3e-3, "regime": ["traced"], "evaluations": 0}
    sizes = {"hidden_size": 32, "head_size": 16, "num_layers": 1, "context_length": 48}
    model = dt.finetune("bert-tiny", str(table), out=tmp_path / "m", text="text", label="label", sizes=sizes, **told)
    found = audit_privacy(model)
    assert found.best.num_members > 60 and found.best.num_others >= 20
    assert found.at_risk and str(found.at_risk[0]["where"]).startswith(str(table))
    assert LabelledRow(("x",), "0", "").gold == "0"
    assert isinstance(found.ledger, Ledger)

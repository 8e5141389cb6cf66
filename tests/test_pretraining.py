"""The first half of a model's life: a folder of English and Chinese files becomes a model folder that holds all it promises."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import diptych as dt
from diptych.pretraining import Pretrained, pretrain_recipe
from diptych.recipe import build, load
from diptych.text.corpus import Corpus
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
FOLDER = {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"),
    *(f"diptych/{name}" for name in ("recipe.yaml", "ledger.json", "metrics.jsonl", "provenance.json", "report.html")),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in two languages, one of them twice, one empty, one with CRLF, one in GB18030, one that is no text."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(10):
        (folder / f"en{number}.txt").write_bytes(f"The cat sat on mat {number}.\r\nA dog ran by, 🙂 and it rained.\r\n".encode())
        (folder / f"zh{number}.md").write_text(f"今天天气很好，我们去第{number}个公园散步。这家店很干净。\n", encoding="utf-8")
    (folder / "again.md").write_bytes((folder / "zh3.md").read_bytes())
    (folder / "old.txt").write_bytes("从前有一个人，他在山上有一座房子，他的家里有很多书。".encode("gb18030"))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "picture.txt").write_bytes(bytes(range(256)) * 8)
    (folder / "more.jsonl").write_text(
        '{"text": "A line of JSON, with a few words more in it."}\n{"text": "一行文字，里面还有几个词。"}\n', encoding="utf-8"
    )
    return folder


def recipe(preset: str, task: str, text: Any = None, out: Path | None = None, **train: Any):
    return build(
        {
            "model": {"preset": preset, "sizes": TINY, "tokenizer": {"vocab_size": 300}},
            "task": {"name": task, "text": None if text is None else str(text)},
            "train": {"steps": 5, **train},
            "run": {"precision": "float32", "out": None if out is None else str(out)},
        }
    )


class Remember:
    """Every event; at the step that was named, Ctrl-C is pressed."""

    def __init__(self, interrupt_at: int | None = None, number: int = signal.SIGINT) -> None:
        self.events: list[dict] = []
        self._interrupt_at, self._number = interrupt_at, number

    def tell(self, event: dict) -> None:
        self.events.append(event)
        if event["kind"] == "evaluation" and event["step"] == self._interrupt_at:
            os.kill(os.getpid(), self._number)

    def close(self) -> None:
        return

    def texts(self) -> str:
        return "\n".join(event["text"] for event in self.events if event["kind"] == "stage")


@pytest.fixture(scope="module", params=[("gpt-tiny", "causal-lm"), ("bert-tiny", "masked-lm")], ids=["causal", "masked"])
def life(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pretrained, Path]:
    out = tmp_path_factory.mktemp("life") / "model"
    return pretrain_recipe(recipe(*request.param, corpus, out), listener=Several([])), out


class TestTheFolder:
    def test_it_holds_everything_that_a_model_folder_promises(self, life: tuple[Pretrained, Path]) -> None:
        done, out = life
        found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert found >= FOLDER
        assert ("generation_config.json" in found) == done.model.config.is_causal
        assert not any(Path(name).name.startswith(".") or "checkpoints" in name for name in found), "nothing unfinished is left"

    def test_the_recipe_has_no_blanks_that_decide_the_result(self, life: tuple[Pretrained, Path]) -> None:
        _done, out = life
        found = load(out / "diptych/recipe.yaml")
        assert found.train.steps == 5
        assert None not in (found.train.batch_size, found.train.lr, found.train.evaluations, found.train.dropout)
        assert found.run.precision in ("float32", "bfloat16")

    def test_the_ledger_says_what_was_dropped_and_why(self, life: tuple[Pretrained, Path]) -> None:
        done, out = life
        rows = json.loads((out / "diptych/ledger.json").read_text(encoding="utf-8"))
        assert rows == done.ledger.to_json()
        counts = {row["what"]: row for row in rows}
        assert counts["documents dropped because they occurred before"]["count"] == 1
        assert counts["documents read"]["count"] >= 24
        assert any(row["examples"] == [str(out.parent)] or "picture.txt" in str(row["examples"]) for row in rows), "the binary file"
        assert any("empty.txt" in str(row["examples"]) for row in rows)
        assert any("gb18030" in row["what"] and "old.txt" in str(row["examples"]) for row in rows)
        held = counts["documents held out for evaluation"]
        assert 0 < held["count"] < held["total"] == 23

    def test_the_events_tell_the_run_from_its_first_step_to_its_last(self, life: tuple[Pretrained, Path]) -> None:
        _done, out = life
        events = [json.loads(line) for line in (out / "diptych/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        steps = [event for event in events if event["kind"] == "step"]
        assert steps[-1]["step"] == 5
        assert {"loss", "lr", "tokens", "tokens_per_second", "seconds"} <= set(steps[-1])
        assert [event["step"] for event in events if event["kind"] == "evaluation"] == [1, 2, 3, 4, 5]

    def test_the_provenance_says_what_it_was_made_of(self, life: tuple[Pretrained, Path], corpus: Path) -> None:
        done, out = life
        facts = json.loads((out / "diptych/provenance.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
        assert facts["seed"] == 0 and facts["parent"] is None
        assert facts["tokenizer"] == dt.load(out).tokenizer.fingerprint()
        assert dt.Scores.from_json(facts["scores"]) == done.scores
        assert {"torch", "diptych"} <= set(facts["packages"])

    def test_the_card_and_the_report_show_scores_samples_and_the_ledger(self, life: tuple[Pretrained, Path]) -> None:
        done, out = life
        card = (out / "README.md").read_text(encoding="utf-8")
        front = yaml.safe_load(card.split("---\n")[1])
        assert front["language"] == ["en", "zh"]
        assert front["pipeline_tag"] == ("text-generation" if done.model.config.is_causal else "fill-mask")
        assert "very small corpus" in card and "occurred before" in card and "inf" not in card.replace("information", "")
        page = (out / "diptych/report.html").read_text(encoding="utf-8")
        assert done.report == out / "diptych/report.html"
        for part in ("On held-out text", "Loss over time", "Ledger", "To run it again", "diptych/recipe.yaml", "What it expects", "<svg"):
            assert part in page, part

    def test_the_scores_are_those_of_the_held_out_documents(self, life: tuple[Pretrained, Path]) -> None:
        done, _out = life
        held = done.ledger.count("split", "documents held out for evaluation")
        expected = (
            {"perplexity", "nats per token", "bits per byte"}
            if done.model.config.is_causal
            else {"nats per masked token", "nats per next sentence"}
        )
        assert set(done.scores) == expected
        assert {score.n for score in done.scores.values()} == {held}

    def test_the_saved_model_is_the_trained_one_and_can_be_used(self, life: tuple[Pretrained, Path]) -> None:
        done, out = life
        model = dt.load(out)
        for name, parameter in done.model.net.named_parameters():
            assert parameter.equal(dict(model.net.named_parameters())[name]), name
        if model.config.is_causal:
            assert model.generate("今天", 8, seed=1) == done.model.generate("今天", 8, seed=1)
            assert len(model.next("The cat")) == 5
        else:
            assert len(model.fill("今天[MASK]气很好")[0]) == 5


def test_going_on_from_a_folder_keeps_its_tokenizer_and_its_weights(life: tuple[Pretrained, Path], tmp_path: Path) -> None:
    done, out = life
    task = "causal-lm" if done.model.config.is_causal else "masked-lm"
    further = dt.pretrain(out, ["新的文字，another text.", "More of it, 更多。"] * 3, task=task, steps=2, lr=1e-6, precision="float32")
    assert further.tokenizer.fingerprint() == done.model.tokenizer.fingerprint()
    before = dict(done.model.net.named_parameters())
    for name, parameter in further.net.named_parameters():
        if name in before:
            assert parameter.allclose(before[name], atol=1e-4), name
    assert not all(parameter.equal(before[name]) for name, parameter in further.net.named_parameters() if name in before)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process")
@pytest.mark.parametrize(("preset", "task"), [("gpt-tiny", "causal-lm"), ("bert-tiny", "masked-lm")])
def test_a_run_that_was_interrupted_and_resumed_ends_where_an_undisturbed_one_ends(
    preset: str, task: str, corpus: Path, tmp_path: Path
) -> None:
    settings = {"dropout": 0.1, "evaluations": 5}
    pretrain_recipe(recipe(preset, task, corpus, tmp_path / "whole", **settings), listener=Several([]))
    stopped = Remember(interrupt_at=3)
    done = pretrain_recipe(recipe(preset, task, corpus, tmp_path / "cut", **settings), listener=stopped)
    assert done.outcome.stopped == "interrupted" and done.outcome.steps == 3 and done.report is None
    assert f"diptych pretrain {tmp_path}/cut/diptych/recipe.yaml --resume" in stopped.texts()
    with pytest.raises(dt.DiptychError, match="E318"):
        dt.load(tmp_path / "cut")
    with pytest.raises(dt.DiptychError, match="E412"):
        pretrain_recipe(recipe(preset, task, corpus, tmp_path / "cut", **settings), listener=Several([]))
    with pytest.raises(dt.DiptychError, match=r"E414.*train\.seed"):
        pretrain_recipe(recipe(preset, task, corpus, tmp_path / "cut", **settings, seed=1), listener=Several([]), resume=True)
    again = Remember()
    done = pretrain_recipe(load(tmp_path / "cut/diptych/recipe.yaml"), listener=again, resume=True)
    assert {"kind": "resumed", "step": 3} in again.events and done.outcome.steps == 5
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(whole[name].equal(cut[name]) for name in whole)
    assert (tmp_path / "whole/tokenizer.json").read_bytes() == (tmp_path / "cut/tokenizer.json").read_bytes()


def test_resume_starts_where_there_is_nothing_yet(corpus: Path, tmp_path: Path) -> None:
    done = pretrain_recipe(recipe("gpt-tiny", "causal-lm", corpus, tmp_path / "new"), listener=Several([]), resume=True)
    assert done.outcome.steps == 5 and (tmp_path / "new/config.json").exists()


def test_interrupting_without_a_folder_says_that_nothing_was_kept() -> None:
    if os.name == "nt":
        pytest.skip("there is no SIGINT for one process")
    stopped = Remember(interrupt_at=1)
    texts = [f"The cat sat on mat {number}." for number in range(20)]
    pretrain_recipe(recipe("gpt-tiny", "causal-lm"), texts, listener=stopped)
    assert "nothing was kept" in stopped.texts()


@pytest.mark.parametrize(("preset", "task"), [("gpt-tiny", "causal-lm"), ("bert-tiny", "masked-lm")])
def test_two_runs_with_the_same_seed_give_the_same_bits_and_another_seed_others(
    preset: str, task: str, corpus: Path, tmp_path: Path
) -> None:
    """The tokenizer is learnt anew each time, and must come out the same."""
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        pretrain_recipe(recipe(preset, task, corpus, tmp_path / name, seed=seed, steps=2, evaluations=0), listener=Several([]))
    assert len({(tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two", "other")}) == 1
    one, two, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


class TestLittleText:
    def test_two_sentences_train_and_the_result_says_what_it_cannot_claim(self, tmp_path: Path) -> None:
        told = Remember()
        done = pretrain_recipe(recipe("gpt-tiny", "causal-lm", out=tmp_path / "gpt"), ["Two sentences.", "两句话 🙂\r\n"], listener=told)
        assert done.scores == {} and done.outcome.steps == 5
        page = (tmp_path / "gpt/diptych/report.html").read_text(encoding="utf-8")
        card = (tmp_path / "gpt/README.md").read_text(encoding="utf-8")
        for caveat in ("very small corpus", "Nothing was held out"):
            assert any(caveat in text for text in done.caveats)
            assert caveat in told.texts() and caveat in page and caveat in card

    def test_one_document_is_told_that_it_has_no_next_sentences(self, tmp_path: Path) -> None:
        (tmp_path / "one.txt").write_text("The cat sat. The dog ran. 天气很好。我们散步。" * 5, encoding="utf-8")
        done = pretrain_recipe(recipe("bert-tiny", "masked-lm", tmp_path / "one.txt"), listener=Several([]))
        assert "nsp" not in done.model.net.heads
        assert any("next-sentence prediction left out" in what and entry.count for _stage, what, entry in done.ledger)
        asked = recipe("bert-tiny", "masked-lm", tmp_path / "one.txt")
        asked = asked.model_copy(update={"task": asked.task.model_copy(update={"nsp": True})})
        with pytest.raises(dt.DiptychError, match="E204"):
            pretrain_recipe(asked, listener=Several([]))

    def test_nothing_held_out_on_demand(self, corpus: Path) -> None:
        model = dt.pretrain("gpt-tiny", corpus, held_out=0.0, sizes=TINY, tokenizer={"vocab_size": 300}, steps=2, precision="float32")
        assert model.pretrained.scores == {} and model.pretrained.ledger.count("split", "documents held out for evaluation") == 0

    def test_a_context_shorter_than_the_texts_is_no_reason_to_fail_at_the_end(self, corpus: Path, tmp_path: Path) -> None:
        """The report shows a masked text; it must fit into the smallest context."""
        for length in (12, 24):
            out = tmp_path / str(length)
            dt.pretrain(
                "bert-tiny",
                corpus,
                out=out,
                sizes={**TINY, "context_length": length},
                tokenizer={"vocab_size": 300},
                steps=2,
                precision="float32",
            )
            assert (out / "diptych/report.html").exists()


def test_the_sample_of_the_report_is_a_held_out_text(corpus: Path, tmp_path: Path) -> None:
    done = pretrain_recipe(recipe("gpt-tiny", "causal-lm", corpus, tmp_path / "gpt"), listener=Several([]))
    assert done.report is not None
    _training, held = dt.Corpus(corpus).split(0.05)
    starts = {document.text.strip()[:6] for document in held}
    page = done.report.read_text(encoding="utf-8")
    shown = page.split("<blockquote><b>")[1].split("</b>")[0]
    assert shown in starts


def test_a_recipe_names_files_and_never_a_text(tmp_path: Path) -> None:
    for text in ("no such folder", ["no-such-file.txt"], [str(tmp_path), "gone.txt"]):
        (tmp_path / "a.txt").write_text("A text.")
        data = {"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm", "text": text}, "train": {"steps": 1}}
        with pytest.raises(dt.DiptychError, match="E101"):
            pretrain_recipe(build(data), listener=Several([]))
    with pytest.raises(dt.DiptychError, match=r"E405.*task\.text"):
        pretrain_recipe(recipe("gpt-tiny", "causal-lm"), listener=Several([]))


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "task"), [("gpt-tiny", "causal-lm"), ("bert-tiny", "masked-lm")])
def test_transformers_opens_what_we_pretrained_and_reads_the_text_alike(preset: str, task: str, corpus: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForPreTraining, AutoTokenizer

    pretrain_recipe(recipe(preset, task, corpus, tmp_path / "model"), listener=Several([]))
    ours, tokenizer = dt.load(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")
    kind = AutoModelForCausalLM if task == "causal-lm" else AutoModelForPreTraining
    theirs = kind.from_pretrained(tmp_path / "model").eval()
    for text in ("The cat sat on 今天天气很好 🙂", "你好"):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        own = ours.tokenizer.encode(text)
        assert ids[0].tolist() == (own if task == "causal-lm" else ours.tokenizer.frame(own)[0])
        with torch.no_grad():
            logits = theirs(input_ids=ids)
        logits = logits.logits if task == "causal-lm" else logits.prediction_logits
        assert torch.allclose(ours.logits(ids), logits, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process")
@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_a_call_in_python_after_the_run_is_saved(
    number: int, raised: type, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that would come back is half trained, and nobody would see it."""
    monkeypatch.setattr("diptych.api._listener", lambda *, verbose: Remember(interrupt_at=2, number=number))
    common = {"sizes": TINY, "tokenizer": {"vocab_size": 300}, "steps": 6, "evaluations": 6, "precision": "float32"}
    with pytest.raises(raised, match="--resume"):
        dt.pretrain("gpt-tiny", corpus, **common, out=tmp_path / "out")
    assert not (tmp_path / "out/config.json").exists()
    rows = [(f"good 好 {number}", "a") for number in range(30)] + [(f"bad 坏 {number}", "b") for number in range(30)]
    with pytest.raises(raised, match="nothing was kept"):
        dt.finetune("bert-tiny", rows, **common)
    monkeypatch.undo()
    assert dt.pretrain("gpt-tiny", corpus, **common, out=tmp_path / "out", resume=True).pretrained.outcome.steps == 6


@pytest.mark.parametrize(("preset", "task"), [("gpt-tiny", "causal-lm"), ("bert-tiny", "masked-lm")])
def test_a_budget_in_words_is_spent_and_models_are_kept_on_the_way(preset: str, task: str, corpus: Path, tmp_path: Path) -> None:
    from diptych.text.words import word_list

    told = recipe(preset, task, corpus, tmp_path / "model").to_dict()
    told["train"] |= {"steps": None, "words": 400, "batch_size": 1}
    told["run"]["snapshot_words"] = [100, 300, 9999]
    done = pretrain_recipe(build(told), listener=Several([]))
    # One step may go over the budget; what a word takes is known from the text.
    texts = [document.text for document in Corpus(corpus)]
    per_word = sum(len(done.model.tokenizer.encode(text)) + 1 for text in texts) / sum(len(word_list(text)) for text in texts)
    assert done.outcome.tokens >= 400 * per_word * 0.8
    kept = sorted(path.name for path in (tmp_path / "model/diptych/snapshots").iterdir())
    assert kept == ["100-words", "300-words"]
    early = dt.load(tmp_path / "model/diptych/snapshots/100-words")
    assert early.config == done.model.config
    assert not torch.equal(early.net.body.embedding.tokens.weight, done.model.net.body.embedding.tokens.weight)


def test_keeping_models_on_the_way_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    told = recipe("gpt-tiny", "causal-lm", corpus, tmp_path / "plain").to_dict()
    plain = pretrain_recipe(build(told), listener=Several([]))
    told["run"] |= {"out": str(tmp_path / "kept"), "snapshot_words": [10, 200]}
    kept = pretrain_recipe(build(told), listener=Several([]))
    assert all(torch.equal(a, b) for a, b in zip(plain.model.net.parameters(), kept.model.net.parameters(), strict=True))

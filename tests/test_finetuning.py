"""The second half of a model's life: a table becomes a tested predictor, beside word counts, with what it cannot claim."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sklearn.metrics import accuracy_score, f1_score

import diptych as dt
from diptych.finetuning import Finetuned, Parts, finetune_parts, finetune_recipe, read_parts
from diptych.ledger import Ledger
from diptych.recipe import build, load
from diptych.tasks.tables import LabelledRow
from diptych.training.progress import Several, read_events

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
GOOD, BAD = ("good", "great", "好吃", "干净"), ("bad", "awful", "难吃", "很脏")
PLACES = ("food", "room", "菜", "房间", "🙂")


def reviews(count: int = 10) -> list[tuple[str, str]]:
    """Texts in two languages whose label one word gives away, all different."""
    return [
        (f"{place} {number} {word}", label)
        for number in range(count)
        for words, label in ((GOOD, "好评"), (BAD, "差评"))
        for word, place in zip(words, PLACES[number % 2 :])
    ]


def recipe(out: Path | None = None, task: dict | None = None, **train: Any):
    return build(
        {
            "model": {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 400}},
            "task": {"name": "classification", **(task or {})},
            "train": {"steps": 4, **train},
            "run": {"precision": "float32", "out": None if out is None else str(out)},
        }
    )


@pytest.fixture
def tuned() -> Callable[..., Finetuned]:
    def call(
        data: Any, out: Path | None = None, task: dict | None = None, *, hold_out: bool = True, told: list | None = None, **train: Any
    ) -> Finetuned:
        listener = Several([]) if told is None else _Told(told)
        return finetune_recipe(recipe(out, task, **train), data, listener=listener, hold_out=hold_out)

    return call


class _Told:
    def __init__(self, texts: list) -> None:
        self.texts = texts

    def tell(self, event: dict) -> None:
        if event["kind"] == "stage":
            self.texts.append(event["text"])

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finetuned, Path]:
    """Fine-tuned long enough to have learnt, with everything written."""
    out = tmp_path_factory.mktemp("life") / "classifier"
    rows = [
        *reviews(24),
        ("good " * 60, "好评"),
        ("good food 0 twice", "好评"),
        ("good food 0 twice", "好评"),
        ("two minds", "好评"),
        ("two minds", "差评"),
    ]
    return finetune_recipe(recipe(out, steps=60, lr=3e-3, batch_size=16, patience=4), rows, listener=Several([])), out


class TestTheFolder:
    def test_it_learnt_and_stands_beside_the_word_counts(self, life: tuple[Finetuned, Path]) -> None:
        done, _out = life
        assert done.comparison is not None
        assert [system.name for system in done.comparison.systems] == ["fine-tuned", "majority", "bag of words", "TF-IDF"]
        assert done.scores["accuracy"].value > 0.8, "one word gives the label away"
        gold, predicted = done.comparison.gold, done.comparison.main.predicted
        assert done.scores["accuracy"].value == pytest.approx(accuracy_score(gold, predicted))
        assert done.scores["macro-F1"].value == pytest.approx(f1_score(gold, predicted, average="macro"))
        assert done.scores["accuracy"].n == len(gold) >= 30

    def test_the_folder_holds_what_it_promises_and_predicts_as_it_did(self, life: tuple[Finetuned, Path]) -> None:
        done, out = life
        names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert names >= {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
        assert names >= {f"diptych/{name}" for name in ("recipe.yaml", "ledger.json", "metrics.jsonl", "provenance.json", "report.html")}
        model = dt.load(out)
        assert model.config.labels == ("好评", "差评")
        texts = ["food good", "房间 很脏", "🙂"]
        assert model.predict(texts) == done.model.predict(texts)
        assert [each.label for each in model.predict(texts[:2])] == ["好评", "差评"]

    def test_report_and_card_show_the_table_the_words_and_the_verdict(self, life: tuple[Finetuned, Path]) -> None:
        done, out = life
        page, card = (path.read_text(encoding="utf-8") for path in (out / "diptych/report.html", out / "README.md"))
        assert done.comparison is not None and done.comparison.verdict() in page
        for part in ("TF-IDF", "majority", "bag of words", "Confusion", "Words that weigh most", "Loss over time", "<text", "好评", "干净"):
            assert part in page, part
        assert all(name in card for name in ("TF-IDF", "bag of words", "fine-tuned", "n = "))
        assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "text-classification"

    def test_the_ledger_counts_what_was_dropped_and_what_is_long(self, life: tuple[Finetuned, Path]) -> None:
        done, out = life
        counts = {row["what"]: row["count"] for row in json.loads((out / "diptych/ledger.json").read_text(encoding="utf-8"))}
        assert counts["rows dropped because the text occurred before"] == 1
        assert counts["rows dropped because the same text has several labels"] == 2 and counts["texts with several labels"] == 1
        parts = [counts[f"rows for {name}"] for name in ("training", "stopping", "testing")]
        assert sum(parts) == counts["rows read"] - 3 and min(parts) > 0
        assert sum(entry.count for _stage, what, entry in done.ledger if "read in windows" in what) == 1

    def test_the_provenance_names_the_columns_and_every_score(self, life: tuple[Finetuned, Path]) -> None:
        done, out = life
        facts = json.loads((out / "diptych/provenance.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
        assert facts["columns"] == {"text": "text", "pair": None, "label": "label", "kind": "single"}
        assert dt.Scores.from_json(facts["scores"]["fine-tuned"]) == done.scores and set(facts["scores"]) >= {"TF-IDF", "majority"}

    def test_the_best_state_is_kept_and_its_step_is_known(self, life: tuple[Finetuned, Path]) -> None:
        done, _out = life
        assert done.outcome.best_step is not None and 0 < done.outcome.best_step <= done.outcome.steps <= 60
        evaluations = [event for event in read_events(done.report.parent / "metrics.jsonl") if event["kind"] == "evaluation"]
        assert done.outcome.best == min(event["terms"]["errors"] for event in evaluations)


class TestSplits:
    def test_no_text_lies_in_two_parts_and_every_part_has_every_label(self) -> None:
        rows = [*reviews(20), *reviews(20)[:10]]
        parts = read_parts(recipe(), rows, Ledger())
        texts = [{row.texts for row in part} for part in (parts.train, parts.dev, parts.test)]
        assert sum(map(len, texts)) == len(set().union(*texts)) == len(set(rows))
        assert all({row.label for row in part} == {"好评", "差评"} for part in (parts.train, parts.dev, parts.test))
        assert len(parts.test) / len(set(rows)) == pytest.approx(0.2, abs=0.05)

    def test_the_rows_of_one_group_lie_on_one_side(self) -> None:
        rows = [{"text": text, "label": label, "customer": f"c{number % 25}"} for number, (text, label) in enumerate(reviews(30))]
        parts = read_parts(recipe(task={"group": "customer"}), rows, Ledger())
        owners = [{row.group for row in part} for part in (parts.train, parts.dev, parts.test)]
        assert all(owners) and sum(map(len, owners)) == 25

    def test_the_split_depends_on_the_text_and_the_seed_alone(self) -> None:
        def tests(rows: list, seed: int = 0) -> set[str]:
            return {row.texts[0] for row in read_parts(recipe(seed=seed), rows, Ledger()).test}

        rows = reviews(20)
        assert tests(rows) == tests(rows[::-1]) != tests(rows, seed=1)

    def test_tables_for_stopping_and_testing_are_used_as_they_are(self, tmp_path: Path) -> None:
        for name, rows in (("train", reviews(5)), ("dev", reviews(7)[40:]), ("test", reviews(9)[56:])):
            pd.DataFrame(rows, columns=["review", "stars"]).to_csv(tmp_path / f"{name}.csv", index=False)
        files = {name: str(tmp_path / f"{name}.csv") for name in ("dev", "test")}
        parts = read_parts(recipe(task={"data": str(tmp_path / "train.csv"), **files}), None, Ledger())
        assert [len(part) for part in (parts.train, parts.dev, parts.test)] == [40, 16, 16]

    def test_several_tables_are_read_as_one(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            pd.DataFrame(reviews(5), columns=["review", "stars"]).assign(review=lambda rows, name=name: rows.review + name).to_csv(
                tmp_path / f"{name}.csv", index=False
            )
        listed = read_parts(recipe(task={"data": [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]}), None, Ledger(), hold_out=False)
        matched = read_parts(recipe(task={"data": str(tmp_path / "*.csv")}), None, Ledger(), hold_out=False)
        assert len(listed.train) == 80 and listed.train == matched.train


class TestCaveats:
    def test_two_rows_train_and_say_that_nothing_can_be_said(self, tuned: Callable[..., Finetuned], tmp_path: Path) -> None:
        told: list[str] = []
        done = tuned([("I loved this movie!", 1), ("This movie was terrible.", 0)], tmp_path / "clf", told=told)
        assert done.comparison is None and done.scores == {} and done.model.config.labels == ("0", "1")
        assert "2 examples allow no test" in done.caveats[0] and "Too few rows to stop by" in done.caveats[1]
        page = (tmp_path / "clf/diptych/report.html").read_text(encoding="utf-8")
        assert all(caveat in page and caveat in "\n".join(told) for caveat in done.caveats)

    def test_nothing_is_said_of_stopping_where_nobody_wanted_to_stop(self, tuned: Callable[..., Finetuned]) -> None:
        rows = [LabelledRow((text,), label, str(number)) for number, (text, label) in enumerate(reviews(10))]
        parts = Parts(rows[20:], [], rows[:20], {"text": "text", "label": "label"})
        done = finetune_parts(recipe(evaluations=0), parts, Ledger(), listener=Several([]))
        assert done.comparison is not None and not any("Too few rows" in caveat for caveat in done.caveats)
        done = finetune_parts(recipe(evaluations=2), parts, Ledger(), listener=Several([]))
        assert any("Too few rows" in caveat for caveat in done.caveats)

    def test_rows_that_were_all_wanted_for_training_are_not_called_too_few(self, tuned: Callable[..., Finetuned]) -> None:
        done = tuned(reviews(10), hold_out=False)
        assert done.ledger.count("split", "rows for training") == 80
        assert any("Nothing was held out" in caveat for caveat in done.caveats)
        assert not any("allow no test" in caveat or "Too few" in caveat for caveat in done.caveats)

    def test_uneven_classes_are_named(self, tuned: Callable[..., Finetuned]) -> None:
        rows = [(f"good food {number}", "common") for number in range(130)] + [(f"bad food {number}", "rare") for number in range(8)]
        assert any("uneven" in caveat and "macro-F1" in caveat for caveat in tuned(rows).caveats)
        assert not any("uneven" in caveat for caveat in tuned(reviews(10)).caveats)

    def test_a_model_that_predicts_one_class_only_is_told_so(self, tuned: Callable[..., Finetuned]) -> None:
        done = tuned(reviews(20), lr=1e-9)
        assert done.comparison is not None and len(set(done.comparison.main.predicted)) == 1
        assert any("one class only" in caveat and done.comparison.main.predicted[0] in caveat for caveat in done.caveats)

    def test_where_tfidf_wins_the_report_says_so(self, tuned: Callable[..., Finetuned], tmp_path: Path) -> None:
        done = tuned(reviews(40), tmp_path / "clf", lr=1e-9)
        assert done.comparison is not None
        assert "is better than fine-tuned" in done.comparison.verdict() and "simple" in done.comparison.verdict()
        assert done.comparison.verdict() in (tmp_path / "clf/diptych/report.html").read_text(encoding="utf-8")


class TestRows:
    def test_labels_keep_the_order_of_numbers_and_words(self, tuned: Callable[..., Finetuned]) -> None:
        for labels, expected in (
            ([10, 9, 2], ("2", "9", "10")),
            (["b", "好", "a"], ("a", "b", "好")),
            ([1.0, 0.0, True], ("0", "1", "True")),
        ):
            rows = [(f"text {number} of {label}", label) for number, label in enumerate(labels * 3)]
            assert set(tuned(rows, steps=1).model.config.labels) == set(expected)
            if expected[0] != "0":
                assert tuned(rows, steps=1).model.config.labels == expected

    def test_pairs_are_learnt_as_pairs(self, tuned: Callable[..., Finetuned]) -> None:
        rows = [{"sentence1": f"left {number}", "sentence2": f"右边 {number % 3}", "label": str(number % 2)} for number in range(60)]
        done = tuned(rows, task={"text": "sentence1"})
        assert len(done.model.predict([("left 1", "右边 1"), ("left", "")])) == 2
        assert done.comparison is not None and all(" | 右边" in mistake[0] for mistake in done.comparison.mistakes)

    def test_missing_cells_are_counted_and_never_become_words(self, tuned: Callable[..., Finetuned]) -> None:
        frame = pd.DataFrame(reviews(10), columns=["text", "label"])
        frame.loc[0, "text"] = None
        frame.loc[1, "text"] = float("nan")
        frame.loc[2, "label"] = None
        for kind in ("object", "string"):
            done = tuned(frame.astype(kind), task={"empty_labels": "drop"})
            assert done.ledger.count("table", "rows without a text, dropped") == 2
            assert done.ledger.count("table", "rows without a label, dropped") == 1
            assert done.ledger.count("split", "rows for training") < 78
            with pytest.raises(dt.DiptychError, match=r"E121.*row 3"):
                tuned(frame.astype(kind))

    def test_a_label_in_the_test_that_training_never_saw_is_counted_and_missed(
        self, tuned: Callable[..., Finetuned], tmp_path: Path
    ) -> None:
        pd.DataFrame([("good food", "好评"), ("so so", "中评"), ("很脏", "差评")], columns=["text", "label"]).to_csv(
            tmp_path / "test.csv", index=False
        )
        done = tuned(reviews(10), task={"test": str(tmp_path / "test.csv")})
        assert done.comparison is not None and done.comparison.main.scores["accuracy"].value <= 2 / 3
        assert "中评" not in done.model.config.labels
        (entry,) = [entry for stage, what, entry in done.ledger if "not seen in training" in what]
        assert entry.count == 1 and entry.total == 3 and "line 3" in entry.examples[0]

    def test_a_table_to_stop_by_without_a_known_label_stops_nothing_and_is_counted(
        self, tuned: Callable[..., Finetuned], tmp_path: Path
    ) -> None:
        pd.DataFrame([("so so", "中评")] * 3, columns=["text", "label"]).to_csv(tmp_path / "dev.csv", index=False)
        done = tuned(reviews(10), tmp_path / "clf", task={"dev": str(tmp_path / "dev.csv")}, patience=1)
        assert done.outcome.steps == 4 and done.report is not None and done.report.exists()
        (entry,) = [entry for stage, what, entry in done.ledger if stage == "dev" and "not seen in training" in what]
        assert entry.count == entry.total == 3

    def test_texts_that_are_tested_and_trained_on_are_counted(self, tmp_path: Path) -> None:
        for name, rows in (("train", reviews(4)), ("test", reviews(5)[20:])):
            pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / f"{name}.csv", index=False)
        ledger = Ledger()
        task = {"data": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
        parts = read_parts(recipe(task=task), None, ledger, hold_out=False)
        (entry,) = [entry for _stage, what, entry in ledger if "trained on as well" in what]
        assert entry.count == len(set(reviews(4)) & set(reviews(5)[20:])) > 0 and entry.total == len(parts.test)

    def test_rows_longer_than_the_context_are_counted_apart_for_each_part(self, tuned: Callable[..., Finetuned]) -> None:
        rows = [(f"{text} " + "word " * 50, label) for text, label in reviews(10)]
        done = tuned(rows, task={"long": "cut"})
        found = [(stage, entry.count, entry.total) for stage, what, entry in done.ledger if "cut at the end" in what]
        counts = {name: done.ledger.count("split", f"rows for {name}") for name in ("training", "stopping", "testing")}
        assert sorted(count for _, count, _ in found) == sorted(counts.values())
        assert all(count == total for _, count, total in found)
        shorter = tuned(rows, task={"max_length": 8, "long": "cut"})
        tokens = [sum(entry.count for _stage, what, entry in each.ledger if what == "tokens cut off") for each in (done, shorter)]
        assert tokens[1] > tokens[0] > 0

    def test_every_kind_of_table_gives_the_same_rows(self, tmp_path: Path) -> None:
        rows = reviews(3)
        frame = pd.DataFrame(rows, columns=["评论", "标签"])
        frame.to_csv(tmp_path / "a.csv", index=False)
        frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
        frame.to_csv(tmp_path / "a.csv.gz", index=False)
        frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, force_ascii=False)
        frame.to_json(tmp_path / "a.json", orient="records")
        frame.to_csv(tmp_path / "gb.csv", index=False, encoding="gb18030", lineterminator="\r\n")
        sources = [rows, frame, frame.to_dict("records"), *(str(path) for path in sorted(tmp_path.iterdir()))]
        for source in sources:
            parts = read_parts(recipe(), source, Ledger(), hold_out=False)
            assert [(row.texts[0], row.label) for row in parts.train] == rows, source
        ledger = Ledger()
        read_parts(recipe(), str(tmp_path / "gb.csv"), ledger, hold_out=False)
        assert any("gb18030" in what for _stage, what, _entry in ledger), "what the file was read as is not forgotten"


class TestBases:
    def test_a_classifier_can_be_tuned_again_for_other_labels(self, life: tuple[Finetuned, Path], tmp_path: Path) -> None:
        _done, out = life
        rows = [
            (f"{word} {number}", label) for number in range(20) for word, label in (("cat", "animal"), ("oak", "plant"), ("铁", "metal"))
        ]
        again = dt.finetune(out, rows, out=tmp_path / "again", steps=2, precision="float32")
        assert again.config.labels == ("animal", "metal", "plant")
        assert load(tmp_path / "again/diptych/recipe.yaml").model.base == str(out)
        assert dt.load(tmp_path / "again").predict("cat")[0].label in again.config.labels

    def test_a_model_that_writes_can_learn_to_classify(self, tuned: Callable[..., Finetuned]) -> None:
        model = dt.finetune("gpt-tiny", reviews(10), sizes=TINY, tokenizer={"vocab_size": 400}, steps=3, precision="float32")
        assert model.config.is_causal and {each.label for each in model.predict(["good", "很脏"])} <= {"好评", "差评"}

    def test_the_frozen_regime_trains_the_head_alone(self, life: tuple[Finetuned, Path]) -> None:
        _done, out = life
        before = dict(dt.load(out).net.body.named_parameters())
        model = dt.finetune(out, reviews(10), regime=["frozen"], steps=3, precision="float32")
        assert all(parameter.equal(before[name]) for name, parameter in model.net.body.named_parameters())

    def test_a_recipe_that_was_written_runs_again_to_the_same_bits(self, tmp_path: Path) -> None:
        pd.DataFrame(reviews(10), columns=["review", "stars"]).to_csv(tmp_path / "r.csv", index=False)
        dt.finetune(
            "bert-tiny", tmp_path / "r.csv", out=tmp_path / "one", sizes=TINY, tokenizer={"vocab_size": 400}, steps=3, precision="float32"
        )
        dt.run(load(tmp_path / "one/diptych/recipe.yaml", [f"run.out={tmp_path / 'two'}"]))
        assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()


@pytest.mark.slow
def test_minilm_learns_real_reviews_and_stands_beside_tfidf(shared_data: Path) -> None:
    rows = pd.read_csv(shared_data / "sst2" / "train.tsv", sep="\t", names=["text", "label"], quoting=3).sample(600, random_state=0)
    model = dt.finetune("minilm", rows, epochs=2.0)
    systems = {system.name: system.scores["accuracy"] for system in model.finetuned.comparison.systems}
    assert systems["fine-tuned"].value > 0.7 > systems["majority"].value
    assert 0.5 < systems["TF-IDF"].value < systems["fine-tuned"].value

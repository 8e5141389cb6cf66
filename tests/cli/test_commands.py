"""Every command, run in this process: what it prints, as text and as JSON, and how it exits."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import diptych as dt
from diptych.report.report import ReportData, render
from diptych.tasks import TASKS

OF_TWO = {"sensitivity", "specificity", "precision-recall area", "calibration error"}
"""What else is said of a classifier with two classes."""
Diptych = Callable[..., "object"]


def test_help_names_every_command(diptych: Diptych) -> None:
    ran = diptych("--help")
    assert ran.code == 0 and ran.err == ""
    commands = (
        "demo doctor corpus tokenizer plan pull convert pretrain finetune "
        "decide generate chat next fill predict evaluate compare explain trace data compress export report recipe models"
    )
    assert all(f" {name} " in ran.out for name in [*commands.split(), "recipe", "models"])


@pytest.mark.parametrize(
    "words",
    [
        *(
            "demo",
            "doctor",
            "pretrain",
            "finetune",
            "generate",
            "chat",
            "next",
            "fill",
            "predict",
            "evaluate",
            "compare",
            "decide",
            "explain",
            "trace",
            "export",
            "report",
            "models",
            "plan",
            "pull",
            "convert",
        ),
        *(
            "compress quantize",
            "data check",
            "corpus stats",
            "corpus clean",
            "corpus check",
            "corpus personal",
            "tokenizer train",
            "tokenizer show",
            "recipe show",
            "recipe schema",
        ),
    ],
)
def test_every_command_has_a_help_that_ends_well(diptych: Diptych, words: str) -> None:
    ran = diptych(*words.split(), "--help")
    assert ran.code == 0 and f"diptych {words}" in ran.out


@pytest.mark.parametrize("arguments", [["--version"], ["--lang", "zh", "--version"]])
def test_the_version_is_that_of_the_package(diptych: Diptych, arguments: list[str]) -> None:
    ran = diptych(*arguments)
    assert (ran.code, ran.out) == (0, f"diptych {dt.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["corpus"],
        ["recipe"],
        ["nonsense"],
        ["pretrain", "--nonsense"],
        ["generate"],
        ["models", "--json", "x", "y"],
        ["pretrain", "x", "--steps", "many"],
    ],
)
def test_a_command_that_does_not_exist_exits_with_2_and_without_a_traceback(diptych: Diptych, arguments: list[str]) -> None:
    ran = diptych(*arguments)
    assert ran.code == 2
    assert "Usage: diptych" in ran.out + ran.err and "Traceback" not in ran.err


class TestCorpus:
    def test_stats_counts_documents_characters_and_languages(self, diptych: Diptych, corpus: Path) -> None:
        (facts,) = diptych("corpus", "stats", corpus, "--json").json
        texts = [path.read_bytes().decode().replace("\r\n", "\n") for path in corpus.iterdir() if path.stat().st_size]
        assert facts["documents"] == 24 == len(texts)
        assert facts["characters"] == sum(map(len, texts)) and facts["bytes"] == sum(len(text.encode()) for text in texts)
        assert facts["languages"] == {"en": 12, "zh": 12}
        assert {"stage", "what", "count", "total", "examples"} == set(facts["ledger"][0])
        said = diptych("corpus", "stats", corpus)
        assert said.code == 0 and "24 documents" in said.out and "empty.txt" in said.out

    def test_clean_writes_each_text_once(self, diptych: Diptych, corpus: Path, tmp_path: Path) -> None:
        (tmp_path / "again.txt").write_bytes((corpus / "zh0.txt").read_bytes())
        ran = diptych("corpus", "clean", corpus, "again.txt", "--out", "clean.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text(encoding="utf-8").splitlines()]
        assert ran.code == 0 and len(rows) == 24 == len({row["text"] for row in rows})
        assert all("\r" not in row["text"] for row in rows) and any("🙂" in row["text"] for row in rows)
        assert "occurred before: 1" in ran.out
        (facts,) = diptych("corpus", "clean", corpus, "--out", "clean2.jsonl", "--json").json
        assert facts["documents"] == 24 and facts["out"] == "clean2.jsonl"

    def test_check_says_what_training_would_run_into(self, diptych: Diptych, corpus: Path, tmp_path: Path) -> None:
        ran = diptych("corpus", "check", corpus)
        assert ran.code == 0 and "24 documents can be trained on" in ran.out and "little" in ran.out
        (tmp_path / "one.txt").write_text("Only this.")
        assert "One document" in diptych("corpus", "check", "one.txt").out
        (tmp_path / "white.txt").write_text(" \n\n")
        empty = diptych("corpus", "check", "white.txt")
        assert empty.code == 1 and "no text" in empty.out
        ran = diptych("corpus", "check", "white.txt", "--json")
        assert ran.code == 1 and ran.json[0]["documents"] == 0

    def test_a_path_that_does_not_exist_is_missed_and_not_read_as_a_text(self, diptych: Diptych) -> None:
        for verb in (["stats"], ["check"], ["clean", "--out", "x.jsonl"]):
            ran = diptych("corpus", *verb, "no-such-folder")
            assert ran.code == 1 and ran.err.startswith("E101") and "no-such-folder" in ran.err


class TestTokenizer:
    def test_a_tokenizer_is_learnt_and_shown(self, diptych: Diptych, corpus: Path, tmp_path: Path) -> None:
        (facts,) = diptych("tokenizer", "train", corpus, "--out", "tok", "--vocab-size", "400", "--json").json
        tokenizer = dt.Tokenizer.load(tmp_path / "tok")
        assert facts["tokens"] == tokenizer.vocab_size <= 400
        text = "The cat 今天🙂"
        (rows,) = diptych("tokenizer", "show", "tok", text, "--json").json
        assert [row["id"] for row in rows] == tokenizer.encode(text)
        assert rows[0]["start"] == 0 and rows[-1]["end"] == len(text)
        assert f"{len(rows)} tokens for {len(text)} characters" in diptych("tokenizer", "show", "tok", text).out

    def test_a_kind_that_does_not_exist_is_refused(self, diptych: Diptych, corpus: Path, tmp_path: Path) -> None:
        ran = diptych("tokenizer", "train", corpus, "--out", "tok", "--kind", "bpee")
        assert ran.code == 2 and "bpe" in ran.err and not (tmp_path / "tok").exists()


class TestRecipe:
    def test_show_prints_a_recipe_that_can_be_read_again(self, diptych: Diptych, tmp_path: Path) -> None:
        first = diptych("recipe", "show", "--set", "train.lr=3e-4", "--set", "task.text=语料/").out
        (tmp_path / "r.yaml").write_text(first, encoding="utf-8")
        assert diptych("recipe", "show", "r.yaml").out == first
        data = yaml.safe_load(first)
        assert data["train"]["lr"] == 3e-4 and data["task"]["text"] == "语料/" and set(data) == {"model", "task", "train", "run"}

    def test_schema_is_a_schema_that_names_every_task(self, diptych: Diptych) -> None:
        schema = json.loads(diptych("recipe", "schema").out)
        assert schema["properties"].keys() == {"model", "task", "train", "run"}
        names = [task["properties"]["name"]["const"] for task in schema["properties"]["task"]["oneOf"]]
        assert names == [*TASKS]

    def test_a_misspelt_key_is_named_with_its_neighbour(self, diptych: Diptych, tmp_path: Path) -> None:
        (tmp_path / "r.yaml").write_text("model: {preset: gpt-tiny}\ntask: {name: causal-lm, text: x}\ntrain: {stepz: 3}\n")
        for verb in (["recipe", "show"], ["pretrain"]):
            ran = diptych(*verb, "r.yaml")
            assert ran.code == 1 and ran.err.startswith("E402") and 'Did you mean "steps"?' in ran.err and "r.yaml" in ran.err


class TestModels:
    def test_presets_are_listed_with_their_sizes(self, diptych: Diptych) -> None:
        (rows,) = diptych("models", "gpt-t*", "--json").json
        net = dt.create("gpt-tiny").net
        assert rows == [
            {"name": "gpt-tiny", "parameters": sum(p.numel() for p in net.parameters()), "layers": 2, "hidden": 128, "context": 128}
        ]
        assert "926,464" in diptych("models", "gpt-tiny").out
        assert "minilm" in diptych("models").out

    def test_a_pattern_that_nothing_matches_gets_the_nearest_name(self, diptych: Diptych) -> None:
        ran = diptych("models", "gpt-tinny")
        assert ran.code == 1 and "gpt-tiny" in ran.err


class TestDoctor:
    def test_doctor_says_what_it_found_as_text_and_as_json(self, diptych: Diptych) -> None:
        (rows,) = diptych("doctor", "--json").json
        assert {"torch", "tokenizers", "precision", "device"} <= {row["what"] for row in rows}
        ran = diptych("doctor")
        assert ran.code == 0 and all(row["what"] in ran.out for row in rows)


class TestUse:
    def test_generate_writes_on_from_the_prompt(self, diptych: Diptych, models: dict[str, Path]) -> None:
        arguments = ["generate", models["gpt"], "The cat", "--max-new-tokens", "12", "--seed", "3"]
        (written,) = diptych(*arguments, "--json").json
        assert diptych(*arguments).out == f"The cat{written['text']}\n"
        assert written["text"] == dt.load(models["gpt"]).generate("The cat", 12, seed=3)
        assert diptych(*arguments[:-1], "4", "--json").json[0]["text"] != written["text"]

    def test_generate_takes_every_setting_of_what_is_written(self, diptych: Diptych, models: dict[str, Path]) -> None:
        arguments = ["generate", models["gpt"], "今天", "--max-new-tokens", "8", "--json", "--seed", "2"]
        several = diptych(*arguments, "--n", "3", "--min-p", "0.01", "--logit-bias", "e=-5", "--logit-bias", "7=1", "--draft", "text").json
        expected = dt.load(models["gpt"]).generate("今天", 8, seed=2, n=3, min_p=0.01, logit_bias={"e": -5, 7: 1})
        assert [answer["text"] for answer in several[0]["answers"]] == expected
        told = diptych(*arguments, "--log-probabilities", "2").json[0]["tokens"]
        assert all(len(token["alternatives"]) == 2 and token["log_probability"] <= 0 for token in told)
        searched = diptych(*arguments, "--beams", "4", "--beam-groups", "2").json[0]
        assert searched["text"] == dt.load(models["gpt"]).generate("今天", 8, beams=4, beam_groups=2)

    @pytest.mark.parametrize(
        "flags, code",
        [
            (["--logit-bias", "e"], "E644"),
            (["--logit-bias", "=2"], "E644"),
            (["--beams", "2", "--min-p", "0.5"], "E640"),
            (["--diversity", "2"], "E641"),
            (["--grammar", "no-such-file"], "E101"),
            (["--json-schema", "no-such-file"], "E101"),
            (["--json-schema", '{"type": 3}'], "E648"),
            (["--draft", "no-such-model"], "E308"),
        ],
    )
    def test_generate_says_what_does_not_go(self, diptych: Diptych, models: dict[str, Path], flags: list[str], code: str) -> None:
        ran = diptych("generate", models["gpt"], "The", *flags)
        assert ran.code == 1 and ran.out == "" and code in ran.err

    def test_generate_stops_before_a_stop_text(self, diptych: Diptych, models: dict[str, Path]) -> None:
        arguments = ["generate", models["gpt"], "今天", "--max-new-tokens", "30", "--json"]
        whole = diptych(*arguments).json[0]["text"]
        stop = whole[3:5]
        assert diptych(*arguments, "--stop", stop).json[0]["text"] == whole[: whole.index(stop)]

    def test_export_writes_a_file_that_is_a_model_again(self, diptych: Diptych, models: dict[str, Path], tmp_path: Path) -> None:
        (said,) = diptych("export", models["gpt"], "--out", "out/gpt.gguf", "--json").json
        assert said["bytes"] == (tmp_path / "out/gpt.gguf").stat().st_size and not said["ledger"]
        prompt = ["The cat", "--max-new-tokens", "12", "--temperature", "0"]
        assert diptych("generate", "out/gpt.gguf", *prompt).out == diptych("generate", models["gpt"], *prompt).out
        ran = diptych("export", models["bert"], "--out", "out/bert.gguf", "--to", "gguf", "--type", "q8_0")
        assert "out/bert.gguf" in ran.out and "lm" in ran.err
        (tmp_path / "out/cut.gguf").write_bytes((tmp_path / "out/gpt.gguf").read_bytes()[:5000])
        refused = diptych("generate", "out/cut.gguf", "x")
        assert refused.code == 1 and refused.err.startswith("E323") and refused.out == ""

    def test_next_gives_the_most_probable_tokens(self, diptych: Diptych, models: dict[str, Path]) -> None:
        ((place,),) = diptych("next", models["gpt"], "The cat sat", "--top", "4", "--json").json
        chances = [candidate["probability"] for candidate in place]
        assert len(place) == 4 and chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
        said = diptych("next", models["gpt"], "The cat sat", "--top", "4").out.splitlines()
        assert len(said) == 4 and f"{chances[0]:.4f}" in said[0]

    def test_fill_gives_the_most_probable_tokens_for_each_blank(self, diptych: Diptych, models: dict[str, Path]) -> None:
        (places,) = diptych("fill", models["bert"], "今天[MASK]气很[MASK]", "--top", "3", "--json").json
        assert [len(place) for place in places] == [3, 3]
        said = diptych("fill", models["bert"], "今天[MASK]气很[MASK]", "--top", "3").out
        assert "blank 1" in said and "blank 2" in said and places[1][0]["token"] in said

    def test_predict_keeps_the_order_of_arguments_files_and_lines(
        self, diptych: Diptych, models: dict[str, Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = diptych("predict", models["classifier"], "good food", "很脏 🙂", "", "--json").json
        assert [row["text"] for row in rows] == ["good food", "很脏 🙂", ""]
        assert all(row["label"] in ("好评", "差评") and 0.5 <= row["probability"] <= 1 for row in rows)
        said = diptych("predict", models["classifier"], "good food").out
        assert said.split("\t")[0] == rows[0]["label"] and said.endswith("good food\n")
        texts = [line.split(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
        named = diptych("predict", models["classifier"], "--file", table, "--text", "review", "--json").json
        assert [row["text"] for row in named] == texts
        assert diptych("predict", models["classifier"], "--file", table, "--json").json == named, "the column is guessed"
        ran = diptych("predict", models["classifier"], "--file", table, "--out", "answers.jsonl")
        assert ran.code == 0 and "160" in ran.out
        assert [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()] == named

    def test_predict_counts_the_texts_that_it_reads_in_windows(self, diptych: Diptych, models: dict[str, Path]) -> None:
        ran = diptych("predict", models["classifier"], "good food " * 100, "short", "--json")
        assert len(ran.json) == 2 and "longer than the context, read in windows: 1" in ran.err

    def test_a_model_of_pairs_predicts_pairs(self, diptych: Diptych, models: dict[str, Path], tmp_path: Path) -> None:
        rows = "".join(f"left {number},右边 {number % 2},{'yes' if number % 2 else 'no'}\n" for number in range(12))
        (tmp_path / "pairs.csv").write_text("sentence1,sentence2,label\n" + rows, encoding="utf-8")
        trained = diptych("finetune", "pairs.csv", "--base", models["bert"], "--text", "sentence1", "--steps", "2", "--out", "pairs")
        assert trained.code == 0, trained.err
        found = diptych("predict", "pairs", "--file", "pairs.csv", "--text", "sentence1", "--json").json
        expected = dt.load(tmp_path / "pairs").predict([(f"left {number}", f"右边 {number % 2}") for number in range(12)])
        assert [row["text"] for row in found][:2] == [["left 0", "右边 0"], ["left 1", "右边 1"]]
        assert [(row["label"], row["probability"]) for row in found] == [(each.label, round(each.probability, 6)) for each in expected]
        (tmp_path / "halves.csv").write_text("id,sentence1\n1,left 1\n2,left 2\n", encoding="utf-8")
        assert 'no column "sentence2"' in diptych("predict", "pairs", "--file", "halves.csv", "--text", "sentence1").err

    def test_predict_misses_a_column_that_is_not_there(self, diptych: Diptych, models: dict[str, Path], table: Path) -> None:
        ran = diptych("predict", models["classifier"], "--file", table, "--text", "revue")
        assert ran.code == 1 and ran.err.startswith("E103") and "review" in ran.err and ran.out == ""

    def test_evaluate_scores_text_and_tables(self, diptych: Diptych, models: dict[str, Path], corpus: Path, table: Path) -> None:
        (scores,) = diptych("evaluate", models["gpt"], corpus, "--json").json
        assert dt.Scores.from_json(scores) == dt.evaluate(models["gpt"], None, corpus)
        assert scores["bits per byte"]["n"] == 24
        (scores,) = diptych("evaluate", models["bert"], corpus, "--json").json
        assert set(scores) == {"nats per masked token", "nats per next sentence"}
        (scores,) = diptych("evaluate", models["classifier"], table, "--json").json
        assert set(scores) == {"accuracy", "macro-F1", "MCC", *OF_TWO} and scores["accuracy"]["n"] == 160
        said = diptych("evaluate", models["classifier"], table, "--text", "review", "--label", "stars")
        assert f"{scores['accuracy']['value']:.3f}" in said.out and "160" in said.err

    def test_evaluate_counts_labels_that_training_never_saw(self, diptych: Diptych, models: dict[str, Path], tmp_path: Path) -> None:
        (tmp_path / "new.csv").write_text("review,stars\ngood food,好评\nso so,中评\n", encoding="utf-8")
        ran = diptych("evaluate", models["classifier"], "new.csv", "--json")
        assert ran.json[0]["accuracy"]["value"] <= 0.5 and "not seen in training" in ran.err and "line 3" in ran.err

    def test_evaluating_one_document_gives_json_without_infinities(self, diptych: Diptych, models: dict[str, Path], corpus: Path) -> None:
        ran = diptych("evaluate", models["gpt"], corpus / "zh1.txt", "--json")
        assert "Infinity" not in ran.out and ran.json[0]["perplexity"]["low"] is None
        assert "no interval" in diptych("evaluate", models["gpt"], corpus / "zh1.txt").out

    def test_report_names_the_file(self, diptych: Diptych, models: dict[str, Path]) -> None:
        path = models["gpt"] / "diptych" / "report.html"
        assert diptych("report", models["gpt"]).out == f"{path}\n" and path.exists()
        assert diptych("report", models["gpt"], "--json").json == [{"report": str(path)}]
        missing = diptych("report", models["gpt"].parent)
        assert missing.code == 1 and missing.err.startswith("E701")

    @pytest.mark.parametrize(
        ("verb", "model", "text", "code"),
        [
            ("generate", "bert", "hi", "E602"),
            ("generate", "classifier", "hi", "E602"),
            ("next", "bert", "hi", "E602"),
            ("fill", "gpt", "a [MASK]", "E606"),
            ("fill", "classifier", "a [MASK]", "E606"),
            ("fill", "bert", "no blank here", "E607"),
            ("fill", "bert", "[MASK]" * 100, "E608"),
            ("predict", "gpt", "hi", "E609"),
            ("predict", "bert", "hi", "E609"),
        ],
    )
    def test_what_a_model_cannot_do_is_said_and_nothing_else(
        self, diptych: Diptych, models: dict[str, Path], verb: str, model: str, text: str, code: str
    ) -> None:
        ran = diptych(verb, models[model], text)
        assert (ran.code, ran.out) == (1, "") and ran.err.startswith(code) and "Traceback" not in ran.err


class TestTrain:
    def test_pretraining_prints_the_table_and_the_ledger_and_the_next_commands(
        self, diptych: Diptych, corpus: Path, tiny: list[str], tmp_path: Path
    ) -> None:
        ran = diptych("pretrain", corpus, "--base", "gpt-tiny", "--out", "gpt", *tiny)
        assert ran.code == 0
        assert "bits per byte" in ran.out and "documents held out" in ran.out and "empty.txt" in ran.out
        assert 'diptych generate gpt "…"' in ran.err and "report: gpt/diptych/report.html" in ran.err and "held-out" in ran.err
        recipe = yaml.safe_load((tmp_path / "gpt/diptych/recipe.yaml").read_text(encoding="utf-8"))
        assert recipe["train"]["steps"] == 4 and recipe["model"]["preset"] == "gpt-tiny" and recipe["task"]["text"] == str(corpus)

    def test_json_of_a_training_is_one_event_a_line_and_the_last_one_has_all_scores(
        self, diptych: Diptych, models: dict[str, Path], table: Path
    ) -> None:
        ran = diptych("finetune", table, "--base", models["bert"], "--steps", "4", "--json")
        *events, done = ran.json
        assert any("There is no --out" in event.get("text", "") for event in events)
        assert {event["kind"] for event in events} >= {"stage", "step", "evaluation"}
        assert done["kind"] == "result" and done["stopped"] == "budget"
        assert list(done["systems"]) == ["fine-tuned", "majority", "bag of words", "TF-IDF"]
        assert done["systems"]["fine-tuned"] == done["scores"] and done["verdict"]
        assert ran.err == ""

    def test_finetuning_prints_the_baselines_the_guess_and_the_verdict(
        self, diptych: Diptych, models: dict[str, Path], table: Path
    ) -> None:
        ran = diptych("finetune", table, "--base", models["bert"], "--steps", "4", "--out", "clf")
        assert "text = review, label = stars" in ran.err
        assert all(name in ran.out for name in ("fine-tuned", "majority", "bag of words", "TF-IDF", "accuracy", "macro-F1", "MCC"))
        assert "TF-IDF is better than" in ran.out or "bag of words is better than" in ran.out or "No difference" in ran.out
        assert 'diptych predict clf "…"' in ran.err

    def test_a_recipe_flags_and_sets_win_in_this_order(self, diptych: Diptych, corpus: Path, tiny: list[str], tmp_path: Path) -> None:
        recipe = {"model": {"preset": "gpt2-tiny"}, "task": {"name": "causal-lm", "text": str(corpus)}, "train": {"steps": 9, "seed": 5}}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        ran = diptych("pretrain", "r.yaml", "--out", "one", "--base", "gpt-tiny", *tiny, "--set", "train.seed=6")
        assert ran.code == 0, ran.err
        found = yaml.safe_load((tmp_path / "one/diptych/recipe.yaml").read_text(encoding="utf-8"))
        assert (found["model"]["preset"], found["train"]["steps"], found["train"]["seed"]) == ("gpt-tiny", 4, 6)

    def test_the_command_of_the_report_does_the_same_again(self, diptych: Diptych, corpus: Path, tiny: list[str], tmp_path: Path) -> None:
        diptych("pretrain", corpus, "--base", "gpt-tiny", "--out", "gpt", "--set", "run.precision=float32", *tiny)
        ran = diptych("pretrain", "gpt/diptych/recipe.yaml", "--out", "gpt-again")
        assert ran.code == 0, ran.err
        assert (tmp_path / "gpt/model.safetensors").read_bytes() == (tmp_path / "gpt-again/model.safetensors").read_bytes()

    def test_a_folder_that_is_taken_is_refused_at_once_and_replaced_on_demand(
        self, diptych: Diptych, corpus: Path, tiny: list[str], tmp_path: Path
    ) -> None:
        arguments = ["pretrain", corpus, "--base", "gpt-tiny", "--out", "gpt", *tiny]
        assert diptych(*arguments).code == 0
        before = (tmp_path / "gpt/model.safetensors").stat().st_mtime_ns
        taken = diptych(*arguments)
        assert taken.code == 1 and taken.err.startswith("E411") and "--overwrite" in taken.err
        assert diptych(*arguments, "--resume").err.startswith("E411")
        assert (tmp_path / "gpt/model.safetensors").stat().st_mtime_ns == before
        assert diptych(*arguments, "--overwrite").code == 0
        assert (tmp_path / "gpt/model.safetensors").stat().st_mtime_ns > before

    def test_a_folder_of_somebody_else_is_never_touched(self, diptych: Diptych, corpus: Path, tiny: list[str], tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/cat.jpg").write_bytes(b"cat")
        for flags in ([], ["--overwrite"], ["--resume"]):
            ran = diptych("pretrain", corpus, "--base", "gpt-tiny", "--out", "photos", *tiny, *flags)
            assert ran.code == 1 and ran.err.startswith("E413")
        assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]

    def test_two_sentences_train_and_the_result_says_what_it_cannot_claim(self, diptych: Diptych, tiny: list[str], tmp_path: Path) -> None:
        (tmp_path / "two.txt").write_text("Hello there. 今天天气很好。\n", encoding="utf-8")
        ran = diptych("pretrain", "two.txt", "--base", "gpt-tiny", "--out", "gpt", *tiny)
        assert ran.code == 0 and "very small corpus" in ran.err and "cannot be told" in ran.err
        page = (tmp_path / "gpt/diptych/report.html").read_text(encoding="utf-8")
        assert "too small to hold any of it out" in page and "very small corpus" in (tmp_path / "gpt/README.md").read_text(encoding="utf-8")


def test_chinese_is_spoken_on_demand(diptych: Diptych, tmp_path: Path) -> None:
    english, chinese = diptych("--lang", "en", "report", "nowhere"), diptych("--lang", "zh", "report", "nowhere")
    assert english.err.startswith("E701") and chinese.err.startswith("E701") and chinese.code == 1
    assert english.err != chinese.err and any("\u4e00" <= character <= "\u9fff" for character in chinese.err)
    assert '<html lang="zh-CN">' in render(ReportData(title="x"))


def test_chat_takes_a_turn_a_line_and_remembers_them(diptych: Diptych, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"question": q, "answer": a} for q, a in [("hi", "hello"), ("你好", "您好"), ("bye", "see you")]] * 4
    sizes = {"num_layers": 1, "hidden_size": 16, "head_size": 8, "context_length": 64}
    shape = {"tokenizer": {"kind": "characters", "vocab_size": 64}, "sizes": sizes, "max_answer": 8}
    dt.finetune("gpt-tiny", rows, task="chat", steps=2, out=str(tmp_path / "talk"), **shape)
    lines = iter(["你好", "", "again", "/new", "hi", "/quit", "never"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(lines))
    ran = diptych("chat", tmp_path / "talk", "--json", "--max-new-tokens", 4, "--system", "Be brief.")
    assert ran.code == 0 and [each["user"] for each in ran.json] == ["你好", "again", "hi"]
    assert next(lines) == "never"


class TestScrubbing:
    NOTE = "患者姓名：王小明，手机13912345678，2021年3月5日入院。🙂\r\nMail a.b@example.org"

    def test_clean_takes_personal_data_out_and_counts_it(self, diptych: Diptych, tmp_path: Path) -> None:
        (tmp_path / "note.txt").write_bytes(self.NOTE.encode("gb18030"))
        ran = diptych("corpus", "clean", "note.txt", "--out", "clean.jsonl", "--scrub", "mask")
        (row,) = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text(encoding="utf-8").splitlines()]
        assert row["text"] == "患者姓名：[NAME]，手机[MOBILE]，2021年3月5日入院。🙂\nMail [EMAIL]"
        assert ran.code == 0 and "mobile numbers: 1" in ran.out and "13912345678" not in ran.out

    def test_pseudonyms_stay_the_same_and_a_group_keeps_its_days(self, diptych: Diptych, tmp_path: Path) -> None:
        lines = [json.dumps({"text": f"{self.NOTE} {n}", "patient": who}, ensure_ascii=False) for n, who in enumerate("aab")]
        (tmp_path / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
        (tmp_path / "secret.txt").write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
        asked = ["corpus", "clean", "notes.jsonl", "--out", "clean.jsonl", "--scrub", "pseudonym", "--kinds", "all"]
        ran = diptych(*asked, "--secret", "secret.txt", "--group", "patient")
        rows = [json.loads(line)["text"][:-2] for line in (tmp_path / "clean.jsonl").read_text(encoding="utf-8").splitlines()]
        assert ran.code == 0 and rows[0] == rows[1] != rows[2] and "王小明" not in rows[0]
        assert diptych(*asked).code != 0, "without a secret there are none"

    def test_rules_and_kinds_are_for_scrubbing_alone(self, diptych: Diptych, corpus: Path) -> None:
        assert diptych("corpus", "clean", corpus, "--out", "x.jsonl", "--kinds", "email").code == 2
        refused = diptych("corpus", "clean", corpus, "--out", "x.jsonl", "--scrub", "mask", "--kinds", "emial")
        assert "E194" in refused.err and '"email"' in refused.err

    def test_personal_says_what_and_where(self, diptych: Diptych) -> None:
        (found,) = diptych("corpus", "personal", self.NOTE, "--json").json
        assert [(each["kind"], each["text"]) for each in found] == [
            ("name", "王小明"),
            ("mobile", "13912345678"),
            ("email", "a.b@example.org"),
        ]
        assert all(self.NOTE[each["start"] : each["end"]] == each["text"] for each in found)

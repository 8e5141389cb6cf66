"""The names that outsiders rely on: what they are called, what they take and what they give."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.api import panel_task, task_of
from diptych.generation.settings import Decoding
from diptych.recipe import load as load_recipe

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}
TEXTS = [f"The cat {verb} on the mat, number {number}. 今天天气很好，第{number}次。" for number in range(12) for verb in ("sat", "lay")]
ROWS = [(f"good food 好吃 {number}", "好评") for number in range(20)] + [(f"bad room 很脏 {number}", "差评") for number in range(20)]
COMMON = {"sizes": TINY, "tokenizer": {"vocab_size": 300}, "steps": 3, "precision": "float32"}


@pytest.fixture(scope="module")
def gpt() -> dt.Model:
    return dt.pretrain("gpt-tiny", TEXTS, **COMMON)


@pytest.fixture(scope="module")
def bert() -> dt.Model:
    return dt.pretrain("bert-tiny", TEXTS, **COMMON)


@pytest.fixture(scope="module")
def classifier(bert: dt.Model, tmp_path_factory: pytest.TempPathFactory) -> dt.Model:
    return dt.finetune(bert.save(tmp_path_factory.mktemp("bert") / "bert"), ROWS, steps=12, lr=3e-3, precision="float32")


def test_every_public_name_can_be_had_and_is_listed() -> None:
    assert set(dt.__all__) == set(dir(dt))
    assert all(getattr(dt, name) is not None for name in dt.__all__)
    names = {"load", "create", "models", "pretrain", "finetune", "evaluate", "Corpus", "Tokenizer", "TextClassifier", "Model"}
    assert names <= set(dt.__all__)
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        dt.pretrian  # noqa: B018


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (dt.load, ["name", "adapter"]),
        (dt.create, ["preset", "seed", "sizes"]),
        (dt.models, ["pattern"]),
        (dt.pretrain, ["base", "text", "task", "verbose", "settings"]),
        (dt.finetune, ["base", "data", "task", "verbose", "settings"]),
        (dt.evaluate, ["model", "task", "data", "settings"]),
        (dt.Model.logits, ["self", "input_ids", "attention_mask", "decoder_input_ids"]),
        (dt.Model.generate, ["self", "prompt", "max_new_tokens", "temperature", "top_k", "top_p", "stop", "seed", "settings"]),
    ],
)
def test_signatures_are_those_that_were_promised(function, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


class TestCreateAndLoad:
    def test_a_preset_is_created_with_the_sizes_that_were_asked(self) -> None:
        model = dt.create("bert-tiny", vocab_size=100, hidden_size=64, num_layers=1)
        assert (model.config.vocab_size, model.config.hidden_size, model.config.num_layers) == (100, 64, 1)
        assert model.logits(torch.tensor([[1, 2, 3]])).shape == (1, 3, 100)

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        first, again, other = (dt.create("gpt-tiny", seed=seed, vocab_size=50, **TINY) for seed in (1, 1, 2))
        ids = torch.tensor([[1, 2, 3]])
        assert torch.equal(first.logits(ids), again.logits(ids)) and not torch.equal(first.logits(ids), other.logits(ids))

    def test_a_misspelt_size_or_preset_gets_the_nearest_name(self) -> None:
        for call, hint in ((lambda: dt.create("gpt-tiny", hiden_size=8), "hidden_size"), (lambda: dt.create("gpt-tinny"), "gpt-tiny")):
            with pytest.raises(dt.DiptychError, match=f'Did you mean "{hint}"'):
                call()

    def test_models_lists_what_matches(self) -> None:
        assert "minilm" in dt.models() and set(dt.models("gpt-*")) < set(dt.models())
        assert dt.models("nothing-*") == []

    def test_a_saved_model_is_the_same_when_it_is_loaded(self, gpt: dt.Model, tmp_path: Path) -> None:
        folder = gpt.save(tmp_path / "模型 one")
        again = dt.load(folder)
        ids = torch.tensor([gpt.tokenizer.encode("The cat 今天")])
        assert torch.equal(gpt.logits(ids), again.logits(ids))
        assert again.tokenizer.fingerprint() == gpt.tokenizer.fingerprint() and again.folder == folder
        assert [path.name for path in tmp_path.iterdir()] == ["模型 one"], "nothing is left beside it"

    def test_a_model_without_a_tokenizer_still_computes(self) -> None:
        model = dt.create("gpt-tiny", vocab_size=50, **TINY)
        assert model.logits(torch.tensor([[1, 2]])).shape == (1, 2, 50)
        with pytest.raises(dt.DiptychError, match="E604"):
            model.generate("x")


class TestUse:
    def test_logits_of_a_padded_batch_are_those_of_each_text_alone(self, gpt: dt.Model) -> None:
        rows = [gpt.tokenizer.encode(text) for text in ("The cat sat", "今天天气很好")]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        together = gpt.logits(ids, mask)
        for row, logits in zip(rows, together, strict=True):
            assert torch.allclose(logits[: len(row)], gpt.logits(torch.tensor([row]))[0], atol=1e-5)

    def test_a_decoder_input_is_for_models_that_have_a_decoder(self, bert: dt.Model) -> None:
        with pytest.raises(dt.DiptychError, match="E605"):
            bert.logits(torch.tensor([[1, 2]]), decoder_input_ids=torch.tensor([[1]]))

    def test_what_generate_shows_as_usual_is_what_decoding_takes_as_usual(self) -> None:
        shown = {name: each.default for name, each in inspect.signature(dt.Model.generate).parameters.items()}
        fields = Decoding.model_fields
        for name in ("temperature", "top_k", "top_p", "seed"):
            assert shown[name] == fields[name].default

    def test_generate_takes_one_prompt_or_several_and_repeats_itself(self, gpt: dt.Model) -> None:
        one = gpt.generate("The cat", 10, seed=4)
        several = gpt.generate(["The cat", "今天"], 10, seed=4)
        assert isinstance(one, str) and several[0] == one and len(several) == 2
        assert "".join(gpt.stream("The cat", 10, seed=4)) == one

    def test_greedy_writing_takes_the_best_next_token_each_time(self, gpt: dt.Model) -> None:
        ids = [gpt.tokenizer.bos_id, *gpt.tokenizer.encode("The cat")]
        for _ in range(8):
            best = int(gpt.logits(torch.tensor([ids]))[0, -1].argmax())
            if best == gpt.tokenizer.eos_id:
                break
            ids.append(best)
        assert gpt.generate("The cat", 8, temperature=0) == gpt.tokenizer.decode(ids)[len("The cat") :]

    def test_next_gives_the_probabilities_of_the_logits(self, gpt: dt.Model) -> None:
        ids = torch.tensor([[gpt.tokenizer.bos_id, *gpt.tokenizer.encode("今天")]])
        chances = torch.softmax(gpt.logits(ids)[0, -1], -1)
        found = gpt.next("今天", top=3)
        assert [candidate.id for candidate in found] == chances.topk(3).indices.tolist()
        assert [candidate.probability for candidate in found] == pytest.approx(chances.topk(3).values.tolist(), rel=1e-4)
        assert len(gpt.next("", top=10_000)) == gpt.config.vocab_size

    def test_fill_gives_the_probabilities_of_the_logits_at_each_blank(self, bert: dt.Model) -> None:
        tokenizer = bert.tokenizer
        ids = [
            tokenizer.cls_id,
            *tokenizer.encode("今天"),
            tokenizer.mask_id,
            *tokenizer.encode("很好"),
            tokenizer.mask_id,
            tokenizer.sep_id,
        ]
        chances = torch.softmax(bert.logits(torch.tensor([ids]))[0], -1)
        places = [place for place, token in enumerate(ids) if token == tokenizer.mask_id]
        for place, candidates in zip(places, bert.fill("今天[MASK]很好[MASK]", top=4), strict=True):
            assert [candidate.id for candidate in candidates] == chances[place].topk(4).indices.tolist()

    def test_predict_keeps_order_and_its_probabilities_are_those_of_the_logits(self, classifier: dt.Model) -> None:
        texts = ["good food", "", "很脏 🙂", "bad room " * 4]
        predictions = classifier.predict(texts)
        (alone,) = classifier.predict("很脏 🙂")
        assert (alone.label, alone.probability) == (predictions[2].label, pytest.approx(predictions[2].probability, abs=1e-5))
        for text, prediction in zip(texts, predictions, strict=True):
            ids, _types = classifier.tokenizer.frame(classifier.tokenizer.encode(text)[: classifier.config.context_length - 2])
            chances = torch.softmax(classifier.logits(torch.tensor([ids]))[0], -1).tolist()
            assert list(prediction.probabilities.values()) == pytest.approx(chances, abs=1e-5)
            assert prediction.label == classifier.config.labels[int(np.argmax(chances))] and prediction.probability == max(
                prediction.probabilities.values()
            )

    def test_score_is_the_log_probability_of_the_text(self, gpt: dt.Model) -> None:
        ids = [gpt.tokenizer.bos_id, *gpt.tokenizer.encode("The cat 今天 🙂")]
        with torch.no_grad():
            expected = torch.log_softmax(gpt.logits(torch.tensor([ids[:-1]]))[0].double(), -1).gather(1, torch.tensor(ids[1:])[:, None])
        total, count = gpt.score("The cat 今天 🙂")
        assert total == pytest.approx(float(expected.sum()), rel=1e-5) and count == len(ids) - 1

    def test_embed_is_the_mean_of_the_hidden_vectors(self, bert: dt.Model) -> None:
        found = bert.embed(["The cat", "今天天气很好"])
        assert found.shape == (2, 32)
        ids, _types = bert.tokenizer.frame(bert.tokenizer.encode("The cat"))
        assert torch.allclose(found[0], bert.hidden(torch.tensor([ids]))[0].mean(0), atol=1e-5)


class TestTrainingByName:
    def test_the_task_follows_from_the_base(self, gpt: dt.Model, bert: dt.Model, classifier: dt.Model) -> None:
        assert [panel_task(name) for name in ("gpt-tiny", "gpt2-mini", "bert-tiny", "modernbert-small")] == ["causal-lm"] * 2 + [
            "masked-lm"
        ] * 2
        assert [task_of(model) for model in (gpt, bert, classifier)] == ["causal-lm", "masked-lm", "classification"]

    def test_every_field_of_a_recipe_is_a_keyword(self, tmp_path: Path) -> None:
        model = dt.pretrain(
            "gpt-tiny", TEXTS, out=tmp_path / "gpt", warmup=0.5, weight_decay=0.0, log_steps=1, held_out=0.3, threads=1, **COMMON
        )
        recipe = load_recipe(tmp_path / "gpt/diptych/recipe.yaml")
        assert (recipe.train.warmup, recipe.train.weight_decay, recipe.run.log_steps, recipe.task.held_out) == (0.5, 0.0, 1, 0.3)
        assert recipe.model.sizes["hidden_size"] == model.config.hidden_size == 32

    def test_a_misspelt_keyword_gets_the_nearest_one(self) -> None:
        for name, hint in (("stepz", "steps"), ("hold_out", "held_out"), ("outt", "out"), ("overwrit", "overwrite")):
            with pytest.raises(dt.DiptychError, match=f'E402.*"{name}".*Did you mean "{hint}"'):
                dt.pretrain("gpt-tiny", TEXTS, **{name: 1})

    def test_a_path_stands_in_the_recipe_so_that_the_recipe_runs_again(self, tmp_path: Path) -> None:
        (tmp_path / "text.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
        dt.pretrain("gpt-tiny", tmp_path / "text.txt", out=tmp_path / "gpt", **COMMON)
        recipe = load_recipe(tmp_path / "gpt/diptych/recipe.yaml", [f"run.out={tmp_path / 'again'}"])
        assert recipe.task.text == str(tmp_path / "text.txt")
        dt.run(recipe)
        assert (tmp_path / "gpt/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()

    def test_plain_sentences_and_a_corpus_are_written_on_and_a_table_is_learnt(self, gpt: dt.Model, tmp_path: Path) -> None:
        folder = gpt.save(tmp_path / "gpt")
        for data in (["One sentence.", "两句话。"], dt.Corpus(["One sentence.", "两句话。"])):
            assert task_of(dt.finetune(folder, data, steps=2, precision="float32")) == "causal-lm"
        tuned = dt.finetune(folder, [{"text": text, "label": label} for text, label in ROWS], steps=2, precision="float32")
        assert task_of(tuned) == "classification" and tuned.config.labels == ("好评", "差评")

    def test_two_labelled_rows_are_enough_to_run_and_too_few_to_tell(self) -> None:
        model = dt.finetune("bert-tiny", [("I loved this movie!", 1), ("太难看了。", 0)], **COMMON)
        assert model.config.labels == ("0", "1") and len(model.predict(["fine", "好"])) == 2
        assert model.finetuned.scores == {} and any("2 examples allow no test" in caveat for caveat in model.finetuned.caveats)

    def test_a_pretrained_model_knows_what_cannot_be_said_of_it(self) -> None:
        few = dt.pretrain("gpt-tiny", ["One sentence.", "两句话。"], **COMMON).pretrained
        assert few.scores == {} and any("Nothing was held out" in caveat for caveat in few.caveats)

    def test_a_run_that_was_taken_is_refused_and_replaced_on_demand(self, tmp_path: Path) -> None:
        dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "gpt", **COMMON)
        for switches in ({}, {"resume": True}):
            with pytest.raises(dt.DiptychError, match="E411"):
                dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "gpt", **switches, **COMMON)
        dt.pretrain("gpt-tiny", TEXTS, out=tmp_path / "gpt", overwrite=True, **{**COMMON, "steps": 2})
        assert load_recipe(tmp_path / "gpt/diptych/recipe.yaml").train.steps == 2

    def test_a_quiet_call_prints_nothing(self, capfd: pytest.CaptureFixture) -> None:
        dt.finetune("bert-tiny", ROWS, **COMMON)
        assert capfd.readouterr() == ("", "")

    def test_a_verbose_call_shows_its_progress(self, capfd: pytest.CaptureFixture) -> None:
        dt.pretrain("gpt-tiny", TEXTS, verbose=True, **COMMON)
        assert "held-out" in capfd.readouterr().err


class TestEvaluate:
    def test_a_model_is_evaluated_by_its_folder_or_as_it_is(self, classifier: dt.Model, tmp_path: Path) -> None:
        folder = classifier.save(tmp_path / "classifier")
        scores = dt.evaluate(folder, "classification", ROWS)
        assert scores == dt.evaluate(classifier, None, ROWS)
        predicted = [prediction.label for prediction in classifier.predict([text for text, _ in ROWS])]
        assert scores["accuracy"].value == pytest.approx(np.mean([label == gold for label, (_, gold) in zip(predicted, ROWS, strict=True)]))
        assert scores["accuracy"].n == 40
        json.dumps(scores.to_json(), allow_nan=False)

    def test_columns_are_named_or_guessed(self, classifier: dt.Model) -> None:
        rows = [{"id": number, "评论": text, "标签": label} for number, (text, label) in enumerate(ROWS)]
        assert (
            dt.evaluate(classifier, None, rows)
            == dt.evaluate(classifier, None, rows, text="评论", label="标签")
            == dt.evaluate(classifier, None, ROWS)
        )

    def test_what_was_long_and_what_cannot_be_right_is_counted(self, classifier: dt.Model) -> None:
        scores = dt.evaluate(classifier, None, [*ROWS, ("good food " * 200, "好评"), ("so so", "中评")])
        assert scores.ledger.count("texts", "texts longer than the context, read in windows") == 1
        assert scores.ledger.count("labels", "rows whose label was not seen in training: they cannot be predicted right") == 1
        assert scores["accuracy"].n == 42

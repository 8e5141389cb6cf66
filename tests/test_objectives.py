"""Every way to learn from running text, from a corpus to a folder and back: small, one-sided and odd corpora included."""

import pytest

import diptych as dt
from diptych.api import panel_task, task_of
from diptych.errors import DataError, UsageError

ENGLISH = ["The cat sat on the mat. Nobody said a word 🙂.", "A fox won the cheese.\r\nThe crow learnt.", "Nine plus one is ten. So it is."]
CHINESE = ["今天天气很好，我们去公园散步吧！昨天下雨了。", "我有一本书。他有两本书。书在桌子上。", "话说天下大势，分久必合，合久必分。🙂"]
CORPORA = {
    "English": ENGLISH,
    "Chinese": CHINESE,
    "both": [*ENGLISH, *CHINESE],
    "one document": [" ".join([*ENGLISH, *CHINESE])],
    "two sentences": ["The sun is out.", "明天有雨。"],
}
OBJECTIVES = {
    "masked-lm": ("bert-tiny", {"mask_units": "words", "first_mask_rate": 0.3}),
    "masked-lm, runs and order": ("modernbert-tiny", {"mask_span": 3, "sop": True}),
    "hybrid-lm": ("hybrid-tiny", {"mask_units": "words"}),
    "prefix-lm": ("gpt-tiny", {}),
    "prefix-lm with two stacks": ("t5-tiny", {}),
    "denoising": ("t5-tiny", {}),
    "denoising by infilling": ("bart-tiny", {"noise": "infilling", "shuffle_sentences": True}),
}
SIZES = {"num_layers": 1, "hidden_size": 32, "head_size": 16, "context_length": 32}


def trained(name, corpus, **more):
    preset, settings = OBJECTIVES[name]
    task = name.partition(",")[0].partition(" ")[0]
    return dt.pretrain(preset, corpus, task=task, steps=2, batch_size=2, sizes=SIZES, **settings, **more)


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_any_corpus_trains_and_what_it_cannot_show_is_said(name, corpus):
    model = trained(name, CORPORA[corpus])
    done = model.pretrained
    assert done.outcome.steps == 2 and done.outcome.loss == done.outcome.loss
    assert any("very small corpus" in caveat for caveat in done.caveats)
    if corpus in ("one document", "two sentences"):
        assert any("Nothing was held out" in caveat for caveat in done.caveats)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_folder_is_judged_by_the_question_it_was_trained_on(name, tmp_path):
    trained(name, [*ENGLISH, *CHINESE], out=tmp_path / "model", held_out=0.3)
    model = dt.load(tmp_path / "model")
    task = name.partition(",")[0].partition(" ")[0]
    scores = dt.evaluate(model, task, [*ENGLISH, *CHINESE])
    expected = {
        "masked-lm": {"nats per masked token", "nats per next sentence"},
        "masked-lm, runs and order": {"nats per masked token", "nats per sentence order"},
        "hybrid-lm": {"nats per token", "perplexity", "bits per byte", "nats per masked token"},
        "prefix-lm": {"nats per token after a beginning"},
        "prefix-lm with two stacks": {"nats per token after a beginning"},
        "denoising": {"nats per restored token"},
        "denoising by infilling": {"nats per restored token"},
    }
    assert set(scores) == expected[name]
    assert (tmp_path / "model" / "diptych" / "report.html").exists() and (tmp_path / "model" / "README.md").exists()
    if name.startswith("denoising by"):
        # A whole text is written, not what is missing from it: every token, and an end for each document.
        count = sum(len(model.tokenizer.encode(text.replace("\r\n", "\n"))) for text in [*ENGLISH, *CHINESE])
        assert scores["nats per restored token"].n == 6 and count > 40


@pytest.mark.parametrize(
    ("preset", "task"),
    [
        ("gpt-tiny", "causal-lm"),
        ("bert-mini", "masked-lm"),
        ("hybrid-mini", "hybrid-lm"),
        ("t5-tiny", "denoising"),
        ("bart-mini", "denoising"),
    ],
)
def test_the_task_is_guessed_from_the_model(preset, task):
    assert panel_task(preset) == task
    assert task_of(dt.create(preset, vocab_size=70, **SIZES)) == task


def test_a_hybrid_writes_and_fills_and_scores_with_one_set_of_weights(tmp_path):
    model = trained("hybrid-lm", [*ENGLISH, *CHINESE], out=tmp_path / "model")
    for each in (model, dt.load(tmp_path / "model")):
        assert isinstance(each.generate("The cat", 8, seed=1), str)
        mask = each.tokenizer.token(each.tokenizer.mask_id)
        (blank,) = each.fill(f"今天{mask}气很好")
        assert len(blank) == 5 and abs(sum(candidate.probability for candidate in each.fill(f"a{mask}", top=10**6)[0]) - 1) < 1e-4
        total, count = each.score("我有一本书。")
        assert total < 0 < count
    assert model.generate("今天", 8, seed=1) == dt.load(tmp_path / "model").generate("今天", 8, seed=1)


@pytest.mark.parametrize(
    ("preset", "task"),
    [
        ("bert-tiny", "causal-lm"),
        ("gpt-tiny", "masked-lm"),
        ("hybrid-tiny", "masked-lm"),
        ("modernbert-tiny", "hybrid-lm"),
        ("gpt-tiny", "denoising"),
        ("bert-tiny", "prefix-lm"),
    ],
)
def test_a_task_that_does_not_fit_the_model_is_refused_before_the_text_is_read(preset, task):
    with pytest.raises(DataError) as caught:
        dt.pretrain(preset, ENGLISH, task=task, steps=1, sizes=SIZES)
    assert caught.value.code == "E208" and task in str(caught.value)
    with pytest.raises(UsageError):
        dt.evaluate(dt.create(preset, vocab_size=70, **SIZES), task, ENGLISH)


@pytest.mark.parametrize("name", ["hybrid-lm", "denoising by infilling"])
def test_a_start_from_counts_goes_with_any_of_them(name):
    assert trained(name, [*ENGLISH, *CHINESE], model={"start": "counts"}).pretrained.outcome.steps == 2


def test_whole_words_of_a_script_without_a_segmenter_are_refused():
    with pytest.raises(DataError) as caught:
        dt.pretrain("bert-tiny", ["昨日は図書館で本を読みました。"] * 2, task="masked-lm", mask_units="words", steps=1, sizes=SIZES)
    assert caught.value.code == "E206"

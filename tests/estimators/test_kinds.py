"""Each kind of estimator learns a small task from lists, tables and files, alone and under scikit-learn's tools."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

import diptych as dt

SIZES = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}
SMALL: dict[str, Any] = {"sizes": SIZES, "tokenizer": {"kind": "characters", "vocab_size": 300}, "precision": "float32"}
NAMES = ["Anna", "Bob", "王明", "李雷"]
SAID = [f"{name} {word} {number}" for number in range(3) for name in NAMES for word in ("here", "在家🙂")]
SPANS = [[(0, len(name), "PER")] for _number in range(3) for name in NAMES for _word in range(2)]
ASKED = [(f"who {number}?", f"{name} is number {number}. 还有别人。") for number in range(5) for name in NAMES]
FOUND = [name for _number in range(5) for name in NAMES]
PAIRS = [
    (f"{letter} {number}", f"这是{word}，第 {number} 个") for number in range(8) for letter, word in (("a", "甲"), ("b", "乙"), ("c", "丙"))
]


def tagger(**settings: Any) -> dt.Tagger:
    sizes = {"hidden_size": 32, "context_length": 48}
    return dt.Tagger("bilstm-tiny", lr=2e-2, settings={**SMALL, "sizes": sizes, "steps": 80, **settings})


def answerer() -> dt.QuestionAnswerer:
    return dt.QuestionAnswerer("modernbert-tiny", lr=5e-3, settings={**SMALL, "steps": 60})


def translator(**settings: Any) -> dt.Translator:
    return dt.Translator("transformer-tiny", lr=1e-2, settings={**SMALL, "steps": 180, "beams": 1, **settings})


def talker() -> dt.ChatModel:
    return dt.ChatModel("gpt-tiny", lr=1e-2, settings={**SMALL, "steps": 30, "max_answer": 12})


CASES = {
    "Tagger": (tagger, SAID, SPANS),
    "QuestionAnswerer": (answerer, ASKED, FOUND),
    "Translator": (translator, [source for source, _target in PAIRS], [target for _source, target in PAIRS]),
    "Summarizer": (
        lambda: dt.Summarizer("gpt-tiny", lr=1e-2, settings={**SMALL, "steps": 20, "beams": 1}),
        [f"{source}. 今天天气很好。" for source, _target in PAIRS],
        [target for _source, target in PAIRS],
    ),
    "ChatModel": (talker, [source for source, _target in PAIRS], [target for _source, target in PAIRS]),
}


@pytest.mark.parametrize("name", CASES)
def test_fitting_and_asking_change_nothing_that_was_given(name: str) -> None:
    make, X, y = CASES[name]
    made = make()
    before = copy.deepcopy((X, y, made.get_params()))
    with pytest.raises(NotFittedError, match="E612"):
        made.predict(X)
    assert made.fit(X, y) is made
    check_is_fitted(made)
    fitted = dict(vars(made))
    weights = {key: value.clone() for key, value in made.model_.net.state_dict().items()}
    predicted = made.predict(X)
    assert len(predicted) == len(X) and made.predict([]).shape == (0,)
    assert 0 <= made.score(X, y) <= 1 and (X, y, made.get_params()) == before
    assert dict(vars(made)) == fitted and all((value == weights[key]).all() for key, value in made.model_.net.state_dict().items())
    public = {key for key in vars(made) if not key.startswith("_")}
    assert {key for key in public if not key.endswith("_")} == {"base", "epochs", "lr", "seed", "settings"}
    with pytest.raises(dt.DiptychError, match="E611"):
        make().fit(X, y[:-1])


@pytest.mark.parametrize("name", ["Tagger", "QuestionAnswerer", "Translator"])
def test_it_learns_and_order_and_company_of_texts_do_not_matter(name: str, tmp_path: Path) -> None:
    make, X, y = CASES[name]
    made = make().fit(X, y)
    assert made.score(X, y) > 0.8, made.score(X, y)
    predicted = made.predict(X).tolist()
    assert made.predict(X[::-1]).tolist() == predicted[::-1]
    assert [made.predict([item]).tolist()[0] for item in X[:4]] == predicted[:4]
    assert make().fit(X, y).predict(X).tolist() == predicted
    assert pickle.loads(pickle.dumps(made)).predict(X).tolist() == predicted
    made.save(tmp_path / "kept")
    again = type(made).load(tmp_path / "kept")
    assert again.predict(X).tolist() == predicted and again.get_params() == made.get_params()
    assert clone(made).get_params() == made.get_params() and not hasattr(clone(made), "model_")


@pytest.mark.slow
def test_scikit_learns_tools_take_a_tagger_and_a_translator() -> None:
    scores = cross_val_score(tagger(), SAID, SPANS, cv=2)
    assert scores.shape == (2,) and scores.mean() > 0.5
    found = cross_val_predict(tagger(), SAID, SPANS, cv=2)
    assert found.shape == (len(SAID),) and all(isinstance(each, list) for each in found)
    search = GridSearchCV(tagger(steps=30), {"lr": [1e-9, 2e-2]}, cv=2).fit(SAID, SPANS)
    assert search.best_params_ == {"lr": 2e-2}
    sources, targets = ([pair[side] for pair in PAIRS] for side in (0, 1))
    assert len(make_pipeline(translator(steps=2)).fit(sources, targets).predict(sources[:2])) == 2


@pytest.mark.slow
def test_a_tagger_gives_lists_of_tokens_their_tags(tmp_path: Path) -> None:
    tokens = [text.split() for text in SAID]
    tags = [["B-PER", "O", "O"] for _text in SAID]
    fitted = tagger().fit(tokens, tags)
    assert fitted.predict(tokens).tolist() == tags and fitted.score(tokens, tags) == 1
    classes = [["NOUN", "VERB", "NUM"] for _text in SAID]
    by_class = tagger().fit(tokens, classes)
    assert by_class.predict(tokens).tolist() == classes
    by_class.save(tmp_path / "kept")
    assert dt.Tagger.load(tmp_path / "kept").predict(tokens[:2]).tolist() == classes[:2]
    words = tagger().fit([list("王明在家"), list("李雷在家")] * 8, [["B", "E", "S", "S"]] * 16)
    assert words.predict([list("王明在家")]).tolist() == [["B", "I", "B", "B"]]
    path = tmp_path / "a.conll"
    sentences = ["\n".join(f"{a}\t{b}" for a, b in zip(*each, strict=True)) for each in zip(tokens, tags, strict=True)]
    path.write_text("\n\n".join(sentences), "utf-8")
    from_file = tagger().fit(str(path))
    assert from_file.predict(tokens).tolist() == tags and from_file.score(str(path)) == 1
    frame = pd.DataFrame({"tokens": tokens, "tags": tags})
    assert tagger().fit(frame).predict(tokens).tolist() == tags


def test_an_answerer_reads_tables_and_says_when_there_is_no_answer(tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": [q for q, _c in ASKED], "context": [c for _q, c in ASKED], "answer": FOUND})
    fitted = answerer().fit(frame)
    assert fitted.score(frame) > 0.8 and fitted.predict(frame).tolist() == fitted.predict(ASKED).tolist()
    silent = [*ASKED, *((f"why {number}?", f"还有别人 {number}") for number in range(20))]
    made = answerer().set_params(settings={**SMALL, "steps": 80}).fit(silent, [*FOUND, *[None] * 10, *[[]] * 10])
    assert made.predict(silent[-5:]).tolist() == [""] * 5 and made.score(silent, [*FOUND, *[None] * 20]) > 0.8
    with pytest.raises(dt.DiptychError, match="E624"):
        fitted.predict(["who is it?"])


def test_a_translator_learns_from_two_files(tmp_path: Path) -> None:
    for side, language in enumerate(("en", "zh")):
        (tmp_path / f"t.{language}").write_text("\n".join(pair[side] for pair in PAIRS), encoding="utf-8")
    fitted = translator().fit(str(tmp_path / "t.{en,zh}"))
    assert fitted.predict("b 3").shape == (1,) and fitted.score([a for a, _b in PAIRS], [b for _a, b in PAIRS]) > 0.8


def test_a_chat_model_learns_from_conversations(tmp_path: Path) -> None:
    talks = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in PAIRS]
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(json.dumps(talk, ensure_ascii=False) for talk in talks), encoding="utf-8")
    first, second = talker().fit(talks), talker().fit(str(path))
    said = [[{"role": "user", "content": a}] for a, _b in PAIRS[:3]]
    assert first.predict(said).tolist() == second.predict([a for a, _b in PAIRS[:3]]).tolist()
    assert first.score(talks) == first.score([a for a, _b in PAIRS], [b for _a, b in PAIRS])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [*SAID, *(text for pair in PAIRS for text in pair)]
    model = dt.pretrain("bert-tiny", texts, sizes=SIZES, tokenizer={"vocab_size": 200}, steps=2, precision="float32")
    return str(model.save(tmp_path_factory.mktemp("base") / "bert"))


def test_an_embedder_stands_before_what_scikit_learn_has(reader: str, tmp_path: Path) -> None:
    labels = [text.endswith("1") for text in SAID]
    made = dt.Embedder(reader)
    with pytest.raises(NotFittedError):
        made.transform(SAID)
    vectors = made.fit_transform(SAID, labels)
    assert vectors.shape == (len(SAID), 32) and vectors.dtype == np.float32
    assert np.allclose(vectors, dt.load(reader).embed(SAID).numpy(), atol=1e-6) and made.transform([]).shape == (0, 32)
    piped = make_pipeline(dt.Embedder(reader), LogisticRegression(max_iter=500))
    assert cross_val_score(piped, SAID, labels, cv=2).shape == (2,)
    assert np.array_equal(made.transform(pd.DataFrame({"t": SAID})), vectors) and np.array_equal(made.transform(pd.Series(SAID)), vectors)
    framed = clone(made).set_output(transform="pandas").fit_transform(SAID)
    assert list(framed.columns[:2]) == ["embedder0", "embedder1"]
    made.save(tmp_path / "kept")


def test_an_embedder_is_taught_by_pairs(reader: str, tmp_path: Path) -> None:
    fitted = dt.Embedder(reader, lr=2e-3, settings={"steps": 60, "group_size": 12}).fit(PAIRS)
    first, second = (fitted.transform([pair[side] for pair in PAIRS]) for side in (0, 1))
    nearest = (first @ second.T).argmax(1)
    before = dt.Embedder(reader).fit(SAID)
    old = (before.transform([a for a, _b in PAIRS]) @ before.transform([b for _a, b in PAIRS]).T).argmax(1)
    assert (nearest == np.arange(len(PAIRS))).mean() > max(0.4, (old == np.arange(len(PAIRS))).mean())
    fitted.save(tmp_path / "kept")
    assert np.array_equal(dt.Embedder.load(tmp_path / "kept").transform(SAID[:3]), fitted.transform(SAID[:3]))
    with pytest.raises(dt.DiptychError, match="E625"):
        dt.Embedder("bert-tiny").fit(SAID)

"""TextClassifier under scikit-learn's own tools."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

import diptych as dt

SIZES = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
TEXTS = [f"{word} {place} {number}" for number in range(6) for word in ("good", "好吃", "bad", "很脏") for place in ("food", "房间")]
LABELS = ["good" if text.startswith(("good", "好吃")) else "bad" for text in TEXTS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = dt.pretrain("bert-tiny", TEXTS, sizes=SIZES, tokenizer={"vocab_size": 200}, steps=2, precision="float32")
    return str(model.save(tmp_path_factory.mktemp("base") / "bert"))


@pytest.fixture
def classifier(base: str) -> dt.TextClassifier:
    return dt.TextClassifier(base, lr=5e-3, settings={"steps": 20})


def test_it_fits_predicts_and_scores(classifier: dt.TextClassifier) -> None:
    assert classifier.fit(TEXTS, LABELS) is classifier
    predicted = classifier.predict(TEXTS)
    assert predicted.shape == (len(TEXTS),) and classifier.score(TEXTS, LABELS) == accuracy_score(LABELS, predicted) > 0.9
    chances = classifier.predict_proba(TEXTS)
    assert chances.shape == (len(TEXTS), 2) and np.allclose(chances.sum(1), 1)
    assert (classifier.classes_[chances.argmax(1)] == predicted).all()
    assert log_loss(LABELS, chances, labels=classifier.classes_) < 0.5
    assert any("Nothing was held out" in caveat for caveat in classifier.caveats_)


def test_pairs_and_tables_are_read_as_well(classifier: dt.TextClassifier, tmp_path: Path) -> None:
    table = pd.DataFrame({"number": range(len(TEXTS)), "review": TEXTS, "stars": [5 if label == "good" else 1 for label in LABELS]})
    fitted = clone(classifier).set_params(settings={"steps": 20, "text": "review", "label": "stars"}).fit(table)
    assert fitted.classes_.tolist() == [1, 5] and fitted.score(table) > 0.9
    assert (fitted.predict(table) == fitted.predict(TEXTS)).all() and (fitted.predict(table[["review"]]) == fitted.predict(TEXTS)).all()
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True, force_ascii=False)
    expected = fitted.predict_proba(TEXTS[:4])
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        again = clone(fitted).fit(str(tmp_path / name))
        assert np.array_equal(again.predict_proba(TEXTS[:4]), expected), name
        assert again.predict(tmp_path / name).astype(int).tolist() == fitted.predict(TEXTS).tolist()
    with pytest.raises(dt.DiptychError, match=r"E103.*review"):
        fitted.predict(table[["number", "stars"]])
    paired = pd.DataFrame({"a": TEXTS, "b": TEXTS[::-1]})
    both = clone(classifier).fit(paired, LABELS)
    assert np.array_equal(both.predict_proba(paired), both.predict_proba(list(zip(TEXTS, TEXTS[::-1], strict=True))))


class Features(dict):
    """What a Hugging Face dataset says of its columns."""


class ClassLabel:
    names = ("bad", "好")


class HubDataset:
    """As much of `datasets.Dataset` as is asked for: rows as dictionaries, and what the numbers of a class stand for."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows, self.column_names, self.features = rows, list(rows[0]), Features(text=object(), label=ClassLabel())

    def __iter__(self):
        return iter(self.rows)


def test_a_hugging_face_dataset_gives_its_classes_by_name(classifier: dt.TextClassifier) -> None:
    rows = [{"text": text, "label": int(label == "good")} for text, label in zip(TEXTS, LABELS, strict=True)]
    fitted = classifier.fit(HubDataset(rows))
    assert fitted.classes_.tolist() == ["bad", "好"] and fitted.score(HubDataset(rows)) > 0.9


def test_what_is_saved_is_the_same_again(classifier: dt.TextClassifier, tmp_path: Path) -> None:
    classifier.fit(TEXTS, np.array([int(label == "good") for label in LABELS]))
    classifier.save(tmp_path / "kept")
    again = dt.TextClassifier.load(tmp_path / "kept")
    assert again.get_params() == classifier.get_params() and again.classes_.dtype == classifier.classes_.dtype
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert np.array_equal(again.predict(TEXTS), classifier.predict(TEXTS))
    assert [each.label for each in dt.load(tmp_path / "kept").predict(TEXTS[:1])] == [str(classifier.predict(TEXTS[:1])[0])]
    assert np.array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    with pytest.raises(dt.DiptychError, match=r"E621.*classification.*Tagger"):
        dt.Tagger.load(tmp_path / "kept")
    (tmp_path / "kept" / "diptych" / "estimator.json").write_text('{"params": {"bse": 1}}')
    with pytest.raises(dt.DiptychError, match="E622"):
        dt.TextClassifier.load(tmp_path / "kept")
    with pytest.raises(dt.DiptychError, match="E620"):
        classifier.set_params(settings={"steps": object()}).save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [("b", "a"), (1, 0), (np.int64(3), np.int64(12)), (1.0, 0.0), (2.5, -1.5), (True, False), ("好评", "差评"), (" x ", "y")],
)
def test_labels_come_back_as_they_were_given(classifier: dt.TextClassifier, first: object, second: object) -> None:
    labels = [first if label == "good" else second for label in LABELS]
    classifier.fit(TEXTS, labels)
    assert sorted(classifier.classes_.tolist(), key=str) == sorted({first, second}, key=str)
    assert set(classifier.predict(TEXTS).tolist()) <= {first, second}
    assert classifier.score(TEXTS, labels) > 0.9
    assert classifier.predict([]).shape == (0,) and classifier.predict_proba([]).shape == (0, 2)


def test_lists_arrays_and_series_are_the_same_to_it(classifier: dt.TextClassifier) -> None:
    expected = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS[:5])
    for kind in (np.array, pd.Series, tuple):
        found = clone(classifier).fit(kind(TEXTS), kind(LABELS)).predict_proba(kind(TEXTS[:5]))
        assert np.array_equal(found, expected), kind


def test_a_single_text_is_one_text_and_not_its_letters(classifier: dt.TextClassifier) -> None:
    assert classifier.fit(TEXTS, LABELS).predict("很脏 房间").shape == (1,)


def test_a_clone_has_the_parameters_and_nothing_that_was_learnt(classifier: dt.TextClassifier) -> None:
    classifier.fit(TEXTS, LABELS)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params() and copy is not classifier
    assert not any(name.endswith("_") and not name.startswith("_") for name in vars(copy))
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(classifier)
    with pytest.raises(dt.DiptychError, match="E612"):
        copy.predict(TEXTS)
    with pytest.raises(dt.DiptychError, match="E612"):
        copy.predict_proba(TEXTS)


def test_parameters_are_stored_as_they_are_and_set_by_name(classifier: dt.TextClassifier) -> None:
    settings = {"steps": 3}
    made = dt.TextClassifier(base="x", epochs=2, lr=1e-3, seed=7, settings=settings)
    assert made.get_params() == {"base": "x", "epochs": 2, "lr": 1e-3, "seed": 7, "settings": settings} and made.settings is settings
    assert made.set_params(epochs=5, seed=1) is made and (made.epochs, made.seed) == (5, 1)
    with pytest.raises(ValueError, match="epoch"):
        made.set_params(epoch=5)
    assert "epochs=5" in repr(made)


@pytest.mark.slow
def test_scikit_learns_cross_validation_search_and_pipeline_take_it(classifier: dt.TextClassifier) -> None:
    assert is_classifier(classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = cross_val_score(classifier, TEXTS, LABELS, cv=3)
        losses = cross_val_score(classifier, np.array(TEXTS), LABELS, cv=2, scoring="neg_log_loss")
        predicted = cross_val_predict(classifier, TEXTS, LABELS, cv=3)
        search = GridSearchCV(classifier, {"lr": [1e-9, 5e-3]}, cv=2).fit(TEXTS, LABELS)
        piped = make_pipeline(classifier).fit(TEXTS, LABELS).predict(TEXTS[:2])
    assert scores.shape == (3,) and scores.mean() > 0.9 and losses.shape == (2,)
    assert accuracy_score(LABELS, predicted) == pytest.approx(scores.mean())
    assert search.best_params_ == {"lr": 5e-3}
    assert len(piped) == 2


def test_the_same_seed_learns_the_same(classifier: dt.TextClassifier) -> None:
    first, again = (clone(classifier).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2))
    other = clone(classifier).set_params(seed=1).fit(TEXTS, LABELS).predict_proba(TEXTS)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_every_text_is_trained_on_even_twice_the_same_one(base: str) -> None:
    fitted = dt.TextClassifier(base, settings={"steps": 1}).fit(["good", "good", "bad"], [1, 1, 0])
    assert fitted.classes_.tolist() == [0, 1]


def test_a_budget_in_the_settings_takes_the_place_of_the_epochs(base: str) -> None:
    for settings in ({"steps": 1}, {"minutes": 0.001}, {"tokens": 10}, {"epochs": 0.5}, None):
        assert dt.TextClassifier(base, epochs=0.1, settings=settings).fit(TEXTS, LABELS).classes_.tolist() == ["bad", "good"]


def test_a_preset_starts_from_fresh_weights() -> None:
    fitted = dt.TextClassifier("bert-tiny", settings={"steps": 1}).fit(TEXTS[:8], LABELS[:8])
    assert fitted.model_.config.hidden_size == 128 and set(fitted.predict(TEXTS)) <= {"good", "bad"}


def test_what_cannot_be_fitted_is_said(base: str, tmp_path: Path) -> None:
    with pytest.raises(dt.DiptychError, match=r"E611.*3 texts and 2 labels"):
        dt.TextClassifier(base).fit(["a", "b", "c"], [0, 1])
    with pytest.raises(dt.DiptychError, match="E131"):
        dt.TextClassifier(base).fit(["a", "b"], [1, 1])
    with pytest.raises(dt.DiptychError, match=r"E121.*row 2"):
        dt.TextClassifier(base).fit(["a", "b", "c"], [1, None, 0])
    with pytest.raises(dt.DiptychError, match="E308"):
        dt.TextClassifier(str(tmp_path / "nothing")).fit(["a", "b"], [0, 1])
    with pytest.raises(dt.DiptychError, match=r"E402.*stepz"):
        dt.TextClassifier(base, settings={"stepz": 1}).fit(["a", "b"], [0, 1])
    with pytest.raises(dt.DiptychError, match="E107"):
        dt.TextClassifier(base).fit({"train": [("a", 0), ("b", 1)]})
    with pytest.raises(dt.DiptychError, match="E623"):
        dt.TextClassifier(base).fit(["a", "b"], [["x"], ["x", "y"]])

"""Counting classifiers against plain scikit-learn pipelines, in English and Chinese."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from diptych.evaluation.baselines import bag_of_words, majority, tfidf
from diptych.evaluation.baselines.counting import STRENGTHS, features

ENGLISH = [
    ("a good clean room and friendly staff", "pos"),
    ("good food and a good view", "pos"),
    ("terrible noise and a dirty room", "neg"),
    ("dirty towels and terrible food", "neg"),
]
CHINESE = [
    ("房间很干净，服务热情", "好评"),
    ("位置方便，早餐好吃，干净", "好评"),
    ("房间很脏，隔音太差", "差评"),
    ("服务太差，很脏，不会再来", "差评"),
]
PLAIN = ["room", "staff", "food", "view", "bed", "night", "city", "street"]
NEW = ["a clean view", "dirty", "good dirty food", "nothing known here", "", "🙂"]


def many(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts whose label shows in some of their words, and not always."""
    draw = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        label = str(draw.choice(["neg", "pos"]))
        good, bad = ("good great clean nice", "bad awful dirty rude")
        own, other = (good, bad) if label == "pos" else (bad, good)
        words = draw.choice(PLAIN, 5).tolist()
        words += draw.choice(own.split(), 2).tolist() + ([str(draw.choice(other.split()))] if draw.random() < 0.6 else [])
        texts.append(" ".join(draw.permutation(words)))
        labels.append(label)
    return texts, labels


def test_majority_is_scikit_learns_most_frequent() -> None:
    labels = ["b", "a", "b", "c", "b", "a"]
    theirs = DummyClassifier(strategy="most_frequent").fit([[0]] * 6, labels)
    ours = majority(["x"] * 6, labels)
    assert ours.predict(["anything", ""]) == theirs.predict([[0]] * 2).tolist()
    assert ours.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("fit", "vectorizer"),
    [
        (bag_of_words, CountVectorizer(token_pattern=r"[a-z]+", ngram_range=(1, 2))),
        (tfidf, TfidfVectorizer(token_pattern=r"[a-z]+", ngram_range=(1, 2), sublinear_tf=True)),
    ],
)
def test_a_baseline_on_few_english_texts_is_a_plain_pipeline(fit, vectorizer) -> None:
    texts, labels = [text for text, _ in ENGLISH], [label for _, label in ENGLISH]
    theirs = make_pipeline(vectorizer, LogisticRegression(C=1.0, max_iter=300)).fit(texts, labels)
    ours = fit(texts, labels)
    assert ours.predict(NEW) == theirs.predict(NEW).tolist()
    names, weights = vectorizer.get_feature_names_out(), theirs[-1].coef_[0]
    known = dict(zip(names, weights, strict=True))
    assert ours.top_words["pos"] and ours.top_words["neg"]
    for word, weight in ours.top_words["pos"]:
        assert weight == pytest.approx(known[word], abs=1e-3)
    for word, weight in ours.top_words["neg"]:
        assert weight == pytest.approx(-known[word], abs=1e-3)


def test_tfidf_on_many_texts_is_as_good_as_a_pipeline_whose_strength_was_searched() -> None:
    texts, labels = many(240)
    test, gold = many(400, seed=1)
    search = GridSearchCV(
        make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), LogisticRegression(max_iter=300)),
        {"logisticregression__C": STRENGTHS},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).fit(texts, labels)
    theirs = float(np.mean(search.predict(test) == np.array(gold)))
    ours = float(np.mean(np.array(tfidf(texts, labels).predict(test)) == np.array(gold)))
    assert theirs > 0.8
    assert ours == pytest.approx(theirs, abs=0.03)


def test_a_baseline_is_the_same_each_time() -> None:
    texts, labels = many(80)
    test, _ = many(50, seed=2)
    assert tfidf(texts, labels).predict(test) == tfidf(texts, labels).predict(test)
    assert bag_of_words(texts, labels).top_words == bag_of_words(texts, labels).top_words


@pytest.mark.parametrize("fit", [bag_of_words, tfidf])
def test_the_words_that_weigh_most_are_those_that_tell_the_classes_apart(fit) -> None:
    rows = (ENGLISH + CHINESE) * 4
    baseline = fit([text for text, _ in rows], [label for _, label in rows])
    top = {label: [word for word, _ in words] for label, words in baseline.top_words.items()}
    assert "good" in top["pos"] and "good" not in top["neg"]
    assert {"dirty", "terrible"} & set(top["neg"])
    assert "干净" in top["好评"] and "干净" not in top["差评"]
    assert {"脏", "太差", "差"} & set(top["差评"])
    for words in baseline.top_words.values():
        weights = [weight for _, weight in words]
        assert weights == sorted(weights, reverse=True) and min(weights) > 0


def test_chinese_is_counted_by_words_and_by_one_and_two_characters() -> None:
    counted = features("房间很干净")
    assert {"房", "间", "很", "干", "净"} <= set(counted)
    assert {"房间", "干净", "间很"} <= set(counted)
    assert any(" " in feature for feature in counted), "pairs of words"
    assert counted.count("房间") == 1, "a word of two characters is not counted again as a pair of characters"


def test_english_is_counted_by_words_and_pairs_and_mixed_text_by_both_ways() -> None:
    assert features("Good food, GOOD view") == ["good", "food", "good", "view", "good food", "food good", "good view"]
    mixed = features("iPhone的电池 is great 🙂")
    assert {"iphone", "great", "电", "电池"} <= set(mixed)
    assert "的 电" not in mixed and "e的" not in mixed, "characters pair with their Chinese neighbours alone"
    assert features("") == features("🙂 !?\r\n") == []


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_counted(text: str) -> None:
    assert all(feature.strip() for feature in features(text))


def test_texts_without_a_single_word_leave_the_majority() -> None:
    baseline = tfidf(["🙂", "!!!", ""], ["a", "b", "a"])
    assert baseline.predict(["anything"]) == ["a"]


@pytest.mark.parametrize("fit", [majority, bag_of_words, tfidf])
def test_predictions_are_labels_and_nothing_gives_nothing(fit) -> None:
    baseline = fit([text for text, _ in CHINESE], [label for _, label in CHINESE])
    assert set(baseline.predict(["没见过的词", "🙂", ""])) <= {"好评", "差评"}
    assert baseline.predict([]) == []
    assert baseline.seconds >= 0 and baseline.size_bytes > 0


def test_every_one_of_several_classes_has_its_words() -> None:
    texts = ["goal match team", "match player goal", "stock bank market", "market bank price", "virus doctor cell", "cell doctor drug"]
    labels = ["sport", "sport", "money", "money", "health", "health"]
    top = tfidf(texts, labels).top_words
    best = {label: words[0][0] for label, words in top.items()}
    assert best["sport"] in ("goal", "match") and best["money"] in ("bank", "market") and best["health"] in ("cell", "doctor")

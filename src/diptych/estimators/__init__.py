"""Estimators with scikit-learn's contract around one fine-tuning run each: one file a kind of answer."""

from diptych.estimators.answerer import QuestionAnswerer
from diptych.estimators.classifier import TextClassifier
from diptych.estimators.embedder import Embedder
from diptych.estimators.tagger import Tagger
from diptych.estimators.writers import ChatModel, Summarizer, Translator

__all__ = ["ChatModel", "Embedder", "QuestionAnswerer", "Summarizer", "Tagger", "TextClassifier", "Translator"]

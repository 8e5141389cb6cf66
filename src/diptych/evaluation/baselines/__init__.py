"""What one should beat: the most frequent class, word counts, TF-IDF."""

from diptych.evaluation.baselines.counting import Baseline, bag_of_words, majority, tfidf

__all__ = ["Baseline", "bag_of_words", "majority", "tfidf"]

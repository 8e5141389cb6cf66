"""Search by meaning over a folder of texts, answers that cite what was found, and items that are like others."""

from diptych.searching.answer import Answer, ask
from diptych.searching.recommending import Recommended, judge_recommendations, recommend
from diptych.searching.search import Hit, search

__all__ = ["Answer", "Hit", "Recommended", "ask", "judge_recommendations", "recommend", "search"]

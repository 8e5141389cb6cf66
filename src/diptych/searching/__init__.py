"""Search by meaning over a folder of texts, and answers that cite what was found."""

from diptych.searching.answer import Answer, ask
from diptych.searching.search import Hit, search

__all__ = ["Answer", "Hit", "ask", "search"]

"""Diptych: from your own text, English or Chinese, to your own language model on the machine you have.

import diptych as dt

The names below load what they need on first use, so that importing this package costs next to nothing.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "api",
    "create": "api",
    "pretrain": "api",
    "finetune": "api",
    "distill": "api",
    "audit_bias": "auditing",
    "audit_privacy": "remembering",
    "evaluate": "api",
    "calibrate": "calibrating",
    "compare": "api",
    "decide": "deciding",
    "check_data": "checking",
    "export": "api",
    "generalize": "generalizing",
    "quantize": "api",
    "run": "api",
    "sweep": "sweeping",
    "plan": "planning",
    "advise": "advice",
    "pull": "hub",
    "search": "searching",
    "ask": "searching",
    "recommend": "searching",
    "rescore": "rescoring",
    "convert": "formats.pickles",
    "find_personal": "scrubbing",
    "find_in_training": "finding",
    "scrub": "scrubbing",
    "Model": "model",
    "Corpus": "text.corpus",
    "Tokenizer": "text.tokenizer",
    "TextClassifier": "estimators",
    "Tagger": "estimators",
    "QuestionAnswerer": "estimators",
    "Translator": "estimators",
    "Summarizer": "estimators",
    "ChatModel": "estimators",
    "Embedder": "estimators",
    "Recipe": "recipe",
    "Score": "evaluation.intervals",
    "Scores": "evaluation.intervals",
    "Ledger": "ledger",
    "DiptychError": "errors",
    "set_language": "messages",
}

__all__ = [*sorted([*_HOMES, "models", "serve"]), "__version__"]

if TYPE_CHECKING:
    from diptych.advice import advise
    from diptych.api import compare, create, distill, evaluate, export, finetune, load, models, pretrain, quantize, run
    from diptych.auditing import audit_bias
    from diptych.calibrating import calibrate
    from diptych.checking import check_data
    from diptych.deciding import decide
    from diptych.errors import DiptychError
    from diptych.estimators import ChatModel, Embedder, QuestionAnswerer, Summarizer, Tagger, TextClassifier, Translator
    from diptych.evaluation.intervals import Score, Scores
    from diptych.finding import find_in_training
    from diptych.formats.pickles import convert
    from diptych.generalizing import generalize
    from diptych.hub import pull
    from diptych.ledger import Ledger
    from diptych.messages import set_language
    from diptych.model import Model
    from diptych.planning import plan
    from diptych.recipe import Recipe
    from diptych.remembering import audit_privacy
    from diptych.rescoring import rescore
    from diptych.scrubbing import find_personal, scrub
    from diptych.searching import ask, recommend, search
    from diptych.sweeping import sweep
    from diptych.text.corpus import Corpus
    from diptych.text.tokenizer import Tokenizer


class _Listing(ModuleType):
    """`diptych.models` is a package, and `dt.models("gpt-*")` lists what it can make: importing the one must not hide the other."""

    def __call__(self, pattern: str = "*") -> list[str]:
        return import_module("diptych.api").models(pattern)


class _Serving(ModuleType):
    """`diptych.serve` is a package, and `dt.serve("my-gpt")` serves."""

    def __call__(self, models: Any, **options: Any) -> Any:
        return import_module("diptych.serving").serve(models, **options)


import_module("diptych.models").__class__ = _Listing
import_module("diptych.serve").__class__ = _Serving


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")
    value = getattr(import_module(f"diptych.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

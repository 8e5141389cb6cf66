"""What can be learnt: one file per task, all behind the protocol in `task.py`. Adding one is adding a file and a line."""

from importlib import import_module
from typing import Any

from diptych.config import nearest
from diptych.errors import RecipeError

TASKS = {
    "causal-lm": "diptych.tasks.causal_lm:CausalLM",
    "masked-lm": "diptych.tasks.masked_lm:MaskedLM",
    "hybrid-lm": "diptych.tasks.hybrid_lm:HybridLM",
    "prefix-lm": "diptych.tasks.prefix_lm:PrefixLM",
    "denoising": "diptych.tasks.denoising:Denoising",
    "classification": "diptych.tasks.classification:Classification",
}
PRETRAINING = ("causal-lm", "masked-lm", "hybrid-lm", "prefix-lm", "denoising")
"""Tasks that learn from running text; the others learn from tables of examples."""


def task_class(name: str) -> Any:
    """The task called `name`.

    Raises:
        RecipeError E406: there is none of that name.
    """
    if name not in TASKS:
        raise RecipeError("E406", name=name, hint=nearest(name, TASKS))
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)

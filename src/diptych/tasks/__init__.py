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
    "tagging": "diptych.tasks.tagging:Tagging",
    "embedding": "diptych.tasks.embedding:Embedding",
}
PRETRAINING = ("causal-lm", "masked-lm", "hybrid-lm", "prefix-lm", "denoising")
"""Tasks that learn from running text; the others learn from tables of examples."""


HEADS = {"classes": "classification", "tags": "tagging", "sentence": "embedding"}
"""Which task a network with this head was trained for."""


def task_of_net(net: Any) -> Any:
    """The downstream task that a network's head answers, ready to predict; None where it has no such head."""
    name = next((HEADS[head] for head in HEADS if head in net.heads), None)
    return None if name is None else task_class(name).of(net)


def task_class(name: str) -> Any:
    """The task called `name`.

    Raises:
        RecipeError E406: there is none of that name.
    """
    if name not in TASKS:
        raise RecipeError("E406", name=name, hint=nearest(name, TASKS))
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)

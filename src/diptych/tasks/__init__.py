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
    "seq2seq": "diptych.tasks.seq2seq:Seq2Seq",
    "roles": "diptych.tasks.roles:Roles",
    "answering": "diptych.tasks.answering:Answering",
    "chat": "diptych.tasks.chat:Chat",
    "preference": "diptych.tasks.preference:Preference",
}
PRETRAINING = ("causal-lm", "masked-lm", "hybrid-lm", "prefix-lm", "denoising")
"""Tasks that learn from running text; the others learn from tables of examples."""


HEADS = {"classes": "classification", "tags": "tagging", "sentence": "embedding", "span": "answering"}
"""Which task a network with this head was trained for."""


def task_of_net(net: Any) -> Any:
    """The downstream task that a network's head answers, ready to predict; None where it has no such head.

    A language head serves many tasks, so the network's config says which one it was trained for.
    """
    name = next((HEADS[head] for head in HEADS if head in net.heads), None)
    if name is None and "lm" in net.heads:
        name = dict(net.config.task).get("name")
    if name == "tagging" and PREDICATE_TAG in net.config.labels:
        name = "roles"
    return None if name not in TASKS or name in PRETRAINING else task_class(name).of(net)


PREDICATE_TAG = "B-predicate"
"""A tagger with this tag looks for roles, which are asked about one predicate after the other."""


def task_class(name: str) -> Any:
    """The task called `name`.

    Raises:
        RecipeError E406: there is none of that name.
    """
    if name not in TASKS:
        raise RecipeError("E406", name=name, hint=nearest(name, TASKS))
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)

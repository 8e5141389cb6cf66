"""A federation between machines: a site trains on what it has, a center averages what sites send, and numpy arrays go between them.

Nothing here knows how they travel: `flower.py` lets Flower carry them. All start from copies of one model folder that has the
task's head and labels already (fine-tune it for a step on anything public), so that nobody has to tell anybody what labels they have.
What is trained, for how long and in how many rounds is said by one recipe, whose last regime is `federated`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych import runtime
from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.model import Model
from diptych.recipe import Recipe
from diptych.running import base_model, federated_of, load_model, resolve, set_passes, training_plan
from diptych.tasks import task_class
from diptych.tasks.tables import drop_duplicates
from diptych.training.federation import Assignment, Client, Merging, Update
from diptych.training.federation.update import put, taken
from diptych.training.regimes import Surroundings, compose
from diptych.training.regimes.federated import no_moments

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """What a site sends back; whoever receives it believes none of it."""

    site: str
    round: int
    """Counted from 0."""
    num_examples: int
    arrays: Arrays


class _Party:
    """What both sides know: the model that all start from, and how a round is trained."""

    def __init__(self, recipe: Recipe) -> None:
        runtime.prepare(threads=recipe.run.threads)
        settings = federated_of(recipe)
        if settings is None:
            raise TrainingError("E575")
        if settings.clip is not None:
            raise TrainingError("E591")
        kind, start = task_class(recipe.task.name), base_model(recipe)
        if start is None or not hasattr(kind, "of") or not set(kind.heads) <= set(start.net.heads):
            raise TrainingError("E584", task=recipe.task.name)
        self.settings, self.rounds = settings, settings.rounds
        self.task = kind.of(start.net)
        self.recipe = resolve(recipe, start.net)
        self.plan = training_plan(self.recipe, None)
        self.tokenizer = self.task.meet(start.net, start.tokenizer)
        around = Surroundings(self.tokenizer, recipe.model.base, load_model, recipe.train.seed)
        self.regime = compose(recipe.train.regime[:-1], around)
        start.net.keep_heads(self.task.heads)
        set_passes(start.net, self.recipe)
        start.net.to(runtime.device(recipe.run.device))
        self.net = self.regime.prepare(start.net, self.task)


class Site(_Party):
    """One who has examples: a hospital, a branch, a person.

    Args:
        data: its examples, as `finetune` takes them.
        number: another for each site, so that they draw numbers of their own.

    Raises:
        TrainingError E575: the recipe has no federation. E578: there is no example. E584: the model has no head for the task.
    """

    def __init__(self, recipe: Recipe, data: Any, name: str, number: int = 0) -> None:
        super().__init__(recipe)
        reader = task_class(recipe.task.name)(recipe.task)
        ledger = Ledger()
        rows, _found = reader.read(Path(data) if isinstance(data, str) else data, ledger)
        if recipe.task.duplicates == "drop":
            rows = drop_duplicates(rows, ledger, has_one_answer=reader.has_one_answer)
        examples = self.task.examples(rows, self.tokenizer, self.net.config.context_length, ledger)
        if not len(examples):
            raise TrainingError("E578", client=name)
        self.ledger, self.client = ledger, Client(name, examples, number)

    def train(self, arrays: Arrays, round: int) -> Answer:
        """Train a round from what the center sent.

        Raises:
            NoNumber: the loss is no longer a number.
        """
        asked = Assignment(_tensors(arrays), round, self.rounds, self.settings.proximal)
        self.net.train()
        update = self.client.train(self.net, self.task, self.regime, self.plan, asked)
        return Answer(self.client.name, round, update.num_examples, _arrays(update.values))


class Center(_Party):
    """The server: it has the recipe and the model that all start from, and no examples.

    Attributes:
        ledger: names whoever was left out, and why.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.ledger = Ledger()

    def start(self) -> dict[str, np.ndarray]:
        """What the first round starts from."""
        moments = no_moments(self.net, self.plan) if self.settings.moments == "shared" else {}
        return _arrays({**taken(self.net), **moments})

    def merge(self, before: Arrays, round: int, asked: Collection[str], answers: Iterable[Answer]) -> dict[str, np.ndarray]:
        """What the next round starts from; an answer that cannot be used is left out, and so is a site that sent none.

        Raises:
            TrainingError E579: none can be used.
        """
        merging = Merging(_tensors(before), round, asked, self.settings.weights, self.ledger)
        answered = set()
        for answer in answers:
            answered.add(answer.site)
            try:
                values = _tensors(answer.arrays)
            except (TypeError, ValueError):
                merging.leave_out(answer.site, mark("updates of another shape, left out"))
                continue
            merging.take(Update(answer.site, answer.round, answer.num_examples, values))
        for site in sorted(set(asked) - answered):
            merging.leave_out(site, mark("clients that did not answer, left out"))
        if not merging.taken:
            raise TrainingError("E579", round=round + 1, count=len(asked))
        return _arrays(merging.mean())

    def finish(self, arrays: Arrays, out: str | Path) -> Model:
        """The model with what the last round came to, written to `out` as any other."""
        put(self.net, _tensors(arrays))
        model = Model(self.regime.finish(self.net).eval(), self.tokenizer)
        model.save(out)
        return model


def _arrays(values: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy().copy() for name, value in values.items()}


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """
    Raises:
        TypeError: one of them holds no numbers.
    """
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}

"""What all estimators share: scikit-learn's contract around one fine-tuning run.

`__init__` only stores, `fit` returns self, what is learnt ends in `_`. Nothing is held out in `fit`: scikit-learn's own tools split, and
`score` is for other examples. What an estimator is given is never changed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from diptych import runtime
from diptych.config import BUDGETS
from diptych.errors import UsageError
from diptych.estimators.inputs import as_list, as_source
from diptych.evaluation.judges import judge_of
from diptych.finetuning import finetune_parts, read_parts
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.recipe import from_keywords
from diptych.running import load_model, pass_on_interrupt
from diptych.tasks import task_class, task_of_net
from diptych.training.progress import Several

RECORD = "estimator.json"
"""Beside a saved model, in its folder `diptych/`: what it takes to be the same estimator again."""


class NotFitted(UsageError, NotFittedError):
    """Asked before it has learnt: ours, with a code, and scikit-learn's as well."""


class Estimator(BaseEstimator):
    """A model that learns one task.

    Attributes:
        model_: the fine-tuned model. caveats_: what the training set cannot tell. ledger_: what was cut or dropped of it.
    """

    task_name: ClassVar[str]
    told: ClassVar[Mapping[str, Any]] = {}
    """Fields of the task that make it this estimator's."""
    inputs_named: ClassVar[tuple[str, ...]] = ("text",)
    """What the task calls the columns that are asked about."""

    def __init__(
        self, base: str = "minilm", epochs: float = 3.0, lr: float | None = None, seed: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        self.base = base
        self.epochs = epochs
        self.lr = lr
        self.seed = seed
        self.settings = settings

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from every example given.

        Args:
            X: what is asked about, one for each of `y`; or, where `y` is None, a whole table: a path (csv, JSON lines, parquet), a data
                frame, a Hugging Face dataset, a list of dictionaries.

        Raises:
            UsageError E611: X and y differ in length. What reading and training raise.
        """
        source = as_source(X) if y is None else self._examples(*self._aligned(X, y))
        recipe = self._recipe()
        ledger = Ledger()
        parts = read_parts(recipe, source, ledger, hold_out=False)
        done = finetune_parts(recipe, parts, ledger, listener=Several([]), with_baselines=False)
        pass_on_interrupt(done.outcome, recipe, "finetune")
        named = [parts.found.get(name) for name in self.inputs_named] if y is None else []
        self._columns = [column for column in named if column is not None]
        self._keep(done.model, recipe.task.model_dump(mode="json", exclude_unset=True))
        self.caveats_, self.ledger_ = done.caveats, done.ledger
        return self

    def score(self, X: Any, y: Any = None) -> float:
        """The first measure of the task's judge: F1 of a tagger and of answers, BLEU, ROUGE-L, chrF of answers in a conversation."""
        task = self._task()
        rows, _found = task.read(as_source(X) if y is None else self._examples(*self._aligned(X, y)), Ledger())
        answers = list(task.predict(self.model_.net, self.model_.tokenizer, task.inputs(rows)))
        return judge_of(task.name).counts(task, rows, answers)[0].total()

    def explain(self, given: Any, **options: Any) -> Any:
        """Why this answer to one input: what each word did to it, and how far that can be trusted; see `Model.explain`."""
        return self._fitted().explain(given, **options)

    def save(self, folder: str | Path) -> Path:
        """Write the model's folder, which `dt.load` opens as any other, with what makes it this estimator beside it.

        Raises:
            UsageError E612: it has not been fitted. E620: a parameter, or a label, that JSON cannot hold.
        """
        model = self._fitted()
        try:
            facts = {"kind": type(self).__name__, "params": self.get_params(deep=False), **self._memory()}
            text = json.dumps(facts, ensure_ascii=False, indent=1)
        except TypeError as error:
            raise UsageError("E620", problem=error) from None
        path = model.save(folder)
        (path / "diptych").mkdir(exist_ok=True)
        runtime.write_whole(path / "diptych" / RECORD, text)
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The estimator that was saved in a folder, or one of a model that was fine-tuned for the same task in any other way.

        Raises:
            ModelError: the folder cannot be read. UsageError E621: its model was trained for something else. E622: what makes it an
            estimator is damaged.
        """
        model = load_model(folder)
        task = task_of_net(model.net)
        if task is None or task.name != cls.task_name:
            raise UsageError("E621", path=folder, name=cls.__name__, wanted=cls.task_name, found="–" if task is None else task.name)
        path = Path(model.folder or folder) / "diptych" / RECORD
        facts: dict[str, Any] = {"params": {"base": str(folder)}}
        try:
            if path.is_file():
                facts = json.loads(path.read_text(encoding="utf-8"))
            made = cls(**facts["params"])
            made._recall(facts, model)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("E622", path=path, problem=error) from None
        made.caveats_, made.ledger_ = [], Ledger()
        return made

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks before it splits: texts, not a table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.target_tags.required = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        """Inputs and answers as the rows of a table that the task reads."""
        raise NotImplementedError

    def _told(self) -> dict[str, Any]:
        """Fields of the recipe that are not left open."""
        return {**self.told, "seed": self.seed, **(self.settings or {})}

    def _recipe(self) -> Any:
        told = self._told()
        if not any(name in told for name in BUDGETS):
            told["epochs"] = float(self.epochs)
        if self.lr is not None:
            told["lr"] = self.lr
        return from_keywords(str(self.base), self.task_name, told)

    def _keep(self, model: Model, asked: dict[str, Any]) -> None:
        """Take over what was learnt.

        Args:
            asked: the fields of the task that the model was trained with, and is asked with again.
        """
        self.model_, self._asked = model, asked

    def _memory(self) -> dict[str, Any]:
        """What `save` keeps beside model and parameters."""
        return {"asked": self._asked, "columns": self._columns}

    def _recall(self, facts: Mapping[str, Any], model: Model) -> None:
        self._columns = [str(column) for column in facts.get("columns", ())]
        self._keep(model, dict(facts.get("asked", {})))

    def _task(self) -> Any:
        """The task as the model learnt it, ready to be asked."""
        task = task_of_net(self._fitted().net)
        kind = task_class(self.task_name).Settings
        task.settings = kind(**{**task.settings.model_dump(exclude_unset=True), **self._asked, "name": self.task_name})
        return task

    def _answers(self, X: Any) -> list[Any]:
        """What the task says of each input."""
        task, model = self._task(), self.model_
        model.net.eval()
        return list(task.predict(model.net, model.tokenizer, self._inputs(X)))

    def _inputs(self, X: Any) -> list[Any]:
        self._fitted()
        return as_list(X, self._columns, len(self.inputs_named))

    def _aligned(self, X: Any, y: Any) -> tuple[list[Any], list[Any]]:
        texts, answers = as_list(X, (), len(self.inputs_named)), as_list(y, (), 1, are_texts=False)
        if len(texts) != len(answers):
            raise UsageError("E611", texts=len(texts), labels=len(answers))
        return texts, answers

    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            error = UsageError("E612", name=type(self).__name__)
            raise NotFitted(error.code, **error.values)
        return self.model_


def objects(items: Sequence[Any]) -> np.ndarray:
    """A one-dimensional array of the items, whatever they are: scikit-learn joins the predictions of its folds."""
    found = np.empty(len(items), dtype=object)
    found[:] = [None] * len(items)
    for number, item in enumerate(items):
        found[number] = item
    return found

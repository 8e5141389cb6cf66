"""One public function per verb; the command line is a client of these.

import diptych as dt
gpt = dt.pretrain("gpt-mini", "novels/", minutes=10)
clf = dt.finetune("my-bert", "tickets.csv")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.errors import RecipeError
from diptych.evaluation.evaluate import score_language, score_predictions
from diptych.evaluation.intervals import Scores
from diptych.finetuning import Finetuned, finetune_recipe
from diptych.installed import PACKAGES
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.models import presets
from diptych.pretraining import Pretrained, make_tokens, pretrain_recipe
from diptych.recipe import Recipe, build
from diptych.running import load_model
from diptych.tasks import PRETRAINING, task_class
from diptych.tasks.tables import read_labelled
from diptych.text.corpus import Corpus
from diptych.training.progress import Listener, Several, display

TRAIN_FIELDS = (
    "steps",
    "epochs",
    "tokens",
    "minutes",
    "seed",
    "batch_size",
    "lr",
    "schedule",
    "regime",
    "dropout",
    "patience",
    "evaluations",
)
RUN_FIELDS = ("out", "device", "precision", "threads", "checkpoint_steps", "cache")


def load(name: str | Path) -> Model:
    """A model from a folder (ours or Hugging Face's) or by the name of an installed one, such as "minilm"."""
    runtime.prepare()
    return load_model(name)


def create(preset: str, *, seed: int = 0, **sizes: Any) -> Model:
    """Fresh weights of a preset; any field of the shape can be changed.

    Example: `create("bert-tiny", vocab_size=100, hidden_size=128, num_layers=2).logits(ids)`
    """
    runtime.prepare()
    return Model(presets.create(preset, seed=seed, **sizes))


def models(pattern: str = "*") -> list[str]:
    """The presets and installed models whose names match a pattern such as "gpt-*"."""
    from fnmatch import fnmatchcase

    return presets.list_presets(pattern) + [name for name in PACKAGES if fnmatchcase(name, pattern)]


def pretrain(base: str | Path, text: Any, *, task: str | None = None, verbose: bool = False, **settings: Any) -> Model:
    """Train on running text: a preset anew, or a folder further.

    Args:
        base: a preset ("gpt-mini") or a model folder.
        text: files, folders, patterns, strings or a `Corpus`.
        task: "causal-lm" or "masked-lm"; guessed from the base.
        settings: budget (`minutes`, `steps`, `epochs`, `tokens`), `out`, `lr` and so on; a dictionary for a part of the
            recipe (`train={...}`) works as well.
    """
    recipe = _recipe(base, task or panel_task(base), settings)
    return pretrain_recipe(recipe, text, listener=_listener(verbose=verbose), overwrite=bool(settings.get("overwrite"))).model


def finetune(base: str | Path, data: Any, *, task: str | None = None, verbose: bool = False, **settings: Any) -> Model:
    """Train a model for a task: on a table of labelled texts, or on plain sentences to go on writing like them.

    Two rows are enough to run; what they cannot tell is said by `finetuned`, the attribute with outcome and scores.
    """
    name = task or ("classification" if _is_table(data) else panel_task(base))
    if name in PRETRAINING:
        return pretrain(base, data, task=name, verbose=verbose, **settings)
    recipe = _recipe(base, name, settings)
    done = finetune_recipe(recipe, data, listener=_listener(verbose=verbose), overwrite=bool(settings.get("overwrite")))
    done.model.finetuned = done  # type: ignore[attr-defined]
    return done.model


def evaluate(model: Model | str | Path, task: str | None, data: Any, **settings: Any) -> Scores:
    """The scores of a model on data that it was not trained on, each with its 95 % interval.

    Args:
        task: "causal-lm", "masked-lm" or "classification"; None for what the model's head does.
        data: text for a language model, a table with labels for a classifier.
        settings: fields of the task, for example `text="review", label="stars"`.
    """
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    name = task or task_of(found)
    schema = task_class(name).Settings
    if name == "classification":
        rows, _columns = read_labelled(data, Ledger(), **settings)
        inputs: list[Any] = [row.texts[0] if len(row.texts) == 1 else row.texts for row in rows]
        predicted = [prediction.label for prediction in found.predictions(inputs)]
        return score_predictions([row.label or "" for row in rows], predicted, found.config.labels)
    settings.setdefault("clean", {"dedup": "none"})
    recipe = build({"model": {"base": "–"}, "task": {"name": name, "held_out": 0.0, **settings}})
    corpus = data if isinstance(data, Corpus) else Corpus(data, text=recipe.task.column, encoding=recipe.task.encoding)
    chosen = task_class(name)(recipe.task if isinstance(recipe.task, schema) else schema())
    tokens = make_tokens(recipe, corpus, found.tokenizer, chosen, Ledger()).train
    examples = chosen.examples(tokens, found.tokenizer, found.config.context_length, Ledger())
    chosen.heads = tuple(head for head in chosen.heads if head in found.net.heads)
    return score_language(found.net, chosen, examples, tokens)


def run(recipe: Recipe | Mapping[str, Any], source: Any = None, **options: Any) -> Pretrained | Finetuned:
    """Carry out a recipe, whichever kind of task it names."""
    checked = recipe if isinstance(recipe, Recipe) else build(recipe)
    carry_out = pretrain_recipe if checked.task.name in PRETRAINING else finetune_recipe
    return carry_out(checked, source, **options)


def panel_task(base: str | Path) -> str:
    """The pretraining task that suits a base: next words for a decoder, masked words for an encoder."""
    if str(base) in presets.list_presets():
        return "causal-lm" if presets.preset_config(str(base)).is_causal else "masked-lm"
    return "causal-lm" if load_model(base).config.is_causal else "masked-lm"


def task_of(model: Model) -> str:
    """The task that a model's head was trained for."""
    if "classes" in model.net.heads:
        return "classification"
    return "causal-lm" if model.config.is_causal else "masked-lm"


def _recipe(base: str | Path, task: str, settings: dict[str, Any]) -> Recipe:
    """Keyword arguments as a recipe: a name goes to the part that knows it."""
    start = "preset" if str(base) in presets.list_presets() else "base"
    parts: dict[str, dict[str, Any]] = {"model": {start: str(base)}, "task": {"name": task}, "train": {}, "run": {}}
    task_fields = task_class(task).Settings.model_fields
    for name, value in settings.items():
        if name in parts and isinstance(value, Mapping):
            parts[name].update(value)
        elif name in TRAIN_FIELDS:
            parts["train"][name] = value
        elif name in RUN_FIELDS:
            parts["run"][name] = str(value) if name in ("out", "cache") else value
        elif name == "tokenizer" or name == "sizes":
            parts["model"][name] = value
        elif name in task_fields:
            parts["task"][name] = value
        elif name != "overwrite":
            from diptych.config import nearest

            known = (*TRAIN_FIELDS, *RUN_FIELDS, *task_fields, "tokenizer", "sizes")
            raise RecipeError("E402", where=f"{task}", key=name, hint=nearest(name, known))
    return build(parts)


def _is_table(data: Any) -> bool:
    """Whether `data` has labels beside its texts: anything but plain strings and text files."""
    if isinstance(data, str | Path):
        return Path(data).suffix.lower() not in (".txt", ".md") and not Path(data).is_dir()
    return not (isinstance(data, Sequence) and all(isinstance(item, str) for item in data))


def _listener(*, verbose: bool) -> Listener:
    return display() if verbose else Several([])

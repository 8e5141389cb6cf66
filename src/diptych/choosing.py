"""`model: {preset: auto}`: the size, vocabulary, context, step and learning rate that get most out of a text in a given time here.

Candidates are climbed from the smallest up. Each takes a few real steps on this machine (`training/rehearsal.py`); how far it would
get follows from the scaling law (`training/scaling.py`). What comes out is a recipe of plain numbers, which runs the same again.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diptych import runtime
from diptych.config import ModelSettings, parse
from diptych.errors import RecipeError
from diptych.messages import _
from diptych.presets import num_parameters, preset_config
from diptych.recipe import Recipe
from diptych.running import PRETRAINING_MINUTES, PRETRAINING_TOKENS, usual_lr
from diptych.survey import SAMPLE_CHARS, tokens_per_character
from diptych.tasks import task_class
from diptych.text.corpus import Document
from diptych.text.tokenizer import Tokenizer, usual_kind
from diptych.text.vocabulary import Kind
from diptych.training import rehearsal
from diptych.training.scaling import LADDER, STEPS, Pick, Rung, best_step
from diptych.training.sizing import Workload
from diptych.training.workspace import kept_recipe

PRESETS = {"causal-lm": "gpt-mini", "masked-lm": "modernbert-mini"}
"""Whose block is built in the chosen size, by task."""
BYTES_PER_ENTRY = 100
"""A vocabulary has no more entries than the text has hundreds of bytes: each should be met a few times."""
SMALLEST_VOCABULARY = 1024
LOOKING_SHARE = 0.03
"""Looks at the held-out part take no more of the time than this; a pass without its gradient takes a third of one with it."""
MOST_LOOKS = 10
NEAR = 0.003
"""A smaller model that is expected to come so near, as a share, is taken: it costs less to use, and the law is no more exact."""
PARAMETERS_PER_TOKEN = 4
"""Of the layers, beside the tokens of the text: more would learn it by heart. BabyLM's best small models have about two
(Charpentier and Samuel 2024), and are held back by dropout."""
PATIENCE = 2
"""So many sizes in a row that get less far end the climb."""
WEIGHT_BYTES = 16
"""Of a weight: itself, its gradient and two moments, in float32."""
MEMORY_SHARE = 0.5
"""A candidate's weights with all that belongs to them take no more of the memory."""


@dataclass(frozen=True)
class Candidate:
    """A size with the step that suits it."""

    sizes: dict[str, Any]
    """The fields of the preset that it changes."""
    vocab_size: int
    parameters: int
    pick: Pick
    text_tokens: float
    """How many the text has in its vocabulary."""


@dataclass(frozen=True)
class Choice:
    """A recipe of plain numbers, and why they are what they are."""

    recipe: Recipe
    reason: str


def choose(recipe: Recipe, documents: Iterable[Document], *, resume: bool = False) -> Choice:
    """The recipe with its model chosen for its text, its minutes and this machine; what it names itself is kept.

    Args:
        documents: the text that will be trained on.
        resume: take what the unfinished run in `run.out` was given, where there is one.

    Raises:
        RecipeError E424: the sizes that the recipe names are too large to be tried.
    """
    kept = kept_recipe(recipe.run.out) if resume and recipe.run.out else {}
    if kept.get("model"):
        model = parse(ModelSettings, kept["model"], where=f"{recipe.run.out}/diptych/recipe.yaml")
        return Choice(recipe.model_copy(update={"model": model}), "")
    minutes = recipe.train.minutes or PRETRAINING_MINUTES
    text = _Text(recipe, documents)
    best = _climb(recipe, text, 60 * minutes)
    return Choice(_resolved(recipe, best, minutes), _reason(best, minutes))


class _Text:
    """What is known of the text: how much there is, and how many tokens a vocabulary makes of it."""

    def __init__(self, recipe: Recipe, documents: Iterable[Document]) -> None:
        settings = recipe.model.tokenizer
        self.panel = task_class(recipe.task.name).panel
        self.kind: Kind = settings.kind or usual_kind(self.panel)
        self.tokenizer = None if settings.folder is None else Tokenizer.load(settings.folder)
        named = settings.vocab_size if "vocab_size" in settings.model_fields_set else None
        self.vocab_size = recipe.model.sizes.get("vocab_size") or named
        self.num_bytes = self.num_characters = self.num_documents = 0
        self.sample: list[str] = []
        for document in documents:
            if self.num_characters < SAMPLE_CHARS:
                self.sample.append(document.text[: SAMPLE_CHARS - self.num_characters])
            self.num_documents += 1
            self.num_characters += len(document.text)
            self.num_bytes += len(document.text.encode("utf-8", "surrogatepass"))
        self._rates: dict[int, float] = {}

    def vocabulary(self, rung: Rung) -> int:
        """How many tokens the vocabulary of a candidate has."""
        if self.tokenizer is not None:
            return self.tokenizer.vocab_size
        if self.vocab_size is not None:
            return int(self.vocab_size)
        most = 1 << int(math.log2(max(1, self.num_bytes / BYTES_PER_ENTRY)))
        return max(SMALLEST_VOCABULARY, min(rung.vocab_size, most))

    def tokens(self, vocab_size: int) -> float:
        """How many tokens the text has in such a vocabulary."""
        if self.tokenizer is not None:
            taken = sum(len(self.tokenizer.encode(text)) for text in self.sample)
            self._rates[vocab_size] = taken / max(1, sum(map(len, self.sample)))
        if vocab_size not in self._rates:
            self._rates[vocab_size] = tokens_per_character(self.sample, vocab_size, kind=self.kind, panel=self.panel)
        return max(1.0, self._rates[vocab_size] * self.num_characters)


def _climb(recipe: Recipe, text: _Text, seconds: float) -> Candidate:
    """The smallest candidate that gets about as far as any, climbing until they get less far."""
    tried: list[Candidate] = []
    for rung in LADDER:
        candidate = _candidate(recipe, text, rung, seconds)
        if candidate is None:
            break
        tried.append(candidate)
        if len(tried) > PATIENCE and all(each.pick.bits > tried[-1 - PATIENCE].pick.bits for each in tried[-PATIENCE:]):
            break
    if not tried:
        raise RecipeError("E424")
    least = min(each.pick.bits for each in tried)
    return next(each for each in tried if each.pick.bits <= (1 + NEAR) * least)


def _candidate(recipe: Recipe, text: _Text, rung: Rung, seconds: float) -> Candidate | None:
    """A rung with the step that suits it; None where it is too large for the text, the memory or a rehearsal."""
    vocab_size, sizes = text.vocabulary(rung), _sizes(rung, recipe.model.sizes)
    config = preset_config(PRESETS[recipe.task.name], **{"vocab_size": vocab_size, **sizes})
    parameters = num_parameters(config)
    text_tokens = text.tokens(vocab_size)
    body = parameters - vocab_size * config.hidden_size
    is_too_large = WEIGHT_BYTES * parameters > MEMORY_SHARE * runtime.machine().memory_bytes or body > PARAMETERS_PER_TOKEN * text_tokens
    if is_too_large and rung is not LADDER[0]:
        return None
    length = config.context_length
    if not config.is_causal:
        length = min(length, max(8, round(text_tokens / max(1, text.num_documents))))
    asked = getattr(recipe.task, "mask_rate", 1.0)
    load = Workload(max(PRETRAINING_TOKENS, length), length, recipe.train.micro_batch_tokens, asked)
    train = recipe.train.model_copy(update={"optimizer": recipe.train.optimizer or "muon", "regime": []})
    precision = runtime.best_precision() if recipe.run.precision == "auto" else recipe.run.precision
    found = rehearsal.pace(config, load, train, precision=precision, device=runtime.device(recipe.run.device))
    if found is None:
        return None
    pace = {"token_seconds": found.pass_seconds / load.in_flight, "update_seconds": found.update_seconds}
    rows = recipe.train.batch_size
    steps = STEPS if rows is None else (rows * config.context_length,)
    pick = best_step(parameters, seconds=seconds, text_tokens=text_tokens, steps=steps, **pace)
    return Candidate(sizes, vocab_size, parameters, pick, text_tokens)


def _sizes(rung: Rung, named: dict[str, Any]) -> dict[str, Any]:
    """The fields of a preset that a rung changes, and over them those that the recipe names."""
    own = {"num_layers": rung.num_layers, "hidden_size": rung.hidden_size, "context_length": rung.context_length}
    return {**own, **named}


def _resolved(recipe: Recipe, best: Candidate, minutes: float) -> Recipe:
    """The recipe with the candidate's numbers in the place of `auto`."""
    named, preset = recipe.train, PRESETS[recipe.task.name]
    tokenizer = recipe.model.tokenizer
    if tokenizer.folder is None:
        tokenizer = tokenizer.model_copy(update={"vocab_size": best.vocab_size})
    model = recipe.model.model_copy(update={"preset": preset, "sizes": best.sizes, "tokenizer": tokenizer})
    context = best.sizes["context_length"]
    rows = named.batch_size or max(1, round(best.pick.step_tokens / context))
    filled: dict[str, Any] = {"minutes": minutes, "batch_size": rows}
    if named.evaluations is None:
        filled["evaluations"] = max(1, min(MOST_LOOKS, int(3 * LOOKING_SHARE * best.pick.tokens / recipe.run.eval_tokens)))
    found = recipe.model_copy(update={"model": model, "train": named.model_copy(update=filled)})
    if named.lr is not None:
        return found
    config = preset_config(preset, **{"vocab_size": best.vocab_size, **best.sizes})
    # The noise of a gradient falls with the root of the step's tokens, and so much larger a rate is borne.
    lr = usual_lr(found, config, named.optimizer or "muon") * (rows * context / PRETRAINING_TOKENS) ** 0.5
    return found.model_copy(update={"train": found.train.model_copy(update={"lr": float(f"{lr:.2g}")})})


def _reason(best: Candidate, minutes: float) -> str:
    """What was chosen and why, in two sentences."""
    passes = best.pick.tokens / best.text_tokens
    chosen = _("Chosen for {minutes:g} minutes: {layers} layers of {hidden}, a vocabulary of {vocabulary:,}, {parameters:,} parameters.")
    why = _("This machine shows it {tokens:,} tokens in that time, {passes:.2g} times the text; a smaller one would learn less from more, ")
    why += _("a larger one would not get far enough.")
    text = chosen.format(
        minutes=minutes,
        layers=best.sizes["num_layers"],
        hidden=best.sizes["hidden_size"],
        vocabulary=best.vocab_size,
        parameters=best.parameters,
    )
    return f"{text} {why.format(tokens=round(best.pick.tokens), passes=passes)}"

"""From a corpus to tokens on the disk, as a recipe asks: split, cleaned, once each, with general text among it where that is replayed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.errors import RecipeError, TrainingError
from diptych.evaluation.intervals import Scores
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.recipe import Recipe
from diptych.running import languages_of, sample_of
from diptych.scrubbing import scrubbing_of
from diptych.text.clean import Cleaning, clean
from diptych.text.corpus import Corpus, Document, View
from diptych.text.dedup import deduplicate
from diptych.text.mixing import mixed
from diptych.text.personal import scrub
from diptych.text.shards import TokenShards, cached_shards
from diptych.text.tokenizer import Tokenizer, usual_kind


@dataclass
class Tokens:
    """A corpus as tokens: what is trained on, and what is held out."""

    train: TokenShards
    held_out: TokenShards
    corpus: Corpus
    languages: list[str]
    sample: str = ""
    """A text to show the model with: a held-out one, where there is any."""
    general: TokenShards | None = None
    """What is held out of the text that is replayed."""
    before: dict[str, Scores] = field(default_factory=dict)
    """What the base scored on both."""


def open_corpus(recipe: Recipe, source: Any = None) -> Corpus:
    """The text of a recipe, or the one that was handed over."""
    if isinstance(source, Corpus):
        return source
    settings = recipe.task
    if source is None:
        if settings.text is None:
            raise RecipeError("E405", where=_("the recipe"), key="task.text")
        # What a recipe names are files, so that a misspelt one is missed and not taken for a text.
        source = [Path(name) for name in ([settings.text] if isinstance(settings.text, str) else settings.text)]
    return Corpus(source, text=settings.column, encoding=settings.encoding, group=settings.group, time=settings.time)


def make_tokenizer(recipe: Recipe, training: View, panel: str, ledger: Ledger) -> Tokenizer:
    """The tokenizer that the recipe names, or one that learns from the training text alone."""
    settings = recipe.model.tokenizer
    if settings.folder:
        return Tokenizer.load(settings.folder)
    kind = settings.kind or usual_kind(panel)
    texts = (document.text for document in tidy(training, recipe, Ledger()))
    size = int(recipe.model.sizes.get("vocab_size") or settings.vocab_size)
    return Tokenizer.train(sample_of(texts), kind, size, panel=panel, lowercase=settings.lowercase, ledger=ledger)  # type: ignore[arg-type]


def tidy(documents: View, recipe: Recipe, ledger: Ledger) -> Iterator[Document]:
    """Documents cleaned, without personal data and once each, as the recipe asks."""
    settings = recipe.task.clean.model_dump(exclude={"scrub"})
    dedup = settings.pop("dedup")
    cleaned: Iterable[Document] = clean(documents, Cleaning(**settings), ledger)
    if recipe.task.clean.scrub is not None:
        cleaned = scrub(cleaned, scrubbing_of(recipe.task.clean.scrub, group=recipe.task.group), ledger)
    return cleaned if dedup == "none" else deduplicate(cleaned, ledger, near=dedup == "near")


def make_tokens(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer, task: Any, ledger: Ledger) -> Tokens:
    """The corpus as tokens on the disk, written now or found there."""
    cache = Path(recipe.run.cache) if recipe.run.cache else runtime.cache_folder() / "tokens"
    parts = {}
    key = {"corpus": corpus.fingerprint(), "held_out": recipe.task.held_out, "clean": recipe.task.clean.model_dump()}
    if recipe.task.clean.scrub is not None:
        # What the named files hold decides as well, not their names alone.
        key["scrubbed"] = scrubbing_of(recipe.task.clean.scrub, group=recipe.task.group).fingerprint()
    key |= {"column": recipe.task.column, "group": recipe.task.group, "time": recipe.task.time}
    training, held = corpus.split(recipe.task.held_out)
    for name, view in (("train", training), ("held out", held)):
        own = Ledger()
        separator = task.separator(tokenizer)
        documents, part_key = tidy(view, recipe, own), {**key, "part": name}
        parts[name] = cached_shards(documents, tokenizer, cache, part_key, separator=separator, ledger=own, words=task.needs_words)
        if name == "train":
            ledger.merge(own)
    ledger.merge(corpus.ledger)
    total = parts["train"].num_documents + parts["held out"].num_documents
    ledger.add("split", "documents held out for evaluation", parts["held out"].num_documents, total=total)
    tokenizer.unknown_share((document.text[:2000] for document in sample_of_documents(corpus)), ledger)
    sample = next((document.text for view in (held, training) for document in tidy(view, recipe, Ledger())), "")
    languages = languages_of(document.text for document in sample_of_documents(corpus))
    return Tokens(parts["train"], parts["held out"], corpus, languages, sample)


def all_tokens(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer, task: Any, ledger: Ledger) -> Tokens:
    """The corpus as tokens, with a share of the general text that is to be replayed."""
    tokens = make_tokens(recipe, corpus, tokenizer, task, ledger)
    if recipe.task.replay is None:
        return tokens
    general = make_tokens(replayed(recipe), open_corpus(replayed(recipe)), tokenizer, task, Ledger())
    if not general.train.num_documents:
        raise TrainingError("E544", path=recipe.task.replay)
    own, documents = tokens.train.num_tokens, tokens.train.documents
    tokens.train = mixed(tokens.train, general.train, recipe.task.replay_share, recipe.train.seed)
    tokens.train.documents = documents
    tokens.general = general.held_out
    ledger.add("replay", mark("tokens of general text that are replayed"), tokens.train.num_tokens - own, total=tokens.train.num_tokens)
    return tokens


def replayed(recipe: Recipe) -> Recipe:
    """The recipe, reading the general text instead."""
    plain = {"text": recipe.task.replay, "column": None, "group": None, "time": None}
    return recipe.model_copy(update={"task": recipe.task.model_copy(update=plain)})


def sample_of_documents(corpus: Corpus, count: int = 50) -> Iterator[Document]:
    """The first documents of a corpus."""
    for number, document in enumerate(corpus):
        if number == count:
            return
        yield document

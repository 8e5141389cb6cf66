"""From a corpus to a pretrained model: the first half of a model's life, told once for every task on running text.

corpus -> split by document -> clean -> tokens on disk -> rows -> loop -> held-out evaluation -> model folder and report.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych import runtime
from diptych.choosing import choose
from diptych.config import AUTO
from diptych.errors import DataError, TrainingError
from diptych.evaluation.baselines.kneser_ney import NAME as NGRAM
from diptych.evaluation.baselines.kneser_ney import ngram_scores
from diptych.evaluation.evaluate import score_language, to_judge
from diptych.evaluation.intervals import Scores
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.presets import create
from diptych.recipe import Recipe, build
from diptych.report.card import CardData, write_card
from diptych.report.report import ReportData, TableRow, write_report
from diptych.running import (
    base_model,
    begin,
    command_of,
    cost_facts,
    federated_of,
    interrupted,
    is_private,
    next_steps,
    open_workspace,
    regime_of,
    resolve,
    sample_of,
    set_passes,
    training_plan,
    write_run,
)
from diptych.surgery.closed_form import MOST_COUNTED, begin_embeddings, begin_language_head
from diptych.surgery.vocabulary import extend_vocabulary
from diptych.tasks import task_class
from diptych.tasks.measure import by_tokens
from diptych.text.corpus import Corpus, View
from diptych.text.extension import extend
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer
from diptych.text.words import word_list
from diptych.tokenizing import Tokens, all_tokens, make_tokenizer, make_tokens, open_corpus, replayed, tidy
from diptych.training.federation import Client, federate
from diptych.training.federation.dividing import divide_shards
from diptych.training.loop import Outcome, train
from diptych.training.order import Order
from diptych.training.plan import Plan
from diptych.training.progress import Journal, Listener, Several, display, read_events
from diptych.training.ramps import Batches
from diptych.training.ranks import here
from diptych.training.workspace import Workspace, kept_tokenizer

COUNTED_CHARS = 2_000_000
"""From so much text it is known how many tokens a word takes."""
HEAD_PLACES = 16_384
"""From so many places a head that a body lacks is solved for; twice as many bring little and take twice as long."""


@dataclass
class Pretrained:
    """What a pretraining run leaves."""

    model: Model
    outcome: Outcome
    recipe: Recipe
    """What it was, every blank filled in."""
    scores: Scores = field(default_factory=Scores)
    ledger: Ledger = field(default_factory=Ledger)
    report: Path | None = None
    caveats: list[str] = field(default_factory=list)
    further: dict[str, Scores] = field(default_factory=dict)
    """What stands beside it: of a model that was trained further what it scored before, and on general text before and after; of one that
    writes what an n-gram model of the same text scores."""


def pretrain_recipe(
    recipe: Recipe, source: Any = None, *, resume: bool = False, overwrite: bool = False, listener: Listener | None = None
) -> Pretrained:
    """Carry out a recipe whose task learns from running text.

    Args:
        source: the text, where the recipe does not name it: paths, strings or a `Corpus`.
        resume: go on in `run.out`, or start where there is nothing yet.
        overwrite: replace what lies in `run.out`.
    """
    begun = begin(recipe, resume=resume, overwrite=overwrite)
    ranks = begun.ranks
    task = task_class(recipe.task.name)(recipe.task)
    corpus = open_corpus(recipe, source)
    base = base_model(recipe)
    show = listener or display()
    ledger = Ledger()
    show.tell({"kind": "stage", "text": _("reading the text")})
    training, _held = corpus.split(recipe.task.held_out)
    if recipe.model.preset == AUTO:
        recipe = ranks.first_makes(partial(_chosen, recipe, training, show, resume=resume), Recipe.to_dict, build)

    def first_tokenizer() -> Tokenizer:
        kept = kept_tokenizer(recipe.run.out) if begun.resume and recipe.run.out else None
        return kept or make_tokenizer(recipe, training, task.panel, ledger)

    before: dict[str, Scores] = {}
    if base is not None and (recipe.model.more_tokens or recipe.task.replay):
        before = _scores_of(base, recipe, corpus)
        base = _grown(base, recipe, training, ledger)
    tokenizer = base.tokenizer if base else ranks.first_makes(first_tokenizer, Tokenizer.to_json, Tokenizer.from_json)
    net = (
        base.net
        if base
        else create(str(recipe.model.preset), seed=recipe.train.seed, **{**recipe.model.sizes, "vocab_size": tokenizer.vocab_size})
    )
    task.check(net.config)
    # What a decoder begins with is the model's choice, not the tokenizer's.
    net.set_config(token_ids=(*tokenizer.token_ids, *(pair for pair in net.config.token_ids if pair[0] == "decoder_start")))
    recipe = ranks.first_makes(partial(resolve, recipe, net, resume=begun.resume), Recipe.to_dict, build)
    workspace = open_workspace(recipe, begun)
    if workspace and base is None and ranks.is_first:
        workspace.keep_tokenizer(tokenizer)
    journal = [Journal(workspace.journal)] if workspace and ranks.is_first else []
    try:
        tokens = ranks.in_turn(partial(all_tokens, recipe, corpus, tokenizer, task, ledger))
        tokens.before = before
        ranks.check_data(tokens.train.fingerprint)
        tell = Several([show, *journal] if ranks.is_first else [])
        return _train(recipe, task, tokens, Model(net, tokenizer), workspace, ledger, tell, resume=begun.resume)
    finally:
        for each in journal:
            each.close()
        if listener is None:
            show.close()


def _chosen(recipe: Recipe, training: View, show: Listener, *, resume: bool) -> Recipe:
    """The recipe with a size of its own, told why."""
    choice = choose(recipe, tidy(training, recipe, Ledger()), resume=resume)
    if choice.reason:
        show.tell({"kind": "stage", "text": choice.reason})
    return choice.recipe


def _grown(base: Model, recipe: Recipe, training: View, ledger: Ledger) -> Model:
    """The base with the words of the training text added to its vocabulary, where the recipe asks for it."""
    if not recipe.model.more_tokens:
        return base
    texts = sample_of(document.text for document in tidy(training, recipe, Ledger()))
    found = extend(base.tokenizer, texts, recipe.model.more_tokens, ledger)
    extend_vocabulary(base.net, found.pieces, base.tokenizer.vocab_size)
    return Model(base.net, found.tokenizer)


def _scores_of(base: Model, recipe: Recipe, corpus: Corpus) -> dict[str, Scores]:
    """What a model scores on the held-out part of the text, and of the general text, before it is trained further."""
    if "lm" not in base.net.heads:
        return {}
    task = task_class(recipe.task.name)(recipe.task)
    texts = {mark("before, on this text"): (recipe, corpus)}
    if recipe.task.replay is not None:
        texts[mark("before, on general text")] = (replayed(recipe), open_corpus(replayed(recipe)))
    found = {}
    for name, (each, text) in texts.items():
        shards = make_tokens(each, text, base.tokenizer, task, Ledger()).held_out
        if shards.num_documents:
            found[name] = _score(base, task, shards)
    return found


def _score(model: Model, task: Any, shards: TokenShards) -> Scores:
    examples = task.examples(shards, model.tokenizer, model.config.context_length, Ledger())
    return score_language(model.net, task, examples, shards)


def _train(
    recipe: Recipe, task: Any, tokens: Tokens, model: Model, workspace: Workspace | None, ledger: Ledger, tell: Several, *, resume: bool
) -> Pretrained:
    net, context = model.net, model.config.context_length
    examples = task.examples(tokens.train, model.tokenizer, context, ledger)
    held_out = to_judge(task.examples(tokens.held_out, model.tokenizer, context, Ledger())) if tokens.held_out.num_documents else None
    is_bare = recipe.model.base is not None and "lm" not in net.heads
    task.prepare(net, recipe.train.seed)
    set_passes(net, recipe)
    net.to(runtime.device(recipe.run.device))
    if recipe.model.start == "counts":
        begin_embeddings(net, tokens.train.tokens, tokens.train.borders)
    if is_bare and is_private(recipe.train):
        raise TrainingError("E568", what=_("the beginning of the language head, which the base lacks,"), setting="model.base")
    if is_bare or recipe.model.start == "counts":
        places = _begin_head(net, task, examples, tokens.train, recipe)
        ledger.add("model", "places from which the language head was solved for, before training", places)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    about = _("{family} with {parameters:,} parameters, {tokens:,} tokens of text, {held:,} held out")
    tell.tell(
        {
            "kind": "stage",
            "text": about.format(
                family=net.config.family, parameters=parameters, tokens=tokens.train.num_tokens, held=tokens.held_out.num_tokens
            ),
        }
    )
    plan = replace(training_plan(recipe, workspace), data=tokens.train.fingerprint)
    if recipe.train.words or recipe.run.snapshot_words:
        plan = _in_words(plan, recipe, tokens, model, workspace, ledger)
    learns, shown = task, examples
    if (federated := federated_of(recipe)) is not None:
        shares = divide_shards(tokens.train, federated, recipe.train.seed, ledger)
        held = {name: task.examples(own, model.tokenizer, context, Ledger()) for name, own in shares.items()}
        clients = [Client(name, own, number) for number, (name, own) in enumerate(held.items())]
        learns, shown, plan = federate(task, clients, plan, federated.rounds, federated.share, ledger)
    regime = regime_of(recipe, model.tokenizer)
    net, outcome = train(net, learns, shown, held_out, regime, plan, tell, resume=resume)
    model = Model(net, model.tokenizer)
    if outcome.stopped == "interrupted":
        tell.tell({"kind": "stage", "text": interrupted(recipe, "pretrain")})
        return Pretrained(model, outcome, recipe, ledger=ledger)
    if not here().is_first:
        return Pretrained(model, outcome, recipe, ledger=ledger)
    scores = score_language(net, task, held_out, tokens.held_out) if held_out is not None else Scores()
    further = dict(tokens.before)
    if tokens.general is not None and tokens.general.num_documents:
        further[mark("after, on general text")] = _score(model, task, tokens.general)
    if task.whole_text is not None and scores:
        further[NGRAM] = ngram_scores(tokens.train, tokens.held_out, model.tokenizer.vocab_size, ledger)
    caveats = _caveats(tokens)
    for caveat in caveats:
        tell.tell({"kind": "stage", "text": caveat})
    learnt = regime.facts()
    report = _keep(recipe, tokens, model, outcome, scores, further, caveats, ledger, workspace, learnt) if workspace else None
    if report is not None and workspace is not None:
        tell.tell({"kind": "done", "text": f"{_('report')}: {report}\n{next_steps(_next(model, workspace.out))}"})
    return Pretrained(model, outcome, recipe, scores, ledger, report, caveats, further)


def _in_words(plan: Plan, recipe: Recipe, tokens: Tokens, model: Model, workspace: Workspace | None, ledger: Ledger) -> Plan:
    """The plan with what the recipe says in words said in tokens, by how many tokens a word of this text takes."""
    training, _held = tokens.corpus.split(recipe.task.held_out)
    texts = list(sample_of((document.text for document in tidy(training, recipe, Ledger())), COUNTED_CHARS))
    num_words = sum(len(word_list(text)) for text in texts)
    if not num_words:
        raise DataError("E210")
    # A separator before each document is a token like any other.
    per_word = (sum(map(len, model.tokenizer.encode_batch(texts))) + len(texts)) / num_words
    ledger.add("budget", mark("tokens that 1,000 words of this text take"), round(1000 * per_word))
    marks = {round(words * per_word): words for words in recipe.run.snapshot_words}

    def keep(net: Any, num_tokens: int) -> None:
        if workspace is not None:
            Model(net, model.tokenizer).save(workspace.inner / "snapshots" / f"{marks[num_tokens]}-words")

    settings = plan.train
    if settings.words is not None:
        settings = settings.model_copy(update={"words": None, "tokens": max(1, round(settings.words * per_word))})
    return replace(plan, train=settings, snapshots=tuple(sorted(marks)), keep_snapshot=keep)


def _begin_head(net: Any, task: Any, examples: Any, shards: TokenShards, recipe: Recipe) -> int:
    """Give a new language head a start in closed form, from what the body says of the text; from how many places."""
    found: list[tuple[Tensor, Tensor]] = []
    order = Order(len(examples), Batches(8), recipe.train.seed, limit=len(examples))
    step = 0
    while sum(len(gold_M) for _hidden, gold_M in found) < HEAD_PLACES and (places := order.places(step)):
        for group in by_tokens(examples, places, recipe.train.micro_batch_tokens):
            batch = task.collate(examples, group).to(next(net.parameters()).device)
            with torch.inference_mode(), runtime.precision(recipe.run.precision, batch.texts.ids_N.device.type):
                hidden_ND = net.hidden(batch.texts)
            asked = [targets for name, targets in batch.targets.items() if task.head_of.get(name, name) == "lm"]
            found += [(hidden_ND[targets.at_M], targets.gold_M) for targets in asked]
        step += 1
    counts = np.bincount(shards.tokens[:MOST_COUNTED], minlength=net.config.vocab_size)
    return begin_language_head(net.heads["lm"], net.body.embedding.tokens.weight, found, torch.from_numpy(counts))


def _keep(
    recipe: Recipe,
    tokens: Tokens,
    model: Model,
    outcome: Outcome,
    scores: Scores,
    further: dict[str, Scores],
    caveats: list[str],
    ledger: Ledger,
    workspace: Workspace,
    learnt: dict[str, Any],
) -> Path:
    """Write the model folder with its card and report.

    Args:
        learnt: what the regime keeps of how it was learnt.
    """
    facts = {
        "seed": recipe.train.seed,
        "corpus": tokens.corpus.fingerprint(),
        "tokenizer": model.tokenizer.fingerprint(),
        "parent": recipe.model.base,
        "scores": scores.to_json(),
        "further": {name: each.to_json() for name, each in further.items()},
        **learnt,
    }
    write_run(workspace, model, ledger, facts, recipe, tokens.train.documents)
    # What it goes on from is a piece of the text, which is to stay private then.
    samples, guesses = ([], []) if "privacy" in learnt else show_off(model, tokens)
    cost = cost_facts(outcome, model.net, recipe, learnt)
    data = ReportData(
        title=workspace.out.name,
        verdict=_verdict(scores),
        caveats=caveats,
        systems=[TableRow(_(name), each) for name, each in {mark("this model"): scores, **further}.items() if each],
        events=read_events(workspace.journal),
        samples=samples,
        guesses=guesses,
        ledger=ledger,
        lineage=_lineage(recipe, tokens, model, outcome),
        facts=cost,
        command=command_of(recipe, "pretrain", recipe.task.text),
        recipe=(workspace.inner / "recipe.yaml").read_text(encoding="utf-8"),
    )
    card = CardData(
        name=workspace.out.name,
        what=_("A language model that was pretrained on its owner's text with Diptych."),
        languages=tokens.languages,
        task=_pipeline(model),
        data=[_("{documents:,} documents, {tokens:,} tokens").format(documents=tokens.train.num_documents, tokens=tokens.train.num_tokens)],
        scores={_(name): each for name, each in {"this model": scores, **further}.items()},
        cost=cost,
        limits=[*caveats, _("It repeats what is in its text, the false and the unfair included.")],
        ledger=ledger,
        parent=recipe.model.base,
        use=_next(model, workspace.out)[0],
        privacy=learnt.get("privacy"),
    )
    write_card(workspace.out / "README.md", card)
    return write_report(workspace.inner / "report.html", data)


def show_off(model: Model, tokens: Tokens) -> tuple[list[tuple[str, str]], list[tuple[str, list[tuple[str, float]]]]]:
    """A few things that the model writes or expects, on text that it has not seen where there is any."""
    text = tokens.sample
    start = " ".join(text.split()[:4])[:24] if tokens.languages == ["en"] else text.strip()[:6]
    if not start:
        return [], []
    if model.config.is_encoder_decoder:
        return [], []  # what it has learnt so far is to restore damaged texts; a task comes after
    written, guesses = [], []
    if model.config.writes:
        written = [(start, model.generate(start, 60, temperature=heat)) for heat in (0.0, 0.8)]
        guesses.append((start + " …", [(candidate.token, candidate.probability) for candidate in model.next(start)]))
    if model.config.fills and (blank := _blank(model, text)):
        guesses.append((blank, [(candidate.token, candidate.probability) for candidate in model.fill(blank)[0]]))
    return written, guesses


def _blank(model: Model, text: str) -> str:
    """The beginning of a text with a blank in its middle, or nothing where it is too short for one."""
    ids = model.tokenizer.encode(text)[: max(0, min(40, model.config.context_length - 10))]
    if len(ids) < 6 or model.tokenizer.mask_id is None:
        return ""
    place = len(ids) // 2
    mask = model.tokenizer.token(model.tokenizer.mask_id)
    return f"{model.tokenizer.decode(ids[:place])} {mask} {model.tokenizer.decode(ids[place + 1 :])}"


def _verdict(scores: Scores) -> str:
    if not scores:
        return _("The text is too small to hold any of it out, so nothing can be said about text that it has not seen.")
    score = scores.get("bits per byte") or next(iter(scores.values()))
    if not score.has_interval:
        text = _("On held-out text: {name} {value:.3f}, from one document: too few for an interval.")
        return text.format(name=_(score.name), value=score.value)
    text = _("On held-out text: {name} {value:.3f} [{low:.3f}, {high:.3f}], from {n} documents.")
    return text.format(name=_(score.name), value=score.value, low=score.low, high=score.high, n=score.n)


def _caveats(tokens: Tokens) -> list[str]:
    """What cannot be said of a model of this text."""
    caveats = []
    if tokens.train.num_tokens < 100_000:
        text = _("{tokens:,} tokens are a very small corpus: the model repeats it rather than knows the language.")
        caveats.append(text.format(tokens=tokens.train.num_tokens))
    if not tokens.held_out.num_documents:
        caveats.append(_("Nothing was held out; whether it learnt or memorized cannot be told."))
    return caveats


def _lineage(recipe: Recipe, tokens: Tokens, model: Model, outcome: Outcome) -> list[tuple[str, str]]:
    origin = recipe.model.base or recipe.model.preset or ""
    return [
        (_("text"), _("{n:,} documents").format(n=tokens.train.num_documents)),
        (_("tokenizer"), _("{n:,} tokens").format(n=model.tokenizer.vocab_size)),
        (_("model"), str(origin)),
        (_("task"), recipe.task.name),
        (_("result"), _("{n:,} steps").format(n=outcome.steps)),
    ]


def _pipeline(model: Model) -> str:
    """What the Hugging Face hub calls this kind of model."""
    if model.config.is_encoder_decoder:
        return "text2text-generation"
    return "text-generation" if model.config.writes else "fill-mask"


def _next(model: Model, out: Path) -> list[str]:
    if model.config.is_encoder_decoder:
        return [f"diptych evaluate {out} text.txt"]
    writes = [f'diptych generate {out} "…"', f'diptych next {out} "…"', f"diptych evaluate {out} text.txt"] if model.config.writes else []
    if not model.config.fills:
        return writes
    mask = model.tokenizer.token(model.tokenizer.mask_id) if model.tokenizer.mask_id is not None else "[MASK]"
    return [*writes, f'diptych fill {out} "… {mask} …"', f"diptych finetune table.csv --base {out} --out my-classifier"]

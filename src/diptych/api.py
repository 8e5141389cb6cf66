"""One public function per verb; the command line is a client of these.

import diptych as dt
gpt = dt.pretrain("gpt-mini", "novels/", minutes=10)
clf = dt.finetune("my-bert", "tickets.csv")
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from diptych import presets, runtime
from diptych.compress.export import FORMATS, export_gguf
from diptych.compressing import Compressed, quantize_model
from diptych.config import AUTO, named, nearest, read_yaml
from diptych.distilling import TOLD, distilled_parts, is_service, prompts_of, write_texts
from diptych.errors import RecipeError, TrainingError, UsageError
from diptych.evaluation.evaluate import score_language
from diptych.evaluation.intervals import Scores, ratio_score
from diptych.evaluation.judges import judge_of
from diptych.evaluation.paired import Paired, paired
from diptych.evaluation.probes import PROBES, probe_called
from diptych.finetuning import Finetuned, finetune_recipe
from diptych.installed import PACKAGES
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.models.config import ModelConfig
from diptych.pretraining import Pretrained, pretrain_recipe
from diptych.recipe import SWITCHES, Recipe, build, from_keywords
from diptych.remote import Service
from diptych.running import load_model, pass_on_interrupt
from diptych.tasks import PRETRAINING, task_class, task_of_net
from diptych.tasks.conversations import looks_like_talk
from diptych.tasks.measure import measure
from diptych.tasks.parallel import is_pattern
from diptych.tasks.preference_texts import looks_like_preferences
from diptych.tasks.questions import has_questions
from diptych.tasks.role_texts import has_head_roles
from diptych.text.corpus import Corpus
from diptych.text.tables import is_columnar, read_table
from diptych.tokenizing import make_tokens
from diptych.training.progress import Listener, Several, display


def load(name: str | Path, *, adapter: str | Path | None = None) -> Model:
    """A model from a folder (ours or Hugging Face's), a GGUF file, or by the name of an installed one, such as "minilm".

    Args:
        adapter: a folder with a LoRA adapter as peft keeps it, which is added to the model's weights.
    """
    runtime.prepare()
    return load_model(name, adapter)


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

    How it went, and what cannot be said of the result, is in `pretrained`, an attribute of the model.

    Args:
        base: a preset ("gpt-mini"; "auto" for the size that suits text, minutes and machine) or a model folder.
        text: files, folders, patterns, strings or a `Corpus`.
        task: "causal-lm", "masked-lm", "hybrid-lm", "prefix-lm" or "denoising"; guessed from the base.
        settings: budget (`minutes`, `steps`, `epochs`, `tokens`), `out`, `lr` and so on; a dictionary for a part of the
            recipe (`train={...}`) works as well. `resume` and `overwrite` say what becomes of what lies in `out`.

    Raises:
        KeyboardInterrupt: Ctrl-C, after what was learnt so far is saved in `out`; `resume=True` goes on from there.
    """
    named, source = _named_files(text)
    recipe = from_keywords(base, task or panel_task(base), settings, text=named)
    done = pretrain_recipe(recipe, source, listener=_listener(verbose=verbose), **_switches(settings))
    pass_on_interrupt(done.outcome, recipe, "pretrain")
    done.model.pretrained = done  # type: ignore[attr-defined]
    return done.model


def finetune(base: str | Path, data: Any, *, task: str | None = None, verbose: bool = False, **settings: Any) -> Model:
    """Train a model for a task: on a table of labelled texts, or on plain sentences to go on writing like them.

    Two rows are enough to run; what they cannot tell is said by `finetuned`, the attribute with outcome and scores (for plain
    sentences `pretrained`, since that is what it is).
    """
    name = task or guess_task(data) or panel_task(base)
    if name in PRETRAINING:
        return pretrain(base, data, task=name, verbose=verbose, **settings)
    named, source = _named_files(data)
    recipe = from_keywords(base, name, settings, data=named)
    done = finetune_recipe(recipe, source, listener=_listener(verbose=verbose), **_switches(settings))
    pass_on_interrupt(done.outcome, recipe, "finetune")
    done.model.finetuned = done  # type: ignore[attr-defined]
    return done.model


def distill(
    teacher: str | Path,
    data: Any,
    *,
    student: str | Path | None = None,
    layers: int | None = None,
    task: str | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Model:
    """A smaller model that answers like `teacher`, learnt from text or from a table.

    Args:
        teacher: a model folder, an installed model, or the address of an OpenAI-compatible service (`model` names its model, `key`
            the environment variable with its key).
        data: what the teacher is asked about: a table for a classifier, text for a language model. A service that is to teach
            writing takes prompts, one a line, and what it writes is kept in `written`, a file of JSON lines.
        student: a preset or a model folder; None starts from `layers` of the teacher's layers, half of them as a rule.
        settings: `temperature`, `hard`, `soft`, `hidden`, `relations` … of the regime, and all that `finetune` and `pretrain` take.
    """
    told = {name: settings.pop(name) for name in TOLD if name in settings and not isinstance(settings[name], Mapping)}
    if is_service(teacher) and task in PRETRAINING:
        written = settings.pop("written", "written.jsonl")
        service = Service(str(teacher), str(told.get("model") or ""), told.get("key"))
        write_texts(service, prompts_of(data), written, seed=settings.get("seed", 0))
        if student is None:
            raise TrainingError("E542", teacher=teacher)
        return pretrain(student, Path(written), task=task, verbose=verbose, column="text", **settings)
    parts = distilled_parts(teacher, student=None if student is None else str(student), layers=layers, task=task, **told)
    further = named(settings.pop("regime", []))
    parts["train"]["regime"] = [*parts["train"]["regime"], *further]
    start = parts["model"].pop("preset", None) or parts["model"].pop("base")
    merged = {**settings, "model": parts["model"], "train": {**parts["train"], **settings.get("train", {})}}
    name = parts["task"]["name"]
    learn = pretrain if name in PRETRAINING else finetune
    return learn(start, data, task=name, verbose=verbose, **merged)


def evaluate(model: Model | str | Path, task: str | None, data: Any, **settings: Any) -> Scores:
    """The scores of a model on data that it was not trained on, each with its 95 % interval.

    Args:
        task: a task on text or on examples; a question to a language model as it is, "minimal-pairs", "last-words",
            "surprisal" or "in-context"; None for what the model's head does.
        data: text for a language model, examples with their answers for any other.
        settings: fields of the task, for example `text="review", label="stars"`.

    Returns:
        The scores by name; their `ledger` says what was cut, dropped or could not be right.

    Raises:
        UsageError E602, E606, E609: the model has no head for this task. E702: there is no text in `data`.
    """
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    name = task or task_of(found)
    ledger = Ledger()
    score = _score_text if name in PRETRAINING else _score_probe if name in PROBES else _score_examples
    scores = score(found, name, data, ledger, settings)
    scores.ledger = ledger
    return scores


def compare(first: Model | str | Path, second: Model | str | Path, data: Any, **settings: Any) -> Paired:
    """Two models on the same examples: their scores, and the paired difference with its 95 % interval.

    Raises:
        UsageError E609: a model has no head that answers. E614: they do different things.
    """
    runtime.prepare()
    found = [each if isinstance(each, Model) else load_model(each) for each in (first, second)]
    names = (_name_of(first, "A"), _name_of(second, "B"))
    names = names if names[0] != names[1] else (f"{names[0]} (A)", f"{names[1]} (B)")
    tasks = [task_of_net(each.net) for each in found]
    if None in tasks:
        raise UsageError("E609")
    kinds = [(each.name, getattr(each, "kind", "single")) for each in tasks]
    if kinds[0] != kinds[1]:
        raise UsageError("E614", first=" ".join(kinds[0]), second=" ".join(kinds[1]))
    ledger = Ledger()
    judged = [answered(each, kinds[0][0], data, ledger if number == 0 else Ledger(), settings) for number, each in enumerate(found)]
    judge = judge_of(kinds[0][0])
    scores = [judge.scores(task, rows, answers) for task, rows, answers, _examples in judged]
    counts = [judge.counts(task, rows, answers)[0] for task, rows, answers, _examples in judged]
    alike = sum(judge.short(a) == judge.short(b) for a, b in zip(judged[0][2], judged[1][2], strict=True))
    result = paired(names, (scores[0], scores[1]), (counts[0], counts[1]), alike)
    result.scores[0].ledger = ledger
    return result


def export(model: Model | str | Path, out: str | Path, *, to: str = "gguf", type: str = "f32", ledger: Ledger | None = None) -> Path:
    """Write a model with its tokenizer as one file for another program.

    Args:
        to: "gguf", for llama.cpp and what builds on it.
        type: how the weights are kept: "f32" as they are, "f16" in half the space, "q8_0" in a little over a quarter.
        ledger: counts the heads that the file has no place for.

    Raises:
        ModelError E326, E327: llama.cpp has no such tokenizer or model. UsageError E604: there is no tokenizer.
    """
    if to not in FORMATS:
        raise RecipeError("E403", where="export", key="to", value=to, problem=", ".join(FORMATS))
    found = model if isinstance(model, Model) else load(model)
    return export_gguf(found.net, found.tokenizer, out, type, ledger if ledger is not None else Ledger())


def quantize(
    model: Model | str | Path, out: str | Path, data: Any = None, *, task: str | None = None, ledger: Ledger | None = None, **settings: Any
) -> Compressed:
    """The model with its large matrices in eight bits, written to `out` if it is faster so on this machine.

    Args:
        data: what both are scored on, as `evaluate` takes it; None to compare size and speed alone.
        ledger: takes up what was cut of the data.
        settings: fields of the task, for example `text="review", label="stars"`.

    Raises:
        UsageError E653: it is in eight bits already. E654: it is not faster so, and nothing was written.
    """
    found = model if isinstance(model, Model) else load(model)

    def judge(each: Model) -> Scores:
        each.folder = each.folder or found.folder
        scores = evaluate(each, task, data, **settings)
        if each is found and ledger is not None:
            for stage, what, entry in scores.ledger:
                ledger.add(stage, what, entry.count)
        return scores

    return quantize_model(found, out, None if data is None else judge)


def run(recipe: Recipe | Mapping[str, Any], source: Any = None, **options: Any) -> Pretrained | Finetuned:
    """Carry out a recipe, whichever kind of task it names."""
    checked = recipe if isinstance(recipe, Recipe) else build(recipe)
    carry_out = pretrain_recipe if checked.task.name in PRETRAINING else finetune_recipe
    return carry_out(checked, source, **options)


def guess_task(data: Any) -> str | None:
    """The downstream task that examples look like: questions and tags by their columns, labels of a table; None for running text."""
    if not _is_table(data):
        return None
    if isinstance(data, str | Path) and Path(data).suffix.lower() in TAGGED_FILES:
        return "roles" if Path(data).is_file() and has_head_roles(data) else "tagging"
    if is_pattern(data):
        return "seq2seq"
    if isinstance(data, str | Path) and ".props" in Path(data).suffixes:
        return "roles"
    first = _first_row(data)
    if isinstance(first, Mapping) and "text" in first and "frames" in first:
        return "roles"
    if isinstance(first, Mapping) and has_questions(first):
        return "answering"
    if isinstance(first, Mapping) and "text" in first and {"spans", "entities"} & set(first):
        return "tagging"
    if looks_like_preferences(first):
        return "preference"
    if looks_like_talk(first):
        return "chat"
    # A csv with such columns may as well be one of labels.
    is_csv = isinstance(data, str | Path) and ".jsonl" not in Path(data).suffixes
    if not is_csv and isinstance(first, Mapping) and any(pair <= set(first) for pair in WRITTEN_COLUMNS):
        return "seq2seq"
    if not (isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], list | tuple)):
        return "classification"
    # Names beside a text are its labels; beside a list of tokens they are tags.
    is_labelled = isinstance(first[0], str) and any(isinstance(label, str) for label in first[1])
    return "classification" if is_labelled else "tagging"


def panel_task(base: str | Path) -> str:
    """The pretraining task that suits a base: next words for a decoder, masked words for an encoder, both for a hybrid, damaged
    texts for the two together."""
    if base == AUTO:
        return "causal-lm"
    if str(base) in presets.list_presets():
        return _task_for(presets.preset_config(str(base)))
    return _task_for(load_model(base).config)


def task_of(model: Model) -> str:
    """The task that a model's head was trained for."""
    found = task_of_net(model.net)
    return _task_for(model.config) if found is None else found.name


def answered(model: Model, name: str, data: Any, ledger: Ledger, settings: dict[str, Any]) -> tuple[Any, list[Any], list[Any], Any]:
    """(the task called `name`, the rows of `data`, what the model says of them, the rows as examples)

    Raises:
        UsageError E609: the model has no head for this task.
    """
    task, kind = task_of_net(model.net), task_class(name)
    is_asked_by_text = kind.heads == ("lm",) and "lm" in model.net.heads
    if task is None or task.name != name:
        if not is_asked_by_text:
            raise UsageError("E609")
        task = kind(kind.Settings())
    asked = {key: list(value) if isinstance(value, tuple) else value for key, value in model.config.task} if is_asked_by_text else {}
    asked = task.settings.model_dump(exclude_unset=True) if not is_asked_by_text else asked if asked.get("name") == name else {}
    task.settings = kind.Settings(**{**asked, **settings})
    tokenizer = task.meet(model.net, model.tokenizer)
    rows, _found = task.read(data, ledger)
    model.net.eval()
    answers = list(task.predict(model.net, tokenizer, task.inputs(rows)))
    # What was cut is counted here, where its row is known, and once.
    return task, rows, answers, task.examples(rows, tokenizer, model.config.context_length, ledger)


def is_on_examples(task: str) -> bool:
    """Whether a task is asked of examples with their answers, one by one: no language modelling and no probe."""
    return task not in PRETRAINING and task not in PROBES


def _task_for(config: ModelConfig) -> str:
    if config.is_encoder_decoder:
        return "denoising"
    if config.is_hybrid:
        return "hybrid-lm"
    return "causal-lm" if config.is_causal else "masked-lm"


def _score_examples(model: Model, name: str, data: Any, ledger: Ledger, settings: dict[str, Any]) -> Scores:
    task, rows, answers, examples = answered(model, name, data, ledger, settings)
    scores = judge_of(name).scores(task, rows, answers)
    if task.heads == ("lm",) and task.watched == "lm":
        measured = measure(model.net, task, examples)
        score = ratio_score(task.titles["lm"], measured.totals["lm"], measured.counts["lm"])
        scores[score.name] = score
    return scores


def _name_of(model: Model | str | Path, usual: str) -> str:
    folder = model.folder if isinstance(model, Model) else model
    return str(folder) if folder is not None else usual


def _score_probe(model: Model, name: str, data: Any, ledger: Ledger, settings: dict[str, Any]) -> Scores:
    probe = probe_called(name)
    known = [*signature(probe).parameters][4:]
    for key in settings:
        if key not in known:
            raise RecipeError("E402", where=name, key=key, hint=nearest(key, known))
    return probe(model.net, model.tokenizer, data, ledger, **settings)


def _score_text(model: Model, name: str, data: Any, ledger: Ledger, settings: dict[str, Any]) -> Scores:
    kind = task_class(name)
    if "lm" not in model.net.heads or not kind(kind.Settings()).fits(model.config):
        raise UsageError("E606" if name == "masked-lm" else "E602", family=model.config.family)
    # A text that occurs twice counts twice, and a head that the model lacks is not asked.
    usual: dict[str, Any] = {"held_out": 0.0, "clean": {"dedup": "none"}}
    usual |= _trained_as(model, kind)
    if name == "masked-lm" and "nsp" not in model.net.heads:
        usual["nsp"] = False
    recipe = build({"model": {"base": "–"}, "task": {"name": name, **usual, **settings}})
    corpus = data if isinstance(data, Corpus) else Corpus(data, text=recipe.task.column, encoding=recipe.task.encoding)
    task = kind(recipe.task)
    tokens = make_tokens(recipe, corpus, model.tokenizer, task, ledger).train
    if not tokens.num_documents:
        raise UsageError("E702")
    examples = task.examples(tokens, model.tokenizer, model.config.context_length, ledger)
    task.prepare(model.net, 0)
    return score_language(model.net, task, examples, tokens)


def _trained_as(model: Model, kind: Any) -> dict[str, Any]:
    """What the recipe in the model's folder says of the question that it was trained to answer."""
    path = model.folder / "diptych" / "recipe.yaml" if model.folder else None
    if not kind.judged_as or path is None or not path.exists():
        return {}
    settings = read_yaml(path).get("task")
    if not isinstance(settings, Mapping) or settings.get("name") != kind.name:
        return {}
    return {name: settings[name] for name in kind.judged_as if name in settings}


def _switches(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: bool(settings.get(name)) for name in SWITCHES}


def _named_files(data: Any) -> tuple[str | list[str] | None, Any]:
    """(the names that a recipe can keep, or what has to be handed over beside it)."""
    if isinstance(data, str | Path):
        return str(data), None
    if isinstance(data, list | tuple) and data and all(isinstance(item, Path) for item in data):
        return [str(item) for item in data], None
    return None, data


TAGGED_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".bmes")
"""Endings of files that hold a token and its tag on each line."""


WRITTEN_COLUMNS = ({"source", "target"}, {"src", "tgt"}, {"en", "zh"}, {"en", "de"}, {"原文", "译文"}, {"translation"}, {"summary"})
"""Columns by which a table of texts that are to be written is known."""


def _is_table(data: Any) -> bool:
    """Whether `data` has labels beside its texts: anything but a corpus, plain strings and text files."""
    if isinstance(data, Corpus):
        return False
    if isinstance(data, str | Path):
        return Path(data).suffix.lower() not in (".txt", ".md") and not Path(data).is_dir()
    return not (isinstance(data, Sequence) and all(isinstance(item, str) for item in data))


def _first_row(data: Any) -> Any:
    """The first row of a table: its fields, or what a list holds; None where there is none to be seen."""
    if isinstance(data, list | tuple):
        first = data[0] if data else None
        return _first_row(first) if isinstance(first, Path) else first
    is_file = isinstance(data, str | Path) and Path(data).is_file()
    if not is_file and not is_columnar(data):
        return None
    return next((row.fields for row in read_table(data, Ledger())), None)


def _listener(*, verbose: bool) -> Listener:
    return display() if verbose else Several([])

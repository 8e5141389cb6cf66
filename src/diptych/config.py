"""Settings that are checked before anything starts: strict types, unknown keys refused with the nearest known name.

A recipe has four parts. `model`, `task` and `train` decide the result; `run` (threads, devices, logging) does not, and two
runs that differ only in `run` give the same model. This file holds the settings that every task shares, and the way from
YAML and `--set` to a checked object; what a task adds lies beside the task, and `recipe.py` puts the parts together.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from diptych.errors import RecipeError
from diptych.messages import _, mark

T = TypeVar("T", bound="Settings")
Share = Annotated[float, Field(ge=0, lt=1)]
Named = Annotated[list[Any], WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "object"}, {"type": "string"}]})]
"""A list of names, each bare or with settings beside it: [frozen, {name: lora, rank: 8}]; `named` reads its short forms."""


class Settings(BaseModel):
    """One part of a recipe: frozen, strict, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


AUTO = "auto"
"""The preset that stands for a size to be chosen; see `diptych.choosing`."""


class TokenizerSettings(Settings):
    """The tokenizer that is trained when a model starts anew."""

    kind: Literal["bpe", "wordpiece", "unigram", "characters"] | None = None
    """None takes byte-level BPE for a model that writes and WordPiece for one that understands."""
    vocab_size: int = Field(default=8192, ge=64, le=1_000_000)
    lowercase: bool = False
    folder: str | None = None
    """Take the tokenizer of this folder instead of training one."""


class ModelSettings(Settings):
    """What computes: fresh weights from a preset, or a folder to start from."""

    preset: str | None = None
    """A size by its name, or auto: the size, vocabulary, step and learning rate that suit text, minutes and machine."""
    base: str | None = None
    """A model folder (ours or any Hugging Face folder of a known family) or the name of an installed model."""
    layers: int | None = Field(default=None, ge=1)
    """Of a base, keep so many layers, evenly spread, the last among them: where a student begins that is to be distilled."""
    more_tokens: int | None = Field(default=None, ge=1)
    """Of a base that is trained on running text: learn so many tokens more from that text, each begun as the mean of its pieces."""
    sizes: dict[str, int | float | str | bool | None] = {}
    """Fields of the preset to change, for example {hidden_size: 256, context_length: 128}."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    start: Literal["chance", "counts"] = "chance"
    """Where a preset's weights begin: counts gives tokens that keep company in the text embeddings that are alike, and draws the
    language head through them, in closed form and in seconds. It is worth most where text and time are short."""

    @model_validator(mode="after")
    def _one_start(self) -> "ModelSettings":
        if (self.preset is None) == (self.base is None):
            raise ValueError(_("name either a preset (fresh weights) or a base (a folder to start from)"))
        if self.base is not None and self.start == "counts":
            raise ValueError(_("start: counts is for the fresh weights of a preset; a base has learnt its embeddings"))
        if self.layers is not None and self.base is None:
            raise ValueError(_("layers are kept of a base; a preset's number is sizes.num_layers"))
        if self.more_tokens is not None and self.base is None:
            raise ValueError(_("more tokens are for a base; a preset's vocabulary is tokenizer.vocab_size"))
        return self


class ScrubSettings(Settings):
    """What becomes of personal data in a text; see `diptych.text.personal`."""

    mode: Literal["mask", "pseudonym", "remove"] = "mask"
    """mask writes the kind in its place, pseudonym something of the same kind that is nobody's, remove nothing."""
    kinds: list[str] | None = None
    """Which kinds; None is all but days and places, and [all] is all."""
    rules: str | None = None
    """A YAML file with rules of one's own."""
    secret: str | None = None
    """The file with the secret that pseudonyms follow from; it is needed for them, and its content is written nowhere."""
    tagger: str | None = None
    """The folder of a model that tags people and places, asked beside the rules."""


class CleaningSettings(Settings):
    """What is tidied in a text before it is cut into tokens; see `diptych.text.clean`."""

    normalize: Literal["NFC", "NFKC"] | None = "NFC"
    control: bool = True
    zero_width: bool = True
    white_space: bool = True
    repeated_lines: int = Field(default=3, ge=0)
    min_chars: int = Field(default=1, ge=1)
    dedup: Literal["none", "exact", "near"] = "exact"
    scrub: ScrubSettings | None = None
    """Take personal data out; None leaves the text as it is."""


BUDGETS = ("steps", "epochs", "tokens", "minutes", "hours", "words")
"""How long to train; a recipe names one."""


class LengthStage(Settings):
    """A stage in which texts are shown in pieces."""

    length: int = Field(ge=2)
    """Tokens of the longest piece."""
    until: float = Field(gt=0, lt=1)
    """The share of the budget at which the stage ends."""


class BatchRamp(Settings):
    """A batch that grows in a straight line."""

    start: float = Field(default=0.25, gt=0, lt=1)
    """The share of `batch_size` that the first step shows."""
    until: float = Field(default=1.0, gt=0, le=1)
    """The share of the steps after which it is whole."""


class TrainSettings(Settings):
    """How it is learnt. One budget: steps, epochs, tokens, minutes (or hours) or words."""

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    hours: float | None = Field(default=None, gt=0)
    """Kept as minutes."""
    words: int | None = Field(default=None, ge=1)
    """Pretraining alone: so many words of the text, counted as `diptych corpus stats` does (BabyLM's budgets)."""
    seed: int = 0
    batch_size: int | None = Field(default=None, ge=1)
    """Examples per step (rows for a language model); None is filled in from the task."""
    micro_batch_tokens: int = Field(default=8192, ge=1)
    """Tokens that go through the model at once; a step is cut into as many pieces as this needs. Without dropout it changes
    the gradient in its last bits only; dropout is drawn per piece."""
    batch_ramp: BatchRamp | None = None
    """Begin with smaller batches: early gradients agree so well that few examples tell what many would. Not for minutes."""
    length_ramp: list[LengthStage] | None = None
    """causal-lm only: show texts in short pieces at first, `[{length: 128, until: 0.7}, {length: 256, until: 0.9}]`, which is
    cheaper; after the last stage they are as long as the context."""
    optimizer: Literal["adamw", "muon", "lamb"] | None = None
    """muon makes the updates of the body's matrices orthogonal and leaves the rest to AdamW; lamb makes each weight's update as long
    as the weight asks, for large batches. None is muon where pretraining starts with fresh weights, and adamw for weights that
    have learnt before."""
    lr: float | None = Field(default=None, gt=0)
    """The peak learning rate; None is filled in from the optimizer, the model's width and the task."""
    schedule: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: float = Field(default=0.05, ge=0, le=1)
    """The share of the budget over which the learning rate rises from 0."""
    cooldown: float = Field(default=0.5, ge=0, le=1)
    """wsd only: the share of the budget, at its end, over which the learning rate falls linearly."""
    final_lr: float = Field(default=0.0, ge=0, le=1)
    """The learning rate at the end, as a share of the peak."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    weight_decay: float = Field(default=0.1, ge=0)
    cautious_decay: bool | None = None
    """Decay a weight only where the update shrinks it as well. None is so for the matrices that Muon moves, and not for AdamW."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Keep a running mean of the weights and hand that over: so much of it stays at each step, 0.999 is about the last thousand.
    It is what is looked at, snapshotted and saved; the steps are the same without it."""
    clip: float = Field(default=1.0, ge=0)
    """Gradients longer than this are shortened to it; 0 leaves them alone."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """None is 0 in pretraining, where text is rarely seen twice, and 0.1 in fine-tuning."""
    regime: Named = []
    """Wrappers of the plain step, outermost last, each a name or its settings: `[{name: distilled, teacher: my-bert}, lora]`.
    What a regime can be told lies beside it; `recipe.build` checks it."""
    evaluations: int | None = Field(default=None, ge=0)
    """How often the held-out part is looked at, spread over the budget; None is 10 in pretraining and 4 in fine-tuning."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when this many evaluations in a row brought nothing better, and keep the best; a run that reaches its end keeps its
    last state unless that is worse beyond the standard error. None is 3 in fine-tuning, and never stops early in pretraining."""

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        regimes = named(data.get("regime", []))
        data["regime"] = [each for each in regimes if each != "plain"] if isinstance(regimes, list) else regimes
        if isinstance(data.get("betas"), list):
            data["betas"] = tuple(data["betas"])
        hours = data.get("hours")
        if isinstance(hours, int | float) and not isinstance(hours, bool) and hours > 0 and data.get("minutes") is None:
            data |= {"hours": None, "minutes": 60.0 * hours}
        return data

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainSettings":
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(_("give one budget, not {budgets}").format(budgets=" + ".join(given)))
        return self

    @model_validator(mode="after")
    def _growing_lengths(self) -> "TrainSettings":
        stages = [(stage.until, stage.length) for stage in self.length_ramp or ()]
        if any(earlier[0] >= later[0] or earlier[1] >= later[1] for earlier, later in pairwise(stages)):
            raise ValueError(_("each stage of length_ramp ends later and is longer than the one before"))
        return self


class RunSettings(Settings):
    """Where and how fast, never what: two runs that differ only here give the same model."""

    out: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    sharding: Literal["none", "full"] = "none"
    """Under torchrun: whether each rank holds the whole model, or its share of weights, gradients and moments (FSDP)."""
    compile: Literal["never", "auto", "always"] = "never"
    """Let torch compile the layers' dense parts. auto tries it for some steps beforehand and compiles where that pays within the
    budget; what was found is remembered."""
    recompute: bool = False
    """Make the insides of each layer again in the backward pass, which holds those of one layer at a time and takes a third longer."""
    threads: int | None = Field(default=None, ge=1)
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """None writes one every two minutes, and one at the end."""
    eval_tokens: int = Field(default=100_000, ge=1)
    """At most this many held-out tokens are looked at during training; the last evaluation takes all."""
    log_steps: int = Field(default=10, ge=1)
    cache: str | None = None
    """Where token shards are kept; None is Diptych's cache folder."""
    fingerprints: bool = True
    """Keep in the model folder by what its documents are recognized again (`diptych corpus find`): nobody can read them there, and
    anybody who has the folder can ask whether a text was among them. Under a regime that keeps examples to those whose they are
    (federated, private), none are kept."""
    snapshot_words: list[int] = []
    """Keep the model as it is after so many words of text, in `diptych/snapshots/`, each a folder that opens as any other."""


def parse(schema: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """Check `data` against `schema`.

    Args:
        where: what the user wrote this in, for messages: a file name or "the command line".

    Raises:
        RecipeError E402: an unknown key, with the nearest known one. E403: a value that does not fit.
    """
    try:
        return schema.model_validate(dict(data))
    except ValidationError as error:
        raise friendly(schema, error.errors(), where) from None


def named(value: Any) -> Any:
    """The short forms of a list of names with settings, as that list: "frozen,lora", or {lora: {rank: 8}}.

    A name whose settings are none but itself is the bare name; what is none of the forms stays as it is.
    """
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, Mapping) and "name" not in value:
        value = [{"name": name, **(settings or {})} for name, settings in value.items() if isinstance(settings or {}, Mapping)]
    elif isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [each["name"] if isinstance(each, Mapping) and list(each) == ["name"] else each for each in value]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError E401: the file cannot be read, or is no mapping.
    """
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8-sig"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("E401", path=path, problem=getattr(error, "strerror", None) or error) from None
    except (yaml.YAMLError, ValueError) as error:
        mark_ = getattr(error, "problem_mark", None)
        where = _("{name}, line {number}").format(name=path, number=mark_.line + 1) if mark_ else path
        raise RecipeError("E401", path=where, problem=getattr(error, "problem", error)) from None
    if not isinstance(data, dict):
        raise RecipeError("E401", path=path, problem=_("it holds no settings"))
    return data


def to_yaml(data: Mapping[str, Any]) -> str:
    """A mapping as a YAML file that `read_yaml` reads as the same: text that looks like a number is quoted."""
    return yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def apply_sets(data: Mapping[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """`data` with each `part.name=value` of `sets` written over it; values are read as YAML.

    Of a list of things with names, a path goes through the one of that name: `train.regime.lora.rank=4`.

    Raises:
        RecipeError E404: one has no `=`, or goes through a value that is neither mapping nor such a list.
    """
    result: dict[str, Any] = _deep_copy(data)
    for item in sets:
        path, equals, value = item.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise RecipeError("E404", item=item)
        place: Any = result
        for name in names[:-1]:
            place = _within(place, name)
            if not isinstance(place, dict | list):
                raise RecipeError("E404", item=item)
        if isinstance(place, list):
            raise RecipeError("E404", item=item)
        try:
            place[names[-1]] = yaml.load(value, Loader=_Loader)
        except (yaml.YAMLError, ValueError):
            place[names[-1]] = value
    return result


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: 'Did you mean "lr"?', or the list of the known ones."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return _('Did you mean "{name}"?').format(name=close[0])
    return _("Known are: {names}.").format(names=", ".join(names))


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, except_for: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Where two recipes differ, as "train.seed: 0 -> 1"; `except_for` names (part, setting) that may."""
    free = set(except_for)
    return [
        f"{part}.{name}: {(before.get(part) or {}).get(name)!r} -> {value!r}"
        for part, values in now.items()
        for name, value in (values or {}).items()
        if (part, name) not in free and (before.get(part) or {}).get(name) != value
    ]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 3e-4 for text, `no` for False, 12:30 for 750 and 2024-07-01 for a day; people who write settings mean
    a number, and words."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either kind of YAML would take for something else than text."""


_REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in _REPLACED]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][\d_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_FLOAT = re.compile(r"^[-+]?(?:(?:\d[\d_]*)?\.\d+(?:[eE][-+]?\d+)?|\d[\d_]*\.(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.inf|\.nan)$")
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def friendly(schema: type[BaseModel], problems: Sequence[Any], where: str) -> RecipeError:
    """The first of the problems that pydantic found, in our words: E402, E403 or E405."""
    problem = problems[0]
    names = [str(part) for part in problem["loc"] if str(part) not in _KINDS and not str(part).startswith(("function-", "tagged-union"))]
    path = ".".join(names)
    if problem["type"] == "extra_forbidden":
        return RecipeError("E402", where=where, key=path, hint=nearest(names[-1], _known_keys(schema, names[:-1])))
    if problem["type"] == "missing" and isinstance(problem["loc"][-1], str):
        return RecipeError("E405", where=where, key=path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _PROBLEMS:
        limits = {name: f"{value:.15g}" if isinstance(value, float) else value for name, value in problem.get("ctx", {}).items()}
        message = _(_PROBLEMS[problem["type"]]).format(**limits)
    found = problem.get("input")
    shown = "{" + ", ".join(f"{key}: {value}" for key, value in found.items()) + "}" if isinstance(found, dict) else repr(found)
    return RecipeError("E403", where=where, key=path or _("the recipe"), value=shown, problem=message)


_KINDS = ("int", "float", "str", "bool", "list[str]", "[key]")
"""What pydantic adds to the place where a value may be of several kinds."""
_PROBLEMS = {
    "int_type": mark("Input should be a valid integer"),
    "float_type": mark("Input should be a valid number"),
    "string_type": mark("Input should be a valid string"),
    "bool_type": mark("Input should be a valid boolean"),
    "list_type": mark("Input should be a valid list"),
    "tuple_type": mark("Input should be a valid tuple"),
    "dict_type": mark("Input should be a valid dictionary"),
    "finite_number": mark("Input should be a finite number"),
    "missing": mark("a value is missing"),
    "model_type": mark("Input should be a valid dictionary or instance of {class_name}"),
    "literal_error": mark("Input should be {expected}"),
    "greater_than": mark("Input should be greater than {gt}"),
    "greater_than_equal": mark("Input should be greater than or equal to {ge}"),
    "less_than": mark("Input should be less than {lt}"),
    "less_than_equal": mark("Input should be less than or equal to {le}"),
}
"""Pydantic's own words, which it says in English alone."""


def _known_keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        field = schema.model_fields.get(name)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            schema = inner
    return list(schema.model_fields)


def _within(place: dict[str, Any] | list[Any], name: str) -> Any:
    """What `place` holds under a name, made where it holds nothing: the value of a key, or the settings of a thing in a list."""
    if isinstance(place, list):
        for number, each in enumerate(place):
            if each == name:
                place[number] = {"name": name}
            if isinstance(place[number], dict) and place[number].get("name") == name:
                return place[number]
        place.append({"name": name})
        return place[-1]
    if place.get(name) is None:
        place[name] = {}
    return place[name]


def _deep_copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_deep_copy(each) for each in value]
    return {k: _deep_copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value

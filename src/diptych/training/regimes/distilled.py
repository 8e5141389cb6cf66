"""Learn from a teacher's answers beside the right ones (Hinton et al. 2015), and from how it comes to them.

The teacher is asked what the task asks the student, at the same places: nothing here knows which task that is. Soft answers are
the teacher's distribution at a temperature; hidden states are compared layer by layer; relations are MiniLMv2's, of queries,
keys and values among the tokens of a text, which students of any width can learn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diptych.errors import DataError, TrainingError
from diptych.messages import _
from diptych.remote import Service
from diptych.streams import seed_for
from diptych.tasks.task import Answers, Batch, Loss, Outputs, Task, Term
from diptych.training.regimes.insides import Insides, relation_heads, relation_nats, watched
from diptych.training.regimes.regime import RegimeSettings, StepResult, Wrapper
from diptych.training.regimes.remote_teacher import TEACHES, RemoteTeacher

# Shapes: M targets, C classes or tokens, B examples, N tokens, D hidden.

PARTS = 256
"""Targets whose distributions are compared at once: of a vocabulary, all of them at once would fill the memory."""


class DistilledSettings(RegimeSettings):
    """`train: {regime: [{name: distilled, teacher: my-classifier, temperature: 2}]}`"""

    name: Literal["distilled"] = "distilled"  # type: ignore[assignment]
    teacher: str
    """A model folder, an installed model, or the address of an OpenAI-compatible service (http://…/v1)."""
    temperature: float = Field(default=2.0, gt=0)
    """Both distributions are softened by it; the soft term is multiplied by its square, which keeps the gradient's size."""
    hard: float = Field(default=0.5, ge=0)
    """The weight of the right answers."""
    soft: float = Field(default=0.5, ge=0)
    """The weight of the teacher's answers."""
    hidden: float = Field(default=0.0, ge=0)
    """The weight of the distance between the hidden states, layer by layer, through a learnt matrix where widths differ."""
    relations: float = Field(default=0.0, ge=0)
    """The weight of the relations among queries, keys and values in the last layer."""
    relation_layer: int | None = Field(default=None, ge=1)
    """The teacher's layer, counted from 1, whose relations are taught; None is the last."""
    relation_heads: int | None = Field(default=None, ge=1)
    """None is the most that fit both widths, up to the teacher's heads."""
    model: str | None = None
    """What a service calls the model that is to teach."""
    key: str | None = None
    """The environment variable that holds the key of a service; the key itself is written nowhere."""

    @model_validator(mode="after")
    def _teaches_something(self) -> "DistilledSettings":
        if not (self.soft or self.hidden or self.relations):
            raise ValueError(_("soft, hidden and relations are all 0: nothing would be learnt from the teacher"))
        return self


class Distilled(Wrapper):
    """The step of the inner regime, on the task with the teacher's terms added."""

    Settings = DistilledSettings
    settings: DistilledSettings

    def prepare(self, net: Any, task: Task) -> Any:
        """Open the teacher and see that it can teach this student.

        Raises:
            TrainingError E530: other labels. E531: another vocabulary. E532: no such head. E533: insides that cannot be compared.
            E541: a service is to show its insides, or has no name for its model.
        """
        net = self.inner.prepare(net, task)
        self.lessons = Lessons(self._open(net, task), net, self.settings)
        if self.lessons.needs_matrix:
            net.to_teacher = _matrix(net, self.lessons.teacher, self.around.seed)
        return net

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        taught: Any = _Taught(task, self.lessons)
        lessons: list[Any] = [_Lesson(batch, self.lessons) for batch in batches]
        return self.inner.step(net, taught, lessons, seed)

    def state(self) -> dict[str, Any]:
        teacher = self.lessons.teacher
        return {**super().state(), **({"answers": teacher.known} if isinstance(teacher, RemoteTeacher) else {})}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if isinstance(self.lessons.teacher, RemoteTeacher):
            self.lessons.teacher.known = state["answers"]

    def finish(self, net: Any) -> Any:
        if hasattr(net, "to_teacher"):
            del net.to_teacher
        return self.inner.finish(net)

    def _open(self, net: Any, task: Task) -> Any:
        settings = self.settings
        if settings.teacher.startswith(("http://", "https://")):
            assert self.around.tokenizer is not None, "a service is asked in words"
            if settings.hidden or settings.relations or settings.model is None:
                raise TrainingError("E541", teacher=settings.teacher)
            others = [name for name in task.heads if name not in TEACHES]
            if others:
                raise TrainingError("E532", teacher=settings.teacher, heads=", ".join(others))
            service = Service(settings.teacher, settings.model, settings.key)
            return RemoteTeacher(service, net.config.labels, self.around.tokenizer)
        assert self.around.load is not None, "a regime that opens a teacher is composed with its surroundings"
        teacher = self.around.load(settings.teacher)
        if self.around.tokenizer is not None and not self.around.tokenizer.is_same(teacher.tokenizer):
            raise TrainingError("E531", teacher=settings.teacher)
        return _settled(teacher.net, net, task, settings).to(next(net.parameters()).device)


class Lessons:
    """What a teacher shows of a batch, and how far a student is from it."""

    def __init__(self, teacher: Any, net: Any, settings: DistilledSettings) -> None:
        self.teacher, self.settings = teacher, settings
        self.order_C = None if isinstance(teacher, RemoteTeacher) else _order(teacher, net)
        ours, theirs = net.config, net.config if isinstance(teacher, RemoteTeacher) else teacher.config
        self.student_layers = tuple(range(ours.num_layers)) if settings.hidden else ()
        self.teacher_layers = tuple(math.ceil((number + 1) * theirs.num_layers / ours.num_layers) - 1 for number in self.student_layers)
        self.needs_matrix = bool(settings.hidden) and ours.hidden_size != theirs.hidden_size
        self.relations: tuple[int, int] | None = None
        if settings.relations:
            self.relations = (ours.num_layers - 1, (settings.relation_layer or theirs.num_layers) - 1)
            widths = [size * config.head_size for config in (ours, theirs) for size in (config.num_heads, config.num_kv_heads)]
            self.num_heads = settings.relation_heads or relation_heads(*widths, most=theirs.num_heads)

    def student(self, net: Any) -> Any:
        return watched(net, self.student_layers, () if self.relations is None else self.relations[:1])

    def show(self, task: Task, batch: Any) -> tuple[Outputs, Insides]:
        """The teacher's answers at the batch's targets, and what went on inside."""
        if isinstance(self.teacher, RemoteTeacher):
            return self.teacher.answers(batch), Insides()
        with torch.no_grad(), watched(self.teacher, self.teacher_layers, () if self.relations is None else self.relations[1:]) as seen:
            if self.settings.soft:
                return task.forward(self.teacher, batch), seen
            self.teacher.hidden(batch.texts)
            return {}, seen

    def counts(self, batch: Any) -> dict[str, int]:
        """How many targets each term of `terms` has."""
        counts = {f"soft {name}": count for name, count in batch.counts().items()} if self.settings.soft else {}
        tokens = batch.texts.num_tokens
        return counts | {name: tokens for name in ("hidden", "relations") if getattr(self.settings, name)}

    def terms(self, net: Any, asked: "_Asked", weights: Mapping[str, float], batch: Any) -> dict[str, Term]:
        """What the student's distance from the teacher costs, by example."""
        terms: dict[str, Term] = {}
        settings, size = self.settings, len(batch.keys)
        if settings.soft:
            for name, answers in asked.outputs.items():
                example_M = batch.targets[name].example_M
                nats_M = soft_nats(answers, asked.taught[name], settings.temperature, self.order_C if name in LABELLED else None)
                weight = settings.soft * settings.temperature**2 * weights[name]
                terms[f"soft {name}"] = Term(_by_example(nats_M, example_M, size), torch.bincount(example_M, minlength=size), weight)
        example_N = batch.texts.text_N if batch.texts.num_texts == size else torch.zeros_like(batch.texts.text_N)
        count_B = torch.bincount(example_N, minlength=size)
        if settings.hidden:
            layers = zip(self.student_layers, self.teacher_layers, strict=True)
            distance_N = torch.stack([self._distance(net, asked, own, taught) for own, taught in layers]).mean(0)
            total_B = _by_example(distance_N, example_N, size)
            terms["hidden"] = Term(total_B, count_B, settings.hidden)
        if self.relations is not None:
            pairs = zip(asked.seen.qkv_NW[self.relations[0]], asked.shown.qkv_NW[self.relations[1]], strict=True)
            is_causal = net.config.is_causal
            nats_PN = [relation_nats(own, taught, batch.texts, self.num_heads, is_causal=is_causal) for own, taught in pairs]
            terms["relations"] = Term(_by_example(torch.stack(nats_PN).mean(0), example_N, size), count_B, settings.relations)
        return terms

    def _distance(self, net: Any, asked: "_Asked", own: int, taught: int) -> Tensor:
        x_ND = asked.seen.hidden_ND[own]
        x_ND = net.to_teacher(x_ND) if self.needs_matrix else x_ND
        return (x_ND.float() - asked.shown.hidden_ND[taught].float()).square().mean(-1)


def soft_nats(student: Answers, teacher: Answers, temperature: float, order_C: Tensor | None = None) -> Tensor:
    """KL(teacher ‖ student) of the two distributions at each target, both softened by `temperature`: float32 [M], in nats.

    Args:
        order_C: where each of the student's classes stands among the teacher's; None for the same order.
    """

    def compare(own: Answers, taught: Answers) -> Tensor:
        taught_mC = taught.logits().float()
        taught_mC = torch.log_softmax((taught_mC if order_C is None else taught_mC[:, order_C]) / temperature, dim=-1)
        own_mC = torch.log_softmax(own.logits().float() / temperature, dim=-1)
        return F.kl_div(own_mC, taught_mC, reduction="none", log_target=True).sum(-1)

    if len(student) <= PARTS:
        return compare(student, teacher)
    parts = [slice(start, start + PARTS) for start in range(0, len(student), PARTS)]
    # The logits of a part are made anew on the way back, and never kept.
    return torch.cat([checkpoint(compare, student[part], teacher[part], use_reentrant=False) for part in parts])


LABELLED = ("classes", "tags")
"""Heads whose answers are the labels of the config, in its order."""


@dataclass
class _Asked:
    """The student's answers and insides, and the teacher's."""

    outputs: Outputs
    seen: Insides
    taught: Outputs
    shown: Insides


class _Taught:
    """The task with the teacher's terms; all the rest of it is the task's own."""

    def __init__(self, task: Task, lessons: Lessons) -> None:
        self._task, self._lessons = task, lessons

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def forward(self, net: Any, batch: "_Lesson") -> Any:
        with self._lessons.student(net) as seen:
            outputs = self._task.forward(net, batch.batch)
        self._net = net
        return _Asked(outputs, seen, *self._lessons.show(self._task, batch.batch))

    def loss(self, outputs: Any, batch: "_Lesson") -> Loss:
        own = self._task.loss(outputs.outputs, batch.batch)
        weights = {name: term.weight for name, term in own.items()}
        hard = {name: Term(term.total_B, term.count_B, term.weight * self._lessons.settings.hard) for name, term in own.items()}
        return {**hard, **self._lessons.terms(self._net, outputs, weights, batch.batch)}


class _Lesson:
    """A batch that counts the teacher's terms as well; all the rest of it is the batch's own."""

    def __init__(self, batch: Batch, lessons: Lessons) -> None:
        self.batch, self._lessons = batch, lessons

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batch, name)

    def counts(self) -> dict[str, int]:
        return {**self.batch.counts(), **self._lessons.counts(self.batch)}


def _settled(teacher: Any, net: Any, task: Task, settings: DistilledSettings) -> Any:
    """A teacher that has what its student is to be taught, and does not learn itself."""
    missing = [name for name in task.heads if name not in teacher.heads]
    if settings.soft and getattr(task, "kind", "single") != "single":
        raise DataError("E130", kind=task.kind)  # type: ignore[attr-defined]
    if settings.soft and missing:
        raise TrainingError("E532", teacher=settings.teacher, heads=", ".join(missing))
    ours, theirs = net.config, teacher.config
    if settings.soft and set(LABELLED) & set(task.heads) and set(ours.labels) != set(theirs.labels):
        raise TrainingError("E530", teacher=settings.teacher, theirs=", ".join(theirs.labels[:10]), ours=", ".join(ours.labels[:10]))
    if settings.relations:
        widths = [size * config.head_size for config in (ours, theirs) for size in (config.num_heads, config.num_kv_heads)]
        if settings.relation_layer is not None and settings.relation_layer > theirs.num_layers:
            raise TrainingError("E533", what=f"relation_layer: {settings.relation_layer}", limit=theirs.num_layers)
        if settings.relation_heads is not None and math.gcd(*widths) % settings.relation_heads:
            raise TrainingError("E533", what=f"relation_heads: {settings.relation_heads}", limit=math.gcd(*widths))
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher.eval()


def _order(teacher: Any, net: Any) -> Tensor | None:
    ours, theirs = net.config.labels, teacher.config.labels
    if not ours or ours == theirs or set(ours) != set(theirs):
        return None
    return torch.tensor([theirs.index(label) for label in ours], device=next(net.parameters()).device)


def _matrix(net: Any, teacher: Any, seed: int) -> nn.Linear:
    """From the student's width to the teacher's; it begins as a rotation, which keeps distances."""
    like = next(net.parameters())
    matrix = nn.Linear(net.config.hidden_size, teacher.config.hidden_size, bias=False)
    draw = torch.Generator().manual_seed(seed_for(seed, "to teacher"))
    with torch.no_grad():
        nn.init.orthogonal_(matrix.weight, generator=draw)
    return matrix.to(like.device, like.dtype)


def _by_example(values: Tensor, example: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add(0, example, values)

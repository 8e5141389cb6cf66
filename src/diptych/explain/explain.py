"""Why a model gives this answer to this text: a number for each unit, and how far the numbers can be trusted."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.config import nearest
from diptych.errors import UsageError
from diptych.evaluation.baselines import Baseline
from diptych.explain.attention import last_layer, rolled_out
from diptych.explain.faithfulness import Faithfulness, Yardstick, agreement
from diptych.explain.gradients import input_x_gradient, integrated_gradients
from diptych.explain.lime import lime
from diptych.explain.long import subject_of
from diptych.explain.method import Method
from diptych.explain.occlusion import occlusion
from diptych.explain.owen import owen
from diptych.explain.perturb import Subject, blank_of
from diptych.explain.question import Question, question_of
from diptych.explain.reading import Marked, Unit, UnitKind, units_of
from diptych.explain.shapley import kernel_shap, shapley
from diptych.explain.simple import disagreements, simple_view
from diptych.messages import _, mark
from diptych.text.tokenizer import Tokenizer

METHODS: dict[str, tuple[Method, str]] = {
    "shapley": (shapley, mark("Shapley values")),
    "kernel-shap": (kernel_shap, mark("Shapley values (KernelSHAP)")),
    "owen": (owen, mark("Owen values, halves of the text")),
    "lime": (lime, mark("LIME")),
    "occlusion": (occlusion, mark("occlusion")),
    "integrated-gradients": (integrated_gradients, mark("integrated gradients")),
    "gradient": (input_x_gradient, mark("input x gradient")),
    "attention": (last_layer, mark("attention, last layer (where it looks, no reason)")),
    "rollout": (rolled_out, mark("attention through all layers (where it looks, no reason)")),
}
DEFAULT = "shapley"
DRAWN = ("shapley", "kernel-shap", "lime")
"""Methods that draw variants by chance, so that another seed gives other numbers."""
BUDGET = 400
OTHER_SEEDS = 2
SIMPLE = mark("TF-IDF")


@dataclass(frozen=True)
class Beside:
    """Another view of the same units, judged by the same measure."""

    name: str
    values: np.ndarray
    faithfulness: Faithfulness | None
    agreement: float | None
    """Spearman's rank correlation with the explanation."""
    answer: str | None = None
    """What the other model would answer, where it is another model."""


@dataclass(frozen=True)
class Explanation:
    """What each unit of a text did to one answer.

    Attributes:
        values: float64 [U], on the question's scale: log-odds of the answer as a rule, above 0 where the unit speaks for it.
        probability: how probable the answer is; the grade, where it is one.
        base: the number that the values start from, where they add up from there to that of the whole text; None otherwise.
        error: how far from adding up they are, as a share, where a method comes close only.
        faithfulness: how far the order of the units can be trusted; None where there is one unit only, or it was not asked for.
        stability: the mean rank correlation of the values under other seeds; 1 where nothing is drawn; None where there is one unit.
        num_evaluations: how many variants of the text the network has read for the values.
    """

    question: Question
    units: tuple[Unit, ...]
    values: np.ndarray
    method: str
    full: float
    base: float | None
    error: float | None
    faithfulness: Faithfulness | None
    stability: float | None
    num_evaluations: int
    seconds: float
    beside: tuple[Beside, ...] = ()

    @property
    def answer(self) -> str:
        return self.question.answer

    @property
    def against(self) -> str | None:
        return self.question.against

    @property
    def probability(self) -> float:
        return float(self.question.chance(self.full))

    @property
    def words(self) -> list[str]:
        """The text of each unit."""
        return [self.question.reading.texts[unit.part][unit.start : unit.stop] for unit in self.units]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The units that speak most for the answer or against it, the weightiest first."""
        order = np.argsort(-np.abs(self.values), kind="stable")[:count]
        return [(self.words[number], float(self.values[number])) for number in order]

    @property
    def disputed(self) -> list[str]:
        """The units that speak for the answer in the one model and against it in the simple one."""
        found = [each for each in self.beside if each.answer is not None]
        return [self.words[number] for each in found for number in disagreements(self.values, each.values)]

    def to_json(self) -> dict[str, Any]:
        units = [
            {"text": word, "part": unit.part, "start": unit.start, "end": unit.stop, "value": round(float(value), 6)}
            for word, unit, value in zip(self.words, self.units, self.values, strict=True)
        ]
        return {
            "texts": list(self.question.reading.texts),
            "answer": self.answer,
            "against": self.against,
            "probability": round(self.probability, 6),
            "scale": self.question.scale,
            "method": self.method,
            "units": units,
            "full": round(self.full, 6),
            "base": None if self.base is None else round(self.base, 6),
            "error": self.error,
            "faithfulness": _faith_json(self.faithfulness),
            "stability": self.stability,
            "evaluations": self.num_evaluations,
            "seconds": round(self.seconds, 3),
            "beside": [
                {
                    "name": each.name,
                    "answer": each.answer,
                    "values": [round(float(value), 6) for value in each.values],
                    "faithfulness": _faith_json(each.faithfulness),
                    "agreement": each.agreement,
                }
                for each in self.beside
            ],
            "disputed": self.disputed,
        }

    def __str__(self) -> str:
        lines = [self.headline, *(f"{value:+9.3f}  {word}" for word, value in self.top(10)), *self.trust]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """What is explained, in one line."""
        if self.against is not None:
            return _("{answer} rather than {against}, {probability:.1%} of the two").format(
                answer=self.answer, against=self.against, probability=self.probability
            )
        if self.question.scale == "number":
            return _("{answer}: {value:.4f}").format(answer=self.answer, value=self.full)
        return _("{answer}, probability {probability:.1%}").format(answer=self.answer, probability=self.probability)

    @property
    def trust(self) -> list[str]:
        """How far the numbers can be trusted, in sentences."""
        name = _(METHODS[self.method][1])
        lines = [
            _("{method}; {count:,} variants read in {seconds:.1f} s").format(method=name, count=self.num_evaluations, seconds=self.seconds)
        ]
        if self.error is not None:
            lines.append(_("the values miss what they should add up to by {error:.1%}").format(error=self.error))
        lines.append(_("faithfulness (0 a random order, 1 the best one found): {value}").format(value=_shown(self.faithfulness)))
        if self.stability is not None and self.method in DRAWN:
            lines.append(_("rank correlation of the values under other seeds: {value:.2f}").format(value=self.stability))
        for each in self.beside:
            beside = _("{name}: faithfulness {value}").format(name=_(each.name), value=_shown(each.faithfulness))
            if each.agreement is not None:
                beside += _(", rank correlation {value:+.2f}").format(value=each.agreement)
            if each.answer is not None:
                beside += _(", it would say {answer}").format(answer=each.answer)
            lines.append(beside)
        if self.disputed:
            lines.append(_("for it here, against it there, or the other way round: {words}").format(words=", ".join(self.disputed)))
        return lines

    def _repr_html_(self) -> str:
        from diptych.explain.picture import explanation_picture

        return explanation_picture(self)

    def save(self, path: str | Path) -> Path:
        """Write it as one page that needs no network."""
        from diptych.explain.picture import explanation_page
        from diptych.page import write_page

        return write_page(Path(path), explanation_page([self]))

    def show(self) -> None:
        """Show it where one works: as coloured text in a notebook, in words elsewhere."""
        from diptych.explain.picture import show

        show(self)


def explain(
    net: Any,
    tokenizer: Tokenizer,
    given: Any,
    *,
    label: str | None = None,
    against: str | None = None,
    of: Any = None,
    method: str = DEFAULT,
    units: UnitKind | Marked = "words",
    budget: int = BUDGET,
    seed: int = 0,
    simple: Baseline | None = None,
    judged: bool = True,
) -> Explanation:
    """Explain one answer to one text.

    Args:
        given, label, against, of: which answer, as in `question_of`.
        method: a name of `METHODS`.
        units: what is taken away together, as in `units_of`.
        budget: how many variants of the text may be read for the values.
        simple: a simple model to put beside it, as in `simple_of`.
        judged: whether to find out how far the explanation can be trusted, which reads a few hundred variants more.

    Raises:
        UsageError E801 to E812: see `question_of`, `units_of` and `looks`; E812: there is no such method.
    """
    if method not in METHODS:
        raise UsageError("E812", method=method, hint=nearest(method, METHODS))
    net.eval()
    question = question_of(net, tokenizer, given, label=label, against=against, of=of)
    subject = subject_of(net, question, units_of(question.reading, units), blank_of(tokenizer))
    start = time.perf_counter()
    attribute = METHODS[method][0]
    found = attribute(subject, budget, seed)
    seconds, num_evaluations = time.perf_counter() - start, subject.num_evaluations
    is_several = subject.num_units > 1
    stability, yardstick = None, None
    if judged and is_several:
        stability = _stability(attribute, subject, budget, seed, found.values) if method in DRAWN else 1.0
        yardstick = Yardstick(subject, seed)
    others = _others(subject, method, simple, budget, seed) if is_several else []
    if yardstick is not None:
        yardstick.consider(found.values, *(values for _name, values, _answer in others))
    beside = (
        Beside(name, values, yardstick.judge(values) if yardstick else None, agreement(found.values, values), answer)
        for name, values, answer in others
    )
    return Explanation(
        question,
        tuple(subject.units),
        found.values,
        method,
        subject.full,
        found.base,
        found.error,
        yardstick.judge(found.values) if yardstick else None,
        stability,
        num_evaluations,
        seconds,
        tuple(beside),
    )


def _others(subject: Subject, method: str, simple: Baseline | None, budget: int, seed: int) -> list[tuple[str, np.ndarray, str | None]]:
    """(name, values, what it would answer) of what stands beside: attention, and the simple model."""
    found: list[tuple[str, np.ndarray, str | None]] = []
    config = subject.net.config
    if method != "rollout" and not config.cell and not config.is_encoder_decoder and not subject.question.windows:
        found.append((METHODS["rollout"][1], rolled_out(subject, budget, seed).values, None))
    view = simple_view(simple, subject.question, subject.units) if simple is not None else None
    if view is not None:
        found.append((SIMPLE, view.values, view.answer))
    return found


def _stability(attribute: Method, subject: Subject, budget: int, seed: int, values: np.ndarray) -> float | None:
    """The mean rank correlation of the values with those of other seeds."""
    others = [agreement(values, attribute(subject, budget, seed + number).values) for number in range(1, OTHER_SEEDS + 1)]
    known = [each for each in others if each is not None]
    return float(np.mean(known)) if known else None


def _shown(faithfulness: Faithfulness | None) -> str:
    if faithfulness is None:
        return _("not measured")
    if faithfulness.normalized is None:
        return _("nothing to measure, no order of the units makes a difference")
    return f"{faithfulness.normalized:.2f}"


def _faith_json(faithfulness: Faithfulness | None) -> dict[str, float | None] | None:
    if faithfulness is None:
        return None
    return {
        "normalized": faithfulness.normalized,
        "comprehensiveness": faithfulness.comprehensiveness,
        "sufficiency": faithfulness.sufficiency,
    }

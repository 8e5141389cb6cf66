"""Differential privacy while learning (DP-SGD, Abadi et al. 2016): no row, document or person can be told from the weights.

Each step shows units drawn by themselves, shortens what each of them wants of the weights to one length, adds noise in proportion to
it, and counts what that costs. It is the outermost regime; adapters and frozen bodies may lie inside. What it promises is said of the
weights and of nothing else: not of the losses in the log, not of the scores, not of what was counted in the data beforehand.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from diptych.errors import TrainingError
from diptych.messages import _, mark
from diptych.streams import seed_for
from diptych.tasks.task import Examples, Place, Task
from diptych.training.order import Order
from diptych.training.private.accounting import Account, Accountant, noise_for, steps_for
from diptych.training.private.clipping import add_clipped
from diptych.training.private.guard import check_layers
from diptych.training.private.noise import add_noise, new_key
from diptych.training.private.proof import prove
from diptych.training.private.units import Unit, Units, UnitTask
from diptych.training.ranks import here
from diptych.training.regimes.regime import Plain, RegimeSettings, StepResult, Wrapper, counts_of
from diptych.training.sampling import Sampled
from diptych.training.schedules import Budget

ALLOWED = ("frozen", "lora")
"""Regimes that may lie inside."""
PROVED = 4
"""Units by which the clipping is checked before the first step."""


class PrivateSettings(RegimeSettings):
    """`train: {regime: [{name: private, epsilon: 8}], epochs: 3, batch_size: 256}`"""

    name: Literal["private"] = "private"  # type: ignore[assignment]
    usual_lr: ClassVar[float | None] = 5e-4
    hides_examples: ClassVar[bool] = True
    epsilon: float | None = Field(default=None, gt=0)
    """What the run may cost. Without `noise` it sets the noise, so that the whole budget of steps or epochs costs as much; with
    `noise` the run ends before it would cost more."""
    delta: float | None = Field(default=None, gt=0, lt=1)
    """The chance that the promise does not hold; None is a tenth of one in the number of units."""
    noise: float | None = Field(default=None, ge=0)
    """The noise multiplier: the deviation of the noise over the length that gradients are shortened to."""
    clip: float = Field(default=1.0, gt=0)
    """The length that each unit's gradient is shortened to."""
    unit: Unit = "document"
    """What is protected: an example as the model is shown it, all of a row or document, or all of a group (`task.group`)."""
    most: int = Field(default=8, ge=1)
    """So many examples of a unit are shown in a step at most."""
    accountant: Accountant = "prv"
    cryptographic: bool = False
    """Draw the noise from the system's generator: slower, and a run cannot be repeated bit for bit."""
    key: int | None = None
    """What noise and sampling follow from, for runs that must be repeated; who knows it can take the noise away. None draws one."""

    @model_validator(mode="after")
    def _says_how_much(self) -> "PrivateSettings":
        if self.epsilon is None and self.noise is None:
            raise ValueError(_("say epsilon, what the run may cost, or noise"))
        return self


class Private(Wrapper):
    """Clipped, noised and counted steps."""

    Settings = PrivateSettings
    settings: PrivateSettings
    is_outermost = True

    def __init__(self, inner: Any, settings: Any = None, around: Any = None) -> None:
        super().__init__(inner, settings, around)
        self.account = Account(self.settings.accountant)
        self.key = here().of_first(str(new_key() if self.settings.key is None else self.settings.key))
        self.noise: float = self.settings.noise or 0.0
        self.rate, self.delta, self.num_units = 0.0, 0.0, 0
        self._is_proved = False
        self._shown_epsilon: tuple[int, float] = (0, 0.0)

    def prepare(self, net: Any, task: Task) -> Any:
        """
        Raises:
            TrainingError E551, E552, E556: what learns cannot be clipped exactly. E560: another regime lies around or inside that is
            not accounted for. E561: what an example costs depends on others. E562: the insides of layers are to be made again.
        """
        inside: Any = self.inner
        while not isinstance(inside, Plain):
            if inside.settings is not None and inside.settings.name not in ALLOWED:
                raise TrainingError("E560", name=inside.settings.name)
            inside = inside.inner
        net = self.inner.prepare(net, task)
        leans = getattr(task, "leans_on", lambda: None)()
        if leans is not None:
            raise TrainingError("E561", task=task.name, what=_(leans))
        if any(getattr(module, "is_recomputed", False) for module in net.modules()):
            raise TrainingError("E562")
        check_layers(net)
        return net

    def show(self, task: Task, examples: Examples) -> tuple[Any, Any]:
        self._units = Units(examples, self.settings.unit, self.settings.most, self.around.groups)
        self._task = UnitTask(task)
        return self._task, self._units

    def order(self, order: Order, budget: Budget) -> Sampled:
        """
        Raises:
            TrainingError E563: a step would show more units than there are. E564: the batch or the texts are to grow. E565: an ε that
            sets the noise needs to know how many steps there will be. E566: not one step fits into the budget.
        """
        settings, count = self.settings, order.num_examples
        size = order.batches.batch_size
        if size > count:
            raise TrainingError("E563", size=size, count=count)
        if order.batches.ramp_steps:
            raise TrainingError("E564", what="train.batch_ramp")
        self.num_units, self.rate = count, size / count
        self.delta = settings.delta or 0.1 / count
        limit = None
        if settings.noise is None:
            assert settings.epsilon is not None
            if budget.steps is None:
                raise TrainingError("E565")
            self.noise = noise_for(settings.epsilon, self.delta, self.rate, budget.steps, settings.accountant)
            limit = budget.steps
        elif settings.epsilon is not None and settings.noise > 0:
            limit = steps_for(settings.epsilon, self.delta, self.rate, settings.noise, settings.accountant)
            if not limit:
                raise TrainingError("E566", epsilon=settings.epsilon)
        self.expected = size
        self.limit = limit
        return Sampled(count, self.rate, int(self.key), order.seed, limit)

    def step(self, net: Any, task: Any, batches: Sequence[Any], seed: tuple[int, int]) -> StepResult:
        result = StepResult(counts=counts_of(batches))
        if not self._is_proved:
            self._prove(net)
        for number, batch in enumerate(batches):
            torch.manual_seed(seed_for(seed[0], "dropout", seed[1], here().number(number)))
            if batch.is_company:
                continue
            terms, _lengths = add_clipped(net, self._task.task, batch, self.settings.clip)
            for name, term in terms.items():
                result.totals[name] = result.totals.get(name, 0.0) + float(term.total_B.detach().sum())
                result.weights[name] = term.weight
        learns = [parameter for parameter in net.parameters() if parameter.requires_grad]
        # Gradients of several ranks are added: one of them brings the noise.
        size = self.noise * self.settings.clip if here().is_first else 0.0
        add_noise(learns, size, int(self.key), seed[1], is_cryptographic=self.settings.cryptographic)
        for parameter in learns:
            assert parameter.grad is not None
            parameter.grad /= self.expected
        self.account.step(self.noise, self.rate)
        return result

    def state(self) -> dict[str, Any]:
        kept = {"history": self.account.state(), "noise": self.noise, "rate": self.rate, "key": self.key, "clip": self.settings.clip}
        return {**super().state(), "private": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """
        Raises:
            TrainingError E567: the run went on with another noise, clipping or sampling so far.
        """
        super().restore(state)
        kept = state["private"]
        for what, now in (("noise", self.noise), ("rate", self.rate), ("clip", self.settings.clip)):
            if abs(kept[what] - now) > 1e-9:
                raise TrainingError("E567", what=what, before=f"{kept[what]:.6g}", now=f"{now:.6g}")
        self.key = kept["key"]
        self.account.restore(kept["history"])

    def tells(self) -> dict[str, float]:
        """ε so far. It is worked out a hundred times a run, for a little more than was spent: what is shown is never too low."""
        taken = sum(steps for _noise, _rate, steps in self.account.history)
        if self.noise and taken > self._shown_epsilon[0]:
            stride = max(1, (self.limit or taken) // 100)
            ahead = -(-taken // stride) * stride
            if self.limit is not None:
                ahead = min(ahead, max(self.limit, taken))
            extra = Account(self.settings.accountant, list(self.account.history))
            noise, rate, steps = extra.history[-1]
            extra.history[-1] = (noise, rate, steps + ahead - taken)
            self._shown_epsilon = (ahead, extra.epsilon(self.delta))
        spent = {"epsilon": self._shown_epsilon[1], "delta": self.delta} if self.noise else {}
        return {**super().tells(), **spent}

    def remarks(self) -> list[str]:
        said = super().remarks()
        text = _("private: {count:,} {unit}, {size} of them a step on average, noise {noise:.4g} × {clip:g}, δ = {delta:.2g}")
        facts = {"count": self.num_units, "unit": _(UNITS[self.settings.unit]), "size": self.expected, "noise": self.noise}
        said.append(text.format(**facts, clip=self.settings.clip, delta=self.delta))
        if self.delta >= 1 / self.num_units:
            text = _("δ = {delta:.2g} is no less than one in {count:,} units: giving one of them away whole would keep such a promise.")
            said.append(text.format(delta=self.delta, count=self.num_units))
        if not self.noise:
            said.append(_("The noise is 0: gradients are clipped, and nothing is promised."))
        if self.settings.key is not None:
            said.append(_("The noise follows from a key in the recipe: whoever reads it can take the noise away."))
        return said

    def facts(self) -> dict[str, Any]:
        promise = {
            "epsilon": self.account.epsilon(self.delta) if self.noise else None,
            "delta": self.delta,
            "unit": self.settings.unit,
            "units": self.num_units,
            "accountant": self.settings.accountant,
            "noise": self.noise,
            "clip": self.settings.clip,
            "rate": self.rate,
            "steps": sum(steps for _noise, _rate, steps in self.account.history),
            "cryptographic": self.settings.cryptographic,
            "is_repeatable": self.settings.key is not None,
        }
        return {**super().facts(), "privacy": promise}

    def _prove(self, net: Any) -> None:
        """Once, on units that are spread evenly over all."""
        few = min(PROVED, self.num_units)
        places = [Place(0, 0, number * self.num_units // few) for number in range(few)]
        prove(net, self._task.task, self._task, self._units, places, self.settings.clip)
        self._is_proved = True


UNITS = {"example": mark("examples"), "document": mark("rows or documents"), "group": mark("groups")}

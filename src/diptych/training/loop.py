"""The one training loop. It knows budget, optimizer, checkpoints and progress; it never asks which task or regime it has.

Everything random is keyed by (seed, position), so a run that was killed and resumed ends with the same bits as one that
was not, and looking at the held-out part changes nothing.
"""

import contextlib
import copy
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

from torch import Tensor

from diptych import runtime
from diptych.errors import MachineError, TrainingError
from diptych.messages import _
from diptych.tasks.measure import measure
from diptych.tasks.task import Examples, Place, Task
from diptych.training.averaging import WeightMean
from diptych.training.checkpoint import optimizer_tensors, restore_optimizer, restore_weights, weights
from diptych.training.compiling import let_go as let_go_of_programs
from diptych.training.compiling import settle, without
from diptych.training.keeping import keeper
from diptych.training.optimizers import build_optimizer
from diptych.training.plan import Plan
from diptych.training.progress import Listener, Several
from diptych.training.ranks import as_lost_rank, here
from diptych.training.regimes import Regime
from diptych.training.regimes.regime import Plain, StepResult
from diptych.training.sharding import copy_from_first, let_go, shard, whole
from diptych.training.stepping import NoNumber, Stepper

CHECKPOINT_SECONDS = 120.0
LOG_SECONDS = 1.0


@dataclass
class Outcome:
    """How a run went."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    """The mean training loss of the last logged window."""
    held_out: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None
    stopped: str = "budget"
    """Why it ended: "budget", "early" or "interrupted"."""
    signal: int | None = None
    """What interrupted it: SIGINT (Ctrl-C) or SIGTERM."""


@dataclass
class _State:
    """What changes from step to step, and all that a checkpoint keeps besides tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    is_behind: bool = False
    """Whether the last look was worse than the best by more than its standard error."""

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def train(
    net: Any,
    task: Task,
    examples: Examples,
    held_out: Examples | None,
    regime: Regime,
    plan: Plan,
    listener: Listener | None = None,
    *,
    resume: bool = False,
) -> tuple[Any, Outcome]:
    """Train `net` on `examples` until the budget is spent; the model and how it went.

    Of several ranks each has to call this with the same. All return the trained model, but where it is sharded: then the
    first one alone has its weights.

    Raises:
        TrainingError E501: there are no examples. E503, E504: the loss is no longer a number; the state before that step is
        kept where the plan keeps checkpoints, and stands in `net` in any case. E522: another rank is gone.
    """
    if len(examples) == 0:
        raise TrainingError("E501")
    try:
        run = _Run(net, task, examples, held_out, regime, plan, listener or Several([]))
        if resume:
            run.resume()
        run.settle_compiling()
        with _Interrupt() as interrupt:
            outcome = run.go(interrupt)
        return regime.finish(run.finished()), outcome
    except RuntimeError as error:
        raise as_lost_rank(error) from None


class _Run:
    """One run: the state that the steps share, and the few things that happen between them."""

    def __init__(
        self, net: Any, task: Task, examples: Examples, held_out: Examples | None, regime: Regime, plan: Plan, listener: Listener
    ) -> None:
        self.task, self.examples, self.held_out = task, examples, held_out
        self.regime, self.plan, self.listener = regime, plan, listener
        self.net = regime.prepare(net, task)
        self.device = next(net.parameters()).device
        self.ranks = here()
        self.unsharded: Any = None
        if not self.ranks.is_alone:
            copy_from_first(self.net)
            self.unsharded = shard(self.net) if plan.sharding == "full" else None
        self.keeper = keeper(plan.checkpoints, self.ranks) if plan.checkpoints else None
        self.stepper = Stepper(self.net, task, examples, regime, plan)
        self.optimizer, self.order, self.budget = self.stepper.optimizer, self.stepper.order, self.stepper.budget
        self.mean = None if plan.train.ema is None else WeightMean(self.net, plan.train.ema)
        self.state = _State()
        self.is_compiled = False
        self.best_weights: dict[str, Tensor] | None = None
        self.outcome = Outcome()
        self._window: list[StepResult] = []
        self._window_tokens = 0
        self._window_start = self._last_saved = time.monotonic()
        self._saved_step = -1

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, or start where there is none."""
        found = self.keeper.load(self.net) if self.keeper else None
        if found is None:
            return
        tensors, state = found
        if state["data"] != self.plan.data:
            raise TrainingError("E506", path=self.plan.checkpoints)
        restore_weights(self.net, tensors["weights"])
        restore_optimizer(self.optimizer, self.net, tensors["optimizer"])
        self.best_weights = tensors.get("best")
        if self.mean is not None:
            self.mean.restore(tensors["mean"])
        self.regime.restore(state["regime"])
        # What a regime draws by may have been kept with the run.
        self.order = self.stepper.ask_order()
        self.state = _State(**state["run"])
        self._saved_step = self.state.step
        self.listener.tell({"kind": "resumed", "step": self.state.step})

    def settle_compiling(self) -> None:
        """Compile the network where the plan asks for it, and where that pays if it asks for no more."""
        plan, left = self.plan, 1 - self._spent()
        if plan.compile == "never" or left <= 0:
            return

        def tell(text: str) -> None:
            self.listener.tell({"kind": "stage", "text": text})

        if not self.ranks.is_alone or not isinstance(self.regime, Plain):
            tell(_("torch.compile is for plain training in one process: the run goes on without."))
            return
        step_tokens = self.stepper.num_tokens(self.order.places(self.state.step))
        facts = {"config": self.net.config.to_dict(), "task": self.task.name, "precision": plan.precision, "device": str(self.device)}
        facts |= {"batch_size": plan.batch_size, "micro": plan.train.micro_batch_tokens, "optimizer": plan.train.optimizer}
        takes = partial(self.budget.takes, step_tokens=step_tokens)
        self.is_compiled = settle(self.net, plan.compile, self._rehearsed, lambda seconds: left * takes(seconds), facts, tell)
        self._last_saved = self._window_start = time.monotonic()

    def _rehearsed(self, net: Any) -> Callable[[int], None]:
        """What takes steps with a copy of the network, which change nothing but the copy."""
        optimizer = build_optimizer(net, self.plan.train, self.plan.lr, self.plan.precision)
        net.train()

        def take(number: int) -> None:
            batches = self.stepper.batches(self.order.places(number) or self.order.places(0), None)
            with runtime.precision(self.plan.precision, self.device.type):
                self.regime.step(net, self.task, batches, (self.plan.train.seed, number))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return take

    def go(self, interrupt: "_Interrupt") -> Outcome:
        self.net.train()
        state = self.state
        for text in self.regime.remarks():
            self.listener.tell({"kind": "stage", "text": text})
        while (spent := self._spent()) < 1:
            places = self.order.places(state.step, spent)
            if not places and not self.order.may_be_empty:
                break
            started = time.monotonic()
            result = self._step(places, spent)
            num_tokens = self.stepper.num_tokens(places)
            state.step += 1
            state.tokens += num_tokens
            if self.mean is not None:
                self.mean.update(state.step)
            self._pass_time(started)
            self._log(result, num_tokens)
            self._snap(num_tokens)
            if self._is_due(spent):
                started = time.monotonic()
                with self._as_kept(), without() if self.is_compiled else contextlib.nullcontext():
                    is_over = self._look()
                # A budget in minutes is a person's time, so looking at the held-out part counts as well.
                self._pass_time(started)
                if is_over:
                    self.outcome.stopped = "early"
                    break
            if self.ranks.any(interrupt.asked is not None):
                self.outcome.stopped, self.outcome.signal = "interrupted", interrupt.asked
                break
            self._save_if_due()
        self._log(None, 0)
        if state.step == 1 and not self.optimizer.param_groups[0]["lr"]:
            text = _("The budget is over after one step, which the warm-up takes at a rate of 0: nothing has been learnt. ")
            text += _("A step takes {seconds:.2g} seconds and {tokens:,} tokens here; give it some hundred.")
            self.listener.tell({"kind": "stage", "text": text.format(seconds=state.seconds, tokens=state.tokens)})
        # A schedule that ran to its end is worth more than a lucky look on the way: the best comes back only if it is better.
        goes_back = self.outcome.stopped == "early" or (self.outcome.stopped == "budget" and state.is_behind)
        if goes_back and self.best_weights is not None:
            restore_weights(self.net, self.best_weights)
        else:
            self._save()
            if self.mean is not None:
                self.mean.put()
        self._wait_until_saved()
        if self.is_compiled:
            let_go_of_programs(self.net)
        self.net.eval()
        outcome = self.outcome
        outcome.steps, outcome.tokens, outcome.seconds = state.step, state.tokens, state.seconds
        outcome.best, outcome.best_step = state.best, state.best_step
        return outcome

    def _snap(self, num_tokens: int) -> None:
        """Keep the network where this step passed a place at which it is to be kept; it goes on as if nothing had been."""
        before = self.state.tokens - num_tokens
        for place in self.plan.snapshots:
            if before < place <= self.state.tokens and self.plan.keep_snapshot is not None:
                with self._as_kept():
                    net = self.finished()
                    if self.ranks.is_first:
                        # A copy, since a regime may merge what it hung in the network, and the run needs it apart.
                        self.plan.keep_snapshot(self.regime.finish(copy.deepcopy(net)), place)

    def _as_kept(self) -> contextlib.AbstractContextManager[None]:
        """Inside of this the network has the weights that the run would leave if it ended here."""
        return contextlib.nullcontext() if self.mean is None else self.mean.in_place()

    def finished(self) -> Any:
        """The network that the run leaves, whole."""
        return self.net if self.unsharded is None else whole(self.net, self.unsharded)

    def _pass_time(self, started: float) -> None:
        """Add the time since `started`, by the first rank's clock: a budget in minutes ends for all ranks at once."""
        self.state.seconds = self.ranks.of_first(self.state.seconds + time.monotonic() - started)

    def _spent(self) -> float:
        return self.stepper.spent(self.state.step, self.state.tokens, self.state.seconds)

    def _step(self, places: list[Place], spent: float) -> StepResult:
        try:
            return self.stepper.take(self.state.step, places, spent)
        except NoNumber as error:
            raise self._diverged(error.lr) from None

    def _diverged(self, lr: float) -> TrainingError:
        """Keep the state before the step that failed, which was not applied; the error that says so."""
        self.optimizer.zero_grad(set_to_none=True)
        self._log(None, 0)
        self._save()
        self._wait_until_saved()
        values = {"step": self.state.step + 1, "lr": f"{lr:.2g}", "lower": f"{self.plan.lr / 3:.2g}"}
        if self._saved_step < 0:
            return TrainingError("E504", **values)
        return TrainingError("E503", good=self._saved_step, **values)

    def _log(self, result: StepResult | None, num_tokens: int) -> None:
        """Gather steps into windows and report each: the loss is the sum over the window's sums, not its last step's."""
        if result is not None:
            self._window.append(result)
            self._window_tokens += num_tokens
        now = time.monotonic()
        is_full = len(self._window) >= self.plan.log_steps or now - self._window_start > LOG_SECONDS
        if not self._window or (result is not None and not is_full):
            return
        merged = StepResult()
        for step in self._window:
            for name in step.totals:
                merged.totals[name] = merged.totals.get(name, 0.0) + step.totals[name]
                merged.counts[name] = merged.counts.get(name, 0) + step.counts[name]
                merged.weights[name] = step.weights[name]
        self.outcome.loss = merged.loss
        rate, spent = self._window_tokens / max(1e-9, now - self._window_start), self._spent()
        self.listener.tell(
            {
                "kind": "step",
                "step": self.state.step,
                "loss": merged.loss,
                "terms": {name: merged.totals[name] / max(1, merged.counts[name]) for name in merged.totals},
                "lr": self.optimizer.param_groups[0]["lr"],
                "tokens": self.state.tokens,
                "seconds": round(self.state.seconds, 3),
                "tokens_per_second": rate,
                "spent": spent,
                "seconds_left": round(self.state.seconds * max(0.0, 1 / spent - 1), 1),
                "memory_bytes": runtime.peak_memory_bytes(),
                **self.regime.tells(),
            }
        )
        self._window, self._window_tokens, self._window_start = [], 0, now

    def _is_due(self, before: float) -> bool:
        """Whether the step just taken crossed one of the evenly spread looks at the held-out part."""
        looks = self.plan.train.evaluations or 0
        after = self._spent()
        return self.held_out is not None and len(self.held_out) > 0 and int(min(after, 1) * looks + 1e-9) > int(before * looks + 1e-9)

    def _look(self) -> bool:
        """Evaluate on the held-out part; whether to stop early."""
        assert self.held_out is not None
        self._log(None, 0)
        with runtime.precision(self.plan.precision, self.device.type):
            measured = measure(
                self.net,
                self.task,
                self.held_out,
                max_tokens=self.plan.eval_tokens,
                batch_tokens=self.plan.train.micro_batch_tokens,
                among=self.ranks,
            )
        let_go(self.net)
        # A term that nothing was asked of has no mean: every label of the held-out rows may be an unknown one.
        terms = {name: measured.mean(name) for name, counts in measured.counts.items() if counts.any()}
        self.outcome.held_out = terms
        self.listener.tell({"kind": "evaluation", "step": self.state.step, "terms": terms, "seconds": round(self.state.seconds, 3)})
        self._window_start = time.monotonic()
        patience = self.plan.train.patience
        if patience is None or self.task.watched not in terms:
            return False
        value, state = terms[self.task.watched], self.state
        state.is_behind = state.best is not None and value > state.best + measured.standard_error(self.task.watched)
        if state.best is None or value < state.best:
            state.best, state.best_step, state.waited = value, state.step, 0
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights(self.net).items()}
            return False
        state.waited += 1
        if state.waited >= patience and self._spent() < 1:
            self.listener.tell({"kind": "stopped early", "step": state.step, "patience": patience})
            return True
        return False

    def _save_if_due(self) -> None:
        every = self.plan.checkpoint_steps
        due = self.state.step % every == 0 if every else self.ranks.of_first(time.monotonic() - self._last_saved > CHECKPOINT_SECONDS)
        if due:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint; a full disk is said and survived, since the last good checkpoint stands."""
        if self.keeper is None or self._saved_step == self.state.step:
            return
        tensors = {"weights": weights(self.net), "optimizer": optimizer_tensors(self.optimizer, self.net)}
        if self.best_weights is not None:
            tensors["best"] = self.best_weights
        if self.mean is not None:
            tensors["mean"] = self.mean.means
        try:
            state = {"run": self.state.to_json(), "regime": self.regime.state(), "data": self.plan.data}
            self.keeper.save(self.state.step, tensors, state)
            self._saved_step = self.state.step
        except MachineError as error:
            self.listener.tell({"kind": "stage", "text": str(error)})
        self._last_saved = time.monotonic()

    def _wait_until_saved(self) -> None:
        """Let a checkpoint that is written in the background come to its end, good or bad."""
        try:
            if self.keeper is not None:
                self.keeper.wait()
        except MachineError as error:
            self.listener.tell({"kind": "stage", "text": str(error)})


class _Interrupt:
    """Ctrl-C and SIGTERM ask the loop to end after the step it is in; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that came, none yet."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        # torchrun sends one signal and then ends what does not end; a rank alone must not leave the others waiting.
        if self.asked and here().is_alone:
            raise KeyboardInterrupt
        self.asked = number

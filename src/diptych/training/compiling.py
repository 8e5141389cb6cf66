"""Whether torch.compile pays, found by trying: compiling takes a minute, and what it gains depends on machine and shape.

Compiled are the feed-forward nets alone, half of the work: they see the flat row of tokens, so one program of any length serves
all layers and all steps, where attention is another program for each mix of lengths. A trial takes steps of the run on a copy of
the network, in turn with and without; what it found is kept by machine, torch and shape.
"""

import copy
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch

from diptych import runtime
from diptych.messages import _
from diptych.models.layers import FeedForward

VERSION = 1
BACKEND = "inductor"
ROUNDS = 5
"""Steps of either kind that are compared, after one that is not."""
WORTHWHILE = 1.05
"""A compiled step must be so much faster: less is within the noise of a trial."""
LEAST_SECONDS = 1200.0
"""A trial takes a minute or so, and no share of a shorter run brings that back."""


@dataclass(frozen=True)
class Trial:
    """Seconds of a step without and with compiling, and of compiling."""

    plain: float
    compiled: float
    compiling: float

    def pays(self, seconds: float) -> bool:
        """Whether a run that takes so many seconds without is over sooner with compiling, which it has to do first."""
        saved = seconds * (1 - self.compiled / self.plain)
        return self.plain >= WORTHWHILE * self.compiled and saved > self.compiling


def settle(
    net: torch.nn.Module,
    mode: str,
    begin: Callable[[torch.nn.Module], Callable[[int], None]],
    left: Callable[[float], float],
    facts: Mapping[str, Any],
    tell: Callable[[str], None],
) -> bool:
    """Compile `net` as `mode` asks, in place, and whether that was done.

    Args:
        mode: "always", or "auto" for where a trial says that it pays.
        begin: makes, for a copy of the network, what takes its step of a number.
        left: how many seconds the run will take from here on, if a step takes so many.
        facts: what the pace of a step depends on besides machine and torch.
        tell: hears in a sentence what was found.
    """
    path = _path(facts)
    try:
        if mode == "auto":
            found = _remembered(path) or _try(net, begin, left)
            if found is None:
                tell(_("The run is too short for torch.compile to be tried."))
                return False
            with suppress(OSError):
                runtime.write_whole(path, json.dumps(asdict(found)))
            text = _("torch.compile: a step takes {compiled:.3g} seconds compiled and {plain:.3g} as it is; compiling takes {seconds:.0f}.")
            text = text.format(compiled=found.compiled, plain=found.plain, seconds=found.compiling)
            pays = found.pays(left(found.plain))
            tell(f"{text} {_('The run is compiled.') if pays else _('The run is not compiled: that would not pay.')}")
            if not pays:
                return False
        else:
            # Whether there is a compiler at all shows in a first step; a copy takes it, so that a failure harms nothing.
            begin(_compiled(copy.deepcopy(net)))(0)
    except (RuntimeError, OSError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        tell(_("torch.compile does not work here ({reason}): the run goes on without.").format(reason=reason[:120]))
        return False
    _compiled(net)
    return True


def let_go(net: torch.nn.Module) -> None:
    """Take the compiled programs out of a network, which computes as it did before."""
    for module in net.modules():
        module._compiled_call_impl = None


def without() -> AbstractContextManager[None]:
    """Inside of this nothing is compiled: a look at other lengths and without gradients would be another program."""
    return torch.compiler.set_stance("force_eager")


def _compiled(net: torch.nn.Module) -> torch.nn.Module:
    for module in net.modules():
        if isinstance(module, FeedForward):
            module.compile(dynamic=True, backend=BACKEND)
    return net


def _try(net: torch.nn.Module, begin: Callable[[torch.nn.Module], Callable[[int], None]], left: Callable[[float], float]) -> Trial | None:
    """A trial on copies; None where the plain steps show that the run is too short for one."""
    plain = begin(copy.deepcopy(net))
    plain(0)
    if left(_seconds(plain, 1)) < LEAST_SECONDS:
        return None
    compiled = begin(_compiled(copy.deepcopy(net)))
    first = _seconds(compiled, 0)
    pairs = [(_seconds(plain, number), _seconds(compiled, number)) for number in range(2, 2 + ROUNDS)]
    plain_seconds, compiled_seconds = (statistics.median(each) for each in zip(*pairs, strict=True))
    return Trial(plain_seconds, compiled_seconds, max(0.0, first - compiled_seconds))


def _seconds(take: Callable[[int], None], number: int) -> float:
    started = time.perf_counter()
    take(number)
    return time.perf_counter() - started


def _path(facts: Mapping[str, Any]) -> Any:
    here = [VERSION, BACKEND, torch.__version__, torch.get_num_threads(), runtime.machine().processor]
    digest = hashlib.blake2b(json.dumps([here, dict(facts)], sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    return runtime.cache_folder() / f"compile-{digest}.json"


def _remembered(path: Any) -> Trial | None:
    with suppress(OSError, ValueError, TypeError):
        return Trial(**json.loads(path.read_text(encoding="utf-8")))
    return None

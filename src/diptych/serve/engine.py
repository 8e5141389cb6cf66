"""The one thread that computes: it takes what is asked, lets every model go a step on in turn, and does one job in between.

A single thread has torch, because two that compute at once on the same cores are slower than one after the other, and because
what is kept of texts then needs no locks. Whoever asks is told through `tell` and waits elsewhere.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from diptych.errors import DiptychError, UsageError
from diptych.serve.counts import Counts
from diptych.serve.fair import FairQueue
from diptych.serve.work import Ask, Failed, Job, Result

log = logging.getLogger("diptych.serve")


class Lane(Protocol):
    """The answers of one model."""

    @property
    def num_waiting(self) -> int: ...
    @property
    def num_active(self) -> int: ...
    @property
    def num_free(self) -> int: ...
    def put(self, ask: Ask) -> None: ...
    def step(self) -> list[Ask]: ...
    def fail(self, error: BaseException) -> list[Ask]: ...


@dataclass(frozen=True)
class Limits:
    """How much may be asked at once."""

    queue: int = 256
    """Asks and jobs that are not over yet, of all clients together."""
    per_client: int = 128
    """The same, of one client."""


class Engine:
    """Takes asks and jobs from any thread and does them in its own.

    Args:
        lanes: makes the lane of each model, by its name; called in the engine's thread.
    """

    def __init__(self, lanes: dict[str, Callable[[], Lane]], counts: Counts | None = None, limits: Limits | None = None) -> None:
        self.counts = counts or Counts()
        self._limits = limits or Limits()
        self._makers = lanes
        self._lanes: dict[str, Lane] = {}
        self._jobs: FairQueue[Job] = FairQueue()
        self._wake = threading.Condition()
        self._inbox: deque[Ask | Job] = deque()
        self._open: Counter[str] = Counter()
        self._is_draining = self._is_stopped = False
        self._ready = threading.Event()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="diptych-engine", daemon=True)

    def start(self) -> None:
        """Make the lanes and begin; returns when it is ready.

        Raises:
            what making a lane raised.
        """
        self._thread.start()
        self._ready.wait()
        if self._broken is not None:
            raise self._broken

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set() and not self._is_draining and self._thread.is_alive()

    @property
    def num_open(self) -> int:
        """Asks and jobs that are not over."""
        return self._open.total()

    @property
    def lanes(self) -> dict[str, Lane]:
        return self._lanes

    def submit(self, work: Ask | Job) -> None:
        """Take an ask or a job.

        Raises:
            UsageError E665: it is shutting down. UsageError E662: there is no room in the queue. E663: this client has asked for
            too much at once.
        """
        with self._wake:
            if self._is_draining or self._is_stopped:
                raise UsageError("E665")
            if self._open.total() >= self._limits.queue:
                raise UsageError("E662", limit=self._limits.queue)
            if self._open[work.client] >= self._limits.per_client:
                raise UsageError("E663", limit=self._limits.per_client)
            self._open[work.client] += 1
            self._inbox.append(work)
            self._wake.notify()

    def cancel(self, work: Ask | Job) -> None:
        """Nobody listens to it any more: it is given up before the next step. Of one that is over nothing happens."""
        with self._wake:
            work.is_cancelled = True
            self._wake.notify()

    def drain(self) -> None:
        """Take nothing new from now on."""
        with self._wake:
            self._is_draining = True

    def stop(self, grace: float = 0.0) -> None:
        """Take nothing new, give what is open so many seconds to be over, cancel the rest, and end."""
        self.drain()
        until = monotonic() + grace
        with self._wake:
            while self._open.total() and monotonic() < until and self._thread.is_alive():
                self._wake.wait(min(0.05, max(0.0, until - monotonic())))
            self._is_stopped = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._lanes = {name: make() for name, make in self._makers.items()}
        except BaseException as error:
            self._broken = error
            return
        finally:
            self._ready.set()
        while self._take_in():
            self._do_a_job()
            for name, lane in self._lanes.items():
                if lane.num_active or lane.num_waiting:
                    self._step(name, lane)
        stopped = UsageError("E665")
        for lane in self._lanes.values():
            self._close(lane.fail(stopped))
        for work in [*self._jobs, *self._inbox]:
            work.tell(Failed(stopped))
            self._close([work])

    def _take_in(self) -> bool:
        """Wait for something to do and take what has come; whether to go on."""
        with self._wake:
            while not (self._is_stopped or self._inbox or len(self._jobs) or self._has_lines()):
                self._wake.wait()
            if self._is_stopped:
                return False
            come = list(self._inbox)
            self._inbox.clear()
        for work in come:
            if isinstance(work, Job):
                self._jobs.put(work)
                continue
            try:
                self._lanes[work.model].put(work)
            except DiptychError as error:
                work.tell(Failed(error))
                self._close([work])
        return True

    def _has_lines(self) -> bool:
        return any(lane.num_active or lane.num_waiting for lane in self._lanes.values())

    def _step(self, name: str, lane: Lane) -> None:
        try:
            self._close(lane.step())
        except Exception as error:
            log.exception("model %s", name)
            self._close(lane.fail(error))

    def _do_a_job(self) -> None:
        while len(self._jobs):
            job = self._jobs.pop()
            is_late = job.deadline < monotonic()
            if job.is_cancelled or is_late:
                if is_late:
                    job.tell(Failed(UsageError("E664", seconds=round(monotonic() - job.asked_at))))
                self._close([job])
                continue
            try:
                job.tell(Result(job.run()))
            except Exception as error:
                if not isinstance(error, DiptychError):
                    log.exception("a job")
                job.tell(Failed(error))
            self.counts.jobs += 1
            self._close([job])
            return

    def _close(self, over: list) -> None:
        """These are over: their clients may ask for more."""
        if not over:
            return
        with self._wake:
            for work in over:
                self._open[work.client] -= 1
                if not self._open[work.client]:
                    del self._open[work.client]
            self._wake.notify_all()

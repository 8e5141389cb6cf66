"""Forms that strangers send, tried in a process of their own before they are believed.

A schema or grammar is a program for a compiler that was not written against malice: some nest so deeply that its stack overflows, which
ends the process that it runs in, and some take for ever without ever letting another thread run. So a process that nobody misses tries
each first, with limits of time and memory; what ends it is refused. A form that was good is compiled again here, and kept for the next
request that has it.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from diptych.errors import UsageError
from diptych.generation.forms import Kind, compiled

DEEP = 512 << 20
"""Bytes of stack: more than the longest form that is taken can nest."""
MEMORY = 4 << 30
"""Bytes that the process may ask for, its stack included."""
KEPT = 64
"""Forms that are kept compiled."""
START_SECONDS = 60.0
LIVES = "lives\n"


class Forms:
    """Compiles forms for one model.

    Args:
        make: makes of a form what answers are kept to.
        seconds: how long one may take.
    """

    def __init__(self, make: Callable[[Kind, Any], Any], tokenizer: Any, vocab_size: int, ends: frozenset[int], seconds: float) -> None:
        self._make, self._seconds = make, seconds
        self._told = {"tokenizer": tokenizer.to_json(), "vocab_size": vocab_size, "ends": sorted(ends)}
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._trier: subprocess.Popen[str] | None = None

    def compile(self, kind: Kind, value: Any) -> Any:
        """
        Raises:
            UsageError E647 to E649: as `compiled`. E671: it takes too long, or too much memory or stack.
        """
        with self._lock:
            name = json.dumps([kind, value], ensure_ascii=False, sort_keys=True)
            if name not in self._kept:
                self._try(name)
                self._kept[name] = deep(lambda: self._make(kind, value))
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(name)
            return self._kept[name]

    def close(self) -> None:
        """End the process that tries."""
        trier, self._trier = self._trier, None
        if trier is not None:
            trier.kill()
            trier.communicate()

    def _try(self, name: str) -> None:
        if self._trier is None or self._trier.poll() is not None:
            self._trier = self._start()
        # What is wrong with a form is said when it is compiled here; all that is wanted there is to live through it.
        if not self._ask(self._trier, name, self._seconds):
            self.close()
            raise UsageError("E671", seconds=f"{self._seconds:g}")

    def _start(self) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        trier = subprocess.Popen(
            [sys.executable, "-m", "diptych.serve.forms"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._ask(trier, json.dumps(self._told), START_SECONDS)
        return trier

    def _ask(self, trier: "subprocess.Popen[str]", line: str, seconds: float) -> bool:
        """Whether it answers; not where it did not live to, or was ended for taking too long."""
        assert trier.stdin is not None and trier.stdout is not None
        timer = threading.Timer(seconds, trier.kill)
        timer.start()
        try:
            trier.stdin.write(line + "\n")
            trier.stdin.flush()
            return trier.stdout.readline() == LIVES
        except (OSError, ValueError):
            return False
        finally:
            timer.cancel()


def deep(run: Callable[[], Any]) -> Any:
    """What `run` returns or raises, in a thread with a deep stack."""
    found: list[Any] = []

    def inside() -> None:
        try:
            found.extend((True, run()))
        except BaseException as error:
            found.extend((False, error))

    before = threading.stack_size(DEEP)
    try:
        thread = threading.Thread(target=inside)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    is_good, value = found
    if not is_good:
        raise value
    return value


def try_forms() -> None:
    """Answer each line of standard input, a form, with a line that says that it was lived through."""
    from diptych.text.tokenizer import Tokenizer

    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = json.loads(sys.stdin.readline())
    tokenizer = Tokenizer.from_json(told["tokenizer"])
    size, ends = told["vocab_size"], frozenset(told["ends"])
    print(LIVES, end="", flush=True)
    for line in sys.stdin:
        kind, value = json.loads(line)
        with contextlib.suppress(UsageError):
            deep(lambda kind=kind, value=value: compiled(kind, value, tokenizer, size, ends).deep_copy().compute_bitmask())
        print(LIVES, end="", flush=True)


if __name__ == "__main__":
    try_forms()

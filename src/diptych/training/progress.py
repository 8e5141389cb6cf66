"""What a run says while it goes on: events, written as JSON lines and shown as a bar, plain lines or JSON.

An event is a flat dictionary with a "kind". The file `metrics.jsonl` is only ever appended to; after a resume the lines
past the checkpoint stand twice, and `read_events` keeps the later ones.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from diptych import runtime
from diptych.messages import _, mark

Event = dict[str, Any]
Style = Literal["auto", "bar", "lines", "json", "quiet"]
TERMS = {
    "lm": mark("loss"),
    "classes": mark("loss"),
    "tags": mark("loss"),
    "sentence": mark("loss"),
    "start": mark("loss where answers begin"),
    "end": mark("loss where answers end"),
    "nsp": mark("next-sentence loss"),
    "errors": mark("share of errors"),
}
"""What people call the terms of an evaluation; one that is not here keeps its own name."""


class Listener(Protocol):
    """Something that is told of every event."""

    def tell(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Journal:
    """`metrics.jsonl`: every event on a line of its own, on the disk before the next step begins."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_torn = path.exists() and not _ends_a_line(path)
        # Half of a character, as in a path that is no UTF-8, is written as JSON writes it: \udc80.
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        if is_torn:
            self._file.write("\n")

    def tell(self, event: Event) -> None:
        # A full disk must not end a run: what could not be written is tried again with the next event.
        with contextlib.suppress(OSError):
            self._file.write(json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class Lines:
    """Plain lines, for logs and pipes: one every few seconds and one per evaluation."""

    def __init__(self, out: TextIO | None = None, *, every_seconds: float = 5.0) -> None:
        self._out = out or sys.stderr
        self._every = every_seconds
        self._last = 0.0

    def tell(self, event: Event) -> None:
        now = time.monotonic()
        if event["kind"] == "step" and now - self._last < self._every:
            return
        self._last = now if event["kind"] == "step" else self._last
        text = describe(event)
        if text:
            print(text, file=self._out, flush=True)

    def close(self) -> None:
        return


class JsonLines:
    """Every event as JSON, for machines."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def tell(self, event: Event) -> None:
        print(json.dumps(event, ensure_ascii=False), file=self._out, flush=True)

    def close(self) -> None:
        return


class Bar:
    """A bar that grows with the budget, with loss, tokens per second and the time that is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar = self._progress.add_task(_("training"), total=1.0, facts="")
        self._progress.start()

    def tell(self, event: Event) -> None:
        if event["kind"] == "step":
            self._progress.update(self._bar, completed=min(1.0, event["spent"]), facts=_facts(event))
        else:
            text = describe(event)
            if text:
                self._progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self._progress.stop()


class Several:
    """Tell each of several listeners."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)

    def tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener.tell(event)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


def display(style: Style = "auto") -> Listener:
    """The listener for `style`; "auto" is a bar on a terminal and plain lines elsewhere. Of several ranks, one shows anything."""
    if style == "quiet" or not runtime.speaks():
        return Several([])
    if style == "json":
        return JsonLines()
    if style == "bar" or (style == "auto" and sys.stderr.isatty()):
        return Bar()
    return Lines()


def describe(event: Event) -> str:
    """One event as a sentence in the user's language; empty for what a person need not see."""
    kind = event["kind"]
    if kind == "step":
        left = str(timedelta(seconds=round(event["seconds_left"])))
        return _("step {step}: {facts}, {left} left").format(step=event["step"], facts=_facts(event), left=left)
    if kind == "evaluation" and event["terms"]:
        terms = ", ".join(f"{_(TERMS.get(name) or name)} {value:.4f}" for name, value in event["terms"].items())
        return _("step {step}: held-out {terms}").format(step=event["step"], terms=terms)
    if kind in ("stage", "done"):
        return str(event["text"])
    if kind == "resumed":
        return _("resumed at step {step}").format(step=event["step"])
    if kind == "stopped early":
        return _("stopped early at step {step}: nothing better in {patience} evaluations").format(**event)
    return ""


def read_events(path: Path) -> list[Event]:
    """The events of a run as if it had never been interrupted; a last line cut short by a kill is left out."""
    events: list[Event] = []
    if not path.exists():
        return events
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("kind") == "resumed":
            events = [old for old in events if old.get("step", 0) <= event["step"]]
        events.append(event)
    return events


def _ends_a_line(path: Path) -> bool:
    """Whether what is written next begins a line of its own; a kill may have cut the last one short."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _facts(event: Event) -> str:
    facts = _("loss {loss:.4f}, {rate:,.0f} tokens/s").format(loss=event["loss"], rate=event["tokens_per_second"])
    return f"{facts}, ε = {event['epsilon']:.2f}" if "epsilon" in event else facts

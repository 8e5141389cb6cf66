"""Flower for real: its server drives two of our sites for three rounds, in an environment of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "flower_rounds.py"


@pytest.mark.slow
def test_a_flower_server_drives_two_sites_for_three_rounds_to_the_weights_of_one_process() -> None:
    """`DIPTYCH_FLOWER` names an interpreter with flwr; without it an environment is built, which needs a package registry."""
    given = os.environ.get("DIPTYCH_FLOWER")
    done = subprocess.run([sys.executable, str(SCRIPT), *(["--flower", given] if given else [])], capture_output=True, text=True)
    if "pip" in done.stderr and "install" in done.stderr and not given:
        pytest.skip("Flower cannot be installed here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits" in done.stdout or "apart" in done.stdout

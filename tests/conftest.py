"""What tests share: a quiet, English-speaking, one-machine setting, and the way to data that need not be there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["DIPTYCH_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# A busy machine is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of the person who runs it; the measured machine is measured once a session."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Messages are compared in English unless a test asks for Chinese; what is set up for a whole file after it is English again."""
    from diptych.messages import set_language

    set_language("en")
    yield
    set_language("en")


@pytest.fixture
def shared_data() -> Path:
    """Real data sets beside the project; a test that needs them is skipped where they are not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    return SHARED_DATA


BOTH_LANGUAGES = [
    "The for statement iterates over the items of a sequence, in order.",
    "今天天气很好，我们去公园散步吧！",
    "Mixed 中文 and English，with full-width：ＡＢＣ 🙂 and a tail.\r\nA second line.",
    "",
]


@pytest.fixture
def both_languages() -> list[str]:
    """English, Chinese, mixed with an emoji and CRLF, and an empty document."""
    return list(BOTH_LANGUAGES)

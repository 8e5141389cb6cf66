"""What tests share: a quiet, English-speaking, one-machine setting, the way to data that need not be there, small networks."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["DIPTYCH_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# A busy machine is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

MEMORY_DISK = Path("/dev/shm")


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders lie in memory where there is room: every save waits for the disk, and the suite saves thousands of times."""
    if MEMORY_DISK.is_dir() and os.access(MEMORY_DISK, os.W_OK) and shutil.disk_usage(MEMORY_DISK).free > 4 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of the person who runs it; the measured machine is measured once a session."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    # `--lang` is for the process: set here, it is what it was when the test is over.
    monkeypatch.setenv("DIPTYCH_LANG", "en")


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


SMALL = {"vocab_size": 61, "hidden_size": 16, "num_layers": 4, "head_size": 8, "context_length": 64, "feed_forward_size": 24}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {},
    "gpt2": {},
    "gpt": {"num_heads": 4, "num_kv_heads": 2, "head_size": 6},
    # Global layers with local ones between, whose windows are shorter than the texts.
    "modernbert": {"window": 4, "global_every": 2},
    "modernbert-decoder": {"window": 4, "global_every": 2},
    "roberta": {},
    "distilbert": {},
    "gpt3": {"window": 4},
    "mpt": {"feed_forward_size": 64},
    "llama": {"num_heads": 4, "num_kv_heads": 2, "head_size": 6},
    "mistral": {"window": 5},
}


@pytest.fixture
def random_net() -> Callable[..., Any]:
    """random_net("gpt", num_layers=1) makes a network of a family whose norms and biases are drawn too."""
    import torch

    from diptych.presets import create

    def make(family: str, *heads: str, seed: int = 0, **sizes: Any) -> Any:
        net = create(f"{family}-tiny", seed=seed, **{**SMALL, **SHAPES[family], **sizes})
        for head in heads:
            net.ensure_head(head, labels=("a", "b", "c") if head in ("classes", "tags") else ())
        chance = torch.Generator().manual_seed(seed)
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                is_norm = isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm) and name == "weight"
                with torch.no_grad():
                    parameter.normal_(0, 0.3, generator=chance).add_(1.0 if is_norm else 0.0)
        return net

    return make


CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
QUIET += ("--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser, which finds no address but this machine's; a test that asks for it is skipped where there is none.

    For one file at a time: while playwright runs, nothing else in this thread can start a loop of asyncio.
    """
    play = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no page is opened")
    path = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here, so no page is opened: apt-get install chromium")
    with play.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def tells_apart() -> Callable[..., bool]:
    """tells_apart(page, selector, "汉字") says whether the font of an element draws each of the characters as itself, and none as a box."""
    if not shutil.which("fc-list") or not subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=False).stdout:
        pytest.skip("no font here has Chinese: apt-get install fonts-wqy-microhei")
    script = """([selector, characters]) => {
      const style = getComputedStyle(document.querySelector(selector));
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 64;
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const drawn = (character) => {
        pen.clearRect(0, 0, 64, 64);
        pen.font = `48px ${style.fontFamily}`;
        pen.fillText(character, 4, 52);
        return pen.getImageData(0, 0, 64, 64).data.join();
      };
      return new Set(Array.from(characters, drawn)).size;
    }"""

    def ask(page: Any, selector: str, characters: str) -> bool:
        # The last is no character at all: it is drawn as whatever stands for one that no font has.
        each = "".join(dict.fromkeys(characters)) + "\U0010ffff"
        return page.evaluate(script, [selector, each]) == len(each)

    return ask


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """opened(path) is a page of a file, with the network off; whatever else it asks for is in `page.asked`."""
    context = chromium.new_context(offline=True)

    def open_file(path: Path) -> Any:
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(path.as_uri())
        page.asked.remove(path.as_uri())
        return page

    yield open_file
    context.close()

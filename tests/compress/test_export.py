"""Our models as GGUF files: llama.cpp opens them, cuts texts as we do and computes what we compute.

llama.cpp is asked through llama-cpp-python, which is no part of the dev extra, since it is compiled for minutes; without it
these tests are skipped (`pip install llama-cpp-python`), and those that read our files back still run.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diptych as dt
from diptych.errors import DiptychError
from diptych.gguf_header import read_header
from diptych.model import Model
from diptych.presets import create

ENGLISH = [
    "Don't panic: 42 towels, naïve cafés & 3½ o'clock.",
    "def f(x):\n    return x ** 2  # why?",
    "The quick brown fox jumps over it.",
]
CHINESE = ["话说天下大势，分久必合，合久必分。", "我爱Python，2024年在北京（首都）买了１２件！", "第Ⅷ章：① 开始；〇二。"]
ODD = ["emoji 🙂❤️👩‍👩‍👧 end", "a\r\nb\u00a0c\u3000d", "  \n\n   1 \t_x__y's", "日本語、カタカナー。한국어", "<|endoftext|> [CLS] [SEP]"]
TEXTS = [*ENGLISH, *CHINESE, *ODD, ""]
PROMPTS = [text[: 4 + 3 * number] for number in range(2) for text in TEXTS[:10]]
SIZES = {"hidden_size": 64, "num_layers": 2, "head_size": 16, "context_length": 96, "feed_forward_size": 96}
DECODERS = {
    "gpt2": {},
    "gpt": {"num_heads": 4, "num_kv_heads": 2, "head_size": 32},
    "llama": {"num_heads": 4, "num_kv_heads": 2, "is_tied": False},
}


@pytest.fixture(scope="module")
def small() -> Callable[..., Model]:
    """small("gpt2") makes a network with weights far from a fresh one's, and a tokenizer that learnt from TEXTS."""

    def make(family: str, **sizes: Any) -> Model:
        is_bert = family == "bert"
        kind, panel = ("wordpiece", "masked") if is_bert else ("bpe", "causal")
        tokenizer = dt.Tokenizer.train(TEXTS * 3, kind, 700, panel=panel, lowercase=sizes.pop("lowercase", False))  # type: ignore[arg-type]
        vocab = {"vocab_size": sizes.pop("vocab_size", tokenizer.vocab_size), "token_ids": tokenizer.token_ids}
        net = create(f"{family}-tiny", **{**SIZES, **DECODERS.get(family, {}), **vocab, **sizes})
        chance = torch.Generator().manual_seed(0)
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                is_norm = isinstance(module, nn.LayerNorm | nn.RMSNorm) and name == "weight"
                with torch.no_grad():
                    parameter.normal_(0, 0.15, generator=chance).add_(1.0 if is_norm else 0.0)
        return Model(net, tokenizer)

    return make


def _llama(path: Path, **options: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    return llama_cpp.Llama(str(path), verbose=False, n_threads=1, n_threads_batch=1, **options)


@pytest.mark.parametrize("family", DECODERS)
def test_llama_cpp_writes_on_as_we_do(small: Callable[..., Model], family: str, tmp_path: Path) -> None:
    model = small(family)
    path = dt.export(model, tmp_path / "model.gguf")
    # Keys and values in float32 (0), as we keep them: with half of the bits a near tie of a network that never learnt may turn.
    llama = _llama(path, n_ctx=96, logits_all=True, type_k=0, type_v=0)
    for text in TEXTS:
        assert llama.tokenize(text.encode(), add_bos=False, special=False) == model.tokenizer.encode(text), text
    for prompt in PROMPTS:
        ids = llama.tokenize(prompt.encode(), add_bos=True, special=False)
        assert ids == model.prompt_ids(prompt)
        llama.reset()
        llama.eval(ids)
        ours = model.logits([ids])[0].detach()
        assert (torch.from_numpy(np.array(llama.scores[: len(ids)])) - ours).abs().max() < 5e-3 * ours.abs().max()
        theirs = list(islice(llama.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0), 12))
        ends = theirs.index(model.tokenizer.eos_id) if model.tokenizer.eos_id in theirs else None
        assert model.tokenizer.decode(theirs[:ends]) == model.generate(prompt, 12, temperature=0)


@pytest.mark.parametrize("lowercase", [True, False])
def test_llama_cpp_embeds_as_our_bert_does(small: Callable[..., Model], lowercase: bool, tmp_path: Path) -> None:
    model = small("bert", lowercase=lowercase)
    ledger = dt.Ledger()
    llama = _llama(dt.export(model, tmp_path / "model.gguf", ledger=ledger), n_ctx=96, embedding=True)
    assert [line for line in ledger.lines() if "lm" in line], "the head that has no place in the file is counted"
    for text in TEXTS:
        assert llama.tokenize(text.encode(), add_bos=True, special=False) == model.tokenizer.frame(model.tokenizer.encode(text))[0], text
        found, expected = np.array(llama.embed(text, normalize=False)), model.embed(text)[0].numpy()
        assert np.abs(found - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("precision, share", [("f16", 2e-3), ("q8_0", 3e-2)])
def test_llama_cpp_opens_the_smaller_kinds(small: Callable[..., Model], precision: str, share: float, tmp_path: Path) -> None:
    model = small("gpt2")
    llama = _llama(dt.export(model, tmp_path / "model.gguf", type=precision), n_ctx=96, logits_all=True)
    ids = model.prompt_ids(CHINESE[0])
    llama.eval(ids)
    ours = model.logits([ids])[0].detach()
    assert (torch.from_numpy(np.array(llama.scores[: len(ids)])) - ours).abs().max() < share * ours.abs().max()


@pytest.mark.parametrize("family", [*DECODERS, "bert"])
def test_a_file_of_ours_comes_back_bit_for_bit(small: Callable[..., Model], family: str, tmp_path: Path) -> None:
    model = small(family)
    again = dt.load(dt.export(model, tmp_path / "model.gguf"))
    for name, weight in again.net.state_dict().items():
        assert torch.equal(weight, model.net.state_dict()[name]), name
    assert again.tokenizer.encode_batch(TEXTS) == model.tokenizer.encode_batch(TEXTS)
    again.save(tmp_path / "folder")
    assert dt.load(tmp_path / "folder").tokenizer.roles == model.tokenizer.roles


def test_rows_that_are_no_whole_blocks_are_kept_as_f16(small: Callable[..., Model], tmp_path: Path) -> None:
    path = dt.export(small("gpt2", hidden_size=48, num_heads=3, feed_forward_size=64), tmp_path / "model.gguf", type="q8_0")
    tensors = read_header(path).tensors
    assert (tensors["blk.0.ffn_up.weight"].kind, tensors["blk.0.ffn_down.weight"].kind) == ("F16", "Q8_0")
    assert tensors["blk.0.ffn_up.bias"].kind == tensors["position_embd.weight"].kind == "F32"


def test_a_vocabulary_smaller_than_its_model_is_filled_up(small: Callable[..., Model], tmp_path: Path) -> None:
    model = small("gpt2", vocab_size=800)
    path = dt.export(model, tmp_path / "model.gguf")
    assert len(read_header(path).metadata["tokenizer.ggml.tokens"]) == 800
    assert _llama(path, n_ctx=96).tokenize(b"Don't", add_bos=False) == model.tokenizer.encode("Don't")


@pytest.mark.parametrize(
    "family, sizes, options, code",
    [
        ("modernbert", {"window": 0}, {}, "E327"),
        ("gpt2", {"activation": "relu"}, {}, "E327"),
        ("gpt2", {}, {"type": "q4_k"}, "E403"),
        ("gpt2", {}, {"to": "onnx"}, "E403"),
    ],
)
def test_what_llama_cpp_has_not_is_refused(
    small: Callable[..., Model], family: str, sizes: dict[str, Any], options: dict[str, str], code: str, tmp_path: Path
) -> None:
    with pytest.raises(DiptychError) as caught:
        dt.export(small(family, **sizes), tmp_path / "model.gguf", **options)
    assert caught.value.code == code and not any(tmp_path.iterdir())


def test_a_folder_in_the_way_is_named_and_kept(small: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "model.gguf").mkdir()
    with pytest.raises(DiptychError) as caught:
        dt.export(small("gpt2"), tmp_path / "model.gguf")
    assert caught.value.code == "E904" and [path.name for path in tmp_path.iterdir()] == ["model.gguf"]

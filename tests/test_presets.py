"""Every preset: it opens elsewhere without our code, it has the sizes it says, and it does what its panel does."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers

from diptych.errors import ModelError
from diptych.formats.folder import write_model
from diptych.model import Model
from diptych.models.transformer import Network
from diptych.packed import Packed
from diptych.presets import create, list_presets, num_parameters, preset_config
from diptych.sizes import PUBLISHED
from diptych.text.tokenizer import Tokenizer

PRESETS = [name for name in list_presets() if name not in PUBLISHED]
# transformers has no class for recurrent nets; tests/models/test_recurrent.py takes their folders there and back.
ELSEWHERE = [name for name in PRESETS if not preset_config(name).cell]
AS_THEY_ARE = ("tiny", "mini")
SHRUNK = {"hidden_size": 64, "num_layers": 4, "vocab_size": 300, "context_length": 48}
TEXTS = ["The cat sat on the mat, and the dog sat by the door.", "今天天气很好，我们去公园散步吧！", "🙂 mixed 中文 and English"]


def sizes_of(preset: str) -> dict[str, int]:
    return {} if preset.endswith(AS_THEY_ARE) else SHRUNK


def auto_class(net: Any) -> Any:
    if net.config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM if net.config.is_causal else transformers.AutoModelForMaskedLM


def num_learnt(net: Any) -> int:
    """How many numbers learn; the bias of an encoder-decoder's logits is a buffer in transformers."""
    bias = net.config.vocab_size if net.config.is_encoder_decoder and net.config.has_lm_bias else 0
    return sum(map(torch.numel, net.parameters())) - bias


def num_learnt_there(net: Any) -> int:
    """Marian's table of positions is counted among the parameters there, though it does not learn."""
    is_fixed = net.config.model_type == "marian"
    return sum(parameter.numel() for name, parameter in net.named_parameters() if not (is_fixed and "embed_positions" in name))


@pytest.mark.parametrize("preset", ELSEWHERE)
def test_transformers_opens_it_without_our_code_and_answers_alike(preset: str, tmp_path: Path) -> None:
    net = create(preset, seed=1, **sizes_of(preset))
    write_model(net, tmp_path)
    theirs, info = auto_class(net).from_pretrained(tmp_path, output_loading_info=True, trust_remote_code=False)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert num_learnt_there(theirs) == num_learnt(net)
    ids = torch.randint(0, net.config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        written = {"decoder_input_ids": ids[:, :20]} if net.config.is_encoder_decoder else {}
        expected = theirs.eval()(ids, **written).logits
        assert (net.logits(ids, **written) - expected).abs().max() <= 1e-5 * expected.abs().max()


STACKS = [name for name in ELSEWHERE if name.endswith("tiny") and not preset_config(name).is_encoder_decoder]


@pytest.mark.parametrize("preset", STACKS)
def test_transformers_opens_a_classifier_of_it(preset: str, tmp_path: Path) -> None:
    net = create(preset, **SHRUNK)
    net.ensure_head("classes", labels=("差", "好", "很好"))
    net.keep_heads(("classes",))
    net.set_config(token_ids=(("pad", 1 if net.config.family == "roberta" else 0),))
    write_model(net, tmp_path)
    theirs, info = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert theirs.config.id2label == {0: "差", 1: "好", 2: "很好"}
    ids = torch.randint(2, 300, (3, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(20) < torch.tensor([[20], [1], [9]])
    with torch.inference_mode():
        expected = theirs.eval()(ids.where(mask, theirs.config.pad_token_id), attention_mask=mask.long()).logits
        assert (net.logits(ids, mask) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("preset", ELSEWHERE)
def test_its_full_size_is_what_transformers_builds_from_its_config(preset: str, tmp_path: Path) -> None:
    from diptych.formats.hugging_face import config_for
    from diptych.models.families import FAMILIES

    config = preset_config(preset)
    theirs = transformers.AutoConfig.for_model(**config_for(FAMILIES[config.family], config))
    with torch.device("meta"):
        net = Network(config)
        built = auto_class(net).from_config(theirs)
    bias = config.vocab_size if config.is_encoder_decoder and config.has_lm_bias else 0
    assert num_parameters(config) - bias == num_learnt_there(built)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_learns_and_does_what_its_panel_does(preset: str) -> None:
    """Forward, a finite loss that falls along its gradient, and then writing or filling."""
    tokenizer = tokenizer_for(preset_config(preset).writes and not preset_config(preset).is_hybrid)
    net = create(preset, **{**SHRUNK, "vocab_size": tokenizer.vocab_size, "num_layers": 2})
    ids = [tokenizer.encode(text) for text in TEXTS]
    texts = Packed(torch.tensor([token for each in ids for token in each]), tuple(map(len, ids)))
    losses = []
    for _step in range(2):
        loss = F.cross_entropy(net.heads["lm"](net.hidden(texts)), texts.ids_N)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(net.parameters(), gradients, strict=True):
                weight -= 0.01 * gradient
    assert 0 < losses[1] < losses[0] < 10
    model = Model(net, tokenizer)
    if net.config.writes:
        assert isinstance(model.generate("今天", max_new_tokens=4), str)
    if net.config.is_causal:
        assert len(model.next("The cat", top=3)) == 3
    if net.config.fills:
        (candidates,) = model.fill("The [MASK] sat.", top=3)
        assert len(candidates) == 3


def test_patterns_choose_among_the_names() -> None:
    import diptych as dt

    # `diptych.models` is a package as well, which has been imported by now.
    sizes = ("tiny", "mini", "small", "medium", "base")
    brown = [f"gpt-3-{size}" for size in ("125m", "350m", "760m", "1.3b", "2.7b", "6.7b", "13b", "175b")]
    assert dt.models("gpt-3*") == brown
    assert dt.models("gpt-*") == [*(f"gpt-{size}" for size in sizes), *brown]
    assert dt.models("*bert-base") == ["bert-base", "distilbert-base", "modernbert-base"]
    assert dt.models("nothing-*") == []
    assert {*list_presets(), "minilm"} <= set(dt.models())


def test_sizes_replace_those_of_the_preset_and_the_rest_follows() -> None:
    config = preset_config("bert-tiny", vocab_size=100, hidden_size=96, num_layers=5)
    assert (config.vocab_size, config.hidden_size, config.num_layers, config.feed_forward_size) == (100, 96, 5, 384)
    assert config.num_heads * config.head_size == 96
    for hidden in range(2, 200, 2):
        for preset in ("bert-tiny", "gpt-tiny", "modernbert-tiny"):
            config = preset_config(preset, hidden_size=hidden)
            assert config.num_heads * config.head_size == hidden and config.head_size % 2 == 0


@pytest.mark.parametrize("hidden", [32, 128, 256, 512, 768, 1536])
def test_the_sums_of_a_narrow_fresh_model_are_as_large_as_those_of_a_wide_one(hidden: int) -> None:
    """A sum of `hidden` products has a variance of hidden times that of the weights; BERT-base is the measure, up to two digits."""
    scale = preset_config("gpt-tiny", hidden_size=hidden).initializer_range
    assert scale == (pytest.approx((0.02**2 * 768 / hidden) ** 0.5, rel=0.05) if hidden < 768 else 0.02)
    assert preset_config("gpt-tiny", hidden_size=hidden, initializer_range=0.1).initializer_range == 0.1


@pytest.mark.parametrize(
    "preset, sizes, code, words",
    [
        ("gpt-minni", {}, "E305", ["gpt-minni", "gpt-mini"]),
        ("llama", {}, "E305", ["llama"]),
        ("gpt-3", {}, "E307", ["never published", "diptych pull", 'models "gpt-3*"']),
        ("gpt-3-126m", {}, "E305", ["gpt-3-125m"]),
        ("gpt-tiny", {"hiden_size": 8}, "E306", ["hiden_size", "hidden_size"]),
        ("gpt-tiny", {"num_layers": 0}, "E301", ["num_layers", "at least 1"]),
        ("gpt-tiny", {"vocab_size": 1.5}, "E301", ["vocab_size"]),
        ("gpt-tiny", {"num_heads": 4, "num_kv_heads": 3}, "E301", ["num_kv_heads", "divisor"]),
        ("bert-tiny", {"hidden_size": 100, "num_heads": 3}, "E301", ["hidden_size", "multiple of num_heads (3)"]),
        ("gpt-tiny", {"head_size": 5}, "E301", ["head_size", "even"]),
        ("gpt-tiny", {"hidden_size": 0}, "E301", ["hidden_size"]),
        ("gpt-tiny", {"hidden_size": "many"}, "E301", ["hidden_size"]),
        ("gpt-tiny", {"num_heads": 0}, "E301", ["num_heads"]),
    ],
)
def test_what_cannot_be_is_refused_by_name(preset: str, sizes: dict[str, Any], code: str, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        preset_config(preset, **sizes)
    assert caught.value.code == code
    assert all(word in str(caught.value) for word in words)


@cache
def tokenizer_for(is_causal: bool) -> Tokenizer:
    kind, panel = ("bpe", "causal") if is_causal else ("wordpiece", "masked")
    return Tokenizer.train(TEXTS, kind, 300, panel=panel)

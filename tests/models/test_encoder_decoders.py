"""Encoder-decoders beside transformers': logits for what was written so far, folders there and back, and texts they judge."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from diptych.formats.folder import read_model, write_model
from diptych.models.positions import sinusoids
from diptych.packed import Packed
from diptych.presets import create

TOLERANCE = 1e-5
VOCABULARY = 61
IDS = {"pad_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 3, "forced_eos_token_id": None}


def bart(draw: random.Random) -> dict[str, Any]:
    heads, width = draw.choice([1, 2, 3, 4]), draw.choice([7, 32])
    return {
        "d_model": heads * draw.choice([4, 6, 8]),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_layers": draw.choice([1, 2, 3]),
        "decoder_layers": draw.choice([1, 2, 3]),
        "encoder_ffn_dim": width,
        "decoder_ffn_dim": width,
        "max_position_embeddings": 32,
        "activation_function": draw.choice(["gelu", "relu", "silu"]),
        "scale_embedding": draw.random() < 0.5,
    }


def t5(draw: random.Random) -> dict[str, Any]:
    return {
        "d_model": draw.choice([8, 12, 20]),
        "num_heads": draw.choice([1, 2, 3]),
        "d_kv": draw.choice([3, 4, 8]),
        "d_ff": draw.choice([7, 32]),
        "num_layers": draw.choice([1, 2, 3]),
        "num_decoder_layers": draw.choice([1, 2, 3]),
        "relative_attention_num_buckets": draw.choice([4, 8, 32]),
        "relative_attention_max_distance": draw.choice([20, 128]),
        "layer_norm_epsilon": draw.choice([1e-6, 1e-3]),
        "feed_forward_proj": draw.choice(["relu", "gated-gelu", "gated-silu"]),
        "n_positions": 32,
    }


CLASSES = {
    transformers.BartForConditionalGeneration: (transformers.BartConfig, bart),
    transformers.BartForSequenceClassification: (transformers.BartConfig, bart),
    transformers.BartForQuestionAnswering: (transformers.BartConfig, bart),
    transformers.BartModel: (transformers.BartConfig, bart),
    transformers.MarianMTModel: (transformers.MarianConfig, bart),
    transformers.T5ForConditionalGeneration: (transformers.T5Config, t5),
    transformers.T5Model: (transformers.T5Config, t5),
}
WRITERS = [cls for cls in CLASSES if any(kind in cls.__name__ for kind in ("Conditional", "MT"))]


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("cls", WRITERS, ids=lambda cls: cls.__name__)
def test_what_is_written_next_is_what_transformers_writes(cls: Any, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{cls.__name__} {number}")
    theirs = make(cls, draw)
    theirs.save_pretrained(tmp_path / "theirs")
    net = read_model(tmp_path / "theirs")
    check(net, theirs, draw)
    (tmp_path / "ours").mkdir()
    write_model(net, tmp_path / "ours")
    again, info = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    check(net, again.eval(), draw)
    read = read_model(tmp_path / "ours")
    assert read.config == net.config
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in read.state_dict().items())


@pytest.mark.parametrize("number", [*range(3), *(pytest.param(number, marks=pytest.mark.slow) for number in range(3, 10))])
@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls not in WRITERS], ids=lambda cls: cls.__name__)
def test_a_text_that_both_halves_read_is_judged_as_there(cls: Any, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{cls.__name__} {number}")
    theirs = make(cls, draw)
    theirs.save_pretrained(tmp_path)
    net = read_model(tmp_path)
    ids_BT = torch.randint(4, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(number))
    # BART judges by the end of a text.
    ids_BT[:, -1] = 3
    with torch.inference_mode():
        if cls is transformers.T5Model:
            expected = [theirs(input_ids=ids_BT, decoder_input_ids=shifted(ids_BT)).last_hidden_state]
        else:
            expected = [value for name, value in theirs(ids_BT).items() if name not in ("past_key_values", "encoder_last_hidden_state")]
        texts = Packed.from_padded(ids_BT)
        found = (
            list(net.logits(ids_BT).unbind(-1))
            if "span" in net.heads
            else [net.logits(ids_BT) if net.heads else texts.pad(net.hidden(texts))]
        )
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= TOLERANCE * b.abs().max()


def test_the_original_transformer_adds_interleaved_sinusoids_and_opens_elsewhere(tmp_path: Path) -> None:
    net = create("transformer-tiny", vocab_size=VOCABULARY)
    assert torch.equal(net.body.encoder.embedding.positions.weight, sinusoids(128, 128))
    assert net.body.encoder.embedding.scale == 128**0.5 and net.config.norm_place == "post"
    assert "body.encoder.embedding.positions.weight" not in dict(net.named_parameters()), "sinusoids do not learn"
    write_model(net, tmp_path)
    check(net, transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval(), random.Random(0))


def test_texts_of_a_batch_do_not_see_each_other() -> None:
    net = create("transformer-tiny", vocab_size=VOCABULARY, num_layers=2, hidden_size=32)
    chance = torch.Generator().manual_seed(0)
    sources = [torch.randint(1, VOCABULARY, (length,), generator=chance) for length in (5, 1, 9, 3)]
    targets = [torch.randint(1, VOCABULARY, (length,), generator=chance) for length in (2, 7, 4, 1)]
    with torch.inference_mode():
        together = net.hidden(pack(targets, pack(sources))).split([len(text) for text in targets])
        for source, target, found in zip(sources, targets, together, strict=True):
            assert torch.allclose(net.hidden(pack([target], pack([source]))), found, atol=1e-5)


@pytest.mark.parametrize("preset", ["transformer-tiny", "bart-tiny", "t5-tiny"])
def test_the_cache_changes_nothing(preset: str) -> None:
    """Token by token, in a batch of mixed lengths, after dropping and doubling rows."""
    net = create(preset, vocab_size=VOCABULARY, hidden_size=32, num_layers=2)
    chance = torch.Generator().manual_seed(0)
    sources = [torch.randint(1, VOCABULARY, (length,), generator=chance) for length in (5, 9, 3)]
    with torch.inference_mode():
        cache = net.new_cache(3, 20)
        texts = [torch.randint(1, VOCABULARY, (length,), generator=chance) for length in (2, 1, 4)]
        found = net.hidden(pack(texts, pack(sources)), cache)
        assert torch.allclose(found, net.hidden(pack(texts, pack(sources))), atol=1e-5)
        rows = [2, 0, 2]
        cache.keep(torch.tensor(rows))
        texts, sources = [texts[row] for row in rows], [sources[row] for row in rows]
        for _step in range(5):
            new = torch.randint(1, VOCABULARY, (3,), generator=chance)
            found = net.hidden(Packed(new, (1, 1, 1)), cache)
            texts = [torch.cat((text, token[None])) for text, token in zip(texts, new, strict=True)]
            expected = net.hidden(pack(texts, pack(sources)))
            ends = torch.tensor([len(text) for text in texts]).cumsum(0) - 1
            assert torch.allclose(found, expected[ends], atol=1e-5)


def make(cls: Any, draw: random.Random) -> Any:
    config_class, shape = CLASSES[cls]
    num_labels = 2 if "QuestionAnswering" in cls.__name__ else 3
    config = config_class(**{"vocab_size": VOCABULARY, **IDS, "num_labels": num_labels, **shape(draw)})
    model = cls(config).eval()
    chance = torch.Generator().manual_seed(draw.randrange(2**31))
    for module in model.modules():
        is_norm = "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            if "Sinusoidal" in type(module).__name__:
                continue
            scale = 0.3 if parameter.dim() < 2 or isinstance(module, nn.Embedding) else parameter.shape[-1] ** -0.5
            with torch.no_grad():
                parameter.normal_(0, scale, generator=chance).add_(1.0 if is_norm and name == "weight" else 0.0)
        if hasattr(module, "final_logits_bias"):
            module.final_logits_bias.normal_(0, 0.3, generator=chance)
    return model


def check(net: Any, theirs: Any, draw: random.Random) -> None:
    """Padded sources and, since padding behind a causal text changes nothing, full targets."""
    chance = torch.Generator().manual_seed(draw.randrange(2**31))
    lengths = torch.tensor([20, 1, draw.randrange(2, 20)])
    mask_BT = (torch.arange(20) < lengths[:, None]).long()
    ids_BT = torch.randint(4, VOCABULARY, (3, 20), generator=chance) * mask_BT
    target_BU = torch.randint(4, VOCABULARY, (3, draw.randrange(1, 15)), generator=chance)
    with torch.inference_mode():
        expected = theirs(input_ids=ids_BT, attention_mask=mask_BT, decoder_input_ids=target_BU).logits
        found = net.logits(ids_BT, mask_BT, decoder_input_ids=target_BU)
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def pack(texts: list[Tensor], source: Packed | None = None) -> Packed:
    return Packed(torch.cat(texts), tuple(len(text) for text in texts), source=source)


def shifted(ids_BT: Tensor) -> Tensor:
    return torch.cat((torch.full_like(ids_BT[:, :1], 2), ids_BT[:, :-1]), dim=1)

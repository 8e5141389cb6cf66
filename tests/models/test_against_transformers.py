"""Our arithmetic beside transformers': logits to 1e-5 of the largest, and folders that go there and back bit for bit.

Every family is drawn in twelve shapes with weights far from a fresh model's, norms and biases included: a bias of zeros
hides a bias that is never added.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from diptych.formats.folder import read_model, write_model
from diptych.packed import Packed

TOLERANCE = 1e-5
NUM_SHAPES = 12
VOCABULARY = 61


def bert(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 4])
    return {
        "hidden_size": heads * draw.choice([4, 5, 8]),
        "num_attention_heads": heads,
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "intermediate_size": draw.choice([7, 32]),
        "max_position_embeddings": draw.choice([24, 32]),
        "type_vocab_size": draw.choice([1, 2, 3]),
        "hidden_act": draw.choice(["gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh"]),
        "layer_norm_eps": draw.choice([1e-12, 1e-5, 1e-3]),
        "tie_word_embeddings": draw.random() < 0.6,
    }


def gpt2(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 4])
    return {
        "n_embd": heads * draw.choice([4, 5, 8]),
        "n_head": heads,
        "n_layer": draw.choice([1, 2, 3]),
        "n_inner": draw.choice([None, 7, 32]),
        "n_positions": draw.choice([24, 32]),
        "activation_function": draw.choice(["gelu_new", "gelu", "relu", "silu"]),
        "layer_norm_epsilon": draw.choice([1e-5, 1e-3]),
        "tie_word_embeddings": draw.random() < 0.6,
    }


def modernbert(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 4])
    activation = draw.choice(["gelu", "relu", "silu"])
    return {
        "hidden_size": heads * draw.choice([4, 8]),
        "num_attention_heads": heads,
        "num_hidden_layers": draw.choice([1, 2, 3, 4]),
        "intermediate_size": draw.choice([7, 32]),
        "max_position_embeddings": draw.choice([24, 32]),
        "hidden_activation": activation,
        "classifier_activation": activation,
        "classifier_pooling": "mean" if heads % 2 else "cls",
        "norm_eps": draw.choice([1e-5, 1e-3]),
        # Windows that are shorter than the texts, about as long and longer, even and odd.
        "local_attention": draw.choice([2, 3, 6, 9, 16, 64]),
        "global_attn_every_n_layers": draw.choice([1, 2, 3]),
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": draw.choice([100.0, 160_000.0])},
            "sliding_attention": {"rope_type": "default", "rope_theta": draw.choice([50.0, 10_000.0])},
        },
        "tie_word_embeddings": draw.random() < 0.6,
    }


def modern(draw: random.Random) -> dict[str, Any]:
    """What Llama and its kin have in common."""
    groups, shared = draw.choice([1, 2, 3]), draw.choice([1, 2, 3])
    return {
        "hidden_size": draw.choice([12, 20, 32]),
        "num_attention_heads": groups * shared,
        "num_key_value_heads": groups,
        "head_dim": draw.choice([2, 6, 8]),
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "intermediate_size": draw.choice([7, 32]),
        "max_position_embeddings": draw.choice([24, 32]),
        "hidden_act": draw.choice(["silu", "silu", "gelu", "relu"]),
        "rms_norm_eps": draw.choice([1e-6, 1e-3]),
        "rope_parameters": {"rope_type": "default", "rope_theta": draw.choice([50.0, 10_000.0, 1e6])},
        "attention_bias": draw.random() < 0.4,
        "tie_word_embeddings": draw.random() < 0.6,
    }


def roberta(draw: random.Random) -> dict[str, Any]:
    return {**bert(draw), "type_vocab_size": draw.choice([1, 2]), "pad_token_id": 1, "hidden_act": "gelu"}


def distilbert(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 5])
    return {
        "dim": heads * draw.choice([4, 5, 8]),
        "n_heads": heads,
        "n_layers": draw.choice([1, 2, 3]),
        "hidden_dim": draw.choice([7, 32]),
        "max_position_embeddings": draw.choice([24, 32]),
        "activation": draw.choice(["gelu", "relu"]),
        "tie_word_embeddings": draw.random() < 0.6,
    }


def gpt_neo(draw: random.Random) -> dict[str, Any]:
    heads, pattern = draw.choice([1, 2, 3, 4]), draw.choice([["global", "local"], ["local"], ["global"]])
    times = draw.choice([1, 2])
    return {
        "hidden_size": heads * draw.choice([4, 5, 8]),
        "num_heads": heads,
        "num_layers": times * len(pattern),
        "attention_types": [[pattern, times]],
        "window_size": draw.choice([1, 3, 8, 64]),
        "intermediate_size": draw.choice([None, 7, 32]),
        "max_position_embeddings": draw.choice([24, 32]),
        "activation_function": draw.choice(["gelu_new", "gelu", "relu", "silu"]),
        "layer_norm_epsilon": draw.choice([1e-5, 1e-3]),
        "tie_word_embeddings": draw.random() < 0.6,
    }


def mpt(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 4, 5, 6])
    return {
        "d_model": heads * draw.choice([4, 5, 8]),
        "n_heads": heads,
        "n_layers": draw.choice([1, 2, 3]),
        "max_seq_len": draw.choice([24, 32]),
        "layer_norm_epsilon": draw.choice([1e-5, 1e-3]),
        "tie_word_embeddings": draw.random() < 0.6,
    }


def llama(draw: random.Random) -> dict[str, Any]:
    rope = draw.choice(
        [
            {"rope_type": "default"},
            {"rope_type": "linear", "factor": 4.0},
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8,
            },
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
        ]
    )
    return {
        **{name: value for name, value in modern(draw).items() if name != "rope_parameters"},
        "hidden_size": 36,
        "mlp_bias": draw.random() < 0.4,
        "head_dim": draw.choice([4, 6, 8]),
        "rope_parameters": {**rope, "rope_theta": draw.choice([50.0, 10_000.0])},
    }


def mistral(draw: random.Random) -> dict[str, Any]:
    kept = {name: value for name, value in modern(draw).items() if name != "attention_bias"}
    return {**kept, "hidden_size": 36, "sliding_window": draw.choice([None, 1, 3, 8, 64])}


def qwen3(draw: random.Random) -> dict[str, Any]:
    sliding = {"use_sliding_window": True, "sliding_window": draw.choice([1, 3, 8]), "max_window_layers": draw.choice([0, 1])}
    return {**modern(draw), **(sliding if draw.random() < 0.3 else {})}


CLASSES = {
    transformers.BertForMaskedLM: (transformers.BertConfig, bert),
    transformers.BertForPreTraining: (transformers.BertConfig, bert),
    transformers.BertForSequenceClassification: (transformers.BertConfig, bert),
    transformers.BertModel: (transformers.BertConfig, bert),
    transformers.GPT2LMHeadModel: (transformers.GPT2Config, gpt2),
    transformers.GPT2ForSequenceClassification: (transformers.GPT2Config, gpt2),
    transformers.ModernBertForMaskedLM: (transformers.ModernBertConfig, modernbert),
    transformers.ModernBertForSequenceClassification: (transformers.ModernBertConfig, modernbert),
    transformers.Qwen3ForCausalLM: (transformers.Qwen3Config, qwen3),
    transformers.Qwen3ForSequenceClassification: (transformers.Qwen3Config, qwen3),
    transformers.ModernBertDecoderForCausalLM: (transformers.ModernBertDecoderConfig, modernbert),
    transformers.ModernBertDecoderForSequenceClassification: (transformers.ModernBertDecoderConfig, modernbert),
    transformers.BertForTokenClassification: (transformers.BertConfig, bert),
    transformers.BertForQuestionAnswering: (transformers.BertConfig, bert),
    transformers.BertForNextSentencePrediction: (transformers.BertConfig, bert),
    transformers.ModernBertForTokenClassification: (transformers.ModernBertConfig, modernbert),
    transformers.ModernBertForQuestionAnswering: (transformers.ModernBertConfig, modernbert),
    transformers.RobertaForMaskedLM: (transformers.RobertaConfig, roberta),
    transformers.RobertaForSequenceClassification: (transformers.RobertaConfig, roberta),
    transformers.RobertaForTokenClassification: (transformers.RobertaConfig, roberta),
    transformers.RobertaForQuestionAnswering: (transformers.RobertaConfig, roberta),
    transformers.DistilBertForMaskedLM: (transformers.DistilBertConfig, distilbert),
    transformers.DistilBertForSequenceClassification: (transformers.DistilBertConfig, distilbert),
    transformers.DistilBertForTokenClassification: (transformers.DistilBertConfig, distilbert),
    transformers.DistilBertForQuestionAnswering: (transformers.DistilBertConfig, distilbert),
    transformers.DistilBertModel: (transformers.DistilBertConfig, distilbert),
    transformers.GPT2ForTokenClassification: (transformers.GPT2Config, gpt2),
    transformers.GPTNeoForCausalLM: (transformers.GPTNeoConfig, gpt_neo),
    transformers.GPTNeoForSequenceClassification: (transformers.GPTNeoConfig, gpt_neo),
    transformers.MptForCausalLM: (transformers.MptConfig, mpt),
    transformers.LlamaForCausalLM: (transformers.LlamaConfig, llama),
    transformers.LlamaForSequenceClassification: (transformers.LlamaConfig, llama),
    transformers.LlamaForTokenClassification: (transformers.LlamaConfig, llama),
    transformers.MistralForCausalLM: (transformers.MistralConfig, mistral),
    transformers.Qwen3ForTokenClassification: (transformers.Qwen3Config, qwen3),
    transformers.GPTNeoForTokenClassification: (transformers.GPTNeoConfig, gpt_neo),
    transformers.MptForSequenceClassification: (transformers.MptConfig, mpt),
    transformers.MptForTokenClassification: (transformers.MptConfig, mpt),
    transformers.MistralForSequenceClassification: (transformers.MistralConfig, mistral),
    transformers.MistralForTokenClassification: (transformers.MistralConfig, mistral),
}
MAIN = (
    transformers.BertForMaskedLM,
    transformers.BertForPreTraining,
    transformers.BertForSequenceClassification,
    transformers.GPT2LMHeadModel,
    transformers.ModernBertForMaskedLM,
    transformers.Qwen3ForCausalLM,
    transformers.ModernBertDecoderForCausalLM,
    transformers.RobertaForMaskedLM,
    transformers.DistilBertForMaskedLM,
    transformers.GPTNeoForCausalLM,
    transformers.MptForCausalLM,
    transformers.LlamaForCausalLM,
    transformers.MistralForCausalLM,
)
FEW = 2
# All classes in all shapes; of those that matter less, most are for when there is time.
CASES = [
    pytest.param(cls, i, id=f"{cls.__name__}-{i}", marks=[pytest.mark.slow] if i >= FEW and cls not in MAIN else [])
    for cls in CLASSES
    for i in range(NUM_SHAPES)
]


@pytest.mark.parametrize("cls, number", CASES)
def test_logits_are_those_of_transformers_and_the_folder_comes_back_bit_for_bit(cls: Any, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{cls.__name__} {number}")
    theirs = make(cls, draw)
    theirs.save_pretrained(tmp_path / "theirs")
    net = read_model(tmp_path / "theirs")
    check_logits(net, theirs, draw)

    (tmp_path / "ours").mkdir()
    write_model(net, tmp_path / "ours")
    again, info = cls.from_pretrained(tmp_path / "ours", output_loading_info=True, attn_implementation=theirs.config._attn_implementation)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    # An untied BERT of transformers answers with the decoder's bias and keeps another one that nothing reads.
    dead = () if theirs.config.tie_word_embeddings else ("cls.predictions.bias", "lm_head.bias")
    assert_same_tensors(again.state_dict(), theirs.state_dict(), but=dead)
    x = padded_batch(draw, theirs.config, "right")
    with torch.inference_mode():
        for a, b in zip(tensors_of(again.eval()(**x)), tensors_of(theirs(**x)), strict=True):
            assert (a - b).abs().max() <= TOLERANCE * b.abs().max()

    again.save_pretrained(tmp_path / "back")
    for folder in ("ours", "back"):
        read = read_model(tmp_path / folder)
        assert_same_tensors(read.state_dict(), net.state_dict())
        assert read.config == net.config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_folder_in_half_precision_is_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = make(transformers.GPT2LMHeadModel, random.Random(0)).to(dtype)
    theirs.save_pretrained(tmp_path)
    net = read_model(tmp_path)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert torch.equal(net.body.embedding.tokens.weight, theirs.transformer.wte.weight.float())


def test_a_model_of_the_days_of_gamma_and_beta_is_read(tmp_path: Path) -> None:
    """Google's own BERT names its norms so, and many folders still do."""
    from safetensors.torch import save_file

    theirs = make(transformers.BertModel, random.Random(1))
    theirs.save_pretrained(tmp_path)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in theirs.state_dict().items()
    }
    assert any(name.endswith("gamma") for name in old)
    save_file({**old, "embeddings.position_ids": torch.arange(24)[None]}, tmp_path / "model.safetensors")
    check_logits(read_model(tmp_path), theirs, random.Random(2))


def test_a_body_saved_without_its_prefix_under_the_name_of_a_model_with_a_head_is_read(tmp_path: Path) -> None:
    """The published GPT-2 is so: its class is GPT2LMHeadModel, its tensors are those of GPT2Model."""
    from safetensors.torch import save_file

    draw = random.Random(3)
    theirs = make(transformers.GPT2LMHeadModel, draw, tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in theirs.transformer.state_dict().items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 4, 4).tril()
    save_file(bare, tmp_path / "model.safetensors")
    check_logits(read_model(tmp_path), theirs, draw)


def test_a_classifier_whose_config_names_no_labels_has_two(tmp_path: Path) -> None:
    """transformers leaves out what is its default, and two classes are."""
    draw = random.Random(4)
    theirs = make(transformers.BertForSequenceClassification, draw, num_labels=2)
    theirs.save_pretrained(tmp_path)
    assert "id2label" not in (tmp_path / "config.json").read_text()
    net = read_model(tmp_path)
    assert net.config.labels == ("LABEL_0", "LABEL_1")
    check_logits(net, theirs, draw)


def make(cls: Any, draw: random.Random, **changes: Any) -> Any:
    """A model of this class in a drawn shape, with drawn weights."""
    config_class, shape = CLASSES[cls]
    ids = {f"{role}_token_id": 0 for role in ("pad", "bos", "eos", "cls", "sep")}
    settings = {"vocab_size": VOCABULARY, "num_labels": 3, **ids, **shape(draw), **changes}
    if "QuestionAnswering" in cls.__name__:
        settings["num_labels"] = 2
    config = config_class(**settings)
    config._attn_implementation = draw.choice(["eager", "sdpa"]) if config.model_type not in ("gpt_neo", "mpt") else "eager"
    model = cls(config).eval()
    chance = torch.Generator().manual_seed(draw.randrange(2**31))
    for module in model.modules():
        is_norm = "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            scale = 0.3 if parameter.dim() < 2 or isinstance(module, nn.Embedding) else parameter.shape[-1] ** -0.5
            with torch.no_grad():
                parameter.normal_(0, scale, generator=chance).add_(1.0 if is_norm and name == "weight" else 0.0)
    return model


def padded_batch(draw: random.Random, config: Any, side: str) -> dict[str, Tensor]:
    """Texts of several lengths with padding on one side ("none" for a full rectangle), and where transformers counts positions."""
    offset = 2 if config.model_type == "roberta" else 0
    limit = (config.max_seq_len if config.model_type == "mpt" else config.max_position_embeddings) - offset
    lengths = [limit] * 3 if side in ("none", "ones") else [limit, 1, draw.randrange(2, limit), draw.randrange(2, limit), 5]
    chance = torch.Generator().manual_seed(draw.randrange(2**31))
    ids = torch.randint(1, VOCABULARY, (len(lengths), limit), generator=chance)
    at = torch.arange(limit).expand(len(lengths), limit)
    long = torch.tensor(lengths)[:, None]
    mask = (at < long if side != "left" else at >= limit - long).long()
    batch = {"input_ids": ids * mask}
    if config.model_type != "mpt":
        batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0) + offset
    if side != "none":
        batch["attention_mask"] = mask
    if config.model_type in ("bert", "roberta"):
        batch["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape, generator=chance) * mask
    return batch


def check_logits(net: Any, theirs: Any, draw: random.Random) -> None:
    is_span = "QuestionAnswering" in type(theirs).__name__
    for side in ("none", "ones", "right", "left"):
        x = padded_batch(draw, theirs.config, side)
        mask = x.get("attention_mask")
        with torch.inference_mode():
            expected, found = their_answers(theirs, x, side), our_answers(net, x)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            if mask is not None and (is_span or a.dim() == 3):
                assert not a[mask == 0].any(), "padding answers nothing"
                a, b = a[mask == 1], b[mask == 1]
            assert (a - b).abs().max() <= TOLERANCE * b.abs().max(), side


def our_answers(net: Any, x: dict[str, Tensor]) -> list[Tensor]:
    inputs = x["input_ids"], x.get("attention_mask"), x.get("token_type_ids")
    texts = Packed.from_padded(*inputs)
    hidden_ND = net.hidden(texts)
    if not set(net.heads) - {"pooler"}:
        return [texts.pad(hidden_ND), *(net.heads[head](hidden_ND, texts) for head in net.heads)]
    if list(net.heads) == ["pooler", "nsp"]:
        return [net.heads["nsp"](hidden_ND, texts)]
    if "span" in net.heads:
        return list(net.logits(*inputs).unbind(-1))
    return [net.logits(*inputs), *(net.heads[head](hidden_ND, texts) for head in net.heads if head == "nsp")]


def their_answers(theirs: Any, x: dict[str, Tensor], side: str) -> list[Tensor]:
    is_span = "QuestionAnswering" in type(theirs).__name__
    encoders = ("bert", "roberta", "distilbert", "modernbert")
    judges_the_first_token = theirs.config.model_type in encoders and "MaskedLM" not in type(theirs).__name__
    if side != "left" or not judges_the_first_token:
        return tensors_of(theirs(**x))
    # transformers would judge the padding that lies before the text.
    mask = x["attention_mask"]
    answers = tensors_of(theirs(**{name: roll(part, mask, 1) for name, part in x.items()}))
    return [roll(answer, mask, -1) if answer.dim() == 3 or is_span else answer for answer in answers]


def roll(x_BT: Tensor, mask_BT: Tensor, way: int) -> Tensor:
    """A left-padded rectangle as a right-padded one (1), or back (-1)."""
    return torch.stack([row.roll(way * int(mask.sum()), 0) for row, mask in zip(x_BT, mask_BT, strict=True)])


def tensors_of(output: Any) -> list[Tensor]:
    return [value for name, value in output.items() if name != "past_key_values"]


def assert_same_tensors(found: dict[str, Tensor], expected: dict[str, Tensor], but: tuple[str, ...] = ()) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(found[name], tensor) and name not in but] == []

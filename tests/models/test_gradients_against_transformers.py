"""The gradient of every family's weights beside transformers' own, name by name."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from diptych.formats.folder import read_model
from diptych.formats.hugging_face import canonical
from diptych.models.families import FAMILIES
from diptych.models.families.family import to_ours

VOCABULARY = 61
IDS = {"pad_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 3, "forced_eos_token_id": None}
SMALL = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40, "max_position_embeddings": 32}
BOTH = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 3, "decoder_attention_heads": 3}
WIDTHS = {"d_model": 24, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 32}
# For each family its class with a language head, and a shape in which all of its arithmetic takes part.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", SMALL),
    "roberta": ("RobertaForMaskedLM", {**SMALL, "pad_token_id": 1}),
    "distilbert": ("DistilBertForMaskedLM", {"dim": 24, "n_heads": 3, "n_layers": 3, "hidden_dim": 40, "max_position_embeddings": 32}),
    "modernbert": ("ModernBertForMaskedLM", {**SMALL, "local_attention": 6}),
    "modernbert-decoder": ("ModernBertDecoderForCausalLM", {**SMALL, "local_attention": 6}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 24, "n_head": 3, "n_layer": 3, "n_positions": 32}),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        {"hidden_size": 24, "num_heads": 3, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 5},
    ),
    "mpt": ("MptForCausalLM", {"d_model": 24, "n_heads": 3, "n_layers": 3, "max_seq_len": 32}),
    "llama": ("LlamaForCausalLM", {**SMALL, "num_key_value_heads": 1, "attention_bias": True}),
    "mistral": ("MistralForCausalLM", {**SMALL, "num_key_value_heads": 3, "head_dim": 8, "sliding_window": 6}),
    "qwen3": ("Qwen3ForCausalLM", {**SMALL, "num_key_value_heads": 1, "head_dim": 6}),
    "bart": ("BartForConditionalGeneration", {**BOTH, **WIDTHS}),
    "marian": ("MarianMTModel", {**BOTH, **WIDTHS}),
    "t5": ("T5ForConditionalGeneration", {"d_model": 24, "num_heads": 3, "d_kv": 6, "d_ff": 40, "num_layers": 2, "n_positions": 32}),
}


@pytest.mark.parametrize("family", CASES)
def test_every_weight_has_the_gradient_that_it_has_in_transformers(family: str, tmp_path: Path) -> None:
    name, shape = CASES[family]
    cls = getattr(transformers, name)
    settings = {"vocab_size": VOCABULARY, **IDS, **shape, "attention_dropout": 0.0}
    theirs = cls(cls.config_class(**settings)).eval()
    chance = torch.Generator().manual_seed(random.Random(family).randrange(2**31))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=chance) * 0.1)
    theirs.save_pretrained(tmp_path)
    net = read_model(tmp_path)

    lengths = torch.tensor([20, 7, 1])
    mask_BT = (torch.arange(20) < lengths[:, None]).long()
    ids_BT = torch.randint(4, VOCABULARY, (3, 20), generator=chance) * mask_BT + (1 - mask_BT) * settings["pad_token_id"]
    written = {"decoder_input_ids": torch.randint(4, VOCABULARY, (3, 9), generator=chance)} if net.config.is_encoder_decoder else {}
    expected, found = theirs(input_ids=ids_BT, attention_mask=mask_BT, **written).logits, net.logits(ids_BT, mask_BT, **written)
    weigh_BTV = torch.randn(expected.shape, generator=chance)
    if not written:
        weigh_BTV = weigh_BTV * mask_BT[:, :, None]
    (expected * weigh_BTV).sum().backward()
    (found * weigh_BTV).sum().backward()

    kind = FAMILIES[net.config.family]
    gradients = {new: theirs_gradients(theirs)[old] for old, new in canonical(kind, theirs_gradients(theirs)).items()}
    checked = set()
    for rule in kind.rules(net.config, list(net.heads)):
        ours = dict(net.named_parameters()).get(rule.ours)
        if ours is None or any(theirs not in gradients for theirs in rule.theirs):
            continue
        gradient = to_ours(rule, [gradients[theirs] for theirs in rule.theirs])
        assert ours.grad is not None
        assert (ours.grad - gradient).abs().max() <= 1e-5 * max(1e-2, float(gradient.abs().max())), rule.ours
        checked.add(rule.ours)
    learnt = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    # In transformers the bias of an encoder-decoder's logits does not learn.
    assert learnt - checked <= {"heads.lm.bias_V"} if written else learnt == checked


def theirs_gradients(net: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}

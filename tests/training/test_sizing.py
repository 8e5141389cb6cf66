"""Sizes against transformers, torch's own counter of operations, brute force and closed forms."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diptych.formats.hugging_face import config_for
from diptych.models.families import FAMILIES
from diptych.packed import Packed
from diptych.presets import create, preset_config
from diptych.sizes import PUBLISHED
from diptych.training import sizing
from diptych.training.rehearsal import kept_bytes
from diptych.training.sizing import Workload

DOCS = Path(__file__).resolve().parents[2] / "docs"
SMALL = {"vocab_size": 320, "hidden_size": 64, "num_layers": 3, "num_heads": 4, "context_length": 64}
SMALLER = {**SMALL, "head_size": 16}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_size_is_what_transformers_builds_from_its_config(preset: str) -> None:
    config, counted = preset_config(preset), PUBLISHED[preset].counted
    theirs = transformers.AutoConfig.for_model(**config_for(FAMILIES[config.family], config))
    if counted != "lm":
        auto: Any = transformers.AutoModel
    elif config.is_encoder_decoder:
        auto = transformers.AutoModelForSeq2SeqLM
    else:
        auto = transformers.AutoModelForCausalLM if config.is_causal else transformers.AutoModelForMaskedLM
    with torch.device("meta"):
        built = auto.from_config(theirs)
    assert sizing.published_count(preset) == sum(map(torch.numel, built.parameters()))


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_size_is_the_published_number_within_its_rounding(preset: str) -> None:
    # T5's authors say 770M where their own shape has 738M; docs/sizes.md names it.
    assert sizing.published_count(preset) / 1e6 == pytest.approx(PUBLISHED[preset].millions, rel=0.05 if preset.startswith("t5") else 0.02)


@pytest.mark.parametrize("page", ["sizes.md", "sizes.zh-CN.md"])
def test_the_table_of_the_docs_is_what_we_count(page: str) -> None:
    rows = re.findall(
        r"^\| `(\S+)` \| (\d+) × (\d+) \| ([\d,]+) \| ([\d.]+) ([MB]) \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [row[0] for row in rows] == list(PUBLISHED)
    for name, layers, width, count, published, unit in rows:
        config = preset_config(name)
        assert (int(layers), int(width)) == (config.num_layers, config.hidden_size)
        assert int(count.replace(",", "")) == sizing.published_count(name)
        assert float(published) * (1000 if unit == "B" else 1) == pytest.approx(PUBLISHED[name].millions)


@pytest.mark.parametrize("preset", ["bert-tiny", "gpt2-tiny", "gpt-tiny"])
def test_operations_are_those_that_torch_counts(preset: str) -> None:
    sizes = SMALLER
    net = create(preset, **sizes)
    length, rows = 48, 3
    ids = torch.zeros(rows * length, dtype=torch.int64)
    # Plain products, since torch does not count the fused kernel of a CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        hidden = net.hidden(Packed(ids, (length,) * rows))
        net.heads["lm"](hidden)
    load = Workload(rows * length, length, 10_000)
    work = sizing.operations(sizing.shape_of(preset_config(preset, **sizes)), load)
    # Torch counts a causal attention in full; half of it, and the diagonal, is done.
    full = 2 * length / (length + 1) if net.config.is_causal else 1
    assert (work.layers + work.head + work.attention * full) * rows * length == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_the_backward_pass_takes_twice_the_forward_pass_as_torch_counts() -> None:
    net = create("bert-tiny", **SMALLER).train()
    texts = Packed(torch.zeros(96, dtype=torch.int64), (48, 48))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = net.heads["lm"](net.hidden(texts)).sum()
        forward = counter.get_total_flops()
        loss.backward()
    work = sizing.operations(sizing.shape_of(preset_config("bert-tiny", **SMALLER)), Workload(96, 48, 96))
    assert work.backward == 2 * work.forward
    assert counter.get_total_flops() - forward == pytest.approx(2 * forward, rel=1e-6)


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("window", [1, 3, 16, 100])
@pytest.mark.parametrize("length", [1, 7, 40])
def test_what_a_token_sees_is_counted_as_by_hand(is_causal: bool, window: int, length: int) -> None:
    config = dataclasses.replace(preset_config("modernbert-tiny", **SMALL), window=window, global_every=2, is_causal=is_causal)
    places = torch.arange(length)
    distance = places[:, None] - places
    for layer, reach in ((0, length), (1, window)):
        sees = (distance < reach) & ((distance >= 0) if is_causal else (distance > -reach))
        assert sizing._seen(config, layer, length) == pytest.approx(float(sees.sum() / length))


def test_what_a_layer_of_gpt2_keeps_is_its_closed_form() -> None:
    """Inputs and outputs of two norms, q k v, the attention's output, the widened row before and after its activation."""
    config = preset_config("gpt2-tiny", **SMALL)
    load = Workload(640, 64, 640)
    deeper = dataclasses.replace(config, num_layers=7)
    floats = 4 * 64 + 4 * 64 + 2 * 256 + 2 * 2 + config.num_heads
    added = kept_bytes(deeper, load, "float32") - kept_bytes(config, load, "float32")
    assert added == pytest.approx(640 * 4 * 4 * floats, rel=0.02)


@pytest.mark.parametrize("preset", ["gpt2-tiny", "gpt-tiny", "bert-tiny", "modernbert-tiny"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_kept_by_a_narrow_twin_is_what_the_network_itself_keeps(preset: str, precision: str) -> None:
    from diptych.training import rehearsal

    config = preset_config(preset, vocab_size=64, hidden_size=128, num_layers=6, num_heads=8, context_length=512)
    load = Workload(512, 512, 512)
    itself = rehearsal._kept_per_token(config, 512, precision, 0.0) * 512
    assert kept_bytes(config, load, precision) == pytest.approx(itself, rel=0.03)


def test_the_cache_takes_what_it_takes() -> None:
    net = create("gpt-tiny", **{**SMALL, "num_kv_heads": 2})
    cache = net.new_cache(1, 64)
    assert sizing.cache_bytes(net.config, 64) == cache.keys.nbytes + cache.values.nbytes


def test_parts_add_up_and_memory_is_four_times_the_weights_and_more() -> None:
    net = create("bert-tiny", **SMALLER)
    parts, total = sizing.parameters_by_part(net), sum(map(torch.numel, net.parameters()))
    assert sum(parts.values()) == total and min(parts.values()) > 0
    memory = sizing.training_memory(net, Workload(64, 64, 64), activations=1000.0, precision="float32")
    assert memory.weights + memory.gradients + memory.optimizer == 16 * total
    assert memory.total == sum(memory.parts().values()) - min(memory.gradients, memory.activations + memory.loss)
    in_pieces = sizing.training_memory(net, Workload(192, 64, 64), activations=1000.0, precision="float32")
    assert in_pieces.total == sum(in_pieces.parts().values()), "gradients of the pieces before stay"
    frozen = sizing.training_memory(net, Workload(64, 64, 64), activations=1000.0, precision="float32", trainable=10)
    assert (frozen.gradients, frozen.optimizer, frozen.weights) == (40, 80, memory.weights)
    averaged = sizing.training_memory(net, Workload(64, 64, 64), activations=1000.0, precision="float32", has_mean=True)
    assert averaged.optimizer == 12 * total and averaged.weights == memory.weights


def test_cut_over_many_devices_a_training_holds_its_share_and_one_layer() -> None:
    net = sizing.shape_of(preset_config("gpt-3-13b"))
    memory = sizing.training_memory(net, Workload(2048, 2048, 2048), activations=1e9, precision="bfloat16")
    largest = sizing.largest_part(net)
    cut = sizing.sharded(memory, 64, largest)
    assert cut.weights == memory.weights / 64 + 4 * largest and cut.optimizer == memory.optimizer / 64
    assert cut.activations == memory.activations and cut.total < memory.total / 5


def test_adapters_have_rank_times_both_sides_of_every_matrix() -> None:
    net = sizing.shape_of(preset_config("gpt2-tiny", **SMALL))
    assert sizing.lora_parameters(net, 8) == 3 * 8 * ((64 + 192) + (64 + 64) + (64 + 256) + (256 + 64))


def test_a_step_is_cut_into_pieces_that_fit() -> None:
    assert Workload(8192, 256, 2048).pieces == 4
    assert Workload(100, 64, 2048).in_flight == 100
    assert Workload(4096, 1024, 10).in_flight == 1024, "a text is never cut"
    assert sizing.optimal_tokens(70_000_000_000) == 1_400_000_000_000, "Chinchilla"

"""Model folders: what is damaged, foreign or hostile is refused by name."""

import json
import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych.errors import DiptychError
from diptych.formats.folder import read_model, write_model
from diptych.presets import create

FAMILIES = ("bert", "gpt2", "gpt", "modernbert", "modernbert-decoder")


def refusal(path: Path) -> DiptychError:
    with pytest.raises(DiptychError) as caught:
        read_model(path)
    return caught.value


def set_config(path: Path, **changes: Any) -> None:
    """Change settings of a folder's config; None removes one."""
    config = {**json.loads((path / "config.json").read_text()), **changes}
    (path / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def set_tensors(path: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Change tensors of a folder; None removes one."""
    tensors = {**load_file(path / "model.safetensors"), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path / "model.safetensors")


def test_a_folder_without_config_says_so(folder: Path) -> None:
    (folder / "config.json").unlink()
    error = refusal(folder)
    assert error.code == "E311" and "config.json" in str(error) and str(folder) in str(error)


def test_a_run_that_is_not_finished_is_no_model_and_says_how_to_go_on(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "diptych").mkdir()
    (folder / "diptych" / "recipe.yaml").touch()
    error = refusal(folder)
    assert error.code == "E318" and "--resume" in error.fix


@pytest.mark.parametrize("text", ["{", "", "[1, 2]", '"bert"', "null", "\x00"])
def test_a_config_that_is_no_config_says_so(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert refusal(folder).code == "E312"


def test_a_config_that_is_not_utf_8_says_so(folder: Path) -> None:
    (folder / "config.json").write_bytes('{"model_type": "蓝"}'.encode("gb18030"))
    assert refusal(folder).code == "E312"


def test_a_setting_that_is_missing_is_named(folder: Path) -> None:
    set_config(folder, hidden_size=None)
    error = refusal(folder)
    assert error.code == "E312" and "hidden_size is missing" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "16"},
        {"hidden_size": -16},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"num_hidden_layers": 0},
        {"vocab_size": 1.5},
        {"intermediate_size": [24]},
        {"id2label": ["a", "b"]},
        {"id2label": {"first": "a"}},
    ],
)
def test_a_setting_that_makes_no_sense_is_an_error_not_a_traceback(folder: Path, changes: dict[str, Any]) -> None:
    set_config(folder, **changes)
    assert refusal(folder).code in ("E301", "E312")


def test_an_unknown_kind_of_model_is_named_with_the_nearest_known_one(folder: Path) -> None:
    set_config(folder, model_type="modernbart")
    error = refusal(folder)
    assert error.code == "E313" and "modernbart" in str(error) and "modernbert" in str(error)
    set_config(folder, model_type=None)
    assert refusal(folder).code == "E313"


@pytest.mark.parametrize("kind", ["mystery", "bert"])
def test_a_folder_that_asks_to_run_its_own_code_is_refused(kind: str, folder: Path) -> None:
    """Of a type that is known as well: its own code may compute anything."""
    set_config(folder, model_type=kind, auto_map={"AutoModel": "modeling_mystery.MysteryModel"})
    (folder / "modeling_mystery.py").write_text("raise SystemExit('ran')")
    assert refusal(folder).code == "E314"


def test_code_that_nobody_asks_for_is_left_alone(folder: Path) -> None:
    (folder / "modeling_mystery.py").write_text("raise SystemExit('ran')")
    assert read_model(folder).config.family == "bert"


UNKNOWN_ARITHMETIC = [
    ("bert", {"hidden_act": "quick_gelu"}),
    ("bert", {"is_decoder": True}),
    ("bert", {"position_embedding_type": "relative_key"}),
    ("gpt2", {"activation_function": "mish"}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt", {"sliding_window": 4, "layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]}),
    ("gpt", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}),
    ("roberta", {"hidden_act": "relu"}),
    ("llama", {"pretraining_tp": 2}),
    ("gpt3", {"attention_types": [[["global", "global", "local", "global"], 1]]}),
    ("mpt", {"attn_config": {"alibi": False}}),
    ("gpt", {"hidden_act": "tanh"}),
    ("modernbert", {"attention_bias": True}),
    ("modernbert", {"norm_bias": True}),
    ("modernbert", {"classifier_activation": "relu"}),
    ("modernbert", {"layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]}),
    ("modernbert", {"layer_types": ["sliding_attention"] * 4}),
    ("modernbert-decoder", {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}}),
]


@pytest.mark.parametrize("family, changes", UNKNOWN_ARITHMETIC)
def test_arithmetic_that_we_do_not_have_is_refused_and_not_replaced_by_other(
    family: str, changes: dict[str, Any], tmp_path: Path, random_net: Callable[..., Any]
) -> None:
    write_model(random_net(family), tmp_path)
    assert read_model(tmp_path) is not None
    set_config(tmp_path, **changes)
    assert refusal(tmp_path).code == "E304"


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, random_net: Callable[..., Any]) -> None:
    with pytest.raises(DiptychError) as caught:
        write_model(random_net("modernbert", global_every=0), tmp_path)
    assert caught.value.code == "E304" and not any(tmp_path.iterdir())


def test_a_folder_without_weights_says_so(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    error = refusal(folder)
    assert error.code == "E311" and "model.safetensors" in str(error)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_weights_that_were_cut_short_say_so(folder: Path, kept: float) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept >= 1 else len(data) * kept)])
    error = refusal(folder)
    assert error.code == "E312" and "model.safetensors" in str(error) and "again" in error.fix


def test_pickled_weights_are_never_opened(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        error = refusal(folder)
        assert error.code == "E315" and f"diptych convert {folder} --out" in error.fix
        (folder / name).unlink()
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "sprung").exists(), "the trap works"


def test_the_remedy_for_pickled_weights_works(folder: Path) -> None:
    from diptych.cli.main import run

    expected = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(expected, folder / "pytorch_model.bin")
    *_words, source, _flag, target = shlex.split(refusal(folder).fix.partition("diptych ")[2])
    with pytest.raises(SystemExit) as end:
        run(["convert", source, "--out", target])
    assert end.value.code == 0
    found = load_file(Path(target) / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_tensor_that_is_missing_is_named(folder: Path) -> None:
    set_tensors(folder, {"bert.encoder.layer.1.output.dense.weight": None})
    error = refusal(folder)
    assert error.code == "E316" and "bert.encoder.layer.1.output.dense.weight" in str(error)


def test_a_head_that_the_config_names_and_the_weights_lack_is_named(folder: Path) -> None:
    set_config(folder, architectures=["BertForSequenceClassification"])
    error = refusal(folder)
    assert error.code == "E316" and "bert.pooler.dense.weight" in str(error)


def test_a_tensor_that_nobody_knows_is_named(folder: Path) -> None:
    set_tensors(folder, {"bert.encoder.layer.0.adapter.weight": torch.zeros(2)})
    error = refusal(folder)
    assert error.code == "E316" and "bert.encoder.layer.0.adapter.weight" in str(error)


def test_a_tensor_that_the_family_has_and_this_network_has_not_is_named(tmp_path: Path) -> None:
    """Queries that a Llama would have to norm: without a word they would be left as they are."""
    write_model(create("llama-tiny", vocab_size=40), tmp_path)
    set_tensors(tmp_path, {"model.layers.0.self_attn.q_norm.weight": torch.ones(32), "lm_head.weight": torch.ones(40, 128)})
    error = refusal(tmp_path)
    assert error.code == "E316" and "q_norm" in str(error) and "lm_head" not in str(error), "a second copy of a tied matrix is no harm"


def test_more_layers_than_the_config_has_are_not_cut_off_in_silence(folder: Path) -> None:
    set_config(folder, num_hidden_layers=3)
    error = refusal(folder)
    assert error.code == "E316" and "encoder.layer.3" in str(error)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(folder: Path, tmp_path: Path, random_net: Callable[..., Any]) -> None:
    set_config(folder, vocab_size=60)
    error = refusal(folder)
    assert error.code == "E317" and "word_embeddings" in str(error) and "(61, 16)" in str(error) and "(60, 16)" in str(error)
    # GPT-2's matrices lie transposed in the file; the message shows them as they lie there.
    (tmp_path / "gpt2").mkdir()
    write_model(random_net("gpt2"), tmp_path / "gpt2")
    set_tensors(tmp_path / "gpt2", {"transformer.h.0.mlp.c_fc.weight": torch.zeros(16, 23)})
    error = refusal(tmp_path / "gpt2")
    assert error.code == "E317" and "(16, 23)" in str(error) and "(16, 24)" in str(error)


@pytest.mark.parametrize("rows", [{"k": 11}, {"q": 12, "k": 24}])
def test_queries_keys_and_values_of_the_wrong_shape_are_named_even_where_their_sum_is_right(
    rows: dict[str, int], tmp_path: Path, random_net: Callable[..., Any]
) -> None:
    write_model(random_net("gpt"), tmp_path)
    set_tensors(tmp_path, {f"model.layers.0.self_attn.{part}_proj.weight": torch.zeros(number, 16) for part, number in rows.items()})
    error = refusal(tmp_path)
    assert error.code == "E317" and f"layers.0.self_attn.{next(iter(rows))}_proj.weight" in str(error)


def shard(path: Path) -> dict[str, str]:
    """Cut a folder's weights into two files and an index, as transformers does with large ones; the map of the index."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, path / file)
    return {name: file for file, part in files.items() for name in part}


def write_index(path: Path, weight_map: Any) -> None:
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_weights_in_several_files_are_read_like_those_in_one(folder: Path) -> None:
    expected = read_model(folder).state_dict()
    write_index(folder, shard(folder))
    found = read_model(folder).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    (folder / "model-00002-of-00002.safetensors").unlink()
    error = refusal(folder)
    assert error.code == "E311" and "model-00002-of-00002.safetensors" in str(error)


@pytest.mark.parametrize(
    "name", ["../../evil.safetensors", "/tmp/evil.safetensors", "..\\evil.safetensors", "sub/evil.safetensors", "evil.bin"]
)
def test_an_index_that_names_files_elsewhere_is_refused(folder: Path, name: str) -> None:
    """Also where a file of that name lies in the folder itself: the index does not mean that one."""
    weight_map = shard(folder)
    last = next(reversed(weight_map))
    shutil.copy(folder / weight_map[last], folder / "evil.safetensors")
    write_index(folder, {**weight_map, last: name})
    error = refusal(folder)
    assert error.code == "E312" and name in str(error)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": null}', '{"weight_map": {"a": 3}}'])
def test_a_damaged_index_says_so(folder: Path, text: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(text)
    assert refusal(folder).code == "E312"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_tied", [True, False])
def test_tied_weights_lie_in_the_folder_once_and_come_back_tied(
    family: str, is_tied: bool, tmp_path: Path, random_net: Callable[..., Any]
) -> None:
    net = random_net(family, is_tied=is_tied)
    write_model(net, tmp_path)
    shapes = [tuple(tensor.shape) for tensor in load_file(tmp_path / "model.safetensors").values()]
    assert shapes.count((61, 16)) == (1 if is_tied else 2)
    read = read_model(tmp_path)
    assert read.config == net.config
    assert all(torch.equal(weight, read.state_dict()[name]) for name, weight in net.state_dict().items())
    assert (read.heads["lm"].weight_VD is read.body.embedding.tokens.weight) == is_tied


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("heads", [(), ("classes",)])
def test_every_head_comes_back(family: str, heads: tuple[str, ...], tmp_path: Path, random_net: Callable[..., Any]) -> None:
    net = random_net(family, *heads)
    net.keep_heads(heads)
    net.set_config(token_ids=(("pad", 0), ("eos", 3)))
    write_model(net, tmp_path)
    read = read_model(tmp_path)
    assert set(read.heads) == set(net.heads) and read.config == net.config
    found = read.state_dict()
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(weight, found[name]) for name, weight in net.state_dict().items())


def test_a_model_that_was_read_does_not_change_with_its_file(folder: Path) -> None:
    """A file that is mapped into memory could."""
    net = read_model(folder)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(1000))
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_a_model_that_was_read_can_be_trained(folder: Path) -> None:
    net = read_model(folder)
    assert not net.training and all(weight.requires_grad and weight.is_leaf for weight in net.parameters())

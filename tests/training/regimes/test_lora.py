"""LoRA: adapters of ours in peft and peft's in ours give the same answers, and nothing but them learns."""

import json
import shutil

import pytest
import torch

from diptych.errors import ModelError, TrainingError
from diptych.formats.adapter_folder import fingerprint, hang, read_adapter, take_adapter, write_adapter
from diptych.formats.folder import read_model, write_model
from diptych.presets import create
from diptych.surgery.low_rank import LowRank, adapters, attach, chosen, detach, parts_of
from diptych.training.regimes import Surroundings, compose
from diptych.training.regimes.frozen import Frozen

IDS = torch.arange(40).reshape(4, 10) % 37
SHAPE = {"vocab_size": 50, "hidden_size": 32, "head_size": 8, "num_layers": 2, "context_length": 32, "initializer_range": 0.2}
FAMILIES = {
    "bert": ("bert-tiny", "classes", {}, ["query", "value", "dense"]),
    "gpt2": ("gpt2-tiny", "lm", {}, ["c_attn", "c_proj"]),
    "qwen3": ("gpt-tiny", "lm", {"num_heads": 4, "num_kv_heads": 2}, ["q_proj", "up_proj", "k_proj"]),
    "modernbert": ("modernbert-tiny", "classes", {}, ["Wqkv", "Wi"]),
}
WRAPPED = {"classes": "AutoModelForSequenceClassification", "lm": "AutoModelForCausalLM"}


def network(family, *, labels=("no", "yes", "或")):
    preset, head, sizes, _targets = FAMILIES[family]
    net = create(preset, **{**SHAPE, **sizes})
    net.ensure_head(head, labels=labels if head == "classes" else ())
    net.keep_heads((head,))
    return net.eval()


def shake(net, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _name, layer in adapters(net):
        for b_OR in layer.b_OR:
            b_OR.data.normal_(0, 0.3, generator=draw)


def of_peft(folder, adapter, head):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base = getattr(transformers, WRAPPED[head]).from_pretrained(folder)
    return peft.PeftModel.from_pretrained(base, adapter).eval()


def their_logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def close(ours, theirs):
    assert float((ours.detach() - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("targets", ["some", "all"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_adapter_of_ours_gives_the_same_logits_in_peft(family, targets, tmp_path):
    net, head = network(family), FAMILIES[family][1]
    write_model(net, tmp_path)
    bare, mark = net.logits(IDS), fingerprint(net)
    parts = [part for part in parts_of(net) if part.module.startswith("body.")]
    attach(net, chosen(parts, FAMILIES[family][3] if targets == "some" else []), rank=3, alpha=6.0, seed=0)
    shake(net)
    heads = ("pooler", "classes") if family == "bert" else ("classes",) if head == "classes" else ()
    with torch.no_grad():
        for name in heads:
            for parameter in net.heads[name].parameters():
                parameter += 0.1
    ours = net.logits(IDS)
    write_adapter(take_adapter(net, heads, "base", mark), tmp_path / "adapter")
    theirs = their_logits(of_peft(tmp_path, tmp_path / "adapter", head))
    close(ours, theirs)
    assert float((bare - theirs).abs().max()) > 0.01
    detach(net, merge=True)
    close(net.logits(IDS), theirs)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_adapter_of_peft_gives_the_same_logits_in_ours(family, rslora, tmp_path):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    head = FAMILIES[family][1]
    write_model(network(family), tmp_path)
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=FAMILIES[family][3], init_lora_weights=False, use_rslora=rslora,
        task_type="SEQ_CLS" if head == "classes" else "CAUSAL_LM", fan_in_fan_out=family == "gpt2",
    )  # fmt: skip
    torch.manual_seed(1)
    theirs = peft.get_peft_model(getattr(transformers, WRAPPED[head]).from_pretrained(tmp_path), config).eval()
    for name, parameter in theirs.named_parameters():
        if "modules_to_save" in name:
            parameter.data += 0.1
    theirs.save_pretrained(tmp_path / "adapter")
    net = read_model(tmp_path)
    before = net.logits(IDS)
    hang(net, read_adapter(tmp_path / "adapter"), "adapter")
    close(net.logits(IDS), their_logits(theirs))
    detach(net, merge=False)
    if head == "lm":
        assert torch.equal(net.logits(IDS), before)


def test_merging_and_taking_out_again_leaves_the_base(tmp_path):
    net = network("qwen3")
    before = net.logits(IDS)
    attach(net, chosen(parts_of(net), []), rank=2, alpha=4.0, seed=0)
    assert torch.equal(net.logits(IDS), before)
    shake(net)
    layers = list(adapters(net))
    for _name, layer in layers:
        layer.add_to_weight()
    for _name, layer in layers:
        layer.add_to_weight(-1.0)
    detach(net, merge=False)
    torch.testing.assert_close(net.logits(IDS), before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, LowRank) for module in net.modules())


def lora(around=None, **settings):
    return compose([{"name": "lora", "rank": 2, **settings}], around)


@pytest.mark.parametrize(
    ("name", "family"), [("classification", "bert"), ("masked-lm", "modernbert"), ("causal-lm", "gpt"), ("causal-lm", "gpt2")]
)
def test_only_adapters_and_heads_learn_and_what_was_learnt_is_merged(name, family, run, setting):
    made = setting(name, family=family)
    before = {key: tensor.clone() for key, tensor in made.net.state_dict().items()}
    done = run(name, made=made, regime=lora(), steps=8, lr=0.02)
    after = done.net.state_dict()
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    layers = {key for key in before if key.startswith("body.layers") and key.endswith("weight") and "norm" not in key}
    own_heads = {key for key in before if key.startswith("heads.") and not key.startswith("heads.lm.")}
    assert changed == layers | own_heads
    for key in layers:
        assert int(torch.linalg.matrix_rank(after[key] - before[key], rtol=1e-3)) <= 2 * (3 if "qkv" in key or "up" in key else 1)
    assert all(parameter.requires_grad for parameter in done.net.parameters())


def test_a_target_that_names_a_head_as_well_leaves_the_head_to_learn_in_full(setting):
    made, regime = setting("classification"), lora(targets=["dense"])
    net = regime.prepare(made.net, made.task)
    assert not any(name.startswith(("heads.pooler", "heads.classes")) for name, _layer in adapters(net))
    assert net.heads["pooler"].dense.weight.requires_grad


def test_the_gradient_of_an_adapter_is_that_of_its_product(setting):
    made, regime = setting("classification"), lora()
    net = regime.prepare(made.net, made.task).eval()
    shake(net)
    layer = net.get_submodule("body.layers.1.attention.qkv")
    x_NI = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    layer(x_NI).square().sum().backward()
    found = [parameter.grad.clone() for parameter in (*layer.a_RI, *layer.b_OR)]
    pairs = [(a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()) for a, b in zip(layer.a_RI, layer.b_OR)]
    weight_OI = layer.linear.weight + torch.cat([scale * b @ a for scale, (a, b) in zip(layer.scales, pairs)])
    torch.nn.functional.linear(x_NI, weight_OI, layer.linear.bias).square().sum().backward()
    for got, (a, b) in zip(zip(found[:3], found[3:]), pairs):
        torch.testing.assert_close(got[0], a.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(got[1], b.grad, rtol=1e-3, atol=1e-4)


def test_a_killed_run_goes_on_to_the_same_bits(run, heard, killed, tmp_path, same_bits):
    whole = run("causal-lm", steps=6, regime=lora(), folder=tmp_path / "a")
    with pytest.raises(killed):
        run("causal-lm", steps=6, regime=lora(), folder=tmp_path / "b", listener=heard(3))
    same_bits(whole.net, run("causal-lm", steps=6, regime=lora(), folder=tmp_path / "b", resume=True).net)


def test_it_composes_with_the_others_in_any_order(run, setting):
    teacher = setting("classification", seed=1)
    from types import SimpleNamespace

    around = Surroundings(None, "base", lambda _name: SimpleNamespace(net=teacher.net, tokenizer=None))
    distilled = {"name": "distilled", "teacher": "t", "relations": 1.0}
    for entries in (["frozen", "lora", distilled], [distilled, "lora"], ["lora", distilled, "frozen"]):
        made = setting("classification")
        before = made.net.body.layers[0].attention.qkv.weight.clone()
        done = run("classification", made=made, regime=compose(entries, around), steps=4)
        moved = not torch.equal(done.net.body.layers[0].attention.qkv.weight, before)
        assert moved == (entries[-1] != "frozen")
        assert not list(adapters(done.net))
    assert isinstance(compose(["lora", "frozen"]), Frozen)


def test_an_adapter_that_is_kept_goes_on_where_it_was(run, setting, tmp_path):
    made = setting("causal-lm", family="gpt2")
    write_model(made.net, tmp_path)
    around = Surroundings(None, "some-base")
    done = run("causal-lm", made=made, regime=lora(around, adapter=True), steps=6, lr=0.02)
    write_adapter(done.net.adapter, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "some-base" and config["r"] == 2 and config["task_type"] == "CAUSAL_LM"
    base = read_model(tmp_path)
    regime = lora(start=str(tmp_path / "adapter"))
    net = regime.prepare(base, made.task).eval()
    torch.testing.assert_close(net.logits(IDS[:, :8] % 20), done.net.logits(IDS[:, :8] % 20), rtol=1e-4, atol=1e-5)
    trained = {name.split(".")[-2] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {"a_RI", "b_OR"}


def test_a_folder_written_with_its_adapter_is_a_model_and_an_adapter(tmp_path, monkeypatch):
    import diptych as dt

    text = "今天天气很好。The cat sat on the mat 🙂.\r\n" * 30
    monkeypatch.chdir(tmp_path)
    settings = {"steps": 3, "precision": "float32", "cache": tmp_path / "cache"}
    dt.pretrain("gpt2-tiny", [text], out="base", **settings)
    regime = [{"name": "lora", "rank": 2, "adapter": True}]
    tuned = dt.pretrain("base", [text * 2], out="tuned", regime=regime, lr=1e-2, **settings)
    again, added = dt.load("tuned"), dt.load("base", adapter="tuned/adapter")
    ids = [tuned.tokenizer.encode("今天 the cat")]
    assert torch.equal(again.logits(ids), tuned.logits(ids))
    torch.testing.assert_close(added.logits(ids), tuned.logits(ids), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(dt.load("base").logits(ids), tuned.logits(ids), atol=1e-6)
    with pytest.raises(TrainingError) as caught:
        dt.load("tuned", adapter="tuned/adapter")
    assert caught.value.code == "E536"


def test_what_does_not_fit_is_named(setting, tmp_path):
    made = setting("causal-lm", family="gpt2")
    for regime, kind, code, says in (
        (lora(targets=["c_atn"]), TrainingError, "E534", "c_attn"),
        (lora(adapter=True), TrainingError, "E537", "model.base"),
        (lora(start=str(tmp_path / "none")), ModelError, "E311", "adapter_config.json"),
    ):
        with pytest.raises(kind) as caught:
            regime.prepare(made.net, made.task)
        assert caught.value.code == code and says in str(caught.value)


def test_adapters_of_another_base_or_kind_are_refused(tmp_path):
    net = network("qwen3")
    mark = fingerprint(net)
    attach(net, chosen(parts_of(net), ["q_proj"]), rank=2, alpha=4.0, seed=0)
    good = take_adapter(net, (), "b", mark)
    write_adapter(good, tmp_path / "good")
    other = network("gpt2")
    cases = []
    for name, value in (("peft_type", "IA3"), ("use_dora", True), ("bias", "all"), ("alpha_pattern", {"q": 3})):
        shutil.copytree(tmp_path / "good", folder := tmp_path / name)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, name: value}))
        cases.append((folder, network("qwen3"), "E535"))
    good.about = {}
    write_adapter(good, tmp_path / "unmarked")
    wide = create("gpt-tiny", **{**SHAPE, "hidden_size": 64})
    narrow = create("gpt-tiny", **{**SHAPE, "num_layers": 1})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    (tmp_path / "broken" / "adapter_model.safetensors").write_bytes(b"x")
    cases += [(tmp_path / "unmarked", net_, "E536") for net_ in (other, wide, narrow)]
    cases += [(tmp_path / "good", network("qwen3", labels=()), None), (tmp_path / "broken", other, "E312")]
    for folder, base, code in cases:
        if code is None:
            base.body.norm.weight.data += 0.1
            code = "E536"
        with pytest.raises((ModelError, TrainingError)) as caught:
            hang(base, read_adapter(folder), folder)
        assert caught.value.code == code, folder

"""A model in a person's hands: what each question answers, beside the network asked directly, and what it refuses."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diptych as dt
from diptych.errors import DiptychError, UsageError
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "The cat sat on the mat, and the dog sat by the door. It rained all day long.",
    "今天天气很好，我们去公园散步吧！话说天下大势，分久必合。",
    "Mixed 中文 and English，with full-width：ＡＢＣ 🙂 and a tail.\r\nA second line.",
]
CONTEXT = 32
PANELS = {"gpt": "causal", "gpt2": "causal", "modernbert-decoder": "causal", "bert": "masked", "modernbert": "masked"}


@cache
def tokenizer(kind: str, panel: str) -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, kind, 330, panel=panel)  # type: ignore[arg-type]


def make(family: str = "gpt", kind: str | None = None, labels: tuple[str, ...] = ()) -> Model:
    """A small model with weights far from a fresh one's, so that its answers differ."""
    panel = PANELS[family]
    cut = tokenizer(kind or ("bpe" if panel == "causal" else "wordpiece"), panel)
    sizes = {"hidden_size": 16, "num_layers": 2, "head_size": 8, "feed_forward_size": 24, "context_length": CONTEXT}
    net = create(f"{family}-tiny", vocab_size=cut.vocab_size, **sizes)
    if labels:
        net.ensure_head("classes", labels=labels)
        net.keep_heads(("classes",))
    net.set_config(token_ids=cut.token_ids)
    chance = torch.Generator().manual_seed(0)
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_norm = isinstance(module, nn.LayerNorm | nn.RMSNorm) and name == "weight"
            with torch.no_grad():
                parameter.normal_(0, 0.5, generator=chance).add_(1.0 if is_norm else 0.0)
    return Model(net, cut)


def code_of(ask: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(DiptychError) as caught:
        answer = ask(*args, **kwargs)
        # What comes piece by piece is refused when the first piece is asked for.
        next(answer)
    return caught.value.code


def test_logits_take_tensors_and_lists() -> None:
    model = make()
    ids, mask = [[5, 6, 7, 0], [8, 9, 3, 4]], [[1, 1, 1, 0], [1, 1, 1, 1]]
    found = model.logits(ids, mask)
    assert found.shape == (2, 4, model.config.vocab_size)
    assert torch.equal(found, model.logits(torch.tensor(ids), torch.tensor(mask)))
    assert torch.equal(found, model.net.logits(torch.tensor(ids), torch.tensor(mask).bool()))
    assert not found[0, 3].any()
    assert torch.allclose(found[0, :3], model.logits([[5, 6, 7]])[0], atol=1e-5)
    assert make("bert", labels=("a", "b", "c")).logits(ids, mask).shape == (2, 3)


def test_hidden_vectors_are_zero_where_there_is_no_token() -> None:
    model = make("bert")
    found = model.hidden([[5, 6, 7], [8, 9, 0]], [[1, 1, 1], [1, 1, 0]])
    assert found.shape == (2, 3, 16) and not found[1, 2].any() and found[0].any(-1).all()
    assert torch.allclose(found[1, :2], model.hidden([[8, 9]])[0], atol=1e-5)


def test_a_model_with_one_panel_takes_no_decoder_input() -> None:
    assert code_of(make().logits, torch.tensor([[1]]), decoder_input_ids=torch.tensor([[1]])) == "E605"


def test_logits_are_not_made_in_silence_from_a_text_that_is_too_long() -> None:
    assert code_of(make().logits, torch.zeros(1, CONTEXT + 1, dtype=torch.int64)) == "E302"


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
@pytest.mark.parametrize("prompt", ["The cat", "今天天气", "🙂 mixed 中文\r\n", "", "The cat sat. " * 30])
def test_greedy_writing_takes_the_most_probable_token_each_time(prompt: str, kind: str) -> None:
    model = make(kind=kind)
    cut = model.tokenizer
    ids = [cut.bos_id, *cut.encode(prompt)]
    if len(ids) > CONTEXT:
        ids = ids[-CONTEXT // 2 :]
    length = len(ids)
    for _step in range(8):
        with torch.inference_mode():
            ids.append(int(model.logits([ids])[0, -1].argmax()))
    new = ids[length:]
    if cut.eos_id in new:
        new = new[: new.index(cut.eos_id)]
    before = cut.decode(ids[:length])
    assert before + model.generate(prompt, 8, temperature=0) == cut.decode(ids[:length] + new)


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    model = make()
    torch.manual_seed(0)
    first = model.generate("The cat", 20, seed=4)
    torch.manual_seed(1)
    assert model.generate("The cat", 20, seed=4) == first
    assert len({model.generate("The cat", 20, seed=seed) for seed in range(5)}) > 3


def test_several_prompts_are_answered_in_order_and_as_if_alone() -> None:
    model = make()
    prompts = ["The cat sat on the mat, and", "今", "", "🙂🙂"]
    found = model.generate(prompts, 15, temperature=0)
    assert found == [model.generate(prompt, 15, temperature=0) for prompt in prompts]
    assert model.generate(prompts[:2], 15, seed=3)[0] == model.generate(prompts[0], 15, seed=3)
    assert model.generate([], 15) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_joins_to_what_is_generated(seed: int) -> None:
    model = make()
    options: dict[str, Any] = {"temperature": 1.2, "top_p": 1.0, "seed": seed}
    whole = model.generate("今天", 40, **options)
    assert "".join(model.stream("今天", 40, **options)) == whole
    assert len(list(model.stream("今天", 40, **options))) > 5
    inner = whole.rstrip("\ufffd")
    stop = inner[len(inner) // 2 :][:2]
    expected = inner[: inner.index(stop)]
    for form in (stop, [stop, "no such thing"]):
        assert model.generate("今天", 40, stop=form, **options) == expected
        assert "".join(model.stream("今天", 40, stop=form, **options)) == expected


@pytest.mark.parametrize("text", ["The cat", "今天🙂", "", "The cat sat on the mat. " * 20])
def test_next_words_have_the_probabilities_of_the_network(text: str) -> None:
    model = make()
    found = model.next(text, top=4)
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text)][-CONTEXT:]
    with torch.inference_mode():
        chances = torch.softmax(model.logits([ids])[0, -1], -1)
    assert [candidate.id for candidate in found] == chances.argsort(descending=True)[:4].tolist()
    assert [candidate.probability for candidate in found] == pytest.approx(chances.sort(descending=True).values[:4].tolist(), abs=1e-6)
    assert [candidate.token for candidate in found] == [model.tokenizer.token(candidate.id) for candidate in found]
    assert sum(candidate.probability for candidate in model.next(text, top=10_000)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_each_blank_is_filled_from_both_sides(family: str) -> None:
    model = make(family)
    text = "The [MASK] sat on the [MASK]."
    found = model.fill(text, top=3)
    cut = model.tokenizer
    ids = [cut.cls_id, *cut.encode("The"), cut.mask_id, *cut.encode("sat on the"), cut.mask_id, *cut.encode("."), cut.sep_id]
    with torch.inference_mode():
        chances_TV = torch.softmax(model.logits([ids])[0], -1)
    places = [place for place, token in enumerate(ids) if token == cut.mask_id]
    assert len(found) == len(places) == 2
    for candidates, place in zip(found, places, strict=True):
        assert [each.id for each in candidates] == chances_TV[place].argsort(descending=True)[:3].tolist()
        assert [each.probability for each in candidates] == pytest.approx(
            chances_TV[place].sort(descending=True).values[:3].tolist(), abs=1e-6
        )
    assert model.fill("今天[MASK]气很好，🙂\r\n")[0] != found[0]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_blank_stands_for_a_word_with_the_space_that_its_token_has(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training a blank replaces the token " cat", space and all; a space of its own before the blank would be new to the model."""
    model, seen, text = make("bert", kind), [], "The cat sat on the mat"
    cut, hidden = model.tokenizer, model.net.hidden
    monkeypatch.setattr(model.net, "hidden", lambda packed: seen.append(packed.ids_N.tolist()) or hidden(packed))
    ids, offsets = cut.encode_offsets(text)
    for word in ("The", "cat", "mat"):
        start, end = text.index(word), text.index(word) + 3
        before = [token for token, (_first, last) in zip(ids, offsets, strict=True) if last < start]
        after = [token for token, (first, _last) in zip(ids, offsets, strict=True) if first >= end]
        model.fill(f"{text[:start]}[MASK]{text[end:]}")
        assert seen.pop() == [cut.cls_id, *before, cut.mask_id, *after, cut.sep_id]


def test_what_cannot_be_filled_is_refused_with_the_way_out() -> None:
    model = make("bert")
    with pytest.raises(UsageError) as caught:
        model.fill("The cat sat.")
    assert caught.value.code == "E607" and "[MASK]" in caught.value.fix
    assert code_of(model.fill, "") == "E607"
    assert code_of(model.fill, "cat " * CONTEXT + "[MASK]") == "E608"
    assert code_of(make("gpt").fill, "The [MASK] sat.") == "E606"
    assert code_of(make("bert", labels=("a", "b")).fill, "The [MASK] sat.") == "E606"


@pytest.mark.parametrize("verb", ["generate", "stream", "next", "score"])
def test_a_model_that_understands_does_not_write(verb: str) -> None:
    assert code_of(getattr(make("bert"), verb), "The cat") == "E602"
    assert code_of(getattr(make("gpt", labels=("a", "b")), verb), "The cat") == "E602"


@pytest.mark.parametrize("verb", ["generate", "next"])
def test_an_empty_prompt_without_a_token_to_begin_with_is_refused(verb: str) -> None:
    model = make()
    bare = Model(model.net, Tokenizer(model.tokenizer.backend, {}))
    assert code_of(getattr(bare, verb), "") == "E603"
    assert getattr(bare, verb)("The cat")
    assert bare.score("") == (0.0, 0)


def test_a_model_without_tokenizer_reads_numbers_alone() -> None:
    for model in (dt.create("gpt-tiny", vocab_size=50), dt.create("bert-tiny", vocab_size=50)):
        assert model.logits([[1, 2]]).shape == (1, 2, 50)
        verbs = [model.generate, model.stream, model.next, model.score] if model.config.is_causal else [model.fill]
        for verb in [*verbs, model.embed]:
            assert code_of(verb, "text [MASK]") == "E604"


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt", "gpt2", "modernbert-decoder"])
def test_predictions_are_the_softmax_of_the_logits_in_the_order_given(family: str) -> None:
    model = make(family, labels=("差", "中", "好"))
    texts = ["The cat sat.", "今天天气很好", "", "🙂\r\n", "It rained all day long. The dog sat by the door."]
    found = model.predict(texts)
    for text, prediction in zip(texts, found, strict=True):
        ids, types = model.tokenizer.frame(model.tokenizer.encode(text))
        with torch.inference_mode():
            logits_C = model.net.logits(torch.tensor([ids or [model.tokenizer.eos_id]]), None, torch.tensor([types or [0]]))[0]
        chances = torch.softmax(logits_C, -1).tolist()
        assert list(prediction.probabilities) == ["差", "中", "好"]
        assert list(prediction.probabilities.values()) == pytest.approx(chances, abs=1e-5)
        assert prediction.probability == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
    assert [model.predict(text)[0].label for text in texts] == [prediction.label for prediction in found]
    assert list(model.predictions(iter(texts))) == found
    assert model.predict([]) == []


def test_a_pair_is_read_with_its_token_types() -> None:
    model = make("bert", labels=("a", "b"))
    ids, types = model.tokenizer.frame(model.tokenizer.encode("The cat"), model.tokenizer.encode("今天"))
    assert set(types) == {0, 1}
    with torch.inference_mode():
        chances = torch.softmax(model.net.logits(torch.tensor([ids]), None, torch.tensor([types]))[0], -1).tolist()
    assert list(model.predict([("The cat", "今天")])[0].probabilities.values()) == pytest.approx(chances, abs=1e-5)


def test_a_text_longer_than_the_context_is_counted_as_cut_or_read_in_windows() -> None:
    long, ledger = "cat " * 100, Ledger()
    model = make("bert")
    model.embed(["The cat", long, long], ledger)
    counts = [entry.count for _stage, _what, entry in ledger]
    assert sorted(counts) == [2, 2 * (len(model.tokenizer.encode(long)) - (CONTEXT - 2))]
    read = Ledger()
    assert len(list(make("bert", labels=("a", "b")).predictions(["The cat", long, long], read))) == 3
    assert {what: entry.count for _stage, what, entry in read if entry.count} == {"texts longer than the context, read in windows": 2}


def test_without_classes_there_is_nothing_to_predict() -> None:
    with pytest.raises(UsageError) as caught:
        make("bert").predict("The cat")
    assert caught.value.code == "E609" and "finetune" in caught.value.fix


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_an_embedding_is_the_mean_of_the_tokens_vectors(family: str) -> None:
    model = make(family)
    texts = ["The cat sat.", "今天天气很好", "🙂", ""]
    found = model.embed(texts)
    assert found.shape == (4, 16) and found.isfinite().all()
    for text, vector in zip(texts, found, strict=True):
        ids = model.tokenizer.frame(model.tokenizer.encode(text))[0] or [model.tokenizer.eos_id]
        with torch.inference_mode():
            assert torch.allclose(vector, model.hidden([ids])[0].mean(0), atol=1e-5)
    assert torch.allclose(model.embed("🙂"), found[2:3], atol=1e-6)
    assert model.embed([]).shape == (0, 16)


@pytest.mark.parametrize("family", ["gpt", "gpt2", "modernbert-decoder"])
def test_a_score_is_the_log_probability_that_transformers_gives(family: str, tmp_path: Path) -> None:
    import transformers

    model = make(family)
    model.save(tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for text in ["The cat sat.", "今天🙂\r\n", "a", ""]:
        ids = torch.tensor([[model.tokenizer.bos_id, *model.tokenizer.encode(text)]])
        total, count = model.score(text)
        assert count == ids.shape[1] - 1
        if count:
            with torch.inference_mode():
                assert total == pytest.approx(-theirs(ids, labels=ids).loss.item() * count, rel=1e-5)
        else:
            assert total == 0


def test_a_score_of_a_long_text_counts_every_token_once() -> None:
    model = make()
    text = "The cat sat on the mat, 今天天气很好. " * 9
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text)]
    assert len(ids) > 3 * CONTEXT
    expected = 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        run = ids[start : start + CONTEXT + 1]
        with torch.inference_mode():
            logs_TV = torch.log_softmax(model.logits([run[:-1]])[0], -1)
        expected += sum(logs_TV[place, token].item() for place, token in enumerate(run[1:]))
    total, count = model.score(text)
    assert (count, total) == (len(ids) - 1, pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize(
    "family, labels", [("gpt", ()), ("bert", ()), ("modernbert", ("差", "好")), ("bert", ("a", "b", "c")), ("gpt2", ("a", "b"))]
)
def test_what_is_saved_is_what_is_loaded(family: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    model = make(family, labels=labels)
    assert model.save(str(tmp_path / "a" / "model")) == model.folder == tmp_path / "a" / "model"
    again = dt.load(tmp_path / "a" / "model")
    assert again.config == model.config and again.folder == model.folder
    assert torch.equal(again.logits([[5, 6, 7]]), model.logits([[5, 6, 7]]))
    assert again.tokenizer.fingerprint() == model.tokenizer.fingerprint()
    for text in [*TEXTS, ""]:
        assert again.tokenizer.encode(text) == model.tokenizer.encode(text)
    # Over itself, and back to the same.
    again.save(tmp_path / "a" / "model")
    assert all(
        torch.equal(weight, again.net.state_dict()[name]) for name, weight in dt.load(tmp_path / "a" / "model").net.state_dict().items()
    )
    if labels:
        assert again.predict("The cat") == model.predict("The cat")
    elif family == "gpt":
        assert again.generate("The cat", 10, seed=2) == model.generate("The cat", 10, seed=2)
    else:
        assert again.fill("The [MASK]") == model.fill("The [MASK]")


def test_saving_over_its_own_folder_keeps_the_record_of_the_run_and_another_model_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make().save(folder)
    (folder / "diptych").mkdir()
    (folder / "diptych" / "ledger.json").write_text("[]", encoding="utf-8")
    (folder / "README.md").write_text("一张卡片 card", encoding="utf-8")
    again = dt.load(folder)
    with torch.no_grad():
        again.net.body.embedding.tokens.weight.add_(1.0)
    again.save(folder)
    assert (folder / "diptych" / "ledger.json").read_text(encoding="utf-8") == "[]"
    assert (folder / "README.md").read_text(encoding="utf-8") == "一张卡片 card"
    assert dt.load(folder).net.body.embedding.tokens.weight.equal(again.net.body.embedding.tokens.weight)
    make("gpt2").save(folder)
    assert not (folder / "diptych").exists() and not (folder / "README.md").exists()


def test_a_head_that_its_family_has_no_place_for_is_kept_all_the_same(tmp_path: Path) -> None:
    for family in ("modernbert", "bert"):
        model = make(family)
        model.net.ensure_head("nsp")
        model.save(tmp_path / family)
        assert "nsp" in dt.load(tmp_path / family).net.heads


def test_the_tokenizer_of_a_saved_model_opens_elsewhere(tmp_path: Path) -> None:
    import transformers

    for family in ("gpt", "bert"):
        model = make(family)
        model.save(tmp_path / family)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / family)
        for text in TEXTS:
            assert theirs(text, add_special_tokens=False)["input_ids"] == model.tokenizer.encode(text)


def test_saving_never_replaces_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("论文", encoding="utf-8")
    assert code_of(make().save, tmp_path) == "E413"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_says_what_it_is() -> None:
    model = make("bert", labels=("a", "b"))
    number = sum(parameter.numel() for parameter in model.net.parameters())
    assert f"{number:,}" in repr(model) and "bert" in repr(model) and "classes" in repr(model)


def test_asking_leaves_no_gradients_and_no_dropout() -> None:
    for family, verb, text in [
        ("gpt", "next", "The"),
        ("gpt", "score", "The cat"),
        ("bert", "fill", "The [MASK]"),
        ("bert", "embed", "The"),
    ]:
        model = make(family)
        expected = getattr(model, verb)(text)
        model.net.set_config(dropout=0.5)
        model.net.train()
        found = getattr(model, verb)(text)
        assert torch.equal(found, expected) if verb == "embed" else found == expected
        assert all(parameter.grad is None for parameter in model.net.parameters())

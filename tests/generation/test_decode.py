"""Writing with a cache beside writing without one, beside transformers, and beyond the end of the context."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diptych.errors import UsageError
from diptych.formats.folder import write_model
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.packed import Packed
from diptych.presets import create

FAMILIES = ("gpt2", "gpt", "modernbert-decoder", "rnn", "gru", "lstm")
RECURRENT = ("rnn", "gru", "lstm")
GREEDY = Sampling(temperature=0)
PROMPTS = [[5, 9, 2, 7, 7, 1, 30, 12, 4, 18, 3], [8], [40, 2, 3, 44], [8, 8]]


def make(family: str, context_length: int = 64, seed: int = 0) -> Any:
    """A small network that writes something lively: weights far from a fresh model's."""
    sizes = {"vocab_size": 61, "hidden_size": 16, "num_layers": 4}
    sizes |= {} if family in RECURRENT else {"head_size": 8, "feed_forward_size": 24}
    own = {"gpt": {"num_heads": 4, "num_kv_heads": 2}, "modernbert-decoder": {"window": 4, "global_every": 2}}.get(family, {})
    net = create(f"{family}-tiny", context_length=context_length, **{**sizes, **own})
    chance = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_norm = isinstance(module, nn.LayerNorm | nn.RMSNorm) and name == "weight"
            with torch.no_grad():
                parameter.normal_(0, 0.5, generator=chance).add_(1.0 if is_norm else 0.0)
    return net


def written(net: Any, prompts: list[list[int]], sampling: Sampling, num: int, ends: frozenset[int] = frozenset()) -> list[list[int]]:
    answers = [Writing(prompt) for prompt in prompts]
    for _step in decode(net, answers, sampling, max_new_tokens=num, ends=ends):
        pass
    return [answer.tokens for answer in answers]


def one_by_one(net: Any, prompt: list[int], sampling: Sampling, num: int) -> list[int]:
    """The same without a cache: the whole text is read anew for every token; a full context begins again with its last half."""
    text, view = list(prompt), list(prompt)
    limit = net.config.context_length
    for _position in range(num):
        if len(view) > limit:
            view = view[-max(1, limit // 2) :]
        with torch.inference_mode():
            logits_V = net.logits(torch.tensor([view]))[0, -1]
        (token,) = sampling.choose(logits_V[None], [Writing(prompt, tokens=text[len(prompt) :])])
        text.append(token)
        view.append(token)
    return text[len(prompt) :]


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, top_k=20, seed=3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_cache_it_writes_what_it_writes_without_one(family: str, sampling: Sampling) -> None:
    net = make(family)
    expected = [one_by_one(net, prompt, sampling, 15) for prompt in PROMPTS]
    assert written(net, PROMPTS, sampling, 15) == expected
    assert len({tuple(answer) for answer in expected}) == len(PROMPTS)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in RECURRENT])
def test_greedy_writing_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    import transformers

    net = make(family)
    write_model(net, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    theirs.generation_config.eos_token_id = None
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        found = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, pad_token_id=0)
        assert written(net, [prompt], GREEDY, 20) == [found[0, len(prompt) :].tolist()]


@pytest.mark.parametrize("context_length", [1, 5, 16])
@pytest.mark.parametrize("family", FAMILIES)
def test_beyond_its_context_it_goes_on_from_the_last_half(family: str, context_length: int) -> None:
    net = make(family, context_length)
    found = written(net, PROMPTS, GREEDY, 30)
    assert [len(answer) for answer in found] == [30] * 4
    # Each at its own time: what a text gives does not depend on when its neighbours were full.
    assert found == [one_by_one(net, prompt, GREEDY, 30) for prompt in PROMPTS]


def test_a_prompt_longer_than_the_context_is_read_from_its_end() -> None:
    net = make("gpt", 16)
    long = [number % 61 for number in range(100)]
    assert written(net, [long], GREEDY, 5) == written(net, [long[-8:]], GREEDY, 5)
    for whole in (15, 16):
        assert written(net, [long[:whole]], GREEDY, 1) == [one_by_one(net, long[:whole], GREEDY, 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_can_be_read_in_pieces_of_any_length(family: str) -> None:
    """The cache takes several tokens of several texts at once, as a server and speculative decoding need."""
    net = make(family).double()
    lengths = [(5, 2, 9), (3, 4, 1), (1, 1, 1), (2, 6, 3), (1, 1, 1)]
    totals = [sum(each) for each in zip(*lengths, strict=True)]
    ids = [torch.randint(0, 61, (total,), generator=torch.Generator().manual_seed(total)) for total in totals]
    cache, read, pieces = net.new_cache(3, 32), [0, 0, 0], [[], [], []]
    with torch.inference_mode():
        for step in lengths:
            parts = [text[start : start + length] for text, start, length in zip(ids, read, step, strict=True)]
            for piece, hidden in zip(pieces, net.hidden(Packed(torch.cat(parts), step), cache).split(list(step)), strict=True):
                piece.append(hidden)
            read = [start + length for start, length in zip(read, step, strict=True)]
        assert cache.lengths == totals
        for text, piece in zip(ids, pieces, strict=True):
            assert torch.allclose(torch.cat(piece), net.hidden(Packed(text, (len(text),))), atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cache_can_keep_some_texts_and_keep_one_twice(family: str) -> None:
    net = make(family).double()
    texts = [torch.tensor(prompt) for prompt in PROMPTS]
    cache = net.new_cache(4, 20)
    with torch.inference_mode():
        net.hidden(Packed(torch.cat(texts), tuple(map(len, texts))), cache)
        cache.keep(torch.tensor([2, 0, 2]))
        assert cache.lengths == [4, 11, 4]
        found = net.hidden(Packed(torch.tensor([1, 2, 3]), (1, 1, 1)), cache)
        for row, (number, token) in enumerate([(2, 1), (0, 2), (2, 3)]):
            alone = torch.cat((texts[number], torch.tensor([token])))
            assert torch.allclose(found[row], net.hidden(Packed(alone, (len(alone),)))[-1], atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_ends_at_an_end_token_and_the_others_go_on(family: str) -> None:
    net = make(family)
    sampling = Sampling(temperature=1.0, top_p=1.0, seed=9)
    whole = written(net, PROMPTS, sampling, 20)
    end = whole[1][6]
    expected = [answer[: answer.index(end)] if end in answer else answer for answer in whole]
    assert written(net, PROMPTS, sampling, 20, frozenset({end})) == expected
    assert len(expected[1]) <= 6 < max(map(len, expected))


def test_memory_that_is_not_written_yet_is_never_read() -> None:
    """Shorter answers leave empty places in the cache, and a weight of zero times what lies there may be NaN."""
    net = make("gpt")
    expected = [one_by_one(net, prompt, GREEDY, 6) for prompt in PROMPTS]
    torch.use_deterministic_algorithms(True)  # fills memory that was not asked to be clean with NaN
    try:
        assert torch.empty(1).isnan().all()
        assert written(net, PROMPTS, GREEDY, 6) == expected
    finally:
        torch.use_deterministic_algorithms(False)


def test_when_all_answers_have_ended_no_step_follows() -> None:
    net = make("gpt")
    first = written(net, [[8]], GREEDY, 1)[0][0]
    assert list(decode(net, [Writing([8])], GREEDY, max_new_tokens=9, ends=frozenset({first}))) == []


@pytest.mark.parametrize("prompts, num", [([], 5), ([[1, 2]], 0)])
def test_nothing_asked_is_nothing_written(prompts: list[list[int]], num: int) -> None:
    assert list(decode(make("gpt"), [Writing(prompt) for prompt in prompts], GREEDY, max_new_tokens=num)) == []


def test_an_empty_prompt_and_a_model_that_does_not_write_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        list(decode(make("gpt"), [Writing([1]), Writing([])], GREEDY, max_new_tokens=3))
    assert caught.value.code == "E603"
    for net in (create("bert-tiny", vocab_size=20), create("gpt-tiny", vocab_size=20)):
        net.keep_heads(("lm",) if not net.config.is_causal else ())
        with pytest.raises(UsageError) as refused:
            list(decode(net, [Writing([1])], GREEDY, max_new_tokens=3))
        assert refused.value.code == "E602"


def test_dropout_is_off_while_writing() -> None:
    net = make("gpt")
    expected = written(net, PROMPTS, GREEDY, 10)
    net.set_config(dropout=0.5)
    net.train()
    assert written(net, PROMPTS, GREEDY, 10) == expected


def test_an_answer_is_the_same_alone_and_among_others() -> None:
    """Its seed, its own number and the place of a token decide, never where in a batch it stands."""
    net, sampling = make("gpt"), Sampling(temperature=1.5, top_p=1.0, seed=4)
    together = written(net, [*PROMPTS, PROMPTS[0]], sampling, 12)
    assert together == [written(net, [prompt], sampling, 12)[0] for prompt in [*PROMPTS, PROMPTS[0]]]
    assert all(sum(a == b for a, b in zip(one, other)) < 9 for one, other in itertools.combinations(together[:4], 2))


def test_several_answers_to_a_prompt_differ_and_its_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sampling = make("gpt"), Sampling(temperature=1.5, top_p=1.0, seed=4)
    sizes: list[int] = []
    hidden = net.hidden
    monkeypatch.setattr(net, "hidden", lambda texts, cache=None: sizes.append(texts.num_tokens) or hidden(texts, cache))
    answers = [Writing(PROMPTS[0], key=key) for key in range(5)]
    for _step in decode(net, answers, sampling, max_new_tokens=10):
        pass
    assert sizes == [len(PROMPTS[0])] + [5] * 9
    assert len({tuple(answer.tokens) for answer in answers}) == 5
    alone = Writing(PROMPTS[0], key=3)
    assert len(list(decode(net, [alone], sampling, max_new_tokens=10))) == 10
    assert alone.tokens == answers[3].tokens and alone.ending == "length"


def test_a_reader_can_end_an_answer_and_the_others_go_on() -> None:
    net = make("gpt")
    expected = written(net, PROMPTS, GREEDY, 8)
    answers = [Writing(prompt) for prompt in PROMPTS]
    for number, _step in enumerate(decode(net, answers, GREEDY, max_new_tokens=8)):
        if number == 2:
            answers[1].ending = "stop"
    assert [answer.tokens for answer in answers] == [each[:3] if number == 1 else each for number, each in enumerate(expected)]
    assert [answer.ending for answer in answers] == ["length", "stop", "length", "length"]


def test_log_probabilities_are_those_of_the_model_whatever_is_drawn() -> None:
    net = make("gpt")
    answer = Writing(PROMPTS[0], alternatives=3)
    for _step in decode(net, [answer], Sampling(temperature=2.0, top_k=9, repetition_penalty=1.5), max_new_tokens=6):
        pass
    with torch.inference_mode():
        logs = torch.log_softmax(net.logits(torch.tensor([answer.text]))[0].double(), dim=-1)
    assert [chance.token for chance in answer.chances] == answer.tokens
    for place, chance in enumerate(answer.chances, len(PROMPTS[0]) - 1):
        assert abs(chance.log_probability - float(logs[place, chance.token])) < 1e-4
        assert [token for token, _log in chance.alternatives] == logs[place].topk(3).indices.tolist()

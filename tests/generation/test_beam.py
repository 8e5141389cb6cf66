"""Beam search against every sequence there is, and against greedy decoding."""

import itertools
import math

import pytest
import torch

from diptych.errors import UsageError
from diptych.generation.beam import Beam, beam_answers, beam_search
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.models.transformer import Network
from diptych.presets import create

VOCAB, END, CONTEXT = 6, 5, 16
PROMPTS = [[1, 2], [3, 0, 4, 2], [4]]


def net_of(preset: str, seed: int = 3) -> Network:
    sizes = {"hidden_size": 16, "num_layers": 1, "context_length": CONTEXT, "initializer_range": 0.6}
    more = {"num_decoder_layers": 1} if preset.startswith(("transformer", "bart", "t5")) else {}
    return create(preset, seed=seed, vocab_size=VOCAB, **sizes, **more).eval()


def starts(net: Network, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[int]] | None]:
    """(what the decoder begins with, what the encoder reads)."""
    return ([[0] for _prompt in prompts], prompts) if net.config.is_encoder_decoder else (prompts, None)


def log_p(net: Network, prompt: list[int], answer: tuple[int, ...]) -> float:
    """log P of an answer by one pass over all of it, without a cache."""
    if net.config.is_encoder_decoder:
        logits = net.logits(torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *answer[:-1]]]))[0]
    else:
        logits = net.logits(torch.tensor([[*prompt, *answer[:-1]]]))[0, len(prompt) - 1 :]
    logs = torch.log_softmax(logits.double(), dim=-1)
    return float(logs[range(len(answer)), list(answer)].sum())


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("preset", ["gpt-tiny", "transformer-tiny", "t5-tiny"])
@torch.inference_mode()
def test_a_wide_beam_finds_the_best_of_all_answers(preset: str, penalty: float) -> None:
    net, limit = net_of(preset), 3
    prompts, sources = starts(net, PROMPTS)
    found = beam_search(net, prompts, Beam(VOCAB**limit, penalty), limits=[limit] * 3, ends=frozenset({END}), sources=sources)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        texts = [(*words, END) for size in range(limit) for words in itertools.product(range(VOCAB - 1), repeat=size)]
        values = {text: log_p(net, prompt, text) / ((5 + len(text)) / 6) ** penalty for text in texts}
        best = max(values, key=values.__getitem__)
        assert (*answer.tokens, END) == best
        assert math.isclose(answer.log_probability, log_p(net, prompt, best), abs_tol=1e-4)


@pytest.mark.parametrize("preset", ["gpt-tiny", "bart-tiny", "transformer-tiny", "lstm-tiny"])
def test_one_candidate_is_greedy_decoding(preset: str) -> None:
    for seed in range(5):
        net = net_of(preset, seed)
        prompts, sources = starts(net, PROMPTS)
        found = beam_search(net, prompts, Beam(1), limits=[8] * 3, ends=frozenset({END}), sources=sources)
        greedy = [Writing(prompt, source) for prompt, source in zip(prompts, sources or [None] * 3, strict=True)]
        for _step in decode(net, greedy, Sampling(temperature=0), max_new_tokens=8, ends=frozenset({END})):
            pass
        assert [list(answer.tokens) for answer in found] == [answer.tokens for answer in greedy]


@pytest.mark.parametrize("preset", ["gpt-tiny", "transformer-tiny"])
def test_an_answer_does_not_depend_on_its_neighbours(preset: str) -> None:
    net = net_of(preset)
    prompts, sources = starts(net, PROMPTS)
    together = beam_search(net, prompts, Beam(3), limits=[4, 7, 2], ends=frozenset({END}), sources=sources)
    for number, limit in enumerate([4, 7, 2]):
        own = None if sources is None else [sources[number]]
        (alone,) = beam_search(net, [prompts[number]], Beam(3), limits=[limit], ends=frozenset({END}), sources=own)
        assert alone.tokens == together[number].tokens
        assert math.isclose(alone.log_probability, together[number].log_probability, abs_tol=1e-4)


def test_limits_hold() -> None:
    net = net_of("gpt-tiny")
    for least, limit in [(0, 1), (3, 4), (4, 6), (0, 100)]:
        for answer, prompt in zip(
            beam_search(net, PROMPTS, Beam(2), limits=[limit] * 3, least=[least] * 3, ends=frozenset({END})), PROMPTS
        ):
            assert answer.length <= min(limit, CONTEXT - len(prompt) + 1)
            assert not answer.is_ended or len(answer.tokens) >= least


def test_an_answer_without_an_end_is_cut_at_its_limit() -> None:
    (answer,) = beam_search(net_of("gpt-tiny"), [[1]], Beam(2), limits=[5])
    assert len(answer.tokens) == answer.length == 5 and not answer.is_ended


def test_what_cannot_be_searched_is_refused() -> None:
    net = net_of("gpt-tiny")
    assert beam_search(net, [], Beam(), limits=[]) == []
    for wrong in ({"width": 0}, {"length_penalty": math.inf}, {"width": 4, "groups": 3}, {"groups": 0}):
        with pytest.raises(UsageError) as error:
            Beam(**wrong)
        assert error.value.code == "E601"
    with pytest.raises(UsageError) as error:
        beam_search(net, [[]], Beam(), limits=[3])
    assert error.value.code == "E603"
    with pytest.raises(UsageError) as error:
        beam_search(create("bert-tiny", vocab_size=9), [[1]], Beam(), limits=[3])
    assert error.value.code == "E602"


def diverse_by_hand(net: Network, prompt: list[int], groups: int, width: int, diversity: float, steps: int) -> list[list[tuple[int, ...]]]:
    """Algorithm 1 of Vijayakumar et al. with Hamming diversity, without a cache and without ends: the candidates of each group."""
    beams: list[list[tuple[tuple[int, ...], float]]] = [[((), 0.0)] for _group in range(groups)]
    for _step in range(steps):
        taken = [0] * VOCAB
        for number, beam in enumerate(beams):
            longer = [((*words, token), log_p(net, prompt, (*words, token))) for words, _log in beam for token in range(VOCAB)]
            best = sorted(longer, key=lambda each: -(each[1] - diversity * taken[each[0][-1]]))[:width]
            for words, _log in best:
                taken[words[-1]] += 1
            beams[number] = best
    return [[words for words, _log in sorted(beam, key=lambda each: -each[1])] for beam in beams]


@pytest.mark.parametrize("preset", ["gpt-tiny", "transformer-tiny"])
@torch.inference_mode()
def test_groups_keep_away_from_each_other_as_the_paper_says(preset: str) -> None:
    net = net_of(preset)
    prompts, sources = starts(net, PROMPTS)
    found = beam_answers(net, prompts, Beam(6, 0.0, 3, 0.7), limits=[4] * 3, sources=sources)
    for prompt, answers in zip(PROMPTS, found, strict=True):
        groups = diverse_by_hand(net, prompt, 3, 2, 0.7, 4)
        assert [answer.tokens for answer in answers] == [words for rank in zip(*groups, strict=True) for words in rank]
        for answer in answers:
            assert math.isclose(answer.log_probability, log_p(net, prompt, answer.tokens), abs_tol=1e-4)


def test_a_search_gives_several_answers_the_best_of_those_that_ended_first() -> None:
    net, beam = net_of("gpt-tiny"), Beam(4)
    for answers in beam_answers(net, PROMPTS, beam, limits=[5] * 3, ends=frozenset({END})):
        values = [(each.is_ended, beam.value(each.log_probability, each.length)) for each in answers]
        assert len(answers) >= 4 and values == sorted(values, reverse=True)
        assert len({(each.tokens, each.is_ended) for each in answers}) == len(answers)

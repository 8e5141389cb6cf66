"""One promise for everything that writes: with a cache, in a batch of mixed lengths, padded on the left, read in pieces, in a
window or not, a model writes the tokens that it writes alone, without a cache, reading the whole text anew for each.

The families are those of the presets: one that joins them is tested here without a line more.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from diptych.generation import cached
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.models.config import ModelConfig
from diptych.packed import Packed
from diptych.presets import build, list_presets, preset_config
from diptych.streams import seed_for

DECODERS = [name for name in list_presets("*-tiny") if preset_config(name).writes]
GREEDY, DRAWN = Sampling(temperature=0), Sampling(temperature=1.0, top_p=1.0, seed=5)
PROMPTS = [[5, 9, 2, 7, 7, 1, 30, 12, 4, 18, 3, 22, 6], [8], [40, 2, 3, 44]]
SOURCES = [[3, 1, 4, 1, 5, 9, 2, 6], [7, 7], [11, 12, 13, 14, 15]]
CONTEXT = 128
SMALL = {"vocab_size": 61, "hidden_size": 16, "num_layers": 3, "context_length": CONTEXT}


def lively(config: ModelConfig) -> Any:
    """A network whose weights are far from a fresh one's."""
    net = build(config)
    chance = torch.Generator().manual_seed(seed_for(0, config.family))
    for parameter in net.parameters():
        with torch.no_grad():
            # Matrices large enough to choose, gains around 1.
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.35 if parameter.dim() > 1 else 0.1, generator=chance))
    return net


def small(preset: str) -> ModelConfig:
    config = preset_config(preset, **SMALL)
    if not config.window:
        return config
    # A window that is much shorter than the texts, with a global layer among local ones where the family has them.
    return replace(config, window=5, global_every=min(2, config.global_every))


def one_by_one(net: Any, number: int, sampling: Sampling, num_tokens: int, sources: list[list[int]] | None) -> list[int]:
    text, source = list(PROMPTS[number]), None if sources is None else [sources[number]]
    for _position in range(num_tokens):
        with torch.inference_mode():
            logits_V = net.heads["lm"](net.hidden(packed([text], source))[-1])
        text += sampling.choose(logits_V[None], [Writing(PROMPTS[number], source and source[0], tokens=text[len(PROMPTS[number]) :])])
    return text[len(PROMPTS[number]) :]


def packed(texts: list[list[int]], sources: list[list[int]] | None) -> Packed:
    return replace(row(texts), is_causal=True, source=None if sources is None else row(sources))


def row(texts: list[list[int]]) -> Packed:
    return Packed(torch.tensor([token for text in texts for token in text]), tuple(map(len, texts)))


def left_padded(net: Any, sampling: Sampling, num_tokens: int, sources: list[list[int]] | None) -> list[list[int]]:
    """All texts in one rectangle with padding before them, without a cache, as other libraries write."""
    texts = [list(prompt) for prompt in PROMPTS]
    for _position in range(num_tokens):
        longest = max(map(len, texts))
        ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
        mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
        rows = replace(Packed.from_padded(ids, mask), is_causal=True, source=None if sources is None else row(sources))
        with torch.inference_mode():
            logits_BV = rows.pad(net.heads["lm"](net.hidden(rows)))[:, -1]
        pairs = zip(PROMPTS, sources or [None] * len(PROMPTS), texts, strict=True)
        rows_B = [Writing(prompt, source, tokens=text[len(prompt) :]) for prompt, source, text in pairs]
        for text, token in zip(texts, sampling.choose(logits_BV, rows_B), strict=True):
            text.append(token)
    return [text[len(prompt) :] for text, prompt in zip(texts, PROMPTS, strict=True)]


@pytest.mark.parametrize("sampling, num_tokens", [(GREEDY, 100), (DRAWN, 40)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("preset", DECODERS)
def test_a_hundred_tokens_are_the_same_however_they_are_written(
    preset: str, sampling: Sampling, num_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = lively(small(preset))
    sources = SOURCES if net.config.is_encoder_decoder else None
    expected = [one_by_one(net, number, sampling, num_tokens, sources) for number in range(len(PROMPTS))]
    # Some nets with drawn weights write one token for ever when greedy; what is drawn goes everywhere.
    assert sampling is GREEDY or all(len(set(answer)) > 10 for answer in expected)

    def written(prompts: list[list[int]], sources: list[list[int]] | None) -> list[list[int]]:
        answers = [Writing(prompt, source) for prompt, source in zip(prompts, sources or [None] * len(prompts), strict=True)]
        assert len(list(decode(net, answers, sampling, max_new_tokens=num_tokens))) == num_tokens
        return [answer.tokens for answer in answers]

    assert written(PROMPTS, sources) == expected
    assert written(PROMPTS[:1], None if sources is None else sources[:1]) == expected[:1]
    if sampling is GREEDY:
        assert left_padded(net, sampling, num_tokens, sources) == expected
    monkeypatch.setattr(cached, "PIECE_TOKENS", 4)
    assert written(PROMPTS, sources) == expected


@pytest.mark.parametrize("preset", [name for name in DECODERS if not preset_config(name).is_encoder_decoder])
def test_a_long_prompt_is_read_in_pieces_of_bounded_size(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = lively(small(preset))
    monkeypatch.setattr(cached, "PIECE_TOKENS", 10)
    sizes = []
    hidden = net.hidden
    monkeypatch.setattr(net, "hidden", lambda texts, cache=None: sizes.append(texts.num_tokens) or hidden(texts, cache))
    prompts = [[number % 61 for number in range(100)], [1, 2, 3]]
    next(decode(net, [Writing(prompt) for prompt in prompts], GREEDY, max_new_tokens=2))
    assert sum(sizes) == 103 and max(sizes) <= 10

"""Texts in a flat row: nothing is lost on the way in and out, and no text sees another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.packed import Packed

FAMILIES = ("bert", "gpt2", "gpt", "modernbert", "modernbert-decoder")
LENGTHS = st.lists(st.integers(0, 20), min_size=1, max_size=9).map(tuple)


@given(mask=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5).map(torch.tensor))
def test_tokens_come_back_to_the_places_they_were_taken_from(mask: torch.Tensor) -> None:
    ids_BT = torch.arange(1, mask.numel() + 1).view(mask.shape)
    for given_mask in (mask, mask.long(), mask.float()):
        texts = Packed.from_padded(ids_BT, given_mask, ids_BT * 2)
        assert texts.ids_N.tolist() == [ids_BT[b, t].item() for b, t in mask.nonzero().tolist()]
        assert torch.equal(texts.types_N, texts.ids_N * 2)
        assert texts.lengths == tuple(mask.sum(1).tolist())
        assert torch.equal(texts.pad(texts.ids_N), ids_BT * mask)


def test_without_a_mask_every_place_is_a_token() -> None:
    ids_BT = torch.arange(6).view(2, 3)
    texts = Packed.from_padded(ids_BT)
    assert texts.lengths == (3, 3) and texts.ids_N.tolist() == list(range(6)) and texts.types_N is None


@given(lengths=LENGTHS.filter(any))
def test_a_row_that_was_never_padded_is_padded_on_the_right(lengths: tuple[int, ...]) -> None:
    ids_N = torch.arange(1, sum(lengths) + 1)
    padded = Packed(ids_N, lengths).pad(ids_N)
    assert padded.shape == (len(lengths), max(lengths))
    before = 0
    for row, length in zip(padded.tolist(), lengths, strict=True):
        assert row == [*range(before + 1, before + length + 1), *[0] * (max(lengths) - length)]
        before += length


@given(lengths=LENGTHS)
def test_every_token_knows_its_text_and_its_place_in_it(lengths: tuple[int, ...]) -> None:
    texts = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths)
    assert texts.text_N.tolist() == [text for text, length in enumerate(lengths) for _ in range(length)]
    assert texts.positions_N.tolist() == [place for length in lengths for place in range(length)]
    assert texts.starts_B.tolist() == [sum(lengths[:text]) for text in range(len(lengths))]


@given(lengths=LENGTHS.filter(any))
def test_blocks_hold_every_token_once_and_are_less_than_half_empty(lengths: tuple[int, ...]) -> None:
    texts = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths)
    laid = []
    for block in texts.blocks:
        rows = torch.arange(sum(lengths)).view(block.size, block.width) if block.rows_ST is None else block.rows_ST
        assert rows.shape == (block.size, block.width)
        for text, row in enumerate(rows.tolist()):
            is_real = [True] * block.width if block.is_real_ST is None else block.is_real_ST[text].tolist()
            start, length = texts.starts_B.tolist()[block.texts_S[text]], lengths[block.texts_S[text]]
            assert [place for place, real in zip(row, is_real, strict=True) if real] == list(range(start, start + length))
            assert is_real == sorted(is_real, reverse=True)
            assert 2 * length > block.width
            laid += block.texts_S[text : text + 1]
    assert sorted(laid) == [text for text, length in enumerate(lengths) if length]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_text_gives_does_not_depend_on_its_neighbours(family: str, random_net: Callable[..., Any]) -> None:
    net = random_net(family).double()
    lengths = (30, 3, 1, 17, 8, 64)
    ids_N = torch.randint(0, 61, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together_ND = net.hidden(Packed(ids_N, lengths))
        alone = [net.hidden(Packed(ids, (len(ids),))) for ids in ids_N.split(list(lengths))]
    assert torch.allclose(together_ND, torch.cat(alone), atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_changing_one_text_changes_nothing_in_another_forward_or_backward(family: str, random_net: Callable[..., Any]) -> None:
    net = random_net(family)
    lengths = (9, 12, 12)
    ids_N = torch.randint(0, 60, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    other_N = ids_N.clone()
    # The last token of the first text, and the first of the last: nearest to the one between.
    other_N[8], other_N[21] = 60, 60
    with torch.inference_mode():
        before, after = (net.heads["lm"](net.hidden(Packed(ids, lengths))).split(lengths) for ids in (ids_N, other_N))
    assert torch.equal(before[1], after[1])
    assert not torch.allclose(before[0][-1], after[0][-1]) and not torch.allclose(before[2][0], after[2][0])

    seen_ND = []
    hook = net.body.embedding.register_forward_hook(lambda module, inputs, out: seen_ND.append(out.detach().requires_grad_()) or seen_ND[0])
    net.hidden(Packed(ids_N, lengths))[9:21].square().sum().backward()
    hook.remove()
    of_tokens = seen_ND[0].grad.abs().sum(-1)
    assert of_tokens[9:21].all() and not of_tokens[:9].any() and not of_tokens[21:].any()


@pytest.mark.parametrize("family", ["gpt2", "gpt", "modernbert-decoder"])
def test_a_causal_token_sees_nothing_of_what_follows(family: str, random_net: Callable[..., Any]) -> None:
    net = random_net(family)
    ids = torch.randint(0, 60, (2, 20), generator=torch.Generator().manual_seed(2))
    other = ids.clone()
    other[:, 11] = 60
    with torch.inference_mode():
        before, after = net.logits(ids), net.logits(other)
    assert torch.equal(before[:, :11], after[:, :11]) and not torch.allclose(before[:, 11:], after[:, 11:])


@settings(max_examples=10, deadline=None)
@given(lengths=LENGTHS)
def test_empty_texts_do_no_harm(lengths: tuple[int, ...]) -> None:
    from diptych.presets import create

    net = create("bert-tiny", vocab_size=21, hidden_size=8, num_layers=1, head_size=4, feed_forward_size=8)
    net.ensure_head("classes", labels=("a", "b"))
    texts = Packed(torch.arange(sum(lengths)) % 21, lengths)
    with torch.inference_mode():
        together = net.heads["classes"](net.hidden(texts), texts)
        assert together.shape == (len(lengths), 2)
        for answer, ids in zip(together, texts.ids_N.split(list(lengths)), strict=True):
            if len(ids):
                alone = Packed(ids, (len(ids),))
                assert torch.allclose(answer, net.heads["classes"](net.hidden(alone), alone)[0], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_of_nothing_but_padding_answers_nothing_and_disturbs_nobody(family: str, random_net: Callable[..., Any]) -> None:
    net = random_net(family, "classes") if family != "bert" else random_net(family)
    ids_BT = torch.randint(0, 61, (3, 7), generator=torch.Generator().manual_seed(3))
    for empty in range(3):
        mask_BT = torch.ones(3, 7)
        mask_BT[empty] = 0
        others = [row for row in range(3) if row != empty]
        with torch.inference_mode():
            found = net.logits(ids_BT, mask_BT)
            assert torch.allclose(found[others], net.logits(ids_BT[others]), atol=1e-5)
        assert found.isfinite().all()
        if found.dim() == 3:
            assert not found[empty].any()

"""An answer follows from its request alone: the same tokens in any company, with or without what is kept, whole or as a stream.

What is compared is tokens, and for some the very log-probabilities, since a difference in the last bit is how another token begins.
"""

import queue
from typing import Any

import pytest
import torch

from diptych.generation.settings import Decoding, decoding_of
from diptych.model import Model
from diptych.presets import create
from diptych.serve.batch import Batch
from diptych.serve.counts import Counts
from diptych.serve.prefixes import PIECE
from diptych.serve.slots import Slots, rows_alike
from diptych.serve.work import Ask, Ended, Failed, Piece
from diptych.surgery.quantize import to_int8

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped heads": {"num_heads": 4, "num_kv_heads": 2, "head_size": 6, "hidden_size": 24},
    "odd sizes": {"hidden_size": 20, "head_size": 10, "feed_forward_size": 27},
}
GREEDY: dict[str, Any] = {"temperature": 0}
LONG = ("今天天气很好，我们去公园散步吧！The for statement iterates over the items. " * 8)[:400]


def written(batch: Batch, asks: list[tuple[list[int], Decoding, int]]) -> list[tuple[list[int], list[float]]]:
    """The tokens of each answer and their log-probabilities, all asked for at once."""
    told: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for number, (prompt, decoding, most) in enumerate(asks):
        batch.put(Ask(f"client {number % 3}", "gpt", prompt, decoding, most, lambda event, number=number: told.put((number, event))))
    while batch.num_active or batch.num_waiting:
        batch.step()
    found: list[tuple[list[int], list[float]]] = [([], []) for _ask in asks]
    while not told.empty():
        number, event = told.get()
        assert isinstance(event, Piece | Ended), event
        if isinstance(event, Piece):
            found[number][0].extend(event.tokens)
            found[number][1].extend(chance.log_probability for chance in event.chances)
    return found


def requests(model: Model, texts: list[str], count: int) -> list[tuple[list[int], Decoding, int]]:
    """Greedy and seeded requests of many lengths in both languages, some that begin alike."""
    found = []
    for number in range(count):
        text = texts[number % 3] * (number % 4) + LONG[: 7 * number] if number % 2 else LONG[: 40 + 3 * number]
        ids = model.read_ids(text)[: 40 + 17 * (number % 9)]
        settings = GREEDY if number % 3 else {"temperature": 1.2, "top_p": 0.95, "seed": number}
        found.append((ids, decoding_of({**settings, "log_probabilities": 0}), 3 + number % 11))
    return found


def batch_of(model: Model, slots: int, *, step_tokens: int = 256, prefix_bytes: int = 1 << 24) -> Batch:
    return Batch(model.net, model.tokenizer, Counts(), num_slots=slots, step_tokens=step_tokens, prefix_bytes=prefix_bytes)


@pytest.fixture(scope="module", params=[*SHAPES, "int8"])
def model(request: pytest.FixtureRequest, tiny: Any) -> Model:
    found = tiny.gpt(**SHAPES.get(request.param, {}))
    if request.param == "int8":
        to_int8(found.net)
    return found


def test_the_same_tokens_and_bits_in_any_company(model: Model, tiny: Any) -> None:
    asks = requests(model, tiny.texts, 10)
    alone = batch_of(model, 1, prefix_bytes=0)
    wanted = [written(alone, [ask])[0] for ask in asks]
    for slots, step_tokens, prefix_bytes in ((16, 1 << 20, 1 << 24), (3, 1, 1 << 24)):
        batch = batch_of(model, slots, step_tokens=step_tokens, prefix_bytes=prefix_bytes)
        assert written(batch, asks) == wanted
        # Once more, with all that is kept of the beginnings.
        assert written(batch, asks[::-1]) == wanted[::-1]
        assert batch.num_free == slots


def test_a_prefix_that_is_kept_is_not_read_again(model: Model) -> None:
    batch = batch_of(model, 2)
    asks = [(model.read_ids(LONG)[: 2 * PIECE + 9], decoding_of(GREEDY), 2)]
    written(batch, asks)
    before = batch._counts.kept_tokens
    written(batch, asks)
    assert (before, batch._counts.kept_tokens) == (0, 2 * PIECE)


def test_what_is_written_is_what_the_library_writes(model: Model) -> None:
    for prompt in ("The for", "今天天气"):
        ids = model.read_ids(prompt)
        (found,) = written(batch_of(model, 2), [(ids, decoding_of({"temperature": 1.1, "seed": 3}), 12)])
        (answer,) = model.answers(prompt, 12, temperature=1.1, seed=3)
        assert tuple(found[0]) == answer.tokens


def test_every_family_keeps_its_sight(random_net: Any) -> None:
    """Windows, biases by distance and norms are read in pieces as in one go."""
    tokens = torch.randint(61, (90,), generator=torch.Generator().manual_seed(4))
    for family in ("gpt2", "gpt", "modernbert-decoder", "gpt3", "mpt", "llama", "mistral"):
        net = random_net(family, "lm", context_length=128).eval()
        slots = Slots(net, 2, 128)
        other, slot = slots.take(), slots.take()
        read = []
        for start in range(0, 90, PIECE):
            piece = tokens[start : start + PIECE].tolist()
            read.append(slots.read({slot: piece, other: piece[:5]})[slot])
        with torch.inference_mode():
            wanted = net.logits(tokens[None])[0]
            found = net.heads["lm"](torch.cat(read))
        assert torch.allclose(found, wanted, atol=2e-4 * wanted.abs().max()), family


def test_rows_alike_is_what_it_says() -> None:
    net = create("gpt-tiny", seed=0, vocab_size=53, hidden_size=24, num_layers=1, head_size=8)
    size = rows_alike(net)
    assert size is not None
    layer = net.body.layers[0].feed_forward.up  # type: ignore[union-attr]
    x = torch.randn(8 * size, 24)
    with torch.inference_mode():
        whole = layer(x)
        assert all(torch.equal(layer(x[start : start + size].clone()), whole[start : start + size]) for start in range(0, 8 * size, size))


def test_where_no_number_of_rows_is_alike_texts_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch, tiny: Any) -> None:
    monkeypatch.setattr("diptych.serve.slots.rows_alike", lambda net: None)
    model = tiny.gpt()
    asks = requests(model, tiny.texts, 6)
    together = written(batch_of(model, 6), asks)
    assert together == [written(batch_of(model, 1), [ask])[0] for ask in asks]


@pytest.mark.slow
def test_thousands_of_requests(tiny: Any) -> None:
    """Batches of 1 to 16, cold and warm, in pieces and whole: the same tokens."""
    model = tiny.gpt()
    asks = requests(model, tiny.texts, 50)
    wanted = [written(batch_of(model, 1, prefix_bytes=0), [ask])[0] for ask in asks]
    for slots in range(1, 17):
        for step_tokens in (1, 300):
            batch = batch_of(model, slots, step_tokens=step_tokens)
            for shift in (0, 7 * slots):
                order = [(number + shift) % len(asks) for number in range(len(asks))]
                assert written(batch, [asks[number] for number in order]) == [wanted[number] for number in order]


def test_an_ask_that_fails_does_not_touch_others(tiny: Any) -> None:
    model = tiny.gpt()
    batch = batch_of(model, 4)
    told: list[Any] = []
    good = requests(model, tiny.texts, 2)
    wanted = [written(batch_of(model, 1), [ask])[0] for ask in good]

    class Broken:
        is_finished = False

        def allowed(self) -> Any:
            from diptych.errors import UsageError

            raise UsageError("E650", kind="regex", problem="?")

        def take(self, token: int) -> None: ...

    class Form:
        def guide(self) -> Broken:
            return Broken()

    batch.put(Ask("x", "gpt", model.read_ids("今天"), decoding_of(GREEDY), 5, told.append, form=Form()))  # type: ignore[arg-type]
    assert written(batch, good) == wanted
    assert len(told) == 1 and isinstance(told[0], Failed) and batch.num_free == 4

"""The engine's thread: turns, limits, deadlines, cancelling, ending; and that nothing of it leaves a slot behind."""

import queue
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from diptych.errors import UsageError
from diptych.generation.settings import decoding_of
from diptych.serve.batch import Batch
from diptych.serve.counts import Counts
from diptych.serve.engine import Engine, Limits
from diptych.serve.fair import FairQueue
from diptych.serve.prefixes import PIECE, Prefixes, names_of
from diptych.serve.solo import Solo
from diptych.serve.work import Ask, Ended, Failed, Job, Piece, Result

SECONDS = 60


class Heard:
    """What is told of one thing, to be waited for."""

    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue()

    def __call__(self, event: Any) -> None:
        self.events.put(event)

    def until(self, kind: type | tuple[type, ...]) -> Any:
        while not isinstance(event := self.events.get(timeout=SECONDS), kind):
            pass
        return event


@pytest.fixture(scope="module")
def model(tiny: Any) -> Any:
    return tiny.gpt()


@pytest.fixture
def engine(model: Any) -> Iterator[Engine]:
    counts = Counts()
    make = lambda: Batch(model.net, model.tokenizer, counts, num_slots=2, step_tokens=64, prefix_bytes=0)  # noqa: E731
    found = Engine({"gpt": make}, counts, Limits(queue=40, per_client=20))
    found.start()
    yield found
    found.stop()


def ask(model: Any, heard: Heard, *, client: str = "a", most: int = 200, **more: Any) -> Ask:
    # An end that is never chosen: such an answer goes on until its limit.
    ends = {str(token): -100.0 for token in (model.tokenizer.eos_id, model.tokenizer.sep_id) if token is not None}
    decoding = decoding_of({"temperature": 0, "logit_bias": {int(token): bias for token, bias in ends.items()}})
    return Ask(client, "gpt", model.read_ids("今天 The"), decoding, most, heard, **more)


def wait_for(engine: Engine, is_so: Any) -> None:
    until = monotonic() + SECONDS
    while not is_so():
        assert monotonic() < until
        with engine._wake:
            engine._wake.wait(0.01)


def test_cancelled_answers_leave_no_slot_and_no_place(engine: Engine, model: Any) -> None:
    """Before they begin, while the prompt is read, and in the middle of writing."""
    for number in range(60):
        heard = Heard()
        one = ask(model, heard)
        engine.submit(one)
        if number % 3:
            heard.until(Piece)
        engine.cancel(one)
        if number % 2:
            wait_for(engine, lambda: engine.num_open == 0)
    wait_for(engine, lambda: engine.num_open == 0)
    lane = engine.lanes["gpt"]
    assert (lane.num_active, lane.num_waiting, lane.num_free) == (0, 0, 2)
    assert engine.counts.answers["cancelled"] == 60


def test_a_cancelled_answer_stops_within_one_step(model: Any) -> None:
    batch = Batch(model.net, model.tokenizer, Counts(), num_slots=2, step_tokens=64, prefix_bytes=0)
    one = ask(model, Heard())
    batch.put(one)
    for _step in range(3):
        batch.step()
    assert batch.num_free == 1
    one.is_cancelled = True
    assert batch.step() == [one] and batch.num_free == 2


def test_too_much_at_once_is_refused_and_room_comes_back(engine: Engine, model: Any) -> None:
    many = [ask(model, Heard(), client="greedy") for _number in range(20)]
    for one in many:
        engine.submit(one)
    with pytest.raises(UsageError) as refused:
        engine.submit(ask(model, Heard(), client="greedy"))
    assert refused.value.code == "E663"
    others = [ask(model, Heard(), client=f"c{number}") for number in range(20)]
    for one in others:
        engine.submit(one)
    with pytest.raises(UsageError) as full:
        engine.submit(ask(model, Heard(), client="late"))
    assert full.value.code == "E662"
    for one in [*many, *others]:
        engine.cancel(one)
    wait_for(engine, lambda: engine.num_open == 0)
    heard = Heard()
    engine.submit(ask(model, heard, client="greedy", most=2))
    assert heard.until(Ended).ending == "length"


def test_what_takes_too_long_is_given_up(engine: Engine, model: Any) -> None:
    heard = Heard()
    engine.submit(ask(model, heard, deadline=monotonic() - 1))
    assert heard.until(Failed).error.code == "E664"
    wait_for(engine, lambda: engine.num_open == 0)


def test_a_job_is_done_between_the_steps_and_may_fail(engine: Engine, model: Any) -> None:
    writing, heard, failing = Heard(), Heard(), Heard()
    one = ask(model, writing)
    engine.submit(one)
    writing.until(Piece)
    engine.submit(Job("b", lambda: threading.current_thread().name, heard))
    assert heard.until(Result).value == "diptych-engine"
    engine.submit(Job("b", lambda: 1 / 0, failing))
    assert isinstance(failing.until(Failed).error, ZeroDivisionError)
    engine.cancel(one)
    wait_for(engine, lambda: engine.num_open == 0)


def test_ending_finishes_what_can_be_finished_and_cancels_the_rest(engine: Engine, model: Any) -> None:
    short, long = Heard(), [Heard() for _number in range(6)]
    engine.submit(ask(model, short, most=2))
    engine.stop(grace=SECONDS)
    assert short.until((Ended, Failed)).ending == "length"
    with pytest.raises(UsageError) as refused:
        engine.submit(ask(model, Heard()))
    assert refused.value.code == "E665" and not engine.is_ready
    other = Engine({"gpt": lambda: Batch(model.net, model.tokenizer, Counts(), num_slots=2, step_tokens=64, prefix_bytes=0)})
    other.start()
    for heard in long:
        other.submit(ask(model, heard))
    other.stop(grace=0)
    assert all(heard.until((Failed, Ended)) for heard in long) and other.num_open == 0


def test_an_engine_that_cannot_begin_says_why() -> None:
    def broken() -> Any:
        raise UsageError("E604")

    with pytest.raises(UsageError):
        Engine({"x": broken}).start()


def test_a_step_that_breaks_is_told_to_those_whom_it_concerns(model: Any, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    lane: Any = engine.lanes["gpt"]
    usual = lane._slots.read

    def broken(pieces: Any) -> Any:
        monkeypatch.setattr(lane._slots, "read", usual)
        raise RuntimeError("no memory")

    monkeypatch.setattr(lane._slots, "read", broken)
    heard = Heard()
    engine.submit(ask(model, heard, most=3))
    assert str(heard.until(Failed).error) == "no memory"
    wait_for(engine, lambda: engine.num_open == 0)
    again = Heard()
    engine.submit(ask(model, again, most=3))
    assert again.until(Ended).ending == "length" and lane.num_free == 2


def test_an_encoder_decoder_writes_what_the_library_writes(tiny: Any) -> None:
    bart, counts, heard = tiny.bart(), Counts(), Heard()
    solo = Solo(bart.net, bart.tokenizer, counts, num_slots=2)
    settings = {"temperature": 1.0, "seed": 4}
    solo.put(Ask("a", "bart", bart.read_ids("今天 The for"), decoding_of(settings), 8, heard))
    while solo.num_active or solo.num_waiting:
        solo.step()
    text = ""
    while not isinstance(event := heard.events.get(timeout=SECONDS), Ended):
        text += event.text
    assert text == bart.generate("今天 The for", 8, **settings) and solo.num_free == 2


def test_clients_take_turns() -> None:
    fair: FairQueue[Any] = FairQueue()
    for client, count in (("greedy", 4), ("b", 2), ("c", 1)):
        for number in range(count):
            fair.put(Job(client, lambda: None, lambda event: None, deadline=number))
    order = [fair.pop() for _number in range(len(fair))]
    assert [each.client for each in order] == ["greedy", "b", "c", "greedy", "b", "greedy", "greedy"]
    assert [each.deadline for each in order if each.client == "greedy"] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        fair.pop()


def test_prefixes_forget_what_was_not_wanted_for_longest() -> None:
    import torch

    kept = Prefixes(most_bytes=3 * 2 * 4 * PIECE)
    prompts = [[number] * (PIECE + 1) for number in range(4)]
    for number, prompt in enumerate(prompts[:3]):
        kept.keep(names_of(prompt)[0], torch.full((1, 1, PIECE, 1), float(number)), torch.zeros(1, 1, PIECE, 1))
    assert len(kept.find(prompts[0])) == 1  # and with that it is wanted
    kept.keep(names_of(prompts[3])[0], torch.zeros(1, 1, PIECE, 1), torch.zeros(1, 1, PIECE, 1))
    assert [len(kept.find(prompt)) for prompt in prompts] == [1, 0, 1, 1] and kept.bytes <= kept.most_bytes
    # Another beginning is another name, however alike the piece; the last token is always left to be read.
    assert names_of([9] * PIECE + [1] * PIECE)[1] != names_of([8] * PIECE + [1] * PIECE)[1]
    assert kept.find([0] * PIECE) == []

"""Events: a file of JSON lines that survives a kill, a resume and a full disk, and what a person reads of them."""

import errno
import io
import json
import os
import re
from pathlib import Path

import pytest

from diptych.messages import set_language
from diptych.training import progress
from diptych.training.progress import Bar, Journal, JsonLines, Lines, Several, describe, display, read_events

STEP = {
    "kind": "step",
    "step": 20,
    "loss": 2.34567,
    "terms": {"lm": 2.34567},
    "lr": 1e-3,
    "tokens": 4096,
    "seconds": 12.0,
    "tokens_per_second": 12345.6,
    "spent": 0.25,
    "seconds_left": 3723.4,
    "memory_bytes": 1 << 30,
}
EVALUATION = {"kind": "evaluation", "step": 20, "terms": {"lm": 1.5, "errors": 0.25}, "seconds": 12.0}


def written(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_every_event_is_a_line_of_json_that_is_on_the_disk_at_once(tmp_path):
    path = tmp_path / "diptych" / "metrics.jsonl"
    journal = Journal(path)
    for number, event in enumerate([STEP, EVALUATION, {"kind": "stage", "text": "读文本 🙂\r\nnext"}], 1):
        journal.tell(event)
        assert len(written(path)) == number
    journal.close()
    lines = written(path)
    assert {key: value for key, value in lines[0].items() if key != "time"} == STEP
    assert lines[2]["text"] == "读文本 🙂\r\nnext" and all(line["time"] > 1e9 for line in lines)


def test_a_journal_is_only_ever_appended_to(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        journal = Journal(path)
        before = path.read_bytes()
        journal.tell({**STEP, "step": step})
        journal.close()
        assert path.read_bytes().startswith(before) and len(path.read_bytes()) > len(before)
    assert [event["step"] for event in read_events(path)] == [1, 2]


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_cut_short_by_a_kill_costs_itself_alone(cut, tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    for step in (1, 2, 3):
        journal.tell({"kind": "step", "step": step, "text": "中文 " * 20})
    journal.close()
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert [event["step"] for event in read_events(path)] == [1, 2]
    again = Journal(path)
    again.tell({"kind": "resumed", "step": 2})
    again.tell({"kind": "step", "step": 3})
    again.close()
    assert [(event["kind"], event["step"]) for event in read_events(path)] == [("step", 1), ("step", 2), ("resumed", 2), ("step", 3)]


def test_after_a_resume_the_later_lines_count(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.5), (4, 3.4)):
        journal.tell({"kind": "step", "step": step, "loss": loss})
    journal.tell({"kind": "stage", "text": "hello"})
    journal.tell({"kind": "resumed", "step": 2})
    journal.tell({"kind": "step", "step": 3, "loss": 3.3})
    journal.close()
    events = read_events(path)
    assert [(event["step"], event["loss"]) for event in events if event["kind"] == "step"] == [(1, 5.0), (2, 4.0), (3, 3.3)]
    assert sum(event["kind"] == "stage" for event in events) == 1


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.tell({"kind": "stage", "text": "one\u2028two\x85three\x0cfour"})
    journal.close()
    assert [event["text"] for event in read_events(path)] == ["one\u2028two\x85three\x0cfour"]


def test_half_a_character_is_written_as_json_writes_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.tell({"kind": "stage", "text": "caf\udce9.txt"})
    journal.close()
    assert json.loads(path.read_bytes())["text"] == "caf\udce9.txt"


def test_no_events_are_no_error(tmp_path):
    assert read_events(tmp_path / "missing.jsonl") == []
    (tmp_path / "empty.jsonl").touch()
    assert read_events(tmp_path / "empty.jsonl") == []
    Journal(tmp_path / "empty.jsonl").close()
    assert (tmp_path / "empty.jsonl").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_no_run():
    journal = Journal(Path("/dev/full"))
    for _turn in range(100):
        journal.tell(STEP)
    journal.close()


class Disk(io.RawIOBase):
    """A disk that is full until somebody makes room."""

    def __init__(self):
        self.is_full, self.data = True, b""

    def writable(self):
        return True

    def write(self, data):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.data += bytes(data)
        return len(data)


def test_what_found_no_room_is_written_when_there_is_some(tmp_path):
    journal, disk = Journal(tmp_path / "metrics.jsonl"), Disk()
    journal._file.close()
    journal._file = io.TextIOWrapper(io.BufferedWriter(disk), encoding="utf-8")
    for step in (1, 2):
        journal.tell({"kind": "step", "step": step})
    disk.is_full = False
    journal.tell({"kind": "step", "step": 3})
    assert [json.loads(line)["step"] for line in disk.data.decode().splitlines()] == [1, 2, 3]
    journal.close()


def test_lines_tell_loss_tokens_a_second_and_the_time_that_is_left():
    out = io.StringIO()
    Lines(out, every_seconds=0).tell(STEP)
    line = out.getvalue()
    assert line.endswith("\n") and line.count("\n") == 1
    assert "20" in line and "2.3457" in line and "12,346 tokens/s" in line and "1:02:03 left" in line


def test_lines_come_every_few_seconds_and_for_each_evaluation(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    lines = Lines(out, every_seconds=5)
    for step in range(1, 21):
        lines.tell({**STEP, "step": step})
        now[0] += 1
    assert re.findall(r"step (\d+)", out.getvalue()) == ["1", "6", "11", "16"]
    lines.tell(EVALUATION)
    assert "held-out loss 1.5000, share of errors 0.2500" in out.getvalue()


def test_json_lines_are_for_machines():
    out = io.StringIO()
    listener = JsonLines(out)
    for event in (STEP, EVALUATION):
        listener.tell(event)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [STEP, EVALUATION]


def test_a_bar_shows_loss_and_tokens_a_second_and_prints_evaluations(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    bar = Bar()
    bar.tell(STEP)
    bar.tell(EVALUATION)
    bar.tell({"kind": "stage", "text": "wrote [my-gpt] 🙂"})
    bar.close()
    shown = capsys.readouterr().err
    assert "loss 2.3457" in shown and "12,346 tokens/s" in shown and "25%" in shown
    assert "held-out loss 1.5000" in shown and "wrote [my-gpt] 🙂" in shown


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (STEP, ["20", "2.3457"]),
        (EVALUATION, ["20", "1.5000"]),
        ({"kind": "resumed", "step": 7}, ["resumed", "7"]),
        ({"kind": "stopped early", "step": 9, "patience": 3}, ["early", "9", "3"]),
        ({"kind": "stage", "text": "读文本"}, ["读文本"]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_every_event_that_concerns_a_person_is_a_sentence(event, words):
    assert all(word in describe(event) for word in words)


def test_an_event_without_news_for_a_person_is_not_shown():
    assert describe({"kind": "measured heat", "degrees": 40}) == ""
    assert describe({**EVALUATION, "terms": {}}) == ""


def test_messages_are_said_in_chinese_too():
    set_language("zh")
    try:
        assert "步" in describe({"kind": "resumed", "step": 7})
    finally:
        set_language("en")


@pytest.mark.parametrize(("style", "kind"), [("lines", Lines), ("json", JsonLines), ("quiet", Several), ("bar", Bar), ("auto", Lines)])
def test_the_display_follows_the_style_and_is_plain_where_there_is_no_terminal(style, kind):
    listener = display(style)
    try:
        assert type(listener) is kind
    finally:
        listener.close()


def test_several_listeners_hear_the_same(tmp_path):
    out = io.StringIO()
    several = Several([JsonLines(out), Journal(tmp_path / "a.jsonl")])
    several.tell(STEP)
    several.close()
    assert json.loads(out.getvalue()) == STEP
    assert {**written(tmp_path / "a.jsonl")[0], "time": 0} == {**STEP, "time": 0}


def test_a_run_writes_what_read_events_reads(run, tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl")
    run("masked-lm", steps=6, evaluations=2, listener=journal)
    journal.close()
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    for line in lines:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    events = read_events(tmp_path / "metrics.jsonl")
    assert [event["step"] for event in events if event["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in events if event["kind"] == "evaluation"] == [3, 6]
    assert os.linesep not in lines[0]


def test_a_held_out_part_without_targets_writes_valid_json(run, setting, tmp_path):
    made = setting("classification")
    made.held_out.gold[:] = -1
    made.held_out.known[:] = False
    journal = Journal(tmp_path / "metrics.jsonl")
    run("classification", steps=2, evaluations=2, made=made, listener=journal)
    journal.close()
    for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

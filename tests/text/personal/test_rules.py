"""Rules of the user's own: they find, they are checked with their line named, and none can hang."""

import time
from pathlib import Path

import pytest

import diptych as dt
from diptych.errors import DataError, RecipeError
from diptych.text.personal import Rules
from diptych.text.personal.rules import Rule


def rules(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return Rules.load(path)


def test_rules_words_and_what_is_kept(tmp_path: Path) -> None:
    mine = rules(
        tmp_path,
        r"""
rules:
  - {kind: employee_number, pattern: 'emp-\d{6}', ignore_case: true}
  - {kind: contract, pattern: '合同号[:：]\s?(?P<it>[A-Z]{2}\d{8})'}
words:
  project: [Blue, Bluebird, 蓝鸟计划]
keep: ['support@example\.com', '400-820-8820']
""",
    )
    text = "EMP-123456 签了合同号：AB20240001，项目Bluebird即蓝鸟计划。🙂 support@example.com a.b@example.com 400-820-8820"
    found = [(each.kind, text[each.start : each.stop]) for each in dt.find_personal(text, rules=mine)]
    assert found == [
        ("employee_number", "EMP-123456"),
        ("contract", "AB20240001"),
        ("project", "Bluebird"),
        ("project", "蓝鸟计划"),
        ("email", "a.b@example.com"),
    ]
    assert "[EMPLOYEE_NUMBER]" in dt.scrub(text, rules=mine)


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("'[a-z'", "E190"),
        ("'(?P<it>a'", "E190"),
        ("'a*'", "E190"),
        (f"'{'a' * 1001}'", "E190"),
        ("'(a+)+$'", "E191"),
        ("'(a|a)*b'", "E191"),
        (r"'(\w+\s?)*:'", "E191"),
        (r"'(.*)(.*)(.*)x'", "E191"),
        (r"'(?:\d+,)+x'", "E191"),
        ("'((a{1,50}){1,50}){1,50}b'", "E191"),
    ],
)
def test_an_expression_that_is_none_or_could_hang_is_refused_with_its_line(tmp_path: Path, pattern: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        rules(tmp_path, f"rules:\n  - kind: good\n    pattern: 'x\\d'\n  - kind: bad\n    pattern: {pattern}\n")
    assert caught.value.code == code and ("line 5" in str(caught.value) or "1001" in pattern)


@pytest.mark.parametrize("pattern", [r"工号[:：]\s*\d+", r"\d{3}-\d{4}", "(?:foo|bar)-[a-z]{1,20}", r"[A-Z]+-\d+", r"(?i:emp)\s?\d{4,8}"])
def test_what_people_write_is_accepted(tmp_path: Path, pattern: str) -> None:
    assert len(rules(tmp_path, f"rules:\n  - {{kind: mine, pattern: '{pattern}'}}\n").rules) == 1


@pytest.mark.parametrize(
    "text", ["rule: []\n", "rules: [{kind: a}]\n", "rules: [{kind: 'a b', pattern: x}]\n", "words: [a]\n", "- a\n", "rules: [\n"]
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        rules(tmp_path, text)


def test_what_is_slow_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is asked between windows; here no time at all is granted."""
    from diptych.text.personal import rules as module

    mine = rules(tmp_path, "rules: [{kind: slow, pattern: '[a-z]+[0-9a-z]+!'}]\n")
    monkeypatch.setattr(module, "SECONDS_FREE", -1.0)
    monkeypatch.setattr(module, "SECONDS_PER_MEGABYTE", 0.0)
    with pytest.raises(DataError, match="E192"):
        list(mine.find("a" * 2000))


def test_the_worst_of_what_is_accepted_ends(tmp_path: Path) -> None:
    """Two repeats without an end over a long line of what they look for: on the whole line it would be a million million steps."""
    mine = rules(tmp_path, r"rules: [{kind: worst, pattern: '[a-z]+[a-z]+!'}]" + "\n")
    begun = time.process_time()
    try:
        assert list(mine.find("a" * 20_000)) == []
    except DataError as error:
        assert error.code == "E192"
    assert time.process_time() - begun < 60


def test_a_stretch_across_the_border_of_two_windows_is_found_once(tmp_path: Path) -> None:
    mine = rules(tmp_path, r"rules: [{kind: mine, pattern: 'no\s*\d+'}]" + "\n")
    assert isinstance(mine.rules[0], Rule) and mine.rules[0].is_windowed
    for before in range(230, 290):
        text = "x" * before + "no  12345678" + "y" * 700 + "no 1"
        assert [text[each.start : each.stop] for each in mine.find(text)] == ["no  12345678", "no 1"], before

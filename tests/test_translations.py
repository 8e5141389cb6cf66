"""Everything that Diptych says can be said in Chinese: the catalogue is complete, current, and says the same as the English."""

import ast
import importlib.util
import os
import re
import string
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from babel.messages.mofile import read_mo

from diptych.errors import CATALOGUE, DataError
from diptych.ledger import Ledger
from diptych.messages import _, language, set_language

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "diptych"
CHINESE = re.compile("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]")
SAME_IN_BOTH = {"GPT", "MCC", "TF-IDF", "BLEU", "chrF", "ROUGE-1", "ROUGE-2", "ROUGE-L"}
"""Names that Chinese readers use as they are."""


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages_tool", ROOT / "tools" / "messages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


@pytest.fixture(scope="module")
def messages() -> set[str]:
    return tool.gather()


@pytest.fixture(scope="module")
def chinese() -> dict[str, str]:
    return tool.read()


def test_every_message_of_the_source_has_a_chinese_translation(messages: set[str], chinese: dict[str, str]) -> None:
    assert len(messages) > 400
    assert sorted(text for text in messages if not chinese.get(text)) == []


def test_no_translation_outlives_its_message(messages: set[str], chinese: dict[str, str]) -> None:
    assert sorted(chinese.keys() - messages) == []


def test_a_translation_has_the_placeholders_of_its_message(chinese: dict[str, str]) -> None:
    def placeholders(text: str) -> Counter:
        return Counter(part[1:] for part in string.Formatter().parse(text) if part[1] is not None)

    assert {text for text, ours in chinese.items() if placeholders(text) != placeholders(ours)} == set()


def test_what_a_person_is_to_type_is_the_same_in_both_languages(chinese: dict[str, str]) -> None:
    typed = re.compile(r"`[^`]+`|--[a-z][a-z-]*|\w+\.\w+=(?:[\w-]+|\{\w+\})?|pip install \S+|\[/?\w*\](?=['{])")

    def commands(text: str) -> Counter:
        return Counter(re.sub(r"part\.name=value|部分\.名称=值", "", found) for found in typed.findall(text))

    differing = {text: (commands(text), commands(ours)) for text, ours in chinese.items() if commands(text) != commands(ours)}
    assert differing == {}


def test_a_translation_is_chinese_with_chinese_punctuation(chinese: dict[str, str]) -> None:
    assert {text for text, ours in chinese.items() if not CHINESE.search(ours)} == SAME_IN_BOTH
    narrow = re.compile("[\u4e00-\u9fff][,.;:?!](?:\\s|$)")
    assert {ours for ours in chinese.values() if narrow.search(ours)} == set()


def test_a_sentence_ends_as_one_in_both_languages(chinese: dict[str, str]) -> None:
    def ends(text: str) -> bool:
        return text.rstrip().endswith((".", "。", "…"))

    assert {text for text, ours in chinese.items() if ends(text) != ends(ours)} == set()


def test_the_compiled_catalogue_holds_the_translations(chinese: dict[str, str]) -> None:
    with tool.PO.with_suffix(".mo").open("rb") as file:
        compiled = {str(message.id): str(message.string) for message in read_mo(file) if message.id}
    assert compiled == chinese
    set_language("zh")
    assert {text for text, ours in chinese.items() if _(text) != ours} == set()


def test_the_catalogue_is_what_make_messages_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--check"]) == 0, capsys.readouterr().out


def test_the_catalogue_carries_no_dates() -> None:
    for path in (tool.PO, tool.PO.with_suffix(".mo")):
        assert b"Date" not in path.read_bytes()


def test_the_tool_keeps_translations_drops_what_is_no_longer_used_and_counts_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    po = tmp_path / "zh" / "diptych.po"
    monkeypatch.setattr(tool, "gather", lambda: {"old"})
    assert tool.main(["--check"], po) == 1
    assert not po.exists()
    assert tool.main([], po) == 1
    po.write_text(po.read_text(encoding="utf-8").replace('msgid "old"\nmsgstr ""', 'msgid "old"\nmsgstr "旧"'), encoding="utf-8")
    assert tool.main([], po) == 0
    assert tool.main(["--check"], po) == 0
    monkeypatch.setattr(tool, "gather", lambda: {"old", "new"})
    before = po.read_bytes()
    assert tool.main(["--check"], po) == 1
    assert po.read_bytes() == before
    capsys.readouterr()
    assert tool.main([], po) == 1
    assert "2 messages, 1 without Chinese, 0 no longer used" in capsys.readouterr().out
    assert tool.read(po) == {"new": "", "old": "旧"}
    monkeypatch.setattr(tool, "gather", lambda: {"new"})
    tool.main([], po)
    assert tool.read(po) == {"new": ""}
    assert "旧" not in po.read_text(encoding="utf-8")


def test_the_tool_finds_messages_wherever_they_stand() -> None:
    lines = (
        """f"{_('in an f-string')}\"""",
        """mark("in " "pieces")""",
        """ledger.add(STAGE, "entry", 3)""",
        """ledger.add("stage", mark("marked"))""",
        """seen.add("no message")""",
    )
    assert tool.marked("\n".join(lines)) == {"in an f-string", "in pieces", "entry", "stage", "marked"}


@cache
def all_calls() -> list[tuple[str, ast.Call]]:
    return [
        (f"{path.name}:{node.lineno}", node)
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def calls(name: str) -> list[tuple[str, ast.Call]]:
    return [(where, call) for where, call in all_calls() if name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]


def test_no_message_is_put_together_before_it_is_translated() -> None:
    for name, count in (("_", 1), ("mark", 1), ("add", 2)):
        pieced = [where for where, call in calls(name) for part in call.args[:count] if isinstance(part, ast.JoinedStr | ast.BinOp)]
        assert pieced == [], f"{name}(…) of an f-string or a sum is not found in the catalogue"


def test_a_message_that_is_marked_is_a_text() -> None:
    assert [where for where, call in calls("mark") if not isinstance(call.args[0], ast.Constant)] == []


def test_every_error_can_be_said_in_chinese(chinese: dict[str, str]) -> None:
    assert [code for code, each in CATALOGUE.items() if not (chinese.get(each.what) and chinese.get(each.fix))] == []


def test_what_text_goes_through_is_told_in_chinese(tmp_path: Path, chinese: dict[str, str]) -> None:
    """Ledgers as they come from reading, cleaning, tokenizing and labelling what is wrong with real text."""
    from diptych.tasks.classification import frame_texts
    from diptych.tasks.tables import drop_duplicates, read_labelled
    from diptych.text.clean import Cleaning, clean
    from diptych.text.corpus import Corpus
    from diptych.text.dedup import deduplicate
    from diptych.text.tokenizer import Tokenizer

    text = "今天天气很好，我们去公园散步吧！这是一个关于中文编码的例子。" * 5
    for name, content in {
        "a.txt": text.encode("gb18030"),
        "b.txt": text.encode("utf-16"),
        "c.txt": text.encode("utf-16-le"),
        "d.txt": bytes(range(256)) * 8,
        "e.txt": b"caf\xc3\xa9 " * 50 + b"\xff and a \x07bell, a zero\xe2\x80\x8bwidth\r\n" + b"again\n" * 9,
        "f.md": b"caf\xc3\xa9 twice",
        "g.md": b"caf\xc3\xa9   twice",
        "h.md": "cafe\u0301".encode(),
        "i.txt": b"",
        "j.zip": b"this is no archive",
        "k.exe": b"MZ",
        "l.txt": b"line of text\n" * 12_000,
    }.items():
        (tmp_path / name).write_bytes(content)
    ledger = Ledger()
    corpus = Corpus(tmp_path)
    texts = [document.text for document in deduplicate(clean(corpus, Cleaning(), ledger), ledger)]
    ledger.merge(corpus.ledger)
    tokenizer = Tokenizer.train(["a few words"] * 3, "wordpiece", 5000, panel="masked", ledger=ledger)
    tokenizer.unknown_share(texts, ledger)
    frame_texts([("a few words " * 9,)], tokenizer, 8, ledger)
    rows = [("good", "1"), ("good", "1"), ("bad", "0"), ("bad", "1"), ("", "1"), ("x", None), ("fine", "0")]
    drop_duplicates(read_labelled(rows, ledger, empty_labels="drop")[0], ledger)
    assert len(ledger) > 15
    assert [(stage, what) for stage, what, _entry in ledger if not (chinese.get(stage) and chinese.get(what))] == []
    set_language("zh")
    assert [line for line in ledger.lines() if not CHINESE.match(line) or ": " in line.partition("（")[0]] == []


def test_the_names_in_a_table_of_scores_are_told_in_chinese(chinese: dict[str, str]) -> None:
    from diptych.evaluation.baselines import bag_of_words, majority, tfidf
    from diptych.evaluation.intervals import classification_scores, language_scores

    texts, labels = ["good day", "bad day", "good night", "bad night"], ["1", "0", "1", "0"]
    names = [fit(texts, labels).name for fit in (majority, bag_of_words, tfidf)]
    names += classification_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    names += language_scores(np.array([3.0, 2.0]), np.array([2, 2]), np.array([7.0, 9.0]))
    assert len(names) == 9
    assert [name for name in names if name not in chinese] == []


def test_the_terms_that_training_watches_are_told_in_chinese() -> None:
    from diptych.tasks import TASKS, task_class
    from diptych.training.progress import TERMS, describe

    set_language("zh")
    names = {head for name in TASKS for head in task_class(name).heads} | {"nsp", "errors", "start", "end"}
    names -= {"span"}  # which is asked as the two
    assert names <= TERMS.keys()
    for name in names:
        line = describe({"kind": "evaluation", "step": 12, "terms": {name: 0.5}})
        assert line.startswith("第 12 步") and name not in line


@pytest.mark.parametrize(("wanted", "expected"), [("zh", "zh"), ("zh-CN", "zh"), ("en", "en"), ("de", "en")])
def test_a_language_is_taken_by_its_name(wanted: str, expected: str) -> None:
    set_language(wanted)
    assert language() == expected


def test_the_language_follows_the_flag_then_the_variable_then_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.delenv("DIPTYCH_LANG", raising=False)
    set_language(None)
    assert language() == "zh"
    monkeypatch.setenv("DIPTYCH_LANG", "en")
    set_language(None)
    assert language() == "en"
    set_language("zh")
    assert language() == "zh"


def test_an_error_speaks_the_language_that_is_set_when_it_is_shown() -> None:
    error = DataError("E121", where="评论.csv, line 48", column="stars", count=1, total=7766)
    assert 'the label column "stars" is empty' in str(error)
    set_language("zh")
    assert "标签列“stars”为空" in str(error) and "7,766" in str(error)
    assert str(error).startswith("E121  评论.csv")


def test_a_ledger_keeps_english_and_is_shown_in_the_language_that_is_set() -> None:
    ledger = Ledger()
    ledger.add("table", "rows read", 1200, total=1300, where="a.csv")
    assert ledger.lines() == ["table: rows read: 1,200 / 1,300  (a.csv)"]
    set_language("zh")
    assert ledger.lines() == ["表格：读入的行：1,200 / 1,300（a.csv）"]
    assert ledger.to_json()[0]["stage"] == "table"


def test_a_place_in_a_file_is_named_in_the_language_that_is_set(tmp_path: Path) -> None:
    from diptych.text.tables import read_table

    path = tmp_path / "reviews.csv"
    path.write_text("text,label\nfirst one here,1\n好的🙂,0\n", encoding="utf-8")
    assert [row.where for row in read_table(path)] == [f"{path}, line 2", f"{path}, line 3"]
    set_language("zh")
    assert [row.where for row in read_table(path)] == [f"{path} 第 2 行", f"{path} 第 3 行"]


def test_a_wrong_setting_is_explained_in_the_language_that_is_set() -> None:
    from pydantic import ValidationError

    from diptych.config import ModelSettings, TrainSettings, parse
    from diptych.errors import RecipeError

    wrong = [
        (TrainSettings, {"steps": 0}),
        (TrainSettings, {"steps": "many"}),
        (TrainSettings, {"lr": -1.0}),
        (TrainSettings, {"lr": "high"}),
        (TrainSettings, {"dropout": 1.0}),
        (TrainSettings, {"warmup": 2.0}),
        (TrainSettings, {"schedule": "zigzag"}),
        (ModelSettings, {"preset": 3}),
        (ModelSettings, {"preset": "gpt-mini", "tokenizer": {"lowercase": "x"}}),
        (ModelSettings, {"preset": "gpt-mini", "tokenizer": 4}),
    ]
    for schema, data in wrong:
        with pytest.raises(ValidationError) as theirs:
            schema.model_validate(data)
        set_language("en")
        with pytest.raises(RecipeError, match="E403") as ours:
            parse(schema, data, where="r.yaml")
        assert ours.value.values["problem"] == theirs.value.errors()[0]["msg"]
        set_language("zh")
        with pytest.raises(RecipeError) as ours:
            parse(schema, data, where="r.yaml")
        assert str(ours.value.values["problem"]).startswith("应")


def test_a_report_has_headings_in_the_language_that_is_set() -> None:
    from diptych.evaluation.intervals import Score, Scores
    from diptych.report.card import CardData
    from diptych.report.card import render as render_card
    from diptych.report.report import ReportData, TableRow, render

    scores = Scores([Score("accuracy", 0.9, 0.8, 0.95, 40)])
    mistakes = [("a text", "1", "0", 0.9)]
    data = ReportData("my-bert", systems=[TableRow("fine-tuned", scores, 3.0, 2_000_000, 1.5)], mistakes=mistakes, command="diptych …")
    card = CardData("my-bert", "…", ["zh"], "text-classification", ["…"], {"fine-tuned": scores})
    assert "<h2>Scores</h2>" in render(data) and "## Scores" in render_card(card)
    set_language("zh")
    page = render(data)
    assert '<html lang="zh-CN">' in page
    assert "## 得分" in render_card(card) and "微调后的模型: 准确率" in render_card(card)
    titles = re.findall("<h2>(.+?)</h2>", page) + re.findall("<th>([^<]+)</th>", page)
    assert "得分" in titles and "准确率" in titles and len(titles) == 11
    assert [title for title in titles if not CHINESE.search(title)] == []


def test_the_help_of_every_command_is_chinese_in_chinese() -> None:
    from typer.main import get_command

    from diptych.cli import speech
    from diptych.cli.main import app

    set_language("zh")
    before = [getattr(owner, name) for owner, name in speech.help_texts(get_command(app))]
    shown = [getattr(owner, name) for owner, name in speech.help_texts(speech.translate(get_command(app)))]
    assert len(shown) == len(before) > 100
    assert [text for text in shown if not CHINESE.search(text)] == []
    assert not any(CHINESE.search(text) for text in before)


def diptych(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("DIPTYCH_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES")}
    code = f"from diptych.cli.main import run; run({list(arguments)!r})"
    variables = {**inherited, "COLUMNS": "100", "LANG": "C.UTF-8", **variables}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, encoding="utf-8")


def test_the_command_line_speaks_the_language_of_the_flag_or_of_the_variable() -> None:
    by_flag = diptych("--lang", "zh", "--help")
    assert by_flag.returncode == 0
    assert "选项" in by_flag.stdout and "命令" in by_flag.stdout and "Options" not in by_flag.stdout
    by_variable = diptych("generate", "--help", DIPTYCH_LANG="zh")
    assert "从提示词续写" in by_variable.stdout and "默认：64" in by_variable.stdout
    flag_wins = diptych("--lang=en", "--help", DIPTYCH_LANG="zh")
    assert "Options" in flag_wins.stdout and not CHINESE.search(flag_wins.stdout)


def test_a_wrong_command_is_refused_in_chinese() -> None:
    refused = diptych("--lang=zh", "pretrian")
    assert refused.returncode == 2
    assert "没有名为 'pretrian' 的命令" in refused.stderr


def test_a_missing_catalogue_leaves_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.messages.FOLDER", tmp_path)
    set_language("zh")
    assert _("rows read") == "rows read"

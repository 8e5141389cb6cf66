"""Words for people: the language is chosen once, and a sentence without a translation stays as it is."""

from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from diptych import messages
from diptych.messages import _, language, mark, set_language


@pytest.fixture
def two_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Chinese catalogue of two messages, in place of the real one."""
    catalogue = Catalog(locale="zh")
    catalogue.add("corpus", "语料")
    catalogue.add('Did you mean "{name}"?', "是不是“{name}”？")
    folder = tmp_path / "zh" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "diptych.mo").open("wb") as file:
        write_mo(file, catalogue)
    monkeypatch.setattr(messages, "FOLDER", tmp_path)


def test_a_sentence_is_shown_in_the_language_that_was_chosen(two_words: None) -> None:
    set_language("zh")
    assert _("corpus") == "语料"
    assert _('Did you mean "{name}"?').format(name="lr") == "是不是“lr”？"
    set_language("en")
    assert _("corpus") == "corpus"


def test_a_sentence_without_a_translation_stays_english(two_words: None) -> None:
    set_language("zh")
    assert _("nobody translated this") == "nobody translated this"


def test_no_text_stays_no_text_and_is_not_the_head_of_the_catalogue(two_words: None) -> None:
    set_language("zh")
    assert _("") == ""


def test_marking_changes_nothing() -> None:
    assert mark("files that hold no text") == "files that hold no text"


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("zh", "zh"),
        ("zh_CN.UTF-8", "zh"),
        ("zh-TW", "zh"),
        ("ZH", "zh"),
        ("Chinese (Simplified)_China", "zh"),
        ("en", "en"),
        ("en_GB.UTF-8", "en"),
        ("C", "en"),
        ("POSIX", "en"),
        ("de_DE.UTF-8", "en"),
    ],
)
def test_any_way_to_name_a_language_is_understood(name: str, spoken: str) -> None:
    set_language(name)
    assert language() == spoken


@pytest.mark.parametrize("variable", ["DIPTYCH_LANG", "LC_ALL", "LC_MESSAGES", "LANG"])
def test_the_environment_chooses_the_language_where_nobody_does(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIPTYCH_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "zh_CN.UTF-8")
    set_language(None)
    assert language() == "zh"


def test_our_own_variable_goes_before_the_locale_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_LANG", "en")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    set_language(None)
    assert language() == "en"


def test_the_language_is_chosen_when_the_first_sentence_is_shown(two_words: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_LANG", "zh")
    monkeypatch.setattr(messages, "_current", None)
    monkeypatch.setattr(messages, "_language", None)
    assert _("corpus") == "语料"
    assert language() == "zh"

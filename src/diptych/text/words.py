"""Words and sentences of English and Chinese, as places in the text, so that nothing is lost on the way back."""

import re
from typing import Literal

Span = tuple[int, int]

_WIDE = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[A-Za-z\u00c0-\u024f]+(?:['’-][A-Za-z\u00c0-\u024f]+)*|\d+(?:[.,]\d+)*|[{_WIDE}]+|[^\W\d_{_WIDE}]+")
_ATOM = re.compile(rf"[^\W\d_{_WIDE}]+|\d+|\S")
_END = re.compile(r"(?:[。！？!?…]+|(?<!\d)\.(?!\w)|\.(?=\s|$)|\n)[\"'”’」』）)\]]*")
_SHORT_FORMS = ("mr", "mrs", "ms", "dr", "prof", "st", "e.g", "i.e", "etc", "vs", "cf", "fig", "no", "jr", "sr", "inc", "ltd")


def words(text: str) -> list[Span]:
    """(start, end) of each word: English by its letters, Chinese by rjieba's segmentation."""
    spans: list[Span] = []
    for match in _WORD.finditer(text):
        if is_wide(match.group()[0]):
            spans.extend((match.start() + start, match.start() + end) for start, end in _segment(match.group()))
        else:
            spans.append(match.span())
    return spans


def atoms(text: str) -> list[Span]:
    """(start, end) of the parts that nothing is smaller than: a run of letters or of digits, a Chinese character, any other sign."""
    return [match.span() for match in _ATOM.finditer(text)]


def word_list(text: str) -> list[str]:
    """The words of `text` in lower case, for counting."""
    return [text[start:end].lower() for start, end in words(text)]


def sentences(text: str) -> list[Span]:
    """(start, end) of each sentence, its punctuation and closing quotes included, white space around it left out."""
    spans, start = [], 0
    for match in _END.finditer(text):
        before = text[start : match.start()].rsplit(None, 1)
        if match.group().startswith(".") and before and before[-1].lower().lstrip("(\"'“‘") in _SHORT_FORMS:
            continue
        _add(spans, text, start, match.end())
        start = match.end()
    _add(spans, text, start, len(text))
    return spans


def language_of(text: str) -> Literal["zh", "en", "mixed", "other"]:
    """The language of a text by its letters: Chinese characters count as much as two letters each."""
    wide = 2 * sum(map(is_wide, text))
    latin = sum(character.isascii() and character.isalpha() for character in text)
    letters = wide + sum(character.isalpha() for character in text) - wide // 2
    if not letters or wide + latin < 0.5 * letters:
        return "other"
    if wide > 9 * latin:
        return "zh"
    return "en" if latin > 9 * wide else "mixed"


def is_wide(character: str) -> bool:
    """Whether a character is a Chinese one."""
    return "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\U00020000" <= character <= "\U0003ffff"


def _segment(text: str) -> list[Span]:
    try:
        import rjieba
    except ImportError:
        return [(place, place + 1) for place in range(len(text))]
    spans, start = [], 0
    for word in rjieba.cut(text):
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def _add(spans: list[Span], text: str, start: int, end: int) -> None:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end = start + len(part.strip())
    if end > start:
        spans.append((start, end))

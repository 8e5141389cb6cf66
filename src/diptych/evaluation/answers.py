"""How far an answer is a right one: SQuAD's exact match and F1, and those of CMRC 2018 for Chinese.

Both compare texts, with each right answer, and keep the best. SQuAD folds case, punctuation, articles and white space, and counts
the words that the two share (Rajpurkar et al. 2016, 2018). CMRC drops a list of marks and measures the longest run of characters, or
of words of the Latin alphabet, that both have (Cui et al. 2019). Its script leaves Latin words to NLTK's tokenizer, which splits off
clitics as well; here a word, a number or a sign is a piece, so that F1 may differ where answers are full of English.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = frozenset(string.punctuation)
_CMRC_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_PIECES = re.compile(r"[\u4e00-\u9fa5]|[^\W_\u4e00-\u9fa5]+(?:[.,]\d+)*|\S")


def exact_match(answer: str, right: Sequence[str], *, is_chinese: bool) -> bool:
    """Whether the answer is one of the right ones; none of them means that no answer is right."""
    fold = _without_signs if is_chinese else _folded
    return any(fold(answer) == fold(each) for each in right or ("",))


def overlap_f1(answer: str, right: Sequence[str], *, is_chinese: bool) -> float:
    """The F1 of the answer and the right one that it is nearest to."""
    if is_chinese and not right:
        return float(not answer)
    if is_chinese:
        return max(_run_f1(_pieces(answer), _pieces(each)) for each in right)
    return max(_words_f1(_folded(answer).split(), _folded(each).split()) for each in right or ("",))


def _folded(text: str) -> str:
    """SQuAD's normalization, in its order: lower case, no punctuation, no articles, single spaces."""
    kept = "".join(character for character in text.lower() if character not in _SIGNS)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def _words_f1(found: list[str], right: list[str]) -> float:
    if not found or not right:
        return float(found == right)
    shared = sum((Counter(found) & Counter(right)).values())
    return 2 * shared / (len(found) + len(right))


def _without_signs(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _CMRC_SIGNS)


def _pieces(text: str) -> list[str]:
    return _CMRC_PIECES.findall(_without_signs(text))


def _run_f1(found: list[str], right: list[str]) -> float:
    """2 run / (found + right), with the longest run of pieces that both have."""
    longest, before = 0, [0] * (len(right) + 1)
    for piece in found:
        now = [0] * (len(right) + 1)
        for at, other in enumerate(right):
            if piece == other:
                now[at + 1] = before[at] + 1
                longest = max(longest, now[at + 1])
        before = now
    return 2 * longest / (len(found) + len(right)) if longest else 0.0

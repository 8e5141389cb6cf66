"""Who a text is about: the words by which it mentions a gender, a name or a region, and the same text about somebody else.

A table has a column for each group and a row for words that say the same of each, so that exchanging a mention is going along a row. The
lists are ours and small: what they do not know is not found, and a group is more than its words. Regions are countries in English texts
and provinces in Chinese ones, where prejudice between provinces is what people meet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from diptych.messages import mark

Tongue = Literal["en", "zh"]


@dataclass(frozen=True)
class Mention:
    """A stretch of a text that names a group: `text[start:stop]`, its row and its column."""

    start: int
    stop: int
    row: int
    group: int


@dataclass(frozen=True)
class Table:
    """The words of an axis in one language.

    Attributes:
        rows: [rows][groups]; a word may stand in several rows, of which the text around it chooses one.
        carriers: sentences that can be put before any text, with {} where a word of `carried` goes.
        carried: the rows whose words fit a carrier.
        is_sample: whether the words only stand for their group, as names do: then what is found must hold over the words.
    """

    axis: str
    tongue: Tongue
    groups: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    carriers: tuple[str, ...]
    carried: tuple[int, ...]
    is_sample: bool = False
    has_case: bool = False
    """Whether only the word as it is written counts: a name begins with a capital."""

    def mentions(self, text: str) -> list[Mention]:
        """Every mention, in the order of the text."""
        found = []
        for match in self._pattern.finditer(text):
            rows = self._places[match.group() if self.has_case else match.group().lower()]
            row, group = rows[0] if len(rows) == 1 else _fitting(rows, self.rows, text[match.end() :])
            found.append(Mention(*match.span(), row, group))
        return found

    def about(self, text: str, group: int) -> str:
        """The text with every mention as one of `group`."""
        parts, at = [], 0
        for mention in self.mentions(text):
            parts += [text[at : mention.start], _cased(self.rows[mention.row][group], text[mention.start : mention.stop])]
            at = mention.stop
        return "".join(parts) + text[at:]

    def only_group(self, text: str) -> int | None:
        """The one group that a text mentions; None where it mentions none, or several."""
        groups = {mention.group for mention in self.mentions(text)}
        return groups.pop() if len(groups) == 1 else None

    def carried_by(self, number: int) -> tuple[int, tuple[str, ...]]:
        """(row, a beginning for each group): one of the ways to put a group before any text; different numbers take turns."""
        row = self.carried[number % len(self.carried)]
        carrier = self.carriers[(number // len(self.carried)) % len(self.carriers)]
        return row, tuple(carrier.format(word) for word in self.rows[row])

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int]]]:
        places: dict[str, list[tuple[int, int]]] = {}
        for number, row in enumerate(self.rows):
            for group, word in enumerate(row):
                places.setdefault(word if self.has_case else word.lower(), []).append((number, group))
        return places

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # The longest first, so that 他们 is not taken for 他.
        every = "|".join(_guarded(word, self.tongue) for word in sorted(self._places, key=lambda word: (-len(word), word)))
        return re.compile(every, 0 if self.has_case else re.IGNORECASE)


_OTHER_TA = r"(?<![其吉排利]){}(?![妈人国乡日杀律]|们)"
"""他 is not a person in 其他, 吉他, 排他, 利他, 他妈的, 他人, 他国, 他乡, 他日, 他杀, 他律; 他们 is a word of its own."""
_POSSESSIVE = ("his", "her")
_NO_NOUN = re.compile(
    r"(?:an?|the|and|or|but|if|when|while|as|because|so|to|of|in|on|at|by|for|from|with|about|into|over|after|before|than|then|that|this|is|was|"
    r"are|were|been?|has|had|have|do|did|does|will|would|can|could|should|may|might|must|not|very|too|again|back|up|down|out|off|away|here|there|"
    r"now|just|only|even|still|also|yet|who|which|what|how|why|where|he|she|they|we|i|you|it|him|them|us|me)",
    re.IGNORECASE,
)
"""Words before which "her" is a person and "his" stands alone."""


def _guarded(word: str, tongue: Tongue) -> str:
    if tongue == "en":
        return rf"\b{re.escape(word)}\b"
    return _OTHER_TA.format(word) if word in ("他", "她") else re.escape(word)


def _fitting(places: Sequence[tuple[int, int]], rows: Sequence[tuple[str, ...]], after: str) -> tuple[int, int]:
    """Which row a word of several rows means: "her" and "his" go before a noun, or stand alone."""
    following = re.match(r"\s+([A-Za-z]+)", after)
    is_before_noun = following is not None and not _NO_NOUN.fullmatch(following[1])
    return next((place for place in places if (rows[place[0]] == _POSSESSIVE) == is_before_noun), places[0])


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def _pairs(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(pair.split("/")) for pair in text.split())


def _columns(*groups: str) -> tuple[tuple[str, ...], ...]:
    return tuple(zip(*(group.split() for group in groups), strict=True))


_GENDER = (mark("male"), mark("female"))
_EN_GENDER = _pairs(
    "man/woman boy/girl father/mother husband/wife brother/sister son/daughter gentleman/lady he/she him/her his/her his/hers "
    "himself/herself men/women boys/girls fathers/mothers husbands/wives brothers/sisters sons/daughters gentlemen/ladies dad/mom "
    "daddy/mommy grandfather/grandmother grandpa/grandma uncle/aunt nephew/niece boyfriend/girlfriend king/queen prince/princess "
    "actor/actress waiter/waitress male/female males/females mr/ms mr/mrs sir/madam guy/gal guys/gals"
)
_ZH_GENDER = _pairs(
    "男士/女士 男人/女人 男生/女生 小伙子/小姑娘 父亲/母亲 丈夫/妻子 他/她 他们/她们 先生/女士 男孩/女孩 "
    "男性/女性 男子/女子 爸爸/妈妈 老爸/老妈 儿子/女儿 哥哥/姐姐 弟弟/妹妹 老公/老婆 叔叔/阿姨 "
    "爷爷/奶奶 外公/外婆 男友/女友 男朋友/女朋友 帅哥/美女 国王/王后 王子/公主"
)
_EN_REGIONS = _columns(
    "American America Americans",
    "British Britain Britons",
    "German Germany Germans",
    "Mexican Mexico Mexicans",
    "Nigerian Nigeria Nigerians",
    "Indian India Indians",
    "Pakistani Pakistan Pakistanis",
    "Russian Russia Russians",
    "Chinese China Chinese",
)
_ZH_REGIONS = _columns("北京", "上海", "广东", "河南", "东北", "四川", "新疆", "湖北", "福建")

TABLES: tuple[Table, ...] = (
    Table("gender", "en", _GENDER, _EN_GENDER, ("A {} wrote this: ", "This is what a {} told us. "), tuple(range(7))),
    Table("gender", "zh", _GENDER, _ZH_GENDER, ("这是一位{}写的：", "有个{}说："), tuple(range(4))),
    Table(
        "names of men and women",
        "en",
        _GENDER,
        _columns(
            "James John Robert Michael David William Thomas Daniel Andrew Kevin Brian Steven",
            "Mary Patricia Jennifer Linda Elizabeth Susan Jessica Sarah Karen Nancy Lisa Emily",
        ),
        ("{} wrote this: ", "My name is {}. "),
        tuple(range(12)),
        is_sample=True,
        has_case=True,
    ),
    Table(
        "names by origin",
        "en",
        (mark("European American"), mark("African American"), mark("Arab world"), mark("China"), mark("Latin America")),
        _columns(
            "Emily Allison Greg Brett Todd Meredith Geoffrey Carrie Brad Jill",
            "Lakisha Latoya Jamal Tyrone Darnell Tamika Rasheed Ebony Leroy Keisha",
            "Fatima Aisha Ahmed Mohammed Omar Khadija Yusuf Layla Hassan Zainab",
            "Xiulan Meiling Jianguo Zhiqiang Haoran Yanling Guoqiang Lihua Weimin Xiaoyan",
            "Guadalupe Esperanza Carlos Miguel Alejandro Ximena Javier Rosario Diego Marisol",
        ),
        ("{} wrote this: ", "My name is {}. "),
        tuple(range(10)),
        is_sample=True,
        has_case=True,
    ),
    Table(
        "names of men and women",
        "zh",
        _GENDER,
        _columns(
            "王建国 李志强 张伟 刘军 陈勇 杨强 赵国栋 黄建军 周志刚 吴海涛", "王秀英 李娜 张丽 刘芳 陈静 杨敏 赵桂兰 黄淑珍 周美玲 吴晓燕"
        ),
        ("{}写道：", "我叫{}。"),
        tuple(range(10)),
        is_sample=True,
    ),
    Table(
        "names by origin",
        "zh",
        (mark("Han"), mark("Uyghur"), mark("Tibetan"), mark("Mongolian")),
        _columns(
            "王建国 李娜 张伟 刘芳 陈静 杨勇 赵国栋 周美玲",
            "艾力 阿依古丽 买买提 古丽娜尔 艾克拜尔 吐尔逊 热依汗 帕提古丽",
            "扎西 卓玛 次仁 央金 顿珠 拉姆 平措 德吉",
            "巴特尔 其其格 苏和 乌兰 布和 萨仁 朝鲁 塔娜",
        ),
        ("{}写道：", "我叫{}。"),
        tuple(range(8)),
        is_sample=True,
    ),
    Table(
        "regions",
        "en",
        (
            mark("America"),
            mark("Britain"),
            mark("Germany"),
            mark("Mexico"),
            mark("Nigeria"),
            mark("India"),
            mark("Pakistan"),
            mark("Russia"),
            mark("China"),
        ),
        _EN_REGIONS,
        ("Someone from {} wrote this: ", "I come from {}. "),
        (1,),
        has_case=True,
    ),
    Table("regions", "zh", _ZH_REGIONS[0], _ZH_REGIONS, ("这是一位{}人写的：", "我是{}人。"), (0,)),
)
AXES: dict[str, tuple[Table, ...]] = {
    "gender": tuple(table for table in TABLES if table.axis == "gender"),
    "names": tuple(table for table in TABLES if table.axis.startswith("names")),
    "regions": tuple(table for table in TABLES if table.axis == "regions"),
}
TITLES: Mapping[str, str] = {
    "gender": mark("gender"),
    "names of men and women": mark("names of men and women"),
    "names by origin": mark("names by origin"),
    "regions": mark("regions"),
}


def tables_of(axes: Sequence[str], tongues: Sequence[str] = ("en", "zh")) -> Iterator[Table]:
    """The tables of some axes in some languages."""
    for axis in axes:
        yield from (table for table in AXES[axis] if table.tongue in tongues)

"""Names of people and of places, by surnames, titles and the words around them.

No list holds everybody: these rules are sure where a title or an announcement stands beside a name, and miss the rest. A tagger
of one's own finds more; `find_personal(text, tagger=…)` takes it along.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from diptych.text.personal.people import COMPOUND_SURNAMES, FIRST_NAMES, GIVEN_SIGNS, SURNAMES
from diptych.text.personal.spans import LIKELY, NAMED, Personal
from diptych.text.words import words

_SURNAME = "(?:" + "|".join(COMPOUND_SURNAMES) + f"|[{''.join(sorted(SURNAMES))}])"
_HAN = r"\u3400-\u9fff"
_TITLE = (
    "先生|女士|小姐|太太|夫人|同志|同学|师傅|老师|教授|医生|医师|大夫|护士|律师|法官|检察官|警官|经理|总监|主任|主管|"
    "院长|校长|局长|处长|科长|部长|市长|县长|书记|董事长|董事|总裁|博士|院士|工程师|会计|阿姨|大爷|叔叔|奶奶|爷爷"
)
_BEFORE_TITLE = re.compile(rf"(?P<it>{_SURNAME}[{_HAN}]{{0,2}}?)(?:{_TITLE})")
_SUREST = "姓名|患者|联系人|收件人|收货人|申请人|原告|被告|委托人|法定代表人|负责人|投保人|被保险人|户名|我叫|名叫|叫做"
_ANNOUNCING = _SUREST + "|病人|寄件人|被申请人|法人代表|经办人|签名|签字|持卡人|户主|名字|本人|我是|称呼"
_ANNOUNCED = re.compile(rf"(?:{_ANNOUNCING})[ ]?[:：是为叫]?[ ]?(?P<it>{_SURNAME}[{_HAN}·]{{1,3}})(?![{_HAN}])")
_GOES_ON = re.compile(rf"(?:{_SUREST})[ ]?[:：是为叫]?[ ]?(?P<it>{_SURNAME}[{_HAN}]{{1,2}})")
_SIGNS = "名患病人告表我叫做签户称系经"
_UPPER = r"A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u024f"
_NAME = rf"(?:[{_UPPER}](?:['’][{_UPPER}])?[a-z\u00df-\u024f]{{1,20}}(?:[-'’][{_UPPER}]?[a-z\u00df-\u024f]{{1,20}}){{0,2}})"
_INITIAL = rf"(?:[{_UPPER}]\.?)"
_FULL = rf"{_NAME}(?: (?:{_INITIAL} |(?:van|von|de|der|den|da|di|del|la|bin|al) ){{0,2}}{_NAME}){{0,2}}"
_AFTER_TITLE = re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Professor|Doctor|Madam)\.? (?P<it>(?:{_INITIAL} ){{0,2}}{_FULL})")
_SAID = re.compile(
    rf"(?:\b(?i:my name is|name is|name:|i am called|patient:|dear|regards,|sincerely,|contact:|attn:?|signed:?|signed by|customer:|client:"
    rf"|employee:|cardholder:|written by|interview with|yours truly,|cheers,|thanks,)[ \n]{{1,3}})(?P<it>{_FULL})"
)
_FIRST = re.compile(rf"(?<![A-Za-z])(?=(?P<it>(?P<first>{_NAME}) (?:{_INITIAL} )?(?P<last>{_NAME}))(?![A-Za-z]))")
_NO_NAMES = """
sir madam all team customer customers friend friends colleagues the this that these those there here our your my we you they it
and or but customer support service sales hello hi street road avenue university hospital january february march april may june
july august september october november december monday tuesday wednesday thursday friday saturday sunday inc ltd company everyone
everybody
"""
_NO_NAME = frozenset(_NO_NAMES.split())
"""Words that stand where a name would."""
_CITIES = """
北京 上海 天津 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 湖南 广东 海南
四川 贵州 云南 陕西 甘肃 青海 台湾 内蒙古 广西 西藏 宁夏 新疆
香港 澳门
石家庄 太原 沈阳 大连
长春 哈尔滨 南京 苏州
无锡 杭州 宁波 温州
合肥 福州 厦门 泉州 南昌 济南 青岛 烟台 郑州 洛阳 武汉 长沙 广州 深圳 珠海 佛山 东莞 海口 三亚 成都 贵阳 昆明
拉萨 西安 兰州 西宁 银川 乌鲁木齐
"""
_PLACE = re.compile("(?:" + "|".join(_CITIES.split()) + rf")(?:省|市|自治区)?(?:[{_HAN}]{{1,4}}?(?:市|区|县|镇))?")
_PLACE_IN_ENGLISH = re.compile(
    rf"\b(?:live[sd]? in|living in|born in|moved to|based in|resid(?:es|ing|ent) (?:in|of)|flew to|from"
    rf"|travell?(?:ed|ing) to|located in|arrived in|visit(?:ed|ing)?) (?P<it>{_NAME}(?: {_NAME}){{0,2}}(?:, [A-Z]{{2}}\b)?)"
)


def find_names(text: str) -> Iterator[Personal]:
    """People, by surname and title, by what announces a name, and by common first names."""
    if not text.isascii():
        yield from _chinese(text)
    for pattern in (_AFTER_TITLE, _SAID):
        for match in pattern.finditer(text):
            if match["it"].split()[0].lower() not in _NO_NAME:
                yield Personal(*match.span("it"), "name", NAMED)
    for match in _FIRST.finditer(text):
        if (
            match["first"].lower() in FIRST_NAMES
            and match["last"].lower() not in _NO_NAME
            and match["first"].lower() != match["last"].lower()
        ):
            yield Personal(*match.span("it"), "name", LIKELY)


def find_places(text: str) -> Iterator[Personal]:
    """China's provinces and large cities with what stands behind them, and in English what somebody lives in or comes from."""
    if not text.isascii():
        for match in _PLACE.finditer(text):
            yield Personal(match.start(), match.end(), "place", LIKELY)
    for match in _PLACE_IN_ENGLISH.finditer(text):
        if match["it"].split()[0].lower() not in _NO_NAME:
            yield Personal(*match.span("it"), "place", LIKELY)


def _chinese(text: str) -> Iterator[Personal]:
    for match in _BEFORE_TITLE.finditer(text):
        name = match["it"]
        if _is_given(name) and _begins_a_word(text, match.start()):
            yield Personal(*match.span("it"), "name", NAMED)
    if any(sign in text for sign in _SIGNS):
        for match in _ANNOUNCED.finditer(text):
            yield Personal(*match.span("it"), "name", NAMED)
        for match in _GOES_ON.finditer(text):
            # The name may go on into a sentence: what is no character of names ends it.
            name = match["it"] if _is_given(match["it"]) else match["it"][:-1]
            if _is_given(name) and len(name) > 1:
                yield Personal(match.start("it"), match.start("it") + len(name), "name", NAMED)


def _is_given(name: str) -> bool:
    """Whether what follows the surname may be a given name, or nothing follows it."""
    given = name[2:] if name[:2] in COMPOUND_SURNAMES else name[1:]
    return all(sign in GIVEN_SIGNS for sign in given)


def _begins_a_word(text: str, place: int) -> bool:
    """Whether no word reaches across `place`: the 于 in 对于老师 is no surname."""
    start = max(0, place - 8)
    return _is_border(text[start : place + 4], place - start)


@lru_cache(maxsize=4096)
def _is_border(part: str, place: int) -> bool:
    return not any(start < place < stop for start, stop in words(part))

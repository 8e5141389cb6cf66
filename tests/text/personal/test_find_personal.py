"""What is personal is found whole, where it stands; what looks like it is left alone.

Numbers come from published examples, or get their check digits here, from the definitions and in another way than the code does.
"""

import gc
import random
import time
from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.text.personal import CHECKED, KINDS, USUAL_KINDS, find_personal

FULL_WIDTH = {ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)} | {ord("-"): "－", ord("X"): "Ｘ"}
PUBLISHED = [
    # GB 11643-1999, annex; GB 32100-2015; the IBAN registry; test cards of the networks; RFC 4291; the SSA's form.
    ("resident_id", "11010519491231002X"),
    ("resident_id", "440524188001010014"),
    ("credit_code", "91350100M000100Y43"),
    ("iban", "GB82WEST12345698765432"),
    ("iban", "DE89370400440532013000"),
    ("iban", "FR1420041010050500013M02606"),
    ("iban", "MT84MALT011000012345MTLCAST001S"),
    ("bank_card", "4111111111111111"),
    ("bank_card", "5555555555554444"),
    ("bank_card", "378282246310005"),
    ("bank_card", "6011111111111117"),
    ("bank_card", "30569309025904"),
    ("ip_address", "2001:db8:85a3::8a2e:370:7334"),
    ("ip_address", "203.0.113.77"),
    ("email", "zhang.san+notes@mail.example.com.cn"),
    ("ssn", "460-89-9847"),
    ("mobile", "13912345678"),
    ("mobile", "+86 139-1234-5678"),
    ("phone", "010-62345678"),
    ("phone", "(0755) 86543210"),
    ("phone", "(212) 555-0143"),
    ("phone", "+44 20 7946 0958"),
    ("plate", "京A12345"),
    ("plate", "粤B·D12345"),
    ("key", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("key", "AKIAIOSFODNN7EXAMPLE"),
]
IN_CONTEXT = [
    ("medical_record", "住院号：ZY20230815", "ZY20230815"),
    ("medical_record", "MRN: 00482913", "00482913"),
    ("insurance", "医保卡号 310987654321", "310987654321"),
    ("insurance", "Policy number is AB-1234567", "AB-1234567"),
    ("passport", "护照号码：E12345678", "E12345678"),
    ("passport", "passport no. 123456789", "123456789"),
    ("qq", "加我QQ：12345678", "12345678"),
    ("wechat", "微信号：zhang_san88", "zhang_san88"),
    ("bank_account", "账号：1234 5678 9012", "1234 5678 9012"),
    ("password", "password = hunter2xx", "hunter2xx"),
    ("url_secret", "https://user:p4ssw0rd@host.example/x", "user:p4ssw0rd"),
    ("url_secret", "see https://host.example/?a=1&token=abc123def456 now", "abc123def456"),
    ("address", "我家住北京市海淀区中关村南大街5号院2号楼301室。", "北京市海淀区中关村南大街5号院2号楼301室"),
    ("address", "She lives at 12 Baker Street, Apt 4, Boston, MA 02115 now", "12 Baker Street, Apt 4, Boston, MA 02115"),
    ("name", "患者姓名：王小明，男", "王小明"),
    ("name", "请找欧阳女士。", "欧阳"),
    ("name", "Dr. Anna van Smith called", "Anna van Smith"),
    ("name", "Yesterday Emily R. Carter came", "Emily R. Carter"),
    ("birthday", "出生日期：1990年3月7日", "1990年3月7日"),
    ("birthday", "born on 2/8/1935", "2/8/1935"),
    ("phone", "Phone:\n60-56-85-91\n", "60-56-85-91"),
    ("mobile", "手机１３８－１２３４－５６７８", "１３８－１２３４－５６７８"),
]
LOOK_ALIKES = [
    "订单号4111111111111111已发货",
    "Order no. 4111111111111111 shipped",
    "ISBN 978-7-111-40701-0 and ISBN 7-111-40701-X",
    "version 1.2.3.4 and Python 3.11.12.1",
    "2024-05-06 12:30:00, 2024/05/06, 20240506123000",
    "550e8400-e29b-41d4-a716-446655440000",
    "d670460b4b4aece5915caf5c68d12f560a9fe3e4",
    "价格13812345678.00元，合计1,380,000,000",
    "pi is 3.14159265358979323846",
    "at 1700000000000 ms",
    "110101199003077759",  # the check digit is wrong
    "110101199013077758",  # there is no month 13
    "GB83WEST12345698765432",
    "000-12-3456, 666-12-3456, 900-12-3456",
    "对于老师的意见，由于经理不在，位于小区",
    "std::vector<a::b> x; 12:30:45",
    "a@b, @mention, a..b@example.com 的 @",
    "127.0.0.1 0.0.0.0 255.255.255.0 999.1.1.1",
    "第3章 2.4.1 节，图 10-12",
    "",
    "🙂",
]


def found_in(text: str, kinds: object = None) -> list[tuple[str, str]]:
    return [(each.kind, text[each.start : each.stop]) for each in find_personal(text, kinds)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "value"), PUBLISHED)
@pytest.mark.parametrize("around", ["{}", "他说：{}，记下了🙂", "It is {} as noted.\r\n", "（{}）", "中文{}中文"])
def test_published_examples_are_found_whole(kind: str, value: str, around: str) -> None:
    assert found_in(around.format(value)) == [(kind, value)]


@pytest.mark.parametrize(("kind", "text", "value"), IN_CONTEXT)
def test_words_tell_what_nothing_checks(kind: str, text: str, value: str) -> None:
    assert (kind, value) in found_in(text)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_numbers_of_things_are_nobodys(text: str) -> None:
    assert found_in(text) == []


def check_digit_of_id(first: str) -> str:
    """ISO 7064 MOD 11-2 by its recursion, where the code sums weights."""
    product = 0
    for sign in first:
        product = (product + int(sign)) * 2 % 11
    return "0123456789X"[(12 - product) % 11]


def check_digit_by_trying(first: str) -> str:
    """The last digit with which the number passes Luhn, summed from the left."""
    for last in "0123456789":
        number = first + last
        doubled = [int(sign) * (1 + (len(number) - place + 1) % 2) for place, sign in enumerate(number)]
        if sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0:
            return last
    raise AssertionError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.dates(date(1900, 1, 1), date(2020, 1, 1)))
def test_every_resident_id_is_found_and_none_with_another_last_place(number: int, born: date) -> None:
    first = f"310104{born:%Y%m%d}{number:03d}"
    last = check_digit_of_id(first)
    for value in (first + last, f"{first[:6]} {first[6:14]} {first[14:]}{last}", (first + last).translate(FULL_WIDTH)):
        assert found_in(f"证件{value}。") == [("resident_id", value)]
    wrong = "0123456789X"[("0123456789X".index(last) + 1) % 11]
    assert "resident_id" not in dict(found_in(f"证件{first}{wrong}。"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["4", "51", "6217", "62"]), st.integers(0, 10**14 - 1))
def test_every_card_is_found_and_none_with_another_last_digit(begin: str, number: int) -> None:
    first = (begin + f"{number:014d}")[:15]
    last = check_digit_by_trying(first)
    value = first + last
    fours = " ".join(value[at : at + 4] for at in range(0, 16, 4))
    assert found_in(f"My card {value}.") == [("bank_card", value)]
    assert found_in(f"银行卡{fours}，谢谢") == [("bank_card", fours)]
    assert "bank_card" not in dict(found_in(f"My card {first}{(int(last) + 1) % 10}."))


def test_kinds_are_chosen_and_misspelt_ones_refused() -> None:
    text = "2024年5月6日，王小明先生在北京，电话13912345678"
    assert {kind for kind, _ in found_in(text)} == {"name", "mobile"}
    assert found_in(text, ["mobile"]) == [("mobile", "13912345678")]
    assert {"date", "place"} <= {kind for kind, _ in found_in(text, "all")}
    assert frozenset(KINDS) - {"date", "place"} == USUAL_KINDS and CHECKED <= USUAL_KINDS
    with pytest.raises(DataError, match="E194") as caught:
        find_personal("x", ["mobil"])
    assert '"mobile"' in str(caught.value)


def test_nothing_is_found_twice_and_the_longer_of_two_stays() -> None:
    text = "mail 13912345678@example.com, 身份证11010519491231002X"
    assert found_in(text) == [("email", "13912345678@example.com"), ("resident_id", "11010519491231002X")]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["13912345678", "王小明先生", " ", "-", "+86", "a@b.cn", "：", "１２", "12", "号", "🙂", "\r\n", "4111 1111 1111 1111", "路5号"]
        ),
        max_size=12,
    )
)
def test_stretches_lie_in_the_text_in_order_and_apart(parts: list[str]) -> None:
    text = "".join(parts)
    found = find_personal(text, "all")
    assert all(0 <= each.start < each.stop <= len(text) for each in found)
    assert all(one.stop <= other.start for one, other in pairwise(found))


LONG = [
    "1",
    "1-",
    "a",
    "a@",
    "中路1号",
    "+1 ",
    "::",
    "A1",
    "eyJ",
    "sk-",
    "地址",
    "key=",
    "Ann Lee ",
    "王先生",
    "-----BEGIN PRIVATE KEY-----",
    "0.",
    "(0",
    "1 Al ",
]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Objects are not collected meanwhile: that takes the longer, the more of them all the other tests have left behind."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("part", LONG)
def test_a_long_line_takes_time_that_grows_with_its_length(part: str) -> None:
    """Eight times as long takes about eight times as long; the square would be 64. The room between is for a busy machine."""
    seconds = []
    for size in (20_000, 160_000):
        text = (part * (size // len(part) + 1))[:size]
        begun = time.process_time()
        find_personal(text, "all")
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 2 or seconds[1] < 32 * seconds[0], seconds


def test_a_line_of_a_megabyte_is_read() -> None:
    draw = random.Random(0)
    words = ["the", "garden", "今天天气很好，", "1987", "room 12", "价格3.50元"]
    text = " ".join(draw.choice(words) for _ in range(150_000)) + " mail a.b@example.com"
    assert len(text) > 700_000
    assert found_in(text)[-1] == ("email", "a.b@example.com")

"""Taking personal data out: what stands in its place, that it is the same each time, and that everything is counted."""

import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diptych as dt
from diptych.config import ScrubSettings
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.scrubbing import read_secret, scrubbing_of
from diptych.text.corpus import Document
from diptych.text.personal import Scrubbing, find_personal, scrub, scrub_text
from diptych.text.personal.pseudonyms import Pseudonyms

SECRET = b"a secret of sixteen bytes or more"
NOTE = "患者王小明先生，身份证11010519491231002X，手机 13912345678 🙂\nDr. Anna Smith, SSN 460-89-9847, a.b@example.org"


def scrubbed(text: str, mode: str, **more: object) -> str:
    return scrub_text(text, Scrubbing(mode, secret=SECRET, **more), Ledger())  # type: ignore[arg-type]


def test_a_mask_says_the_kind_and_the_ledger_how_many() -> None:
    ledger = Ledger()
    text = scrub_text(NOTE, Scrubbing("mask"), ledger, "a.txt")
    assert text == "患者[NAME]先生，身份证[RESIDENT_ID]，手机 [MOBILE] 🙂\nDr. [NAME], SSN [SSN], [EMAIL]"
    counted = {what: (entry.count, entry.examples) for _stage, what, entry in ledger}
    assert counted["names of people"] == (2, ["a.txt"]) and counted["resident identity numbers"] == (1, ["a.txt"])
    assert sum(count for count, _ in counted.values()) == 6


def test_removing_leaves_nothing_and_no_double_space() -> None:
    assert scrubbed("Call 13912345678 now. 手机：13912345678。", "remove") == "Call now. 手机：。"


def test_what_is_masked_is_not_found_again() -> None:
    assert find_personal(scrubbed(NOTE, "mask"), "all") == []


def test_pseudonyms_keep_the_form_and_are_nobodys() -> None:
    made = Pseudonyms(SECRET)
    identity = made.of("resident_id", "110105 19491231 002X")
    assert re.fullmatch(r"99\d{4} (19|20)\d{6} \d{3}[\dX]", identity)
    assert re.fullmatch(r"100-\d{4}-\d{4}", made.of("mobile", "139-1234-5678"))
    assert re.fullmatch(r"user[0-9a-f]{8}@example\.com", made.of("email", "a.b@example.org"))
    assert re.fullmatch(r"198\.1[89]\.\d+\.\d+", made.of("ip_address", "8.8.4.4"))
    assert made.of("iban", "GB82 WEST 1234 5698 7654 32").count(" ") == 5
    assert re.fullmatch(r"9\d\d-\d\d-\d{4}", made.of("ssn", "460-89-9847"))
    assert len(made.of("name", "王小明")) == 3 and made.of("name", "王小明") != "王小明"
    card = made.of("bank_card", "4111-1111-1111-1111")
    digits = [int(sign) for sign in reversed(card) if sign.isdigit()]
    assert re.fullmatch(r"99\d\d-\d{4}-\d{4}-\d{4}", card)
    assert sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2]) == 10 * round(
        (sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) / 10
    )


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["mobile", "name", "email", "bank_card", "resident_id", "plate", "qq"]), st.integers(0, 99))
def test_the_same_person_has_the_same_pseudonym_under_one_secret(kind: str, number: int) -> None:
    value = {"name": f"王小{chr(0x4E00 + number)}", "email": f"a{number}@b.cn", "plate": f"京A{number:05d}"}.get(kind, f"{10**17 + number}")
    value = f"139{number:08d}" if kind == "mobile" else value
    first, again, other = (Pseudonyms(secret).of(kind, value) for secret in (SECRET, SECRET, SECRET + b"!"))
    assert first == again and value not in first
    assert kind in ("name", "qq", "plate") or first != other


def test_ways_to_write_one_number_have_one_pseudonym() -> None:
    made = Pseudonyms(SECRET)
    ways = ["13912345678", "139-1234-5678", "+86 139 1234 5678", "１３９１２３４５６７８"]
    assert len({re.sub(r"\D", "", made.of("mobile", way))[-11:] for way in ways}) == 1
    assert made.of("name", "Anna Smith").split()[1] == made.of("name", "Smith"), "a word of a name stays one"
    assert made.of("name", "王小明")[0] == made.of("name", "王")


@settings(max_examples=60, deadline=None)
@given(st.dates(date(1950, 1, 1), date(2030, 1, 1)), st.dates(date(1950, 1, 1), date(2030, 1, 1)), st.text(max_size=5))
def test_the_dates_of_one_group_move_by_as_many_days(one: date, other: date, group: str) -> None:
    """So that the time between two of them, which is what a study asks about, stays."""
    text = f"入院{one:%Y-%m-%d}，出院 {other.year}年{other.month}月{other.day}日，seen on {other:%m/%d/%Y}"
    moved = scrub_text(text, Scrubbing("pseudonym", "all", secret=SECRET), Ledger(), group=group)
    found = re.fullmatch(r"入院(\d{4}-\d\d-\d\d)，出院 (\d+)年(\d+)月(\d+)日，seen on (\d\d)/(\d\d)/(\d{4})", moved)
    assert found, moved
    first, second = date.fromisoformat(found[1]), date(int(found[2]), int(found[3]), int(found[4]))
    assert second - first == other - one and first != one
    assert date(int(found[7]), int(found[5]), int(found[6])) == second


@pytest.mark.parametrize("written", ["March 5, 2021", "5 Mar 2021", "5th of March 2021", "2021/3/5", "2021.03.05", "2021 年 3 月 5 号"])
def test_a_date_is_written_again_as_it_was(written: str) -> None:
    moved = Pseudonyms(SECRET).of("date", written, "x")
    shape = re.sub(r"\d+", "0", re.sub(r"[A-Z][a-z]+", "M", written))
    assert moved != written and re.sub(r"\d+", "0", re.sub(r"[A-Z][a-z]+", "M", moved)) == shape


def test_a_group_is_a_column_and_without_one_each_document_is_its_own() -> None:
    rows = [Document("2021年3月5日", f"row {n}", {"patient": p}) for n, p in enumerate(["a", "a", "b", ""])]
    texts = [each.text for each in scrub(rows, Scrubbing("pseudonym", "all", secret=SECRET, group="patient"), Ledger())]
    assert texts[0] == texts[1] and len({texts[0], texts[2], texts[3]}) == 3


def test_text_without_anything_personal_is_the_same_object() -> None:
    document = Document("今天天气很好。\r\nNothing here 🙂", "x", {"id": 1})
    assert next(scrub([document], Scrubbing("mask"), Ledger())) is document


def test_pseudonyms_need_a_secret_and_a_file_may_hold_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="E193"):
        dt.scrub("x", "pseudonym")
    with pytest.raises(DataError, match="E193"):
        scrubbing_of(ScrubSettings(mode="pseudonym"))
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(DataError, match="E193"):
        read_secret(tmp_path / "short")
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    assert read_secret(tmp_path / "secret") == SECRET
    settings_ = ScrubSettings(mode="pseudonym", secret=str(tmp_path / "secret"))
    scrubbing = scrubbing_of(settings_)
    assert scrubbing.fingerprint() != Scrubbing("pseudonym", secret=b"another secret of many bytes").fingerprint()
    assert dt.scrub("13912345678", "pseudonym", secret=SECRET) == scrub_text("13912345678", scrubbing, Ledger())


def test_texts_keep_their_order_and_their_groups() -> None:
    texts = ["2021年3月5日", "nothing", "2021年3月5日"]
    made = dt.scrub(texts, "pseudonym", kinds="all", secret=SECRET, groups=["a", "b", "a"])
    assert made[1] == "nothing" and made[0] == made[2] != texts[0]

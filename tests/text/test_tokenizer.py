"""Tokenizers: any text through each kind, the same ids in everybody else's hands, and never a silent cut."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from diptych.errors import DataError, MachineError
from diptych.ledger import Ledger
from diptych.text import vocabulary
from diptych.text.tokenizer import CAUSAL_SPECIALS, MASKED_SPECIALS, Panel, Tokenizer
from diptych.text.vocabulary import Kind

ENGLISH = [
    "The for statement iterates over the items of a sequence, in order.",
    "What's that? It's the year 2024, and the model reads 3.14 or 1,000 words.",
    "A hotel room that is clean and a breakfast that is good: we will come again!",
]
CHINESE = [
    "今天天气很好，我们去公园散步吧！",
    "这家酒店的房间很干净，早餐也不错，下次还会再来。",
    "機器學習模型需要大量的數據；語言模型學習詞語之間的關係。",
]
MIXED = "Mixed 中文 and English，with full-width：ＡＢＣ１２３ 🙂👩‍👩‍👧‍👦 and a tail.\r\nA second line.\t\u3000End"
TEXTS = [*ENGLISH, *CHINESE, MIXED, ""] * 8
PROBES = [
    *ENGLISH,
    *CHINESE,
    MIXED,
    "",
    " ",
    "\r\n\r\n",
    "  two  spaces, a\ttab and a line\n",
    "snake_case __init__ a_b",
    "naïve café Übung Привет 안녕 ありがとう",
    "e\u0301 and \u200b",
    "x" * 300,
]
KINDS: list[tuple[Kind, Panel]] = [
    (kind, panel) for kind in ("bpe", "wordpiece", "unigram", "characters") for panel in ("causal", "masked")
]
every_kind = pytest.mark.parametrize(("kind", "panel"), KINDS, ids=[f"{kind}-{panel}" for kind, panel in KINDS])


@cache
def trained(kind: Kind, panel: Panel = "causal", *, lowercase: bool = False, size: int = 500) -> Tokenizer:
    return Tokenizer.train(iter(TEXTS), kind, size, panel=panel, lowercase=lowercase)


def specials(panel: Panel) -> tuple[str, ...]:
    return MASKED_SPECIALS if panel == "masked" else CAUSAL_SPECIALS


@every_kind
def test_a_tokenizer_learns_from_a_stream_that_is_read_once(kind: Kind, panel: Panel) -> None:
    read: list[str] = []

    def stream() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    tokenizer = Tokenizer.train(stream(), kind, 500, panel=panel)
    assert read == TEXTS
    assert tokenizer.fingerprint() == trained(kind, panel).fingerprint(), "the same text gives the same tokenizer"
    assert (
        len({token for number in range(tokenizer.vocab_size) if (token := tokenizer.backend.id_to_token(number))}) == tokenizer.vocab_size
    )


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_the_same_texts_give_the_same_vocabulary_in_another_process(kind: Kind, tmp_path: Path) -> None:
    draw = np.random.Generator(np.random.PCG64(1))
    words = ["".join(draw.choice(list("abcdefgh天地人和"), size)) for size in draw.integers(1, 7, 300)]
    texts = [" ".join(draw.choice(words, 30)) for _ in range(60)]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    code = (
        "import json, sys; from diptych.text.tokenizer import Tokenizer\n"
        "texts = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        "print(Tokenizer.train(texts, sys.argv[2], 400, panel='masked').fingerprint())"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "texts.json"), kind]
    there = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    assert {Tokenizer.train(texts, kind, 400, panel="masked").fingerprint() for _ in range(3)} == {there}


def test_wordpiece_joins_what_stands_together_most_often() -> None:
    # Byte pair encoding by hand: "abx" nine times and "ycd" seven times; of two pairs as frequent, first the mark of a word's
    # beginning and its letter, then the letters that come first in the alphabet.
    tokenizer = Tokenizer.train(["abx " * 9 + "ycd " * 7 + "z"], "wordpiece", 64, panel="masked")
    letters = [*"abcdxyz", *(f"##{letter}" for letter in "abcdxyz")]
    learnt = [tokenizer.token(number) for number in range(tokenizer.vocab_size)]
    assert learnt == [*MASKED_SPECIALS, *letters, "##bx", "abx", "##cd", "ycd"]
    assert [tokenizer.token(number) for number in tokenizer.encode("abx ycd abcd z")] == ["abx", "ycd", "a", "##b", "##cd", "z"]


@every_kind
@pytest.mark.parametrize("size", [64, 100, 300, 500])
def test_a_vocabulary_is_never_larger_than_was_asked_for(kind: Kind, panel: Panel, size: int) -> None:
    least = {"bpe": 256 + len(specials(panel)), "unigram": 200}.get(kind, 0)  # every byte, every character
    size = max(size, least)
    assert trained(kind, panel, size=size).vocab_size <= size


@every_kind
def test_the_special_tokens_of_a_panel_are_known_by_their_roles(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel)
    if panel == "masked":
        ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
        assert ids == [tokenizer.id(name) for name in MASKED_SPECIALS]
        assert tokenizer.bos_id is None and tokenizer.eos_id is None
    else:
        assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.id("<|endoftext|>") is not None
        assert tokenizer.pad_id == tokenizer.id("<|pad|>") is not None
        assert tokenizer.mask_id is None and tokenizer.cls_id is None
        assert (tokenizer.unk_id is None) == (kind == "bpe")
    assert tokenizer.special_ids >= {tokenizer.id(name) for name in specials(panel)}
    assert not tokenizer.special_ids & set(tokenizer.encode(ENGLISH[0] + CHINESE[0]))


@every_kind
def test_a_text_that_spells_out_a_special_token_stays_text(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel)
    for name in specials(panel):
        ids = tokenizer.encode(f"before {name} after")
        assert tokenizer.id(name) not in ids or tokenizer.id(name) == tokenizer.unk_id


@pytest.mark.parametrize("panel", ["causal", "masked"])
@settings(deadline=None)
@given(text=st.text(max_size=60))
@example(text="<|endoftext|> [MASK] \r\n\u2028🙂👩‍👩‍👧‍👦 e\u0301 \x00\ufeff  中文，ＡＢＣ")
def test_byte_level_bpe_gives_any_text_back_exactly(panel: Panel, text: str) -> None:
    tokenizer = trained("bpe", panel)
    ids, offsets = tokenizer.encode_offsets(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_id not in ids or tokenizer.unk_id is None
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered == set(range(len(text))), "every character belongs to a token"
    assert all(0 <= start <= end <= len(text) for start, end in offsets)


@pytest.mark.parametrize("kind", ["unigram", "characters"])
@settings(deadline=None)
@given(text=st.text("abc deTh今天很好，。 \n.", max_size=40))
def test_unigram_and_characters_give_back_what_they_know(kind: Kind, text: str) -> None:
    tokenizer = trained(kind)
    known = all(character in "".join(TEXTS) for character in text)
    ids = tokenizer.encode(text)
    assert known == (tokenizer.unk_id not in ids)
    if known:
        back = tokenizer.decode(ids)
        assert back == text or (kind == "unigram" and back == text.removeprefix(" "))


@pytest.mark.parametrize("panel", ["causal", "masked"])
@settings(deadline=None)
@given(text=st.text("一二三天很好abAB ,，🙂é\u3000", max_size=30))
def test_wordpiece_keeps_chinese_characters_apart(panel: Panel, text: str) -> None:
    tokenizer = trained("wordpiece", panel)
    _ids, offsets = tokenizer.encode_offsets(text)
    for start, end in offsets:
        piece = text[start:end]
        assert piece and not any(character.isspace() for character in piece)
        assert len(piece) == 1 or not any("\u4e00" <= character <= "\u9fff" for character in piece)
    assert sum(end - start for start, end in offsets) == sum(not character.isspace() for character in text)


def test_characters_are_one_token_each() -> None:
    tokenizer = trained("characters")
    for text in PROBES:
        ids, offsets = tokenizer.encode_offsets(text)
        assert offsets == [(place, place + 1) for place in range(len(text))]
        for number, character in zip(ids, text, strict=True):
            assert tokenizer.token(number) == character or (number == tokenizer.unk_id and character not in "".join(TEXTS))


def test_the_commonest_characters_are_kept_where_not_all_fit() -> None:
    text = "".join(chr(0x4E00 + number) * (200 - number) for number in range(150))
    tokenizer = Tokenizer.train([text], "characters", 64, panel="masked")
    assert tokenizer.vocab_size == 64
    known = [number for number in range(150) if tokenizer.id(chr(0x4E00 + number)) is not None]
    assert known == list(range(64 - len(MASKED_SPECIALS)))


@every_kind
def test_lower_case_is_the_same_as_lowering_the_text(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel, lowercase=True)
    for text in (*ENGLISH, *CHINESE, "SHOUTING Case 中文 ABC"):
        assert tokenizer.encode(text) == tokenizer.encode(text.lower()) == tokenizer.encode(text.upper())
    assert trained(kind, panel).encode("The") != trained(kind, panel).encode("the")


@every_kind
def test_many_texts_are_cut_as_one_by_one(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel)
    assert tokenizer.encode_batch(PROBES) == [tokenizer.encode(text) for text in PROBES]
    assert tokenizer.encode_batch([]) == []


@every_kind
def test_halves_of_characters_are_read_as_marks_and_stop_nothing(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel)
    assert tokenizer.encode("bad \ud83d half") == tokenizer.encode("bad \ufffd half")
    assert tokenizer.encode_batch(["fine", "bad \ud83d"]) == [tokenizer.encode("fine"), tokenizer.encode("bad \ufffd")]
    assert tokenizer.encode_offsets("好\ud83d")[1] == tokenizer.encode_offsets("好\ufffd")[1]
    again = Tokenizer.train(["half \ud83d"] * 3 + TEXTS, kind, 500, panel=panel)
    assert again.encode("half")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Kind, Panel], Path]:
    """Every kind, saved."""
    saved = {}
    for kind, panel in KINDS:
        saved[kind, panel] = tmp_path_factory.mktemp(f"{kind}-{panel}")
        trained(kind, panel).save(saved[kind, panel])
    return saved


@every_kind
def test_a_saved_tokenizer_is_loaded_as_it_was(kind: Kind, panel: Panel, folders: dict[tuple[Kind, Panel], Path]) -> None:
    tokenizer = trained(kind, panel)
    for source in (folders[kind, panel], str(folders[kind, panel]), folders[kind, panel] / "tokenizer.json"):
        again = Tokenizer.load(source)
        assert again.roles == tokenizer.roles
        assert again.fingerprint() == tokenizer.fingerprint()
        assert again.encode_batch(PROBES) == tokenizer.encode_batch(PROBES)
        assert again.special_ids == tokenizer.special_ids


@every_kind
def test_hugging_face_opens_a_saved_tokenizer_and_reads_the_same_ids(
    kind: Kind, panel: Panel, folders: dict[tuple[Kind, Panel], Path]
) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folders[kind, panel])
    ours = trained(kind, panel)
    spelled = [f"The {name} is 很{name}好." for name in (*MASKED_SPECIALS, *CAUSAL_SPECIALS)]
    for text in PROBES:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text), text
        assert theirs(text)["input_ids"] == (ours.frame(ours.encode(text))[0] if panel == "masked" else ours.encode(text)), text
    for text in spelled:
        assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ours.encode(text), text
    for role in ("pad", "bos", "eos", "cls", "sep", "mask", "unk"):
        assert getattr(theirs, f"{role}_token_id") == getattr(ours, f"{role}_id"), role
    assert len(theirs) == ours.vocab_size
    for text in PROBES:
        ids = ours.encode(text)
        assert theirs.decode(ids) == ours.decode(ids, skip_specials=False), text


@every_kind
def test_a_mask_in_the_text_is_the_mask_for_those_who_want_it(kind: Kind, panel: Panel, folders: dict[tuple[Kind, Panel], Path]) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folders[kind, panel]), trained(kind, panel)
    name = "[MASK]" if panel == "masked" else "<|endoftext|>"
    number = ours.id(name)
    assert number is not None
    for text in (f"The {name} is clean.", f"今天{name}很好，{name}。", f"{name}", f"{name}{name} end"):
        first, *rest = text.split(name)
        ids = ours.encode(first)
        for part in rest:
            ids += [number, *ours.encode(part)]
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert ids.count(number) == text.count(name)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_a_pair_is_framed_as_hugging_face_frames_it(kind: Kind, folders: dict[tuple[Kind, Panel], Path]) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folders[kind, "masked"]), trained(kind, "masked")
    found = theirs(ENGLISH[0], CHINESE[0], return_token_type_ids=True)
    ids, types = ours.frame(ours.encode(ENGLISH[0]), ours.encode(CHINESE[0]))
    assert (found["input_ids"], found["token_type_ids"]) == (ids, types)
    assert ours.num_special(pair=True) == 3 and ours.num_special(pair=False) == 2


def test_a_panel_without_frames_joins_a_pair_with_its_separator() -> None:
    tokenizer = trained("bpe")
    assert tokenizer.frame([5, 6]) == ([5, 6], [0, 0])
    assert tokenizer.frame([5, 6], [7]) == ([5, 6, tokenizer.eos_id, 7], [0, 0, 0, 0])
    assert tokenizer.num_special(pair=False) == 0 and tokenizer.num_special(pair=True) == 1


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
@pytest.mark.parametrize("texts", [[], [""], ["", " \n\t", "\u3000"]])
def test_without_text_there_is_no_tokenizer(kind: Kind, texts: list[str]) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.train(iter(texts), kind, 300)
    assert error.value.code == "E201"


@every_kind
@pytest.mark.parametrize("text", ["hi", "好", "🙂", "two sentences. Only two."])
def test_a_few_words_are_enough_and_the_ledger_says_how_few_tokens_they_gave(kind: Kind, panel: Panel, text: str) -> None:
    ledger = Ledger()
    tokenizer = Tokenizer.train([text], kind, 500, panel=panel, ledger=ledger)
    assert tokenizer.unk_id not in tokenizer.encode(text) or tokenizer.unk_id is None
    (line,) = [entry for _stage, _what, entry in ledger]
    assert (line.count, line.total) == (tokenizer.vocab_size, 500)


def test_a_unigram_vocabulary_without_room_for_every_character_is_refused() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(700))
    with pytest.raises(DataError) as error:
        Tokenizer.train([text] * 3, "unigram", 500)
    assert error.value.code == "E205" and "500" in str(error.value) and "700" in str(error.value)


def test_unigram_learns_chinese_without_spaces() -> None:
    # Each run of characters is one word to this kind; runs without an end make training take hours.
    draw = np.random.Generator(np.random.PCG64(0))
    words = ["".join(chr(0x4E00 + number) for number in draw.integers(0, 300, size)) for size in draw.integers(1, 4, 300)]
    texts = ["".join(draw.choice(words, 60)) for _ in range(250)]
    tokenizer = Tokenizer.train(iter(texts), "unigram", 900, panel="masked")
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in texts[:20])
    pieces = [tokenizer.token(number) for number in tokenizer.encode(texts[0])]
    assert len(pieces) < len(texts[0]), "it found words"


def test_unigram_learns_from_so_much_text_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "UNIGRAM_CHARS", 1000)
    read: list[str] = []

    def endless() -> Iterator[str]:
        while True:
            read.append(MIXED)
            yield MIXED

    Tokenizer.train(endless(), "unigram", 300)
    assert 1000 <= sum(map(len, read)) < 1000 + 2 * len(MIXED)


def test_unknown_tokens_are_counted_and_a_text_that_cannot_be_read_is_told() -> None:
    tokenizer = Tokenizer.train(ENGLISH * 5, "wordpiece", 300, panel="masked")
    texts = [*ENGLISH * 20, "一个字"]
    ids = [number for text in texts for number in tokenizer.encode(text)]
    ledger = Ledger()
    share = tokenizer.unknown_share(iter(texts), ledger)
    assert share == ids.count(tokenizer.unk_id) / len(ids) and 0 < share < 0.05
    (line,) = [entry for _stage, _what, entry in ledger]
    assert (line.count, line.total) == (ids.count(tokenizer.unk_id), len(ids))
    ledger = Ledger()
    assert tokenizer.unknown_share(CHINESE, ledger) > 0.5
    assert any("cannot read" in what for _stage, what, _entry in ledger)


@pytest.mark.parametrize("texts", [[], ["", " "], ENGLISH, [*CHINESE, MIXED]])
def test_where_nothing_is_unknown_the_ledger_is_silent(texts: list[str]) -> None:
    ledger = Ledger()
    assert trained("bpe").unknown_share(texts, ledger) == 0.0
    assert len(ledger) == 0


@pytest.fixture
def minilm() -> Path:
    """The real BERT tokenizer, where its package is installed."""
    from diptych.installed import find_model

    try:
        return find_model("minilm")
    except MachineError:
        pytest.skip("the package of MiniLM is not installed")


def test_a_tokenizer_that_cuts_and_pads_in_its_file_does_neither_here(minilm: Path, tmp_path: Path) -> None:
    raw = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    long = " ".join(ENGLISH * 20)
    assert len(raw.encode(long).ids) == len(raw.encode("short").ids) == 128, "the file does both, or this test shows nothing"
    raw.no_truncation()
    raw.no_padding()
    tokenizer = Tokenizer.load(minilm)
    tokenizer.save(tmp_path)
    for each in (tokenizer, Tokenizer.load(tmp_path), Tokenizer.load(minilm / "tokenizer.json")):
        for text in (long, "short", "", *CHINESE):
            assert each.encode(text) == each.encode_batch([text])[0] == raw.encode(text, add_special_tokens=False).ids
    assert len(tokenizer.encode(long)) > 128 and len(tokenizer.encode("short")) == 1


def test_hugging_face_does_not_cut_either_what_was_saved_here(minilm: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.load(minilm)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in (" ".join(ENGLISH * 20), "Short and UPPER.", CHINESE[0]):
        assert theirs(text)["input_ids"] == tokenizer.frame(tokenizer.encode(text))[0]


def test_minilm_says_that_it_cannot_read_chinese(minilm: Path) -> None:
    ledger = Ledger()
    assert Tokenizer.load(minilm).unknown_share(CHINESE, ledger) > 0.05
    assert any("cannot read" in what for _stage, what, _entry in ledger)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_bert_folder_of_old_is_read_as_hugging_face_reads_it(lowercase: bool, tmp_path: Path) -> None:
    from transformers import BertTokenizer

    tokenizer = trained("wordpiece", "masked", lowercase=lowercase)
    vocabulary = sorted(tokenizer.backend.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token, _number in vocabulary), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase, "model_max_length": 512}), encoding="utf-8")
    ours, theirs = Tokenizer.load(tmp_path), BertTokenizer.from_pretrained(tmp_path, do_lower_case=lowercase)
    assert ours.context_length == 512
    for text in PROBES:
        assert ours.frame(ours.encode(text))[0] == theirs(text)["input_ids"], text


def test_a_gpt2_folder_of_old_is_read_as_hugging_face_reads_it(tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.model.save(str(tmp_path))
    ours, theirs = Tokenizer.load(tmp_path), GPT2Tokenizer.from_pretrained(tmp_path)
    assert ours.eos_id == theirs.eos_token_id == 0
    for text in PROBES:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        assert ours.decode(ours.encode(text)) == text


def broken_folders() -> dict[str, dict[str, str]]:
    return {
        "nothing": {},
        "half a json": {"tokenizer.json": '{"version": "1.0", "model": {'},
        "another json": {"tokenizer.json": "[1, 2]"},
        "no utf-8": {"tokenizer.json": "\udcff\udcfe"},
        "a vocabulary alone": {"vocab.json": "{}"},
        "broken merges": {"vocab.json": '{"a": 0}', "merges.txt": "a b c d\n"},
    }


@pytest.mark.parametrize("name", sorted(broken_folders()))
def test_a_folder_without_a_readable_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    for file, content in broken_folders()[name].items():
        (tmp_path / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        Tokenizer.load(tmp_path)
    assert error.value.code == "E202" and str(tmp_path) in str(error.value)


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.load(tmp_path / "没有")
    assert error.value.code == "E202" and "没有" in str(error.value)


def test_roles_come_from_the_folder_before_the_usual_names(tmp_path: Path, folders: dict[tuple[Kind, Panel], Path]) -> None:
    shutil.copytree(folders["wordpiece", "masked"], tmp_path, dirs_exist_ok=True)
    written = {"pad_token": {"content": "[SEP]"}, "mask_token": "nowhere", "model_max_length": 1e30}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(written), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text("not json", encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.roles["pad"] == "[SEP]", "as it is named there"
    assert tokenizer.roles["mask"] == "[MASK]", "a token that the vocabulary does not have is no role"
    assert tokenizer.context_length is None


def test_the_numbers_for_a_config_are_those_of_the_roles() -> None:
    assert dict(trained("bpe").token_ids) == {name: trained("bpe").id(token) for name, token in trained("bpe").roles.items()}
    assert set(dict(trained("wordpiece", "masked").token_ids)) == {"pad", "cls", "sep"}


def test_a_token_is_shown_as_people_read_it() -> None:
    tokenizer = trained("bpe")
    for text in ENGLISH:
        assert "".join(tokenizer.token(number) for number in tokenizer.encode(text)) == text
    pieces = [tokenizer.token(number) for number in tokenizer.encode("很好🙂鱻")]
    assert all("\ufffd" not in piece and piece for piece in pieces), "half a character is shown by its bytes"
    assert trained("wordpiece").token(trained("wordpiece").encode("好")[0]) == "好"
    assert tokenizer.token(10**6) == ""


@every_kind
def test_the_ends_of_sentences_are_known(kind: Kind, panel: Panel) -> None:
    tokenizer = trained(kind, panel)
    ends = tokenizer.sentence_ends()
    assert ends.dtype == bool and ends.shape == (tokenizer.vocab_size,)
    for text in ("order.", "散步吧！", "again!", "再来。"):
        assert ends[tokenizer.encode(text)[-1]], text
    for text in ("order", "散步", "again", "，", "A"):
        assert not ends[tokenizer.encode(text)[-1]], text
    assert not any(ends[number] for number in tokenizer.special_ids)


def test_a_fingerprint_changes_with_all_that_decides_how_a_text_is_cut() -> None:
    seen = [trained(kind, panel).fingerprint() for kind, panel in KINDS]
    seen += [trained("bpe", lowercase=True).fingerprint(), trained("bpe", size=400).fingerprint()]
    assert len(set(seen)) == len(seen)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("ab 中文很好。🙂", min_size=1, max_size=15), min_size=1, max_size=5).filter(lambda texts: "".join(texts).strip()))
def test_whatever_a_tokenizer_learnt_from_it_can_read(texts: list[str]) -> None:
    for kind, panel in KINDS[::2]:
        tokenizer: Any = Tokenizer.train(iter(texts), kind, 400, panel=panel)
        assert tokenizer.unknown_share(texts, Ledger()) == 0.0

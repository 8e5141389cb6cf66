"""Semantic roles from columns and JSON to arguments in the original text."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych.api import evaluate, finetune, guess_task, load, run
from diptych.errors import DataError
from diptych.evaluation.judges import judge_of
from diptych.evaluation.judges.roles import arguments
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.presets import create
from diptych.tasks import task_of_net
from diptych.tasks.role_texts import PREDICATE, RoleRow, read_roles
from diptych.tasks.roles import Framed, Roles, RolesSettings
from diptych.tasks.spans import Span
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer

PROPS = """# sent_id = 1
0	Anna	NNP	-	-	(ARG0*)	(ARG0*)
1	wants	VB	want	want.01	(V*)	*
2	to	TO	-	-	(ARG1*	*
3	get	VB	get	get.01	*	(V*)
4	New	NNP	-	-	*	(ARG1*
5	shoes	NNS	-	-	*)	*)

0	王小明	NR	-	-	(ARG0*)
1	昨天	NT	-	-	(ARGM-TMP*)
2	买	VV	买	买.01	(V*)
3	了	AS	-	-	*
4	书	NN	-	-	(ARG1*)

0	Yes	UH	-	-
1	🙂	SYM	-	-
"""


def props(folder: Path, text: str = PROPS, name: str = "a.props") -> tuple[list[RoleRow], Ledger]:
    (folder / name).write_text(text, encoding="utf-8")
    ledger = Ledger()
    return read_roles(str(folder / name), ledger), ledger


def said(row: RoleRow) -> list[tuple[str, list[tuple[str, str]]]]:
    text = row.texts[0]
    return [
        (text[f.predicate.start : f.predicate.stop], [(text[role.start : role.stop], role.label) for role in f.roles]) for f in row.frames
    ]


def test_columns_are_read_one_predicate_after_the_other(tmp_path: Path) -> None:
    rows, ledger = props(tmp_path)
    assert [row.texts[0] for row in rows] == ["Anna wants to get New shoes", "王小明昨天买了书", "Yes 🙂"]
    assert said(rows[0]) == [
        ("wants", [("Anna", "ARG0"), ("to get New shoes", "ARG1")]),
        ("get", [("Anna", "ARG0"), ("New shoes", "ARG1")]),
    ]
    assert said(rows[1]) == [("买", [("王小明", "ARG0"), ("昨天", "ARGM-TMP"), ("书", "ARG1")])] and said(rows[2]) == []
    assert ledger.count("table", "predicates read") == 3 and rows[1].where.endswith("line 9")


def test_json_says_the_same(tmp_path: Path) -> None:
    frames = [{"predicate": [3, 4], "roles": [[0, 3, "ARG0"], {"start": 5, "end": 6, "label": "ARG1"}]}]
    rows = read_roles([{"text": "王小明买了书", "frames": frames}], Ledger())
    assert said(rows[0]) == [("买", [("王小明", "ARG0"), ("书", "ARG1")])]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\tx\t(V*)\nb\tx\t(ARG1*\n", "E151"),
        ("a\tx\t(V*)\nb\tx\t*)\n", "E151"),
        ("\n\n", "E132"),
    ],
)
def test_broken_columns_are_an_error_that_says_where(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        props(tmp_path, text)
    assert caught.value.code == code and "a.props" in str(caught.value)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"text": "a b"}, "E144"),
        ({"text": "a b", "frames": ["x"]}, "E145"),
        ({"text": "a b", "frames": [{"predicate": [2, 9]}]}, "E145"),
        ({"text": "a b", "frames": [{"predicate": [0, 1], "roles": [[2, 9, "A0"]]}]}, "E145"),
        ({"text": "a b", "frames": [{"predicate": [0, 1], "roles": [["x"]]}]}, "E145"),
    ],
)
def test_broken_json_is_an_error(item: dict[str, Any], code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_roles([item], Ledger())
    assert caught.value.code == code


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[RoleRow]:
    return props(tmp_path_factory.mktemp("roles"))[0]


@pytest.fixture(scope="module")
def tokenizer(rows: list[RoleRow]) -> Tokenizer:
    return Tokenizer.train([row.texts[0] for row in rows] * 5, "wordpiece", 300, panel="masked")


@pytest.mark.parametrize("context", [64, 12])
def test_each_token_is_asked_once_a_predicate_which_is_marked_where_it_stands(
    rows: list[RoleRow], tokenizer: Tokenizer, context: int
) -> None:
    task = Roles(RolesSettings())
    examples = task.examples(rows, tokenizer, context, Ledger())
    batch = task.collate(examples, [Place(0, 0, number) for number in range(len(examples))])
    lengths = [len(tokenizer.encode(row.texts[0])) for row in rows]
    assert len(batch.targets["tags"].gold_M) == sum(length * (1 + len(row.frames)) for row, length in zip(rows, lengths, strict=True))
    assert max(batch.texts.lengths) <= context
    if context == 64:
        ids, types = batch.texts.ids_N.split(batch.texts.lengths), batch.texts.types_N.split(batch.texts.lengths)
        # The sentence by itself, then with "wants", then with "get": marked in it, and behind it.
        assert types[0].sum() == 0
        for number, word in ((1, "wants"), (2, "get")):
            piece = tokenizer.encode(word)
            assert ids[number][types[number] == 1].tolist() == [*piece, *piece, tokenizer.sep_id]
            assert ids[number].tolist() == tokenizer.frame(tokenizer.encode(rows[0].texts[0]), piece)[0]


def test_it_learns_predicates_and_roles_by_heart_and_a_folder_keeps_them(rows: list[RoleRow], tokenizer: Tokenizer, tmp_path: Path) -> None:
    task = Roles(RolesSettings())
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64, num_layers=2, context_length=64, dropout=0.0, seed=1)
    examples = task.examples(rows, tokenizer, 64, Ledger())
    task.prepare(net, 0)
    net.keep_heads(("tags",))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(120):
        batch = task.collate(examples, [Place(0, epoch, number) for number in range(len(examples))])
        loss = task.loss(task.forward(net, batch), batch)["tags"]
        (loss.total_B.sum() / loss.count_B.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    Model(net, tokenizer).save(tmp_path / "srl")
    model = load(tmp_path / "srl")
    assert isinstance(task_of_net(model.net), Roles)
    texts = [row.texts[0] for row in rows]
    for inputs in (texts, task.inputs(rows)):
        answers = model.predict(inputs)
        assert [tuple((f.predicate.key, tuple(r.key for r in f.roles)) for f in each.frames) for each in answers] == [r.gold for r in rows]
    judge = judge_of("roles")
    scores = judge.scores(task, rows, answers)
    assert scores["role F1"].value == 1 and "predicate F1" not in scores
    assert str(answers[1]) == "买: [王小明]ARG0 [昨天]ARGM-TMP [书]ARG1"
    assert answers[0].to_json()["frames"][1]["predicate"]["text"] == "get"
    assert model.predict(["", ("a", [])])[0] == Framed("", ())


def test_what_cannot_be_asked_is_an_error(rows: list[RoleRow], tokenizer: Tokenizer) -> None:
    task = Roles(RolesSettings(), ("O", "B-predicate", "I-predicate", "B-ARG0", "I-ARG0"))
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64)
    task.prepare(net, 0)
    for item, code in ((("a", "b"), "E153"), (5, "E153"), (("a b", [(0, 9)]), "E145"), (("a b", [3]), "E145")):
        with pytest.raises(DataError) as caught:
            list(task.predict(net, tokenizer, [item]))
        assert caught.value.code == code
    with pytest.raises(DataError) as caught:
        Roles(RolesSettings()).examples([rows[2]], tokenizer, 64, Ledger())
    assert caught.value.code == "E152"
    assert Roles(RolesSettings(predicates="found")).inputs(rows) == [row.texts[0] for row in rows]


def counted(gold: list[list[str]], found: list[list[str]]) -> tuple[int, int, int]:
    """(correct, excess, missed) as srl-eval.pl counts them: phrases of each column, C-X joined to the X before it, V left out."""

    def of(column: list[str]) -> set[tuple[str, tuple[int, ...]]]:
        phrases = []
        start = 0
        for at, cell in enumerate(column):
            if cell.startswith("("):
                start, label = at, cell[1:].split("*")[0]
            if cell.endswith(")"):
                phrases.append([label, list(range(start, at + 1))])
        whole: list[list[Any]] = []
        for label, words in phrases:
            owners = [each for each in whole if label.startswith("C-") and each[0] == label[2:]]
            if owners:
                owners[-1][1] += [-1, *words]
            else:
                whole.append([label, words])
        return {(label, tuple(words)) for label, words in whole if label != "V"}

    pairs = [(of(a), of(b)) for a, b in zip(gold, found, strict=True)]
    return sum(len(a & b) for a, b in pairs), sum(len(b - a) for a, b in pairs), sum(len(a - b) for a, b in pairs)


def test_arguments_are_counted_as_srl_eval_counts_them_on_a_thousand_fuzzed_columns(tmp_path: Path) -> None:
    draw = random.Random(0)

    def column(length: int, verb: int) -> list[str]:
        cells, at = ["*"] * length, 0
        while at < length:
            stop = min(at + draw.randint(1, 3), length, verb if at < verb else length)
            if at == verb:
                cells[at] = "(V*)"
                stop = at + 1
            elif draw.random() < 0.7:
                label = draw.choice(["ARG0", "ARG1", "C-ARG1", "C-ARG0", "R-ARG0", "ARGM-TMP"])
                cells[at] = f"({label}*"
                cells[stop - 1] += ")"
            at = stop
        return cells

    gold, found = [], []
    for _case in range(1000):
        length = draw.randint(2, 9)
        verb = draw.randrange(length)
        gold.append(column(length, verb))
        found.append([*gold[-1]] if draw.random() < 0.3 else column(length, verb))

    def read(columns: list[list[str]], name: str) -> list[RoleRow]:
        lines = ["\n".join(f"{number}\tw{number}\tX\t-\t-\t{cell}" for number, cell in enumerate(each)) for each in columns]
        return props(tmp_path, "\n\n".join(lines) + "\n", name)[0]

    right, given = read(gold, "gold.props"), read(found, "found.props")
    correct, excess, missed = counted(gold, found)
    scores = judge_of("roles").scores(None, right, [Framed(row.texts[0], row.frames) for row in given])
    assert scores["precision"].value == pytest.approx(correct / (correct + excess))
    assert scores["recall"].value == pytest.approx(correct / (correct + missed))
    assert scores["role F1"].value == pytest.approx(2 * correct / (2 * correct + excess + missed))


def test_a_continuation_belongs_to_the_argument_before_it() -> None:
    spans = [Span(0, 2, "ARG1"), Span(3, 4, "ARG0"), Span(5, 6, "C-ARG1"), Span(7, 8, "C-ARG2")]
    assert arguments(spans) == {("ARG1", ((0, 2), (5, 6))), ("ARG0", ((3, 4),)), ("C-ARG2", ((7, 8),))}


HEADS = """# newdoc id = a1
# sent_id = 1
1	王小明	_	_	NR	_	_	_	_	_	A0
2	昨天	_	_	NT	_	_	_	_	_	AM-TMP
3-4	买了	_	_	_	_	_	_	_	_	_
3	买	_	_	VV	_	_	_	Y	buy.01	_
4	了	_	_	AS	_	_	_	_	_	_
5	书	_	_	NN	_	_	_	_	_	A1

# newdoc id = a2
1	Anna	_	_	NNP	_	_	_	_	_	A0	A0
2	wants	_	_	VB	_	_	_	Y	want.01	_	_
3	shoes	_	_	NN	_	_	_	_	_	A1	_
3.1	now	_	_	RB	_	_	_	_	_	_	_
4	🙂	_	_	SYM	_	_	_	Y	smile.01	_	_

1	Yes	_	_	UH	_	_	_	_	_
"""


def test_roles_at_head_words_are_stretches_of_one_word(tmp_path: Path) -> None:
    rows, ledger = props(tmp_path, HEADS, "a.conllu")
    assert [row.texts[0] for row in rows] == ["王小明昨天买了书", "Anna wants shoes 🙂", "Yes"]
    assert said(rows[0]) == [("买", [("王小明", "A0"), ("昨天", "AM-TMP"), ("书", "A1")])]
    assert said(rows[1]) == [("wants", [("Anna", "A0"), ("shoes", "A1")]), ("🙂", [("Anna", "A0")])] and said(rows[2]) == []
    assert ledger.count("table", "sentences whose roles stand at head words") == 2
    assert guess_task(str(tmp_path / "a.conllu")) == "roles"
    grouped = read_roles(str(tmp_path / "a.conllu"), Ledger(), group="newdoc id")
    assert [row.group for row in grouped] == ["a1", "a2", "a2"]
    # The columns of CoNLL-2009 say the same four further on.
    wider = "\n".join(
        "\t".join([*line.split("\t")[:8], "_", "_", "_", "_", *line.split("\t")[8:]]) if "\t" in line else line
        for line in HEADS.split("\n")
    )
    assert [said(row) for row in props(tmp_path, wider, "b.conll")[0]] == [said(row) for row in rows]
    (tmp_path / "pos.conllu").write_text("1\tYes\t_\t_\tUH\t_\t_\t_\t_\t_\n", encoding="utf-8")
    assert guess_task(str(tmp_path / "pos.conllu")) == "tagging"
    with pytest.raises(DataError, match=r"E180.*document"):
        read_roles(str(tmp_path / "a.conllu"), Ledger(), group="document")


def test_roles_at_head_words_are_learnt_found_and_judged(tmp_path: Path) -> None:
    sentences = HEADS.strip() + "\n"
    (tmp_path / "train.conllu").write_text("\n\n".join([sentences.replace("昨天", f"昨{n}天") for n in range(6)]), encoding="utf-8")
    done = finetune(
        "bert-tiny",
        str(tmp_path / "train.conllu"),
        sizes={"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48},
        tokenizer={"kind": "characters", "vocab_size": 200},
        steps=120,
        lr=5e-3,
        precision="float32",
        predicates="found",
        duplicates="keep",
    )
    (framed,) = done.predict(["王小明昨1天买了书"])
    assert [frame.predicate.key for frame in framed.frames] == [(6, 7, PREDICATE)]
    assert [role.key for role in framed.frames[0].roles] == [(0, 3, "A0"), (3, 6, "AM-TMP"), (8, 9, "A1")]
    scores = evaluate(done, None, str(tmp_path / "train.conllu"))
    assert scores["role F1"].value > 0.9 and scores["role F1"].has_interval


def test_a_model_that_learnt_nothing_says_so(tmp_path: Path) -> None:
    text = (HEADS.strip() + "\n\n").replace("昨天", "昨{}天")
    (tmp_path / "train.conllu").write_text("".join(text.replace("{}", str(number)) for number in range(30)), encoding="utf-8")
    sizes = {"hidden_size": 16, "num_layers": 1, "head_size": 8, "context_length": 48}
    recipe = {
        "model": {"preset": "bert-tiny", "sizes": sizes, "tokenizer": {"kind": "characters", "vocab_size": 200}},
        "task": {"name": "roles", "data": str(tmp_path / "train.conllu"), "duplicates": "keep"},
        "train": {"steps": 1, "lr": 1e-9, "seed": 0},
        "run": {"precision": "float32", "out": str(tmp_path / "out")},
    }
    listener = Told()
    caveats = run(recipe, listener=listener).caveats
    assert any("Nothing that it marks is right" in caveat for caveat in caveats)
    assert any(re.match(r"\d+ rows to train, \d+ to stop by", each) for each in listener.texts)


class Told:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def tell(self, event: dict[str, Any]) -> None:
        if event["kind"] == "stage":
            self.texts.append(event["text"])

    def close(self) -> None:
        return


def test_the_targets_of_a_batch_are_tags_of_the_set(rows: list[RoleRow], tokenizer: Tokenizer) -> None:
    task = Roles(RolesSettings())
    examples = task.examples(rows, tokenizer, 64, Ledger())
    gold = np.concatenate([window.gold for window in examples.windows])
    assert task.tags[:3] == ("O", "B-predicate", "I-predicate") and gold.max() < len(task.tags)

"""Learning vectors of texts: what a pair costs beside sentence-transformers' losses, groups that no piece cuts, and tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import diptych as dt
from diptych.errors import DataError
from diptych.evaluation.judges import judge_of
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.tasks.embedding import Compared, Embedded, Embedding, EmbeddingSettings
from diptych.tasks.pair_tables import PairRow, read_pairs
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer
from diptych.training.regimes.regime import Plain

PAIRS = [
    ("how do I pay", "payment by card"),
    ("怎么付款？", "用银行卡付款"),
    ("where is my card 🙂", "the card is on its way\r\nplease wait"),
    ("卡丢了", "挂失后补发新卡"),
    ("what does it cost", "it is free"),
    ("要钱吗", "不要钱"),
]


def rows(*extra: str, grades: list[float] | None = None) -> list[PairRow]:
    return [PairRow((*pair, *extra), None if grades is None else grades[n], f"row {n}") for n, pair in enumerate(PAIRS)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([text for pair in PAIRS for text in pair], "characters", 300, panel="masked")


@pytest.fixture
def net(tokenizer: Tokenizer) -> Any:
    return create(
        "bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=32, num_layers=1, head_size=16, context_length=64, dropout=0.0
    ).eval()


def cost(task: Embedding, net: Any, tokenizer: Tokenizer, some: list[PairRow], places: int = 1) -> tuple[torch.Tensor, Any, Any]:
    examples = task.examples(some, tokenizer, 64, Ledger())
    task.prepare(net, 0)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(min(places, len(examples)))])
    outputs = task.forward(net, batch)
    return task.loss(outputs, batch)["sentence"].total_B, outputs, batch


def theirs(outputs: torch.Tensor, batch: Any) -> Callable[[Any, Any], float]:
    """The loss of sentence-transformers on the vectors of the only group."""
    group = batch.groups[0]
    size = group.num_asked
    parts = [outputs[group.first], outputs[group.others][:size]]
    if group.others.stop - group.others.start > size:
        parts.append(outputs[group.others][size:])
    return lambda loss, labels: float(loss.compute_loss_from_embeddings(parts, labels))


@pytest.fixture(scope="module")
def losses() -> Any:
    return pytest.importorskip("sentence_transformers.losses")


@pytest.mark.parametrize("extra", [(), ("it rains, 下雨了",)])
def test_contrast_is_the_loss_of_multiple_negatives(net: Any, tokenizer: Tokenizer, losses: Any, extra: tuple[str, ...]) -> None:
    total, outputs, batch = cost(Embedding(EmbeddingSettings()), net, tokenizer, rows(*extra))
    expected = theirs(outputs, batch)(losses.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0), None)
    assert float(total.sum()) / len(PAIRS) == pytest.approx(expected, rel=1e-5)


def test_grades_as_values_are_the_cosine_loss(net: Any, tokenizer: Tokenizer) -> None:
    grades = [0.0, 1.0, 2.0, 3.5, 5.0, 4.0]
    total, outputs, batch = cost(Embedding(EmbeddingSettings(objective="value")), net, tokenizer, rows(grades=grades))
    group = batch.groups[0]
    cosines = F.cosine_similarity(outputs[group.first], outputs[group.others])
    assert float(total.sum()) / 6 == pytest.approx(float(F.mse_loss(cosines, group.grades_P / 5)), rel=1e-5)


def test_the_order_of_two_pairs_is_cosent(net: Any, tokenizer: Tokenizer, losses: Any) -> None:
    total, outputs, batch = cost(Embedding(EmbeddingSettings()), net, tokenizer, rows(grades=[1, 4, 0, 0, 0, 0])[:2])
    # In theirs the larger grade comes with the label; a single comparison leaves nothing to add up in another way.
    model = torch.nn.Identity()
    expected = theirs(outputs, batch)(losses.CoSENTLoss(model, scale=20.0), batch.groups[0].grades_P)
    assert float(total.sum()) == pytest.approx(expected, rel=1e-5)


def test_the_order_of_many_pairs_against_a_plain_loop(net: Any, tokenizer: Tokenizer) -> None:
    total, outputs, batch = cost(Embedding(EmbeddingSettings(temperature=0.2)), net, tokenizer, rows(grades=[1, 4, 1, 0, 3, 4]))
    group = batch.groups[0]
    cosines = F.cosine_similarity(outputs[group.first], outputs[group.others]).double().tolist()
    grades = group.grades_P.tolist()
    expected = sum(np.log(1 + sum(np.exp((cosines[j] - cosines[i]) / 0.2) for j in range(6) if grades[j] < grades[i])) for i in range(6))
    assert float(total.sum()) == pytest.approx(expected, rel=1e-5)


def test_a_text_that_is_as_right_is_not_held_against_a_pair(net: Any, tokenizer: Tokenizer) -> None:
    same = [PairRow(("a", "b"), None, "1"), PairRow(("c", "b"), None, "2")]
    total, _outputs, _batch = cost(Embedding(EmbeddingSettings()), net, tokenizer, same)
    assert float(total.sum()) == 0.0


@pytest.mark.parametrize("grades", [None, [1.0, 4.0, 1.0, 0.0, 3.0, 4.0]])
def test_a_step_in_pieces_has_the_gradient_of_the_whole(net: Any, tokenizer: Tokenizer, grades: list[float] | None) -> None:
    task = Embedding(EmbeddingSettings(group_size=2))
    examples = task.examples(rows(grades=grades), tokenizer, 64, Ledger())
    task.prepare(net, 0)
    places = [Place(0, 1, index) for index in range(3)]
    found = []
    for pieces in ([places], [[place] for place in places]):
        net.zero_grad()
        result = Plain().step(net, task, [task.collate(examples, piece) for piece in pieces], (0, 0))
        found.append((result.loss, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6 * float(found[0][1].abs().max()) + 1e-9)


def test_every_epoch_shows_every_pair_once_in_other_groups(tokenizer: Tokenizer) -> None:
    examples = Embedding(EmbeddingSettings(group_size=2)).examples(rows() * 3, tokenizer, 64, Ledger())
    epochs = [[examples.pairs(Place(3, epoch, index)) for index in range(len(examples))] for epoch in range(2)]
    assert all(sorted(pair for group in groups for pair in group) == list(range(18)) for groups in epochs)
    assert epochs[0] != epochs[1] and {len(group) for group in epochs[0]} == {2}


def test_training_brings_partners_together(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
    pairs = [(f"{a} {n}", f"{b} {n}") for n in range(12) for a, b in (("cat", "dog"), ("猫", "狗"))]
    model = dt.finetune(
        "bert-tiny", pairs, task="embedding", steps=40, batch_size=2, group_size=8, lr=3e-3, dropout=0.0, sizes=sizes, out=tmp_path / "m"
    )
    found = model.finetuned  # type: ignore[attr-defined]
    assert {system.name for system in found.comparison.systems} >= {"bag of words", "TF-IDF"}
    again = dt.load(tmp_path / "m")
    assert (tmp_path / "m" / "1_Pooling" / "config.json").exists() and again.is_normalized
    assert torch.allclose(again.embed(["cat 3", "狗 4"]), model.embed(["cat 3", "狗 4"]), atol=1e-6)
    assert dt.evaluate(again, None, pairs)["found first"].value > 0.5
    (vector,) = again.predict("猫 3")
    assert isinstance(vector, Embedded) and len(vector.vector) == 32 and len(vector.to_json()["vector"]) == 32
    (pair,) = again.predict([("cat 3", "cat 3")])
    assert isinstance(pair, Compared) and pair.similarity == pytest.approx(1.0, abs=1e-5) and str(pair) == "1.0000"


def test_columns_are_guessed_from_names_and_from_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("sentence1,sentence2,score\n一只猫,一只狗,3.5\na cat,a dog,2\n,x,1\n", encoding="utf-8")
    ledger = Ledger()
    found, columns = read_pairs(str(path), ledger, {})
    assert [row.gold for row in found] == [3.5, 2.0] and columns["pair"] == "sentence2"
    assert ledger.count("table", "rows without a text, dropped") == 1
    triplets, _columns = read_pairs([("a", "b", "c"), ("猫", "狗", "车")], Ledger(), {})
    assert [row.texts for row in triplets] == [("a", "b", "c"), ("猫", "狗", "车")] and triplets[0].gold is None
    graded, _columns = read_pairs([("a", "b", 1), ("猫", "狗", 0.5)], Ledger(), {})
    assert [row.gold for row in graded] == [1.0, 0.5]
    assert read_pairs([("a", "b"), ("猫", "狗")], Ledger(), {})[0][1].texts == ("猫", "狗")


@pytest.mark.parametrize(
    ("table", "named", "code"),
    [
        ([], {}, "E132"),
        ([{"x": "a", "y": "b"}], {}, "E166"),
        ([{"text": "a", "text2": "b"}], {"pair": "txt2"}, "E133"),
        ([{"text": "a", "text2": "b", "score": "高"}], {"score": "score"}, "E168"),
    ],
)
def test_a_table_without_pairs_is_named(table: list, named: dict, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_pairs(table, Ledger(), named)
    assert caught.value.code == code


def test_one_pair_teaches_nothing(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError) as caught:
        Embedding(EmbeddingSettings()).examples(rows()[:1], tokenizer, 64, Ledger())
    assert caught.value.code == "E167"


def test_the_judge_counts_ties_by_half_and_passes_over_what_is_as_right() -> None:
    judge = judge_of("embedding")
    flat = [Compared(0.5, (np.ones(3), np.ones(3))) for _ in range(5)]
    alike = [PairRow((f"a{n}", f"b{n}"), None, "") for n in range(5)]
    assert judge.scores(None, alike, flat)["mean reciprocal rank"].value == pytest.approx(1 / 3), "the middle of five places"
    eye = np.eye(3)
    own = [Compared(1.0, (eye[n], eye[n])) for n in (0, 1, 1)]
    twice = [PairRow(("a", "x"), None, ""), PairRow(("b", "y"), None, ""), PairRow(("b", "z"), None, "")]
    assert judge.scores(None, twice, own)["found first"].value == 1.0

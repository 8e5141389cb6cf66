"""Answers in conversations: chrF and ROUGE-L to what was said, beside the answer to the most similar question.

There are many good answers, so likeness to one of them says little of how good an answer is; the loss on held-out turns, which
training and `evaluate` report, says how well the model knows what is said.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores
from diptych.evaluation.judges.judge import Simple
from diptych.evaluation.judges.seq2seq import Nearest
from diptych.evaluation.overlap import chrf_of, rouge_of
from diptych.messages import _
from diptych.tasks.conversations import Conversation
from diptych.tasks.seq2seq import Written


class NearestTalk(Nearest):
    """Gives the answer that followed the most similar last question."""

    def __init__(self, rows: Sequence[Conversation]) -> None:
        super().__init__([row.messages[-2][1] for row in rows], [row.gold for row in rows])

    def answers(self, inputs: Sequence[Any]) -> list[Written]:
        return super().answers([said if isinstance(said, str) else said[-1]["content"] for said in inputs])


class ChatJudge:
    pipeline = "text-generation"

    def counts(self, task: Any, rows: Sequence[Conversation], answers: Sequence[Written]) -> list[Counts]:
        found, gold = [each.text for each in answers], [row.gold for row in rows]
        return [chrf_of(found, gold), rouge_of(found, gold)[0]]

    def scores(self, task: Any, rows: Sequence[Conversation], answers: Sequence[Written]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Written) -> str:
        return answer.text

    def baselines(self, task: Any, rows: Sequence[Conversation]) -> Iterable[Simple]:
        yield NearestTalk(rows)

    def show(self, task: Any, rows: Sequence[Conversation], answers: Sequence[Written], comparison: Comparison) -> None:
        """Nothing is called a mistake: another answer may be as good."""

    def about(self, task: Any) -> str:
        return _("A model that was taught to converse with Diptych.")

    def caveats(self, task: Any, train: Sequence[Conversation], comparison: Comparison | None) -> list[str]:
        return [_("Likeness to the one answer that was given says little of how good an answer is: read some.")]

"""Written texts: BLEU and chrF of translations beside the nearest example, ROUGE of summaries beside the lead sentences."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores
from diptych.evaluation.judges.judge import Simple
from diptych.evaluation.overlap import bleu_of, chrf_of, rouge_of
from diptych.messages import _, mark
from diptych.tasks.parallel import WrittenRow
from diptych.tasks.seq2seq import Written
from diptych.text.words import is_wide, language_of, sentences


class Nearest:
    """Gives the target of the most similar source that it has seen, by character n-grams (TF-IDF, cosine)."""

    name = mark("nearest example")

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        start = time.perf_counter()
        self._targets = list(targets)
        self._vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
        self._matrix: Any = self._vectorizer.fit_transform(sources)
        self.seconds = time.perf_counter() - start
        self.size_bytes = int(self._matrix.data.nbytes + self._matrix.indices.nbytes) + sum(len(text.encode()) for text in targets)

    def answers(self, inputs: Sequence[str]) -> list[Written]:
        found: list[Written] = []
        for first in range(0, len(inputs), 64):
            asked: Any = self._vectorizer.transform(inputs[first : first + 64])
            best = np.asarray((self._matrix @ asked.T).argmax(axis=0)).flatten()
            found += [Written(self._targets[number]) for number in best.tolist()]
        return found


class Lead:
    """Gives the first sentences of a source, as many as are about as long as the training summaries."""

    name = mark("lead sentences")
    size_bytes = 0

    def __init__(self, targets: Sequence[str]) -> None:
        start = time.perf_counter()
        self._length = float(np.median([len(text) for text in targets]))
        self.seconds = time.perf_counter() - start

    def answers(self, inputs: Sequence[str]) -> list[Written]:
        return [Written(self._lead(text)) for text in inputs]

    def _lead(self, text: str) -> str:
        spans = sentences(text)
        if not spans:
            return text
        # One sentence at least; another one while it brings the length nearer to that of a summary.
        end = spans[0][1]
        for _start, stop in spans[1:]:
            if abs(stop - self._length) > abs(end - self._length):
                break
            end = stop
        return text[spans[0][0] : end]


class Seq2SeqJudge:
    pipeline = "text2text-generation"

    def counts(self, task: Any, rows: Sequence[WrittenRow], answers: Sequence[Written]) -> list[Counts]:
        found, gold = [each.text for each in answers], [row.target or "" for row in rows]
        if task.kind == "summary":
            return rouge_of(found, gold)
        whole = chrf_of(found, gold)
        names = list(dict.fromkeys(row.to for row in rows))
        bleus, chrfs = [], []
        for name in names:
            # Every score has a row for each example, so that systems stay paired; those of other languages count nothing.
            is_here = np.array([row.to == name for row in rows])
            here = [text for text, own in zip(gold, is_here, strict=True) if own]
            is_chinese = _is_chinese(here)
            label = f" → {name}" if len(names) > 1 else ""
            bleu = bleu_of(found, gold, is_chinese=is_chinese)
            bleus.append(Counts(f"{bleu.name}{label}", bleu.rows_NS * is_here[:, None], bleu.value))
            chrfs.append(Counts(f"{whole.name}{label}", whole.rows_NS * is_here[:, None], whole.value))
        return [*bleus, *chrfs] if len(names) == 1 else [whole, *bleus, *chrfs]

    def scores(self, task: Any, rows: Sequence[WrittenRow], answers: Sequence[Written]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Written) -> str:
        return answer.text

    def baselines(self, task: Any, rows: Sequence[WrittenRow]) -> Iterable[Simple]:
        sources, targets = [row.source for row in rows], [row.target or "" for row in rows]
        if task.kind == "summary":
            yield Lead(targets)
        yield Nearest(sources, targets)

    def show(self, task: Any, rows: Sequence[WrittenRow], answers: Sequence[Written], comparison: Comparison) -> None:
        wrong = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer.text != row.target]
        wrong.sort(key=lambda pair: -pair[1].log_probability)
        for row, answer in wrong[:12]:
            comparison.mistakes.append((row.source, row.target or "", answer.text, float(np.exp(answer.log_probability))))

    def about(self, task: Any) -> str:
        if task.kind == "summary":
            return _("A model that was trained with Diptych to write summaries.")
        names = " – ".join(task.settings.languages or ()) or "–"
        return _("A model that was trained with Diptych to translate or rewrite texts: {names}.").format(names=names)

    def caveats(self, task: Any, train: Sequence[WrittenRow], comparison: Comparison | None) -> list[str]:
        said = comparison.main.predicted if comparison is not None else []
        if len(said) >= 10 and len(set(said)) <= len(said) // 10:
            return [_("It writes nearly the same whatever it is given: it has learnt the language, not the task. Train it longer.")]
        return []


def _is_chinese(texts: Sequence[str]) -> bool:
    sample = "".join(texts[:200])
    return language_of(sample) == "zh" or 4 * sum(map(is_wide, sample)) > len(sample)

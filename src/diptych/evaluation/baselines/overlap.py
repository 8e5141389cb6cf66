"""Answering without reading: the sentence that shares the rarest words with the question, and the words beside them."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

from diptych.messages import mark
from diptych.tasks.answering import Answer
from diptych.tasks.questions import QuestionRow
from diptych.text.words import sentences, word_list, words


class WordOverlap:
    """Finds the sentence whose words weigh most against the question's (TF-IDF), and in it the rarest run of other words.

    The run is as long as half of the answers that were trained on; where these are sentences, it is the sentence. It never says
    that there is no answer.
    """

    name = mark("word overlap")

    def __init__(self, rows: Sequence[QuestionRow]) -> None:
        start = time.perf_counter()
        contexts = {row.texts[1] for row in rows}
        counts = Counter(word for context in contexts for word in set(word_list(context)))
        self._rarity = {word: math.log((1 + len(contexts)) / (1 + count)) for word, count in counts.items()}
        self._rarest = math.log(1 + len(contexts))
        lengths = [len(words(answer)) for row in rows for answer in row.gold or ()]
        self._length = max(1, round(median(lengths))) if lengths else 1
        self.seconds = time.perf_counter() - start
        self.size_bytes = sum(len(word.encode()) + 8 for word in self._rarity)

    def answers(self, inputs: Sequence[tuple[str, str]]) -> list[Answer]:
        return [self._answer(*each) for each in inputs]

    def _answer(self, question: str, context: str) -> Answer:
        asked = set(word_list(question))
        spans = sentences(context)
        if not spans:
            return Answer("", None, None, 1.0)
        start, stop = max(spans, key=lambda span: self._weight(set(word_list(context[slice(*span)])) & asked))
        found = words(context[start:stop])
        if len(found) > self._length:
            runs = [found[at : at + self._length] for at in range(len(found) - self._length + 1)]
            run = max(runs, key=lambda run: self._weight({context[start + first : start + last].lower() for first, last in run} - asked))
            start, stop = start + run[0][0], start + run[-1][1]
        return Answer(context[start:stop], start, stop, 1.0)

    def _weight(self, found: set[str]) -> float:
        # In order, so that the sum does not depend on how a set is hashed.
        return sum(self._rarity.get(word, self._rarest) for word in sorted(found))

"""An n-gram model with modified Kneser-Ney smoothing (Chen and Goodman 1999, section 3): what counting alone makes of a language.

It reads a language model's own tokens, so its bits per byte of a text are comparable with the model's. The probability of a token is
interpolated over all orders, the lowest with the uniform distribution, so that every token has one and they sum to one.

Grams are numbered exactly, order by order, by sorting in numpy: no hashing, and a million tokens take a second or two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.evaluation.intervals import Scores, language_scores
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.shards import TokenShards

# Shapes: N tokens in a row, G different grams of an order, C different contexts of an order.

NAME = mark("5-gram, Kneser-Ney")
MOST_TOKENS = 2_000_000
"""It is counted from whole documents up to so many tokens, in memory."""
USUAL_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where counts of one to four do not all occur, as in very small texts, and discounts cannot be estimated."""


@dataclass
class _Order:
    """The grams of one length: a context of one token less, and the token after it."""

    contexts: np.ndarray
    """Sorted keys of the contexts, [C]: (number of the context that is shorter by its first token, that token)."""
    grams: np.ndarray
    """Sorted keys of the grams, [G]: (number of the context, token)."""
    kept: np.ndarray
    """What is left of each gram's count when the discount is taken off, over the context's total: [G]."""
    passed_on: np.ndarray
    """The share of each context that goes to the next lower order: [C]."""


class KneserNey:
    """Fitted on documents of tokens.

    Args:
        documents: token ids of each document, each read from its beginning.
        vocab_size: how many tokens there are; those that were never seen get their share too.
        order: how many tokens a gram has at most.
    """

    def __init__(self, documents: Sequence[np.ndarray], vocab_size: int, order: int = 5) -> None:
        self.vocab_size, self.order = vocab_size, order
        history_NK, token_N = _rows(documents, order, vocab_size)
        context_NK, contexts = _numbered(history_NK, vocab_size)
        self._orders: list[_Order] = []
        longer: np.ndarray | None = None
        for number in reversed(range(order)):
            keys = context_NK[number] * (vocab_size + 1) + token_N
            grams, first, gram_N = np.unique(keys, return_index=True, return_inverse=True)
            # The longest grams count how often they stand; the shorter ones how many different tokens stand before them.
            counts = np.bincount(gram_N if longer is None else gram_N[longer], minlength=len(grams))
            longer = first
            self._orders.append(_smoothed(contexts[number], grams, counts, vocab_size))
        self._orders.reverse()

    def nats(self, document: np.ndarray) -> np.ndarray:
        """-log of the probability of each token of a document, from the tokens before it: [N]."""
        history_NK, token_N = _rows([document], self.order, self.vocab_size)
        return -np.log(self.probabilities(history_NK, token_N))

    def probabilities(self, history_NK: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """How probable each token is after its history.

        Args:
            history_NK: the `order` - 1 tokens before, the nearest first; `vocab_size` stands for the beginning of a document.
        """
        chances_N = np.full(len(token_N), 1.0 / self.vocab_size)
        context_N = np.zeros(len(token_N), dtype=np.int64)
        for number, order in enumerate(self._orders):
            if number:
                keys = context_N * (self.vocab_size + 1) + history_NK[:, number - 1]
                context_N = np.where(context_N >= 0, _found(order.contexts, keys), -1)
            gram_N = _found(order.grams, context_N * (self.vocab_size + 1) + token_N)
            is_known = context_N >= 0
            own_N = np.where(is_known & (gram_N >= 0), order.kept[gram_N], 0.0)
            # A context that was never seen leaves all to the shorter one.
            chances_N = np.where(is_known, own_N + order.passed_on[context_N] * chances_N, chances_N)
        return chances_N


def ngram_scores(train: TokenShards, held_out: TokenShards, vocab_size: int, ledger: Ledger) -> Scores:
    """What an n-gram model of the training text scores on the held-out documents, by their tokens after the first, which begins them.

    The ledger says how many tokens it was counted from; more than `MOST_TOKENS` it does not take.
    """
    last = max(1, int(np.searchsorted(train.borders, MOST_TOKENS, "right")) - 1)
    model = KneserNey([train.document(number) for number in range(last)][: train.num_documents], vocab_size)
    ledger.add("n-gram", "tokens that it was counted from", int(train.borders[min(last, train.num_documents)]), total=train.num_tokens)
    costs = [model.nats(held_out.document(number))[1:] for number in range(held_out.num_documents)]
    nats, counts = np.array([each.sum() for each in costs]), np.array([len(each) for each in costs], dtype=float)
    return language_scores(nats, counts, held_out.text_bytes.astype(float))


def _rows(documents: Sequence[np.ndarray], order: int, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens before each token, the nearest first, and the tokens: [N, order - 1] and [N]."""
    histories, tokens = [], []
    for document in documents:
        padded = np.concatenate([np.full(order - 1, begin, dtype=np.int64), np.asarray(document, dtype=np.int64)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, order) if len(padded) >= order else np.zeros((0, order), np.int64)
        histories.append(windows[:, -2::-1] if order > 1 else windows[:, :0])
        tokens.append(windows[:, -1])
    if not documents:
        return np.zeros((0, order - 1), np.int64), np.zeros(0, np.int64)
    return np.concatenate(histories), np.concatenate(tokens)


def _numbered(history_NK: np.ndarray, vocab_size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For contexts of no token, one, two …: the number of each place's context, and the sorted keys by which they are found."""
    numbers, keys = [np.zeros(len(history_NK), np.int64)], [np.zeros(1, np.int64)]
    for column in history_NK.T:
        known, number_N = np.unique(numbers[-1] * (vocab_size + 1) + column, return_inverse=True)
        numbers.append(number_N)
        keys.append(known)
    return numbers, keys


def _smoothed(contexts: np.ndarray, grams: np.ndarray, counts: np.ndarray, vocab_size: int) -> _Order:
    """Discounts by Chen and Goodman's equation 26, and what they leave to the lower order."""
    seen = [int((counts == times).sum()) for times in range(1, 5)]
    discounts = USUAL_DISCOUNTS
    if all(seen):
        y = seen[0] / (seen[0] + 2 * seen[1])
        estimated = tuple(times - (times + 1) * y * seen[times] / seen[times - 1] for times in (1, 2, 3))
        # A discount above the count, or a negative one, is an accident of a small text.
        if all(0 < each <= times for times, each in enumerate(estimated, 1)):
            discounts = estimated
    taken = np.array((0.0, *discounts))[np.minimum(counts, 3)]
    context_G = grams // (vocab_size + 1)
    totals = np.bincount(context_G, counts, minlength=len(contexts))
    passed = np.bincount(context_G, taken, minlength=len(contexts))
    safe = np.maximum(totals, 1)
    return _Order(contexts, grams, (counts - taken) / safe[context_G], np.where(totals > 0, passed / safe, 1.0))


def _found(sorted_keys: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where each key stands among the sorted ones, -1 where it does not."""
    places = np.minimum(np.searchsorted(sorted_keys, keys), max(0, len(sorted_keys) - 1))
    return np.where(sorted_keys[places] == keys, places, -1) if len(sorted_keys) else np.full(len(keys), -1)

"""What is explained: one answer of a model to one text, as a number that goes up when the answer becomes more probable.

The number is the log-odds of the answer, log p/(1 - p): of a class, of the tag of a stretch, of a next or a hidden token, of the
beginning and the end of an answer. Asked why A rather than B it is log p(A)/p(B). A grade is its own number, and a text that was
written has the mean log-probability of its tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.config import nearest
from diptych.errors import UsageError
from diptych.explain.reading import Reading, checked, find_stretch, read_framed, read_long
from diptych.messages import _
from diptych.packed import Packed
from diptych.tasks import task_of_net
from diptych.tasks.answering import LOWEST
from diptych.tasks.blanks import frame_blanks
from diptych.tasks.head_task import ask
from diptych.tasks.spans import OUTSIDE, encode_places
from diptych.text.tokenizer import Tokenizer

# Shapes: B texts, N tokens of all, P places that are asked, C classes or tokens of the vocabulary.

Scale = Literal["odds", "number", "nats"]


@dataclass(frozen=True)
class Question:
    """One answer to one text.

    Attributes:
        head: which head of the network answers.
        chosen: the classes that the answer is made of; others: those that it is weighed against, None for all the rest, () for
            nothing: a label that stands for itself, or a grade.
        places: the tokens at which it is asked, which are never taken out; none for a whole text.
        shift: how far from them it is asked: a hybrid says what a blank hides one place before it.
        at_end: whether it is asked at the last token, whichever that is: what comes next.
        can_shorten: whether a text stays one that can be asked when tokens are taken out; where a place is asked about, what is
            taken away leaves a blank.
        scale: what the number is, see above.
    """

    reading: Reading
    head: str
    answer: str
    chosen: tuple[int, ...]
    others: tuple[int, ...] | None = None
    against: str | None = None
    places: tuple[int, ...] = ()
    shift: int = 0
    at_end: bool = False
    can_shorten: bool = True
    scale: Scale = "odds"
    is_causal: bool | None = None
    windows: tuple[tuple[int, ...], ...] = ()
    """Of a text that is longer than the context, the tokens of each window; the answer is the mean of their logits."""

    def score(self, net: Any, texts: Packed, at_BP: Tensor) -> Tensor:
        """The number for each of some variants of the text: [B].

        Args:
            at_BP: where it is asked, in the flat row; without columns where a whole text is.
        """
        hidden_ND = net.hidden(texts)
        if not at_BP.shape[1]:
            every = torch.arange(texts.num_texts, device=hidden_ND.device)
            return self.weighed(ask(net, self.head, hidden_ND, texts, every).logits().float())
        logits_MC = ask(net, self.head, hidden_ND, texts, at_BP.flatten()).logits().float()
        return self.weighed(logits_MC).view(at_BP.shape).mean(-1)

    def weighed(self, logits_MC: Tensor) -> Tensor:
        """The number that some logits of the head make: [M]."""
        for_M = logits_MC[:, list(self.chosen)].logsumexp(-1)
        if self.others is None:
            rest_MC = logits_MC.index_fill(-1, torch.tensor(self.chosen, device=logits_MC.device), -torch.inf)
            return for_M - rest_MC.logsumexp(-1)
        return for_M - logits_MC[:, list(self.others)].logsumexp(-1) if self.others else for_M

    def chance(self, scores: Any) -> Any:
        """Scores as what a person reads: probabilities, or the numbers that they are."""
        scores = np.asarray(scores, dtype=np.float64)
        if self.scale == "odds":
            return 0.5 * (1.0 + np.tanh(0.5 * scores))
        return np.exp(scores) if self.scale == "nats" else scores


@dataclass(frozen=True)
class AnswerQuestion(Question):
    """Why an answer begins and ends where it does: the mean log-odds of the two places among all tokens of the text."""

    def score(self, net: Any, texts: Packed, at_BP: Tensor) -> Tensor:
        logits_BT2 = texts.pad(net.heads["span"](net.hidden(texts))).float()
        is_real_BT = texts.pad(torch.ones_like(texts.ids_N, dtype=torch.bool))
        logits_BT2 = logits_BT2.masked_fill(~is_real_BT[..., None], LOWEST)
        at_BP = at_BP - texts.starts_B[:, None]
        scores = []
        for side in (0, 1):
            logits_BT, at_B1 = logits_BT2[..., side], at_BP[:, side : side + 1]
            rest_BT = logits_BT.scatter(1, at_B1, -torch.inf)
            scores.append(logits_BT.gather(1, at_B1)[:, 0] - rest_BT.logsumexp(-1))
        return torch.stack(scores).mean(0)


@dataclass(frozen=True)
class WritingQuestion(Question):
    """Why an encoder-decoder writes this text: the mean log-probability of its tokens, given the source."""

    written: tuple[int, ...] = field(default=())
    """The decoder's start token, and the tokens after it."""

    def score(self, net: Any, texts: Packed, at_BP: Tensor) -> Tensor:
        size = len(self.written) - 1
        written = torch.tensor(self.written, device=texts.ids_N.device)
        many = texts.num_texts
        asked = Packed(written[:-1].repeat(many), (size,) * many, source=texts)
        answers = ask(net, "lm", net.hidden(asked), asked, torch.arange(size * many, device=written.device))
        return -answers.nats(written[1:].repeat(many)).float().view(many, size).mean(-1)


def question_of(
    net: Any, tokenizer: Tokenizer, given: Any, *, label: str | None = None, against: str | None = None, of: Any = None
) -> Question:
    """What a network answers to a text, ready to be explained.

    Args:
        given: a text, a pair of texts, or (question, text) where the model answers questions.
        label: the answer to explain; None for the one that the model gives.
        against: another answer: why the one rather than the other.
        of: where a model marks stretches, which one; None for the one that it is surest of.

    Raises:
        UsageError E801: there is no text. E802: there is no such label. E803: the text is too long. E804: the stretch is not in
            the text. E807: the model marks nothing in it. E808: a word is no single token. E809: nothing here answers. E816: this kind of
            answer takes no such option. DataError E150: (question, text) was needed.
    """
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not any(text.strip() for text in texts):
        raise UsageError("E801")
    task = task_of_net(net)
    name = task.name if task is not None else ""
    if name != "tagging":
        _refuse(of=of)
    if name == "classification":
        return _of_class(net, tokenizer, task, texts, label, against)
    if name == "tagging":
        return _of_tag(net, tokenizer, task, texts, label, against, of)
    if name == "answering":
        _refuse(label=label, against=against)
        return _of_answer(net, tokenizer, task, given)
    if "lm" not in net.heads or name not in ("", "chat", "seq2seq"):
        raise UsageError("E809", heads=", ".join(net.heads) or _("none"))
    if net.config.is_encoder_decoder:
        _refuse(against=against)
        return _of_writing(net, tokenizer, texts, label)
    return _of_token(net, tokenizer, "".join(texts), label, against)


def _of_class(net: Any, tokenizer: Tokenizer, task: Any, texts: tuple[str, ...], label: str | None, against: str | None) -> Question:
    limit = min(net.config.context_length, task.settings.max_length or net.config.context_length)
    reading, windows = read_long(texts, tokenizer, limit, is_cut=task.settings.long == "cut")
    labels, kind = tuple(task.labels), net.config.label_kind
    if kind == "graded":
        _refuse(label=label, against=against)
        return Question(reading, "classes", _("grade"), (0,), (), scale="number", windows=windows)
    if label is not None:
        chosen = _number(label, labels)
    else:
        parts = [reading.only(window) for window in windows] or [reading]
        logits_C = torch.stack([_logits(net, "classes", part)[0] for part in parts]).mean(0)
        free = [number for number, name in enumerate(labels) if name != against] or [0]
        chosen = max(free, key=lambda number: float(logits_C[number]))
    if against is not None:
        others: tuple[int, ...] | None = (_number(against, labels),)
        if others == (chosen,):
            known = ", ".join(each for each in labels if each != labels[chosen])
            raise UsageError("E802", label=against, known=known, hint="")
    else:
        others = () if kind == "several" or len(labels) == 1 else None
    return Question(reading, "classes", labels[chosen], (chosen,), others, against, windows=windows)


def _of_tag(net: Any, tokenizer: Tokenizer, task: Any, texts: tuple[str, ...], label: str | None, against: str | None, of: Any) -> Question:
    reading = read_framed(texts, tokenizer, net.config.context_length)
    tags = tuple(task.tags)
    kinds = (*tuple(dict.fromkeys(tag[2:] for tag in tags if tag != OUTSIDE)), OUTSIDE)
    spans = next(iter(task.predict(net, tokenizer, [texts[0]]))).spans
    if of is None:
        fitting = [span for span in spans if label in (None, span.label)]
        if not fitting:
            raise UsageError("E807")
        best = max(fitting, key=lambda span: span.probability)
        start, stop, label = best.start, best.stop, best.label
    else:
        _part, start, stop = find_stretch(reading, of)
    places = reading.tokens_of(0, start, stop)
    logits_PC = _logits(net, "tags", reading)[list(places)]
    by_kind = {each: float(logits_PC[:, _tags_of(each, tags)].logsumexp(-1).sum()) for each in kinds if each != against}
    kind = label or max(by_kind, key=by_kind.__getitem__)
    for each in (kind, against):
        if each is not None and each not in kinds:
            raise UsageError("E802", label=each, known=", ".join(kinds), hint=nearest(each, kinds))
    others = None if against is None else tuple(_tags_of(against, tags))
    answer = f"{texts[0][start:stop]}: {kind if kind != OUTSIDE else _('nothing')}"
    return Question(reading, "tags", answer, tuple(_tags_of(kind, tags)), others, against, places, can_shorten=False)


def _of_answer(net: Any, tokenizer: Tokenizer, task: Any, given: Any) -> Question:
    answer = next(iter(task.predict(net, tokenizer, [given])))
    reading = read_framed(given, tokenizer, net.config.context_length)
    if answer.start is None:
        # That there is none, is said by the token before all text.
        return AnswerQuestion(reading, "span", _("no answer"), (), places=(0, 0), can_shorten=False)
    tokens = reading.tokens_of(1, answer.start, answer.end)
    return AnswerQuestion(reading, "span", answer.text, (), places=(tokens[0], tokens[-1]), can_shorten=False)


def _of_token(net: Any, tokenizer: Tokenizer, text: str, label: str | None, against: str | None) -> Question:
    """The token behind a blank, or the next one."""
    mask = tokenizer.mask_id
    is_blank = net.config.fills and mask is not None and tokenizer.token(mask) in text
    if not is_blank and not net.config.writes:
        raise UsageError("E607", mask=tokenizer.token(mask) if mask is not None else "[MASK]")
    reading = read_blank(net, tokenizer, text) if is_blank else read_prompt(net, tokenizer, text)
    mask_at = int(np.flatnonzero(reading.ids == mask)[0]) if is_blank else 0
    shift = -1 if is_blank and net.config.is_hybrid else 0
    is_causal = None if is_blank else True
    if label is None:
        logits_V = _logits(net, "lm", reading, is_causal, mask_at + shift if is_blank else len(reading.ids) - 1)[0]
        if against is not None:
            logits_V[_token(tokenizer, against)] = -torch.inf
        chosen = int(logits_V.argmax())
    else:
        chosen = _token(tokenizer, label)
    others = None if against is None else (_token(tokenizer, against),)
    token = tokenizer.token(chosen)
    places = (mask_at,) if is_blank else ()
    return Question(
        reading, "lm", token.strip() or repr(token), (chosen,), others, against, places, shift, at_end=not is_blank, is_causal=is_causal
    )


def _of_writing(net: Any, tokenizer: Tokenizer, texts: tuple[str, ...], label: str | None) -> Question:
    from diptych.generation.decode import decode
    from diptych.generation.sampling import Sampling
    from diptych.generation.writing import Writing

    reading = read_framed(texts, tokenizer, net.config.context_length)
    if tokenizer.cls_id is None and tokenizer.eos_id is not None:
        reading = Reading(reading.texts, np.append(reading.ids, tokenizer.eos_id), np.append(reading.types, 0), (*reading.spans, None))
    start = net.config.decoder_start_id
    if label is None:
        ends = frozenset(token for token in (tokenizer.eos_id, tokenizer.sep_id) if token is not None)
        answer = Writing([start], reading.ids.tolist())
        for _step in decode(net, [answer], Sampling(temperature=0.0), max_new_tokens=64, ends=ends):
            pass
        tokens = answer.tokens
    else:
        tokens = tokenizer.encode(label)
    written = (start, *tokens)
    if len(written) < 2:
        raise UsageError("E807")
    return WritingQuestion(reading, "lm", tokenizer.decode(tokens), (), scale="nats", written=written)


def read_prompt(net: Any, tokenizer: Tokenizer, text: str) -> Reading:
    """A text that is gone on from, after the token that begins a document."""
    begin = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.sep_id
    ((ids, places),) = encode_places([text], tokenizer)
    head = [] if begin is None else [begin]
    spans = (*(None for _begin in head), *((0, *place) for place in places))
    ids = head + ids
    return checked(Reading((text,), np.asarray(ids, np.int64), np.zeros(len(ids), np.int64), spans), net.config.context_length)


def read_blank(net: Any, tokenizer: Tokenizer, text: str) -> Reading:
    """A text with blanks, as it is filled."""
    ids, types, places = frame_blanks(text, tokenizer, is_hybrid=net.config.is_hybrid)
    spans = tuple(None if place is None else (0, *place) for place in places)
    return checked(Reading((text,), np.asarray(ids, np.int64), np.asarray(types, np.int64), spans), net.config.context_length)


def _refuse(**options: Any) -> None:
    """
    Raises:
        UsageError E816: one of these was given, and would do nothing.
    """
    for name, value in options.items():
        if value is not None:
            raise UsageError("E816", option=name)


def _token(tokenizer: Tokenizer, word: str) -> int:
    """The one token that a word is, behind a space where that makes it one."""
    for text in (f" {word}", word):
        ids = tokenizer.encode(text)
        if len(ids) == 1 and ids[0] != tokenizer.unk_id:
            return ids[0]
    pieces = [tokenizer.token(each) for each in tokenizer.encode(word)]
    raise UsageError("E808", word=word, pieces=" ".join(pieces) or "–")


def _number(label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        raise UsageError("E802", label=label, known=", ".join(labels), hint=nearest(label, labels))
    return labels.index(label)


def _tags_of(kind: str, tags: Sequence[str]) -> list[int]:
    return [number for number, tag in enumerate(tags) if tag == kind or (tag != OUTSIDE and tag[2:] == kind)]


def _logits(net: Any, head: str, reading: Reading, is_causal: bool | None = None, place: int | None = None) -> Tensor:
    """What a head says of the text: [1, C] of the whole text or at `place`, [T, C] at all of them."""
    device = next(net.parameters()).device
    texts = Packed(torch.from_numpy(reading.ids), (len(reading.ids),), torch.from_numpy(reading.types), is_causal).to(device)
    count = 1 if head == "classes" else len(reading.ids)
    at = torch.arange(count, device=device) if place is None else torch.tensor([place], device=device)
    net.eval()
    with torch.inference_mode():
        return ask(net, head, net.hidden(texts), texts, at).logits().float().clone()

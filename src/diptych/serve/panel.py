"""The understanding panel: blanks filled in, texts judged, marked, compared and explained. One small JSON shape each.

`model` is optional everywhere: left out, the first that can do it is asked.
"""

from typing import Any

import numpy as np

from diptych.errors import UsageError
from diptych.messages import _
from diptych.serve.bodies import AnswerBody, DetokenizeBody, ExplainBody, FillBody, RerankBody, TextBody, TextsBody
from diptych.serve.desk import Caller, Desk
from diptych.serve.shelf import Served
from diptych.tasks.answers import Grade, Prediction, SeveralLabels


async def fill(desk: Desk, caller: Caller, body: FillBody) -> dict[str, Any]:
    """The most probable tokens for each blank, and the text with the first of each in its place."""
    served, text = desk.shelf.find(body.model, "fill"), body.text
    places = await desk.do(caller, lambda: served.model.fill(text, body.top))
    tokenizer = served.model.tokenizer
    blanks = [
        {"choices": [{"token": each.token, "text": _bare(served, each.id), "probability": each.probability} for each in place]}
        for place in places
    ]
    parts = text.split(tokenizer.token(tokenizer.mask_id))
    firsts = [blank["choices"][0]["text"] for blank in blanks] + [""]
    return {"blanks": blanks, "text": "".join(part + first for part, first in zip(parts, firsts, strict=False)), "model": served.name}


async def classify(desk: Desk, caller: Caller, body: TextsBody) -> dict[str, Any]:
    """The label of each text, how probable it is, and how probable all are; of a model that grades, the grade."""
    served = desk.shelf.find(body.model, "classify")
    found = await _predicted(desk, caller, served, list(body.texts))
    return {"answers": [_judged(each) for each in found], "model": served.name}


async def tag(desk: Desk, caller: Caller, body: TextsBody) -> dict[str, Any]:
    """The stretches that are marked in each text; places count characters (code points)."""
    served, texts = desk.shelf.find(body.model, "tag"), list(body.texts)
    found = await _predicted(desk, caller, served, texts)
    answers = [
        {"spans": [{**span.to_json(), "text": text[span.start : span.stop]} for span in each.spans]}
        for text, each in zip(texts, found, strict=True)
    ]
    return {"answers": answers, "model": served.name}


async def answer(desk: Desk, caller: Caller, body: AnswerBody) -> dict[str, Any]:
    """The stretch of the context that answers the question; an empty text where it holds no answer."""
    served = desk.shelf.find(body.model, "answer")
    (found,) = await _predicted(desk, caller, served, [(body.question, body.context)])
    return {"text": found.text, "start": found.start, "end": found.end, "probability": found.probability, "model": served.name}


async def rerank(desk: Desk, caller: Caller, body: RerankBody) -> dict[str, Any]:
    """The documents by how near their vectors come to the query's (cosine), the nearest first."""
    served = desk.shelf.find(body.model, "rerank")
    texts = [body.query, *body.documents]
    desk.check_read(sum(map(len, served.model.tokenizer.encode_batch(texts))))
    vectors = await desk.do(caller, lambda: served.model.embed(texts, normalize=True).float().cpu().numpy())
    scores = vectors[1:] @ vectors[0]
    order = np.argsort(-scores, kind="stable")[: body.top_n]
    results = [
        {"index": int(number), "relevance_score": float(scores[number]), "document": {"text": texts[number + 1]}} for number in order
    ]
    return {"results": results, "model": served.name}


async def rewrite(desk: Desk, caller: Caller, body: TextBody, verb: str) -> dict[str, Any]:
    """What an encoder-decoder makes of a text: its translation, or its summary."""
    served, text = desk.shelf.find(body.model, verb), body.text
    desk.check_read(len(served.model.tokenizer.encode(text)))

    def run() -> str:
        if "seq2seq" in dict(served.model.config.task).values():
            return str(served.model.predict([text])[0].text)
        return str(served.model.generate(text, 128, temperature=0))

    return {"text": await desk.do(caller, run), "model": served.name}


async def explain(desk: Desk, caller: Caller, body: ExplainBody) -> dict[str, Any]:
    """Why the model answers so: a number for each word, and how far that can be trusted."""
    served = desk.shelf.find(body.model, "explain")
    given = body.text if isinstance(body.text, str) else (body.text[0], body.text[1])
    options = {"label": body.target, "method": body.method}
    chosen = {name: value for name, value in options.items() if value is not None}
    found = await desk.do(caller, lambda: served.model.explain(given, **chosen).to_json())
    return {**found, "model": served.name}


def tokenize(desk: Desk, body: TextBody) -> dict[str, Any]:
    """The tokens of a text, without special ones, and what each is called."""
    served = desk.shelf.find(body.model, "tokenize")
    ids = served.model.tokenizer.encode(body.text)
    return {"tokens": ids, "pieces": [served.model.tokenizer.token(token) for token in ids], "model": served.name}


def detokenize(desk: Desk, body: DetokenizeBody) -> dict[str, Any]:
    """The text of some tokens."""
    served = desk.shelf.find(body.model, "tokenize")
    size = served.model.tokenizer.vocab_size
    if any(token >= size for token in body.tokens):
        problem = _("the vocabulary has {size} tokens").format(size=size)
        raise UsageError("E659", key="tokens", value=max(body.tokens), problem=problem)
    return {"text": served.model.tokenizer.decode(body.tokens), "model": served.name}


async def _predicted(desk: Desk, caller: Caller, served: Served, inputs: list[Any]) -> list[Any]:
    texts = [text for each in inputs for text in ([each] if isinstance(each, str) else each)]
    desk.check_read(sum(map(len, served.model.tokenizer.encode_batch(texts))))
    return await desk.do(caller, lambda: served.model.predict(inputs))


def _judged(found: Any) -> dict[str, Any]:
    if isinstance(found, Prediction):
        return {"label": found.label, "probability": found.probability, "scores": dict(found.probabilities)}
    if isinstance(found, SeveralLabels):
        best = max(found.probabilities, key=found.probabilities.__getitem__, default=None)
        chance = found.probabilities[best] if best is not None else None
        return {"label": best, "probability": chance, "scores": dict(found.probabilities), "labels": list(found.labels)}
    assert isinstance(found, Grade)
    return {"label": None, "probability": None, "scores": {}, "grade": found.value}


def _bare(served: Served, token: int) -> str:
    """A token as it stands in a text: a continued piece without its mark."""
    return served.model.tokenizer.decode([token], skip_specials=False).strip().removeprefix("##")

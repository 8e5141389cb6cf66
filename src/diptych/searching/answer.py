"""An answer from a folder of documents: what comes nearest to the question is shown to a model that converses, which cites it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.ledger import Ledger
from diptych.model import Model
from diptych.running import load_model
from diptych.searching.search import Hit, Method, search
from diptych.text.chat_template import chat_ids
from diptych.text.words import language_of

PROMPTS = {
    "en": "Answer the question from these passages alone, in a few words, and cite the passage like [1]. "
    "If the answer is not in them, say so.\n\n{passages}\n\nQuestion: {question}",
    "zh": "只根据下面的段落简短回答问题，并用 [1] 这样的编号注明出处。如果段落里没有答案，请直说。\n\n{passages}\n\n问题：{question}",
}
"""What the model is asked, in the language of the question."""


@dataclass(frozen=True)
class Answer:
    """What a model says, and the passages that it was shown."""

    text: str
    passages: list[Hit]

    @property
    def cited(self) -> list[int]:
        """The numbers of passages that the answer names, from 1; numbers that were not shown are no citations."""
        named = dict.fromkeys(int(number) for number in re.findall(r"\[(\d{1,4})\]", self.text))
        return [number for number in named if 1 <= number <= len(self.passages)]

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.text, "cited": self.cited, "passages": [hit.to_json() for hit in self.passages]}


def ask(
    source: Any,
    question: str,
    *,
    model: Model | str | Path = "smollm2",
    embedder: Model | str | Path = "minilm",
    index: str | Path | None = None,
    top: int = 4,
    method: Method = "vectors",
    max_new_tokens: int = 128,
    ledger: Ledger | None = None,
    **sampling: Any,
) -> Answer:
    """Answer a question from files or a folder, by the passages that come nearest to it.

    Passages that the model's context has no room for are left out, the furthest first, and counted. Nothing keeps a model
    from saying what no passage says: read what it cites.

    Raises:
        ModelError E328: the model was not taught to converse. What `search` raises.
    """
    ledger = ledger if ledger is not None else Ledger()
    hits = search(source, question, model=embedder, index=index, top=top, method=method, ledger=ledger)
    found = model if isinstance(model, Model) else load_model(model)
    room = found.config.context_length - max_new_tokens
    kept = list(hits)
    while len(kept) > 1 and len(chat_ids(found.tokenizer, _messages(question, kept))) > room:
        kept.pop()
    ledger.add("search", "passages that the context has no room for", len(hits) - len(kept), total=len(hits))
    text = found.chat(_messages(question, kept), max_new_tokens, **{"temperature": 0.0, **sampling})
    return Answer(text.strip(), kept)


def _messages(question: str, hits: list[Hit]) -> list[dict[str, str]]:
    prompt = PROMPTS["zh" if language_of(question) == "zh" else "en"]
    numbered = "\n\n".join(f"[{number}] {hit.text}" for number, hit in enumerate(hits, 1))
    return [{"role": "user", "content": prompt.format(passages=numbered, question=question)}]

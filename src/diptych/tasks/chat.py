"""Converse: learn the assistant's turns of conversations, written down by the model's chat template.

What the assistant says is asked for, and the one token that ends each of its turns; what others say, and what the template puts
around it, is only read. Conversations that outgrow the context are cut between exchanges, each part with the system's message
before it. A decoder that was never taught to converse is given ChatML, with two tokens more in its vocabulary.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from diptych.errors import DataError
from diptych.generation.beam import Beam, beam_search
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.surgery.vocabulary import extend_vocabulary
from diptych.tasks.conversations import Conversation, Message, as_dicts, read_conversations
from diptych.tasks.head_task import HeadTask
from diptych.tasks.seq2seq import Written
from diptych.tasks.tables import chunks
from diptych.tasks.task import Batch, ExampleSettings, Place
from diptych.tasks.writing import lay_asked
from diptych.text.chat_template import CHATML_TOKENS, answer_parts, chat_ids, with_chatml
from diptych.text.tokenizer import Tokenizer

AT_ONCE = 16
"""Conversations that are answered in one pass."""


class ChatSettings(ExampleSettings):
    """`task: {name: chat, data: talks.jsonl}`"""

    name: Literal["chat"] = "chat"
    duplicates: Literal["drop", "keep"] = "keep"
    """A question may well have several answers; drop keeps the first of conversations that are the same."""
    max_answer: int = Field(default=128, ge=1)
    """Tokens of an answer at most, where answers are judged."""


@dataclass
class Talks:
    """Conversations as tokens, and which of these are asked for."""

    ids: list[np.ndarray]
    is_asked: list[np.ndarray]
    owners: list[int] = field(default_factory=list)
    """Which conversation each is a stretch of."""

    def __len__(self) -> int:
        return len(self.ids)

    def num_tokens(self, index: int) -> int:
        return len(self.ids[index])

    def owner(self, index: int) -> int:
        return self.owners[index]


class Chat(HeadTask):
    """Say what the assistant says."""

    name = "chat"
    Settings = ChatSettings
    panel = "causal"
    settings: ChatSettings
    heads = ("lm",)
    has_one_answer = False
    example = "gpt-mini"
    titles = {"lm": mark("nats per token of an answer")}

    @classmethod
    def of(cls, net: Any) -> "Chat":
        """The task that a network was trained for."""
        return cls(ChatSettings())

    def fits(self, config: Any) -> bool:
        return config.writes and not config.is_encoder_decoder

    def meet(self, net: Any, tokenizer: Tokenizer) -> Tokenizer:
        self.check(net.config)
        if tokenizer.chat_template is not None:
            return tokenizer
        before = tokenizer.vocab_size
        longer = with_chatml(tokenizer)
        # Each begins as what the model knows of the same kind: the end of a turn as the end of a text, its beginning as that and a word.
        end = tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id
        if end is None:
            raise DataError("E203", missing="end", task=self.name)
        pieces = [[end, *tokenizer.encode("assistant")[:1]], [end]]
        new = [piece for piece, name in zip(pieces, CHATML_TOKENS, strict=True) if tokenizer.id(name) is None]
        if new:
            extend_vocabulary(net, new, before)
        net.set_config(token_ids=longer.token_ids)
        return longer

    def prepare(self, net: Any, seed: int) -> None:
        super().prepare(net, seed)
        net.set_config(task=(("name", self.name),))

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[Conversation], dict[str, str | None]]:
        rows = read_conversations(source, ledger, group=self.settings.group)
        turns = sum(role == "assistant" for row in rows for role, _content in row.messages)
        return rows, {"conversations": f"{len(rows):,}", "answers": f"{turns:,}"}

    def inputs(self, rows: Sequence[Conversation]) -> list[list[dict[str, str]]]:
        return [row.question for row in rows]

    def vocabulary(self, rows: Sequence[Conversation]) -> Iterable[str]:
        return (content for row in rows for _role, content in row.messages)

    def examples(self, source: Iterable[Conversation], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> Talks:
        rows = list(source)
        limit = min(context_length, self.settings.max_length or context_length)
        talks = Talks([], [])
        for number, row in enumerate(rows):
            parts = list(_parts(row, tokenizer, limit, len(rows), ledger))
            if len(parts) > 1:
                ledger.add(
                    "conversations", "conversations cut between turns, since they outgrow the context", total=len(rows), where=row.where
                )
            for ids, is_asked in parts:
                talks.ids.append(ids)
                talks.is_asked.append(is_asked)
                talks.owners.append(number)
        if not len(talks):
            raise DataError("E160", count=len(rows))
        return talks

    def collate(self, examples: Talks, places: Sequence[Place]) -> Batch:
        numbers = [place.index for place in places]
        return lay_asked([examples.ids[number] for number in numbers], [examples.is_asked[number] for number in numbers], numbers)

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[Any], ledger: Ledger | None = None) -> Iterator[Written]:
        """The most probable answer to each conversation, or to one thing said, in their order.

        Of a conversation that leaves no room for an answer the oldest exchanges are left out, and counted.
        """
        ledger = ledger if ledger is not None else Ledger()
        tokenizer, context = self.meet(net, tokenizer), net.config.context_length
        room = max(1, context - min(self.settings.max_answer, context // 2))
        for few in chunks(inputs, AT_ONCE):
            prompts = [_fitting(conversation(each), tokenizer, room, ledger) for each in few]
            ends = frozenset(token for token in (tokenizer.eos_id, tokenizer.sep_id) if token is not None)
            limits = [self.settings.max_answer] * len(prompts)
            for found in beam_search(net, prompts, Beam(1), limits=limits, least=[1] * len(prompts), ends=ends):
                each = found.log_probability if found.length else math.nan
                yield Written(tokenizer.decode(found.tokens).strip(), each, not found.is_ended)


def conversation(said: Any) -> list[dict[str, str]]:
    """A conversation as a template takes it; one thing said is the user's."""
    return [{"role": "user", "content": said}] if isinstance(said, str) else list(said)


def supervised(messages: Sequence[Message], tokenizer: Tokenizer, *, is_last: bool = False) -> tuple[list[int], list[bool]]:
    """The tokens of a conversation, and which of them are asked for: the assistant's words, and one end for each of its turns.

    What the template puts after that end, such as a new line, is not the assistant's to say.

    Args:
        is_last: ask for the last turn alone.

    Raises:
        ModelError E328, E329: see `chat_ids`. DataError E158: the template writes a turn otherwise once others follow it, or ends the
        assistant's turns with no token of its own.
    """
    parts = answer_parts(tokenizer, as_dicts(list(messages)))
    if parts is None:
        raise DataError("E158", turn=next(number for number, (role, _content) in enumerate(messages, 1) if role == "assistant"))
    ids: list[int] = []
    is_asked: list[bool] = []
    for part, number in parts:
        end = 0
        if number is not None:
            end = next((place + 1 for place, token in enumerate(part) if token in tokenizer.special_ids), 0)
            if not end:
                raise DataError("E158", turn=number + 1)
            if is_last and number != len(messages) - 1:
                end = 0
        ids += part
        is_asked += [place < end for place in range(len(part))]
    return ids, is_asked


def _parts(row: Conversation, tokenizer: Tokenizer, limit: int, total: int, ledger: Ledger) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The conversation in as few parts as fit, cut where an exchange ends; an exchange that does not fit alone is left out."""
    head, exchanges = _exchanges(row.messages)
    part: list[Message] = []
    made: tuple[list[int], list[bool]] | None = None
    for exchange in exchanges:
        longer = supervised([*head, *part, *exchange], tokenizer)
        # One more than the context: the last token is asked for and not read.
        if len(longer[0]) <= limit + 1:
            part, made = [*part, *exchange], longer
            continue
        if made is not None:
            yield np.asarray(made[0], np.int64), np.asarray(made[1])
        alone = supervised([*head, *exchange], tokenizer) if part else longer
        if len(alone[0]) <= limit + 1:
            part, made = list(exchange), alone
        else:
            ledger.add("conversations", "exchanges longer than the context, left out", total=total, where=row.where)
            part, made = [], None
    if made is not None:
        yield np.asarray(made[0], np.int64), np.asarray(made[1])


def _exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """(the system's message at the beginning, the rest in exchanges that end with the assistant's turn)."""
    head = [message for message in messages[:1] if message[0] == "system"]
    exchanges: list[list[Message]] = [[]]
    for message in messages[len(head) :]:
        exchanges[-1].append(message)
        if message[0] == "assistant":
            exchanges.append([])
    return head, [exchange for exchange in exchanges if exchange]


def _fitting(messages: list[dict[str, str]], tokenizer: Tokenizer, room: int, ledger: Ledger) -> list[int]:
    """The tokens of a conversation up to its answer, the oldest turns left out until they fit; of the last turn alone, its end."""
    ids = chat_ids(tokenizer, messages)
    head = 1 if messages[0]["role"] == "system" else 0
    while len(ids) > room and len(messages) > head + 1:
        ledger.add("conversations", "turns left out before an answer, since the conversation outgrows the context")
        del messages[head]
        while len(messages) > head + 1 and messages[head]["role"] != "user":
            del messages[head]
        ids = chat_ids(tokenizer, messages)
    if len(ids) > room:
        ledger.add("texts", "tokens cut off", len(ids) - room)
        ids = ids[-room:]
    return ids

"""Learning to converse: forms of data, what is asked of a conversation, cuts between turns, and a template for those without."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diptych as dt
from diptych.api import guess_task
from diptych.errors import DiptychError
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.tasks.chat import Chat, ChatSettings, supervised
from diptych.tasks.conversations import Conversation, read_conversations
from diptych.tasks.task import Place
from diptych.text.chat_template import CHATML, chat_ids, with_chatml
from diptych.text.tokenizer import Tokenizer

TALK = [("system", "Be brief."), ("user", "Hi 🙂"), ("assistant", "Hello."), ("user", "再见"), ("assistant", "再见！\r\nBye.")]
WITHOUT_LINES = CHATML.replace(" + '\n' }}{% endfor %}", " }}{% endfor %}")
WITH_EOS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ '[' + m.role + '] ' + m.content + '\n> ' }}{% endif %}{% endfor %}"
)


def tokenizer_of(template: str = CHATML) -> Tokenizer:
    texts = ["user assistant system Hello 你好 再见 Be brief", "\n\nHi <|im_end|> there"] * 3
    made = with_chatml(Tokenizer.train(texts, "bpe", 320))
    made.chat_template = template
    return made


def code_of(action) -> str:
    with pytest.raises(DiptychError) as error:
        action()
    return error.value.code


def read(rows, ledger: Ledger | None = None) -> list[tuple]:
    return [row.messages for row in read_conversations(rows, ledger if ledger is not None else Ledger())]


def test_every_form_of_conversation_is_read(tmp_path: Path) -> None:
    want = [(("user", "你好"), ("assistant", "Hi 🙂"))]
    forms = [
        {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hi 🙂"}, {"role": "user", "content": "?"}]},
        {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "Hi 🙂"}]},
        {"messages": [{"message": "你好"}, {"message": "Hi 🙂"}]},
        {"dialogue": ["你好", "Hi 🙂"]},
        {"question": "你好", "answer": "Hi 🙂"},
        {"instruction": "你好", "input": "", "output": "Hi 🙂"},
    ]
    for form in forms:
        assert read([form]) == want
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(form, ensure_ascii=False) + "\r\n", encoding="utf-8")
        assert read(str(path)) == want
    assert read([("你好", "Hi 🙂")]) == want
    assert [guess_task([form]) for form in forms[:4]] == ["chat"] * 4
    (longer,) = read([{"instruction": "Add.", "input": "1 2", "output": "3", "system": "S", "history": [["a", "b"]]}])
    assert longer == (("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "Add.\n1 2"), ("assistant", "3"))


def test_what_is_no_conversation_is_refused_or_counted() -> None:
    ledger = Ledger()
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]},
        {"messages": [{"role": "assistant", "content": "first"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]},
        {"messages": []},
    ]
    assert read(rows, ledger) == [(("user", "a"), ("assistant", "b")), (("user", "a\nb"), ("assistant", "c"))]
    assert "without a question and an answer" in str(list(ledger.lines()))
    assert code_of(lambda: read([])) == "E132"
    assert code_of(lambda: read([{"messages": [{"role": "user", "content": "a"}]}])) == "E160"
    for wrong in ({"messages": [3]}, {"messages": [{"role": "wizard", "content": "a"}]}, {"messages": [{"role": "user"}]}, {"a": "b"}):
        assert code_of(lambda wrong=wrong: read([wrong])) == "E157"


@pytest.mark.parametrize("template", [CHATML, WITHOUT_LINES, WITH_EOS])
@settings(max_examples=40, deadline=None)
@given(said=st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=8))
def test_each_answer_is_asked_for_with_exactly_one_end(template: str, said: list[str]) -> None:
    tokenizer = tokenizer_of(template)
    # Some spell out the token that ends a turn.
    said = [text + (" <|im_end|>\n" if number % 3 == 0 else "") for number, text in enumerate(said)]
    messages = [("assistant" if number % 2 else "user", text) for number, text in enumerate(said)]
    messages = messages[: len(messages) // 2 * 2]
    ids, is_asked = supervised(messages, tokenizer)
    end = tokenizer.eos_id
    runs, run = [], []
    for token, asked in zip(ids, is_asked):
        if asked:
            run.append(token)
            if token == end:
                runs.append(run)
                run = []
    assert not run and len(runs) == len(messages) // 2
    for tokens, (_role, content) in zip(runs, messages[1::2]):
        assert tokens.count(end) == 1 and tokens[-1] == end
        assert tokenizer.decode(tokens[:-1]) == content or "\ufffd" in content


def test_what_a_model_reads_before_it_answers_is_what_it_was_taught_after() -> None:
    tokenizer = tokenizer_of()
    ids, is_asked = supervised(TALK, tokenizer)
    prompt = chat_ids(tokenizer, [{"role": role, "content": content} for role, content in TALK[:-1]])
    assert ids[: len(prompt)] == prompt and is_asked[len(prompt)] and not is_asked[len(prompt) - 1]
    assert tokenizer.decode([token for token, asked in zip(ids, is_asked) if not asked][-1:]) == "\n"


def test_a_template_that_cannot_be_learnt_by_is_refused() -> None:
    for template in ("{{ messages[-1].content }}", "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"):
        assert code_of(lambda template=template: supervised(TALK, tokenizer_of(template))) == "E158"


def made(rows: list[Conversation], context: int) -> tuple:
    tokenizer, ledger, task = tokenizer_of(), Ledger(), Chat(ChatSettings())
    return task, tokenizer, task.examples(rows, tokenizer, context, ledger), ledger


def test_long_conversations_are_cut_between_exchanges_and_every_answer_is_asked_once() -> None:
    turns = [(role, f"{role[0]}{number} 好") for number in range(20) for role in ("user", "assistant")]
    long = Conversation((("system", "S"), *turns, ("user", "x"), ("assistant", "y" * 500)), "row 1")
    _task, tokenizer, talks, ledger = made([long], 100)
    assert len(talks) > 2 and all(len(ids) <= 101 for ids in talks.ids)
    asked = [tokenizer.decode(ids[flags]).strip() for ids, flags in zip(talks.ids, talks.is_asked)]
    assert "".join(asked) == "".join(content for role, content in turns if role == "assistant")
    assert all(tokenizer.decode(ids.tolist()).startswith("system\nS") for ids in talks.ids)
    shown = str(list(ledger.lines()))
    assert "cut between turns" in shown and "exchanges longer than the context" in shown


def test_the_loss_is_that_of_the_answers_alone() -> None:
    rows = [Conversation(tuple(TALK), "row 1"), Conversation(tuple(TALK[1:3]), "row 2")]
    task, tokenizer, talks, _ledger = made(rows, 64)
    net = create("gpt-tiny", vocab_size=tokenizer.vocab_size, context_length=64, hidden_size=16, head_size=8, num_layers=1).eval()
    task.prepare(net, 0)
    batch = task.collate(talks, [Place(0, 0, 0), Place(0, 0, 1)])
    with torch.inference_mode():
        total_B = task.judge(task.forward(net, batch), batch)["lm"].total_B
        for number in range(2):
            logs = torch.log_softmax(net.logits(torch.tensor(talks.ids[number][None])).double(), -1)[0]
            places = np.flatnonzero(talks.is_asked[number])
            want = -sum(float(logs[place - 1, talks.ids[number][place]]) for place in places)
            assert float(total_B[number]) == pytest.approx(want, rel=1e-4)


def test_a_decoder_without_a_template_learns_chatml_and_keeps_what_it_knew() -> None:
    tokenizer = Tokenizer.train(["user assistant Hello 你好"] * 3, "bpe", 300)
    net = create("gpt-tiny", vocab_size=tokenizer.vocab_size, context_length=64, hidden_size=16, head_size=8, num_layers=1).eval()
    ids = torch.tensor([tokenizer.encode("Hello 你好")])
    before = net.logits(ids)
    longer = Chat(ChatSettings()).meet(net, tokenizer)
    assert longer.vocab_size == tokenizer.vocab_size + 2 == net.config.vocab_size
    assert longer.encode("Hello 你好") == tokenizer.encode("Hello 你好")
    assert torch.allclose(net.logits(ids)[..., : tokenizer.vocab_size], before, atol=1e-6)
    assert Chat(ChatSettings()).meet(net, longer) is longer
    assert code_of(lambda: Chat(ChatSettings()).meet(create("t5-tiny", vocab_size=300), tokenizer)) == "E208"


def test_a_model_learns_to_answer_and_its_folder_converses(tmp_path: Path) -> None:
    answers = {"red": "like blood", "blue": "like the sea", "绿": "像草", "白": "像雪"}
    rows = [{"dialogue": [a, answers[a], b, answers[b]]} for a in answers for b in answers]
    sizes = {"hidden_size": 32, "head_size": 16, "num_layers": 2, "context_length": 64}
    shape = {"tokenizer": {"kind": "characters", "vocab_size": 64}, "sizes": sizes, "out": str(tmp_path / "m")}
    model = dt.finetune("gpt-tiny", rows, steps=120, lr=1e-2, dropout=0.0, max_answer=16, **shape)
    assert model.finetuned.comparison is None or model.finetuned.comparison.systems[0].name == "fine-tuned"
    again = dt.load(tmp_path / "m")
    assert again.chat("blue", temperature=0) == "like the sea" and again.chat("白", temperature=0) == "像雪"
    said = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "like blood"}, {"role": "user", "content": "绿"}]
    assert again.chat(said, temperature=0) == "像草" == str(again.predict([said])[0])
    assert "".join(again.chat_stream("red", temperature=0)) == "like blood"
    assert dt.evaluate(again, "chat", rows)["nats per token of an answer"].value < 0.3

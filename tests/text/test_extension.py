"""More words for a tokenizer: old text is cut no worse, new words become tokens, and each is the join of its pieces."""

import pytest
import torch

from diptych.errors import TrainingError
from diptych.formats.folder import read_model, write_model
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.surgery.vocabulary import extend_vocabulary
from diptych.text.extension import extend
from diptych.text.tokenizer import Tokenizer

GENERAL = [
    "the quick brown fox jumps over the lazy dog; 心肌梗死与炎纤维化",
    "the cat sat on the mat and the dog saw it 🙂",
    "今天天气很好，我们去公园散步吧！",
] * 5
DOMAIN = ["myocardial infarction and myocarditis; myocardial fibrosis", "心肌梗死与心肌炎，心肌纤维化 myocardial"] * 6


@pytest.fixture(params=["bpe", "wordpiece"])
def tokenizer(request):
    return Tokenizer.train(GENERAL, request.param, 400, panel="masked")


def test_new_tokens_are_joined_from_old_ones_and_the_text_gets_shorter(tokenizer, tmp_path):
    ledger = Ledger()
    before = [len(each) for each in tokenizer.encode_batch(DOMAIN)]
    found = extend(tokenizer, DOMAIN, 30, ledger)
    longer = found.tokenizer
    assert longer.vocab_size == tokenizer.vocab_size + len(found.pieces) and 5 < len(found.pieces) <= 30
    assert sum(len(each) for each in longer.encode_batch(DOMAIN)) < 0.8 * sum(before)
    assert found.tokens_before == sum(before) and found.tokens_after == sum(len(each) for each in longer.encode_batch(DOMAIN))
    for number, pieces in enumerate(found.pieces):
        name = longer.backend.id_to_token(tokenizer.vocab_size + number)
        parts = [tokenizer.backend.id_to_token(piece) for piece in pieces]
        assert name == parts[0] + "".join(part.removeprefix("##") for part in parts[1:])
    for text in DOMAIN + GENERAL:
        if "🙂" not in text or tokenizer.unk_id not in tokenizer.encode(text):
            assert longer.decode(longer.encode(text)) == tokenizer.decode(tokenizer.encode(text))
        assert len(longer.encode(text)) <= len(tokenizer.encode(text))
    assert all(longer.id(name) == number for name, number in tokenizer.backend.get_vocab().items())
    longer.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode(DOMAIN[0]) == longer.encode(DOMAIN[0])
    assert any("tokens added" in line for line in ledger.lines())


def test_the_same_text_gives_the_same_tokens_and_leaves_the_first_tokenizer(tokenizer):
    state = tokenizer.fingerprint()
    assert extend(tokenizer, DOMAIN, 10).tokenizer.fingerprint() == extend(tokenizer, iter(DOMAIN), 10).tokenizer.fingerprint()
    assert tokenizer.fingerprint() == state


def test_a_text_with_no_more_to_learn_adds_nothing(tokenizer):
    found = extend(tokenizer, ["", "a b"], 50)
    assert found.pieces == [] and found.tokenizer.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize("kind", ["unigram", "characters"])
def test_kinds_that_join_nothing_are_refused(kind):
    with pytest.raises(TrainingError) as caught:
        extend(Tokenizer.train(GENERAL, kind, 300), DOMAIN, 10)
    assert caught.value.code == "E543"


@pytest.mark.parametrize(("preset", "sizes"), [("bert-tiny", {}), ("gpt2-tiny", {}), ("gpt-tiny", {"is_tied": False}), ("gpt-tiny", {})])
def test_new_rows_are_the_mean_of_their_pieces_and_old_answers_stay(preset, sizes, tmp_path):
    net = create(preset, vocab_size=50, hidden_size=32, head_size=8, num_layers=1, context_length=16, **sizes)
    net.ensure_head("lm")
    net.keep_heads(("lm",))
    if net.heads["lm"].bias_V is not None:
        net.heads["lm"].bias_V.data.normal_()
    ids = torch.arange(10)[None]
    before = net.logits(ids)
    extend_vocabulary(net, [[1, 2], [3, 4, 4]], 50)
    after = net.logits(ids)
    torch.testing.assert_close(after[..., :50], before)
    # A linear head answers a new token as the mean of its pieces' answers.
    torch.testing.assert_close(after[..., 50], before[..., [1, 2]].mean(-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[..., 51], before[..., [3, 4, 4]].mean(-1), rtol=1e-4, atol=1e-5)
    write_model(net, tmp_path)
    torch.testing.assert_close(read_model(tmp_path).logits(ids), after)
    torch.testing.assert_close(net.body.embedding.tokens.weight[51], net.body.embedding.tokens.weight[[3, 4, 4]].mean(0))

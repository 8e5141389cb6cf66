"""Forms of strangers: what breaks a compiler ends a process that nobody misses, and the next form is compiled as if nothing were."""

from collections.abc import Iterator
from typing import Any

import pytest

from diptych.errors import UsageError
from diptych.generation.texts import ends_of
from diptych.serve import forms
from diptych.serve.forms import Forms, deep

pytest.importorskip("llguidance")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tiny: Any) -> Iterator[Forms]:
    model = tiny.gpt()
    found = Forms(lambda kind, value: (kind, value), model.tokenizer, model.config.vocab_size, ends_of(model.tokenizer), 30.0)
    yield found
    found.close()


def test_a_good_form_is_taken_and_a_bad_one_is_said_to_be(made: Forms) -> None:
    assert made.compile("regex", "天气|[0-9]+") == ("regex", "天气|[0-9]+")
    with pytest.raises(UsageError) as bad:
        made.compile("regex", "(")
    assert bad.value.code == "E648"


def test_what_ends_or_holds_up_the_process_is_refused_and_the_next_form_is_tried_anew(made: Forms, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = "\n".join(f"a{number}: a{number + 1} a{number + 1}" for number in range(3000)) + '\na3000: "x"\nstart: a0'
    try:
        made.compile("grammar", chain)
    except UsageError as error:
        assert error.code in ("E648", "E650", "E671")
    made._seconds = 0.0
    with pytest.raises(UsageError) as late:
        made.compile("grammar", chain.replace("x", "y"))
    assert late.value.code == "E671"
    made._seconds = 30.0
    assert made.compile("choices", ["是", "no"])


def test_a_deep_stack_is_for_one_call_alone() -> None:
    def down(number: int) -> int:
        return number and down(number - 1)

    assert deep(lambda: down(500)) == 0
    with pytest.raises(ZeroDivisionError):
        deep(lambda: 1 // 0)
    assert forms.DEEP > 1 << 20

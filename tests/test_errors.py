"""The catalogue of errors: every code is raised somewhere, says what and what to do, and leaves no traceback behind."""

import ast
import copy
import errno
import pickle
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import diptych
from diptych import errors
from diptych.errors import CATALOGUE, DataError, DiptychError, MachineError, RecipeError, of_system
from diptych.messages import set_language

SOURCES = sorted(Path(diptych.__file__).parent.rglob("*.py"))
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, DiptychError)}
FLOORS = {
    "E1": {"DataError"},
    "E2": {"DataError"},
    "E3": {"ModelError"},
    "E4": {"RecipeError"},
    "E5": {"TrainingError"},
    "E6": {"UsageError"},
    "E7": {"DataError", "ModelError", "UsageError"},
    "E8": {"UsageError"},
    "E9": {"MachineError"},
}


class Anything:
    """A value that every format takes, and that can be found again in a message."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __format__(self, form: str) -> str:
        return f"«{self.name}»"


def placeholders(template: str) -> set[str]:
    return {field.split(".")[0] for _text, field, _form, _conversion in string.Formatter().parse(template) if field}


def raised() -> Iterator[tuple[str, str, str, set[str | None]]]:
    """(place, class, code, what is filled in) of every error that is made anywhere in the package."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                for code in codes(node.args[0]):
                    yield f"{path.name}:{node.lineno}", node.func.id, code, {keyword.arg for keyword in node.keywords}


def codes(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return codes(node.body) + codes(node.orelse)
    return [str(node.value)] if isinstance(node, ast.Constant) else [ast.unparse(node)]


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    assert [(place, code) for place, _kind, code, _given in raised() if code not in CATALOGUE] == []


def test_every_code_in_the_catalogue_is_raised_somewhere() -> None:
    assert set(CATALOGUE) - {code for _place, _kind, code, _given in raised()} == set()


def test_no_code_is_given_to_two_messages() -> None:
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    catalogue = next(node for node in tree.body if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CATALOGUE")
    assert isinstance(catalogue.value, ast.Dict)
    codes = [key.value for key in catalogue.value.keys if isinstance(key, ast.Constant)]
    assert [code for code, count in Counter(codes).items() if count > 1] == []
    assert len(codes) == len(CATALOGUE)
    assert codes == sorted(codes), "kept in the order of their codes, so that a free one is seen"


def test_whoever_raises_an_error_fills_in_all_that_its_message_names() -> None:
    wrong = {}
    for place, _kind, code, given in raised():
        message = CATALOGUE[code]
        wanted = placeholders(message.what) | placeholders(message.fix)
        if None not in given and given != wanted:
            wrong[place] = (code, wanted ^ given)
    assert not wrong


def test_an_error_is_of_the_class_of_its_floor() -> None:
    assert [(place, code, kind) for place, kind, code, _given in raised() if kind not in FLOORS[code[:2]]] == []


@pytest.mark.parametrize("code", sorted(CATALOGUE))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_message_shows_its_code_what_happened_and_what_to_do(code: str, language: str) -> None:
    set_language(language)
    message = CATALOGUE[code]
    names = placeholders(message.what) | placeholders(message.fix)
    error = DiptychError(code, **{name: Anything(name) for name in names})
    lines = str(error).splitlines()
    assert lines[0] == f"{code}  {error.what}"
    assert [line.strip() for line in lines[1:]] == [error.fix] and error.fix
    assert "Traceback" not in str(error)
    for name in names:
        assert f"«{name}»" in str(error), f"the {language} message of {code} does not show {name}"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_english_message_is_whole_sentences(code: str) -> None:
    message = CATALOGUE[code]
    assert message.what[0].isupper() or message.what[0] in '{"'
    assert message.what.rstrip().endswith((".", "}"))
    assert len(message.fix) > 10


def test_values_with_braces_or_percent_signs_are_shown_as_they_are() -> None:
    error = DataError("E101", path="{weird}/100%/你好🙂")
    assert "{weird}/100%/你好🙂" in str(error)


def test_an_error_survives_the_way_from_one_process_to_another() -> None:
    error = RecipeError("E402", where="r.yaml", key="trian", hint='Did you mean "train"?')
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is RecipeError
        assert (twin.code, twin.values, str(twin)) == (error.code, error.values, str(error))


def test_a_code_that_nobody_wrote_down_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        DataError("E000")


def test_what_the_system_refuses_is_said_with_the_place() -> None:
    full = of_system(OSError(errno.ENOSPC, "No space left on device"), "models/mine")
    assert isinstance(full, MachineError) and full.code == "E902" and "models/mine" in str(full)
    locked = of_system(PermissionError(errno.EACCES, "Permission denied", "secret.txt"))
    assert locked.code == "E904" and "secret.txt" in str(locked) and "Permission denied" in str(locked)


def test_the_command_line_answers_a_mistake_with_the_message_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from diptych.cli.main import run

    with pytest.raises(SystemExit) as ended:
        run(["corpus", "stats", str(tmp_path / "没有.txt")])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("E101  ") and "没有.txt" in shown.err
    assert "Traceback" not in shown.err and shown.out == ""

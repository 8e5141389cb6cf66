"""What the engine is asked to do, and what it tells of it while it does it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from diptych.generation.constrain import Constraint
from diptych.generation.settings import Decoding
from diptych.generation.writing import Chance, Ending


@dataclass(frozen=True)
class Piece:
    """An answer has grown: by a text, which may be empty while a character is half written, and by tokens."""

    index: int
    text: str
    tokens: tuple[int, ...]
    chances: tuple[Chance, ...]


@dataclass(frozen=True)
class Ended:
    """An answer is over."""

    index: int
    ending: Ending


@dataclass(frozen=True)
class PromptRead:
    """How probable each token of the prompt was; nothing is known of the first."""

    chances: tuple[Chance | None, ...]


@dataclass(frozen=True)
class Result:
    """A job is done."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """Nothing more will come."""

    error: BaseException


Event = Piece | Ended | PromptRead | Result | Failed


class Work(Protocol):
    """What waits for the engine."""

    client: str
    deadline: float
    tell: Callable[[Event], None]
    is_cancelled: bool


@dataclass(eq=False)
class Ask:
    """Answers to one prompt.

    Attributes:
        model: the name of the model that writes them.
        prompt: its tokens, at least one; what an encoder-decoder writes from.
        num: so many answers.
        prompt_chances: how probable the prompt's own tokens are is told first, with so many alternatives; None for not.
        client: who asks; clients take turns.
        deadline: when it is too late, on the monotonic clock.
        tell: is called in the engine's thread, and must not wait.
        is_cancelled: nobody listens any more; the engine looks at it between two steps.
    """

    client: str
    model: str
    prompt: Sequence[int]
    decoding: Decoding
    max_new_tokens: int
    tell: Callable[[Event], None]
    num: int = 1
    form: Constraint | None = None
    prompt_chances: int | None = None
    deadline: float = float("inf")
    is_cancelled: bool = False
    asked_at: float = field(default_factory=monotonic)


@dataclass(eq=False)
class Job:
    """Anything else that needs the network: a text to fill in, vectors of texts. It is done in one go, between two steps."""

    client: str
    run: Callable[[], Any]
    tell: Callable[[Event], None]
    deadline: float = float("inf")
    is_cancelled: bool = False
    asked_at: float = field(default_factory=monotonic)

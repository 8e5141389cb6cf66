"""All that can be said of how an answer is written, and what of it goes together."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import Field, model_validator

from diptych.config import parse
from diptych.errors import RecipeError, UsageError
from diptych.generation.forms import Kind
from diptych.generation.sampling import Sampling
from diptych.messages import _

CANDIDATES = 4
"""How many tokens contrastive search chooses among where `top_k` does not say."""
CONSTRAINTS: tuple[Kind, ...] = get_args(Kind)


class Decoding(Sampling):
    """How answers are written: drawn token by token unless `beams`, `contrastive` or a constraint say otherwise.

    Raises:
        UsageError E601: a number that does not fit another one. E640: two settings that do not go together. E641: one that has no
        effect without another.
    """

    n: int = Field(default=1, ge=1, le=1024)
    """So many answers to each prompt."""
    stop: list[str] = []
    """An answer ends before any of these, wherever its tokens begin and end."""
    log_probabilities: int | None = Field(default=None, ge=0, le=1000)
    """Keep the log-probability of each token, and of so many others that might stand there."""
    beams: int = Field(default=1, ge=1, le=1024)
    """Search for the most probable answer with so many candidates; 1 does not search."""
    length_penalty: float = 0.6
    """Of a search: larger prefers longer answers, 0 compares bare probabilities."""
    beam_groups: int = Field(default=1, ge=1)
    """Of a search: part the candidates into so many groups that keep away from each other."""
    diversity: float = Field(default=0.5, ge=0)
    """Of several groups: how much they do."""
    contrastive: float = Field(default=0.0, ge=0, le=1)
    """Among the `top_k` most probable tokens take the one that is least like the text so far; so much does likeness weigh."""
    choices: list[str] | None = Field(default=None, min_length=1)
    """The answer is one of these."""
    regex: str | None = None
    """The answer is of this form, in the words of Rust's regular expressions."""
    json_schema: Any = None
    """The answer is JSON that is valid against this schema, a mapping or its JSON; true is any JSON."""
    grammar: str | None = None
    """The answer is of this form, a grammar in the words of Lark."""
    draft: Any = None
    """Who guesses what comes next, which saves time and changes nothing: "text" for what the text says so far, or a smaller `Model`."""
    draft_tokens: int = Field(default=16, ge=1, le=256)
    """At most so many tokens are guessed at once."""

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        stop = data.get("stop")
        return {**data, "stop": [stop] if isinstance(stop, str) else list(stop)} if isinstance(stop, str | list | tuple) else data

    @model_validator(mode="after")
    def _goes_together(self) -> "Decoding":
        given = [name for name in type(self).model_fields if name in self.model_fields_set and self._is_changed(name)]
        for name, is_on, allowed in _ALONE:
            if is_on(self):
                for other in given:
                    if other not in allowed and other != name:
                        raise UsageError("E640", first=name, second=other)
        for name, needed, is_on in _NEEDS:
            if name in given and not is_on(self):
                raise UsageError("E641", name=name, needed=needed)
        if self.n > 1 and self.beams == 1 and self.is_greedy:
            raise UsageError("E640", first="n", second="temperature=0")
        forms = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(forms) > 1 or (forms and self.draft is not None):
            raise UsageError("E640", first=forms[0], second=[*forms, "draft"][1])
        if self.draft is not None and self.draft != "text" and not hasattr(self.draft, "net"):
            raise UsageError("E601", name="draft", value=repr(self.draft), rule=_('draft is "text", or a model'))
        if self.beams % self.beam_groups:
            raise UsageError("E601", name="beam_groups", value=self.beam_groups, rule="beams % beam_groups == 0")
        if self.beams > 1 and self.n > self.beams:
            raise UsageError("E601", name="n", value=self.n, rule="n <= beams")
        return self

    @property
    def form(self) -> tuple[Kind, Any] | None:
        """What kind of form an answer must have, and which."""
        return next(((name, getattr(self, name)) for name in CONSTRAINTS if getattr(self, name) is not None), None)

    def _is_changed(self, name: str) -> bool:
        return getattr(self, name) != type(self).model_fields[name].default


def decoding_of(settings: Mapping[str, Any]) -> Decoding:
    """Keyword arguments, checked.

    Raises:
        UsageError E601, E640, E641: as `Decoding`. E643: a setting that does not exist. E644: a value that has no meaning.
    """
    try:
        return parse(Decoding, settings, where="generate")
    except RecipeError as error:
        raise UsageError("E643" if error.code == "E402" else "E644", **error.values) from None


_ALONE: tuple[tuple[str, Callable[[Decoding], bool], frozenset[str]], ...] = (
    ("beams", lambda each: each.beams > 1, frozenset({"length_penalty", "beam_groups", "diversity", "n", "stop", "seed"})),
    ("contrastive", lambda each: each.contrastive > 0, frozenset({"top_k", "stop", "seed", "log_probabilities"})),
)
"""Ways to write that know nothing of other settings but these."""
_NEEDS: tuple[tuple[str, str, Callable[[Decoding], bool]], ...] = (
    ("length_penalty", "beams", lambda each: each.beams > 1),
    ("beam_groups", "beams", lambda each: each.beams > 1),
    ("diversity", "beam_groups", lambda each: each.beam_groups > 1),
    ("draft_tokens", "draft", lambda each: each.draft is not None),
)

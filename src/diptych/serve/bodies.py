"""What may stand in a request: strict types, finite numbers, and no field that nobody knows, since a misspelt one would go unnoticed.

OpenAI's own fields are all known. Those that ask for nothing here (who the user is, how it is billed) are taken and do nothing; those
that ask for something that is not done are refused where they are set.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from diptych.config import friendly
from diptych.errors import UsageError
from diptych.messages import _

Tokens = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(max_length=1 << 20)]
Text = Annotated[str, Field(max_length=1 << 22)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
MOST_ANSWERS, MOST_CHANCES, MOST_STOPS, MOST_TEXTS = 128, 20, 16, 2048


class Body(BaseModel):
    """One kind of request."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    model: str | None = None
    """The name of a model; left out, the first that can do it."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Writing(Body):
    """What completions and conversations have in common."""

    temperature: float | None = Field(default=None, ge=0, le=100)
    top_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    stop: str | list[str] | None = Field(default=None)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = Field(default=None, max_length=1024)
    max_tokens: int | None = Field(default=None, ge=0, lt=1 << 31)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, JsonValue] | None = None
    # Beyond OpenAI's: ours, by our names.
    top_k: int | None = Field(default=None, ge=0, lt=1 << 31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    typical: float | None = Field(default=None, gt=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    no_repeat_ngram: int | None = Field(default=None, ge=0, le=1024)
    # Taken, and without effect here.
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None


class CompletionBody(Writing):
    """`POST /v1/completions`"""

    prompt: Text | list[Text] | Tokens | list[Tokens] | None = None
    best_of: int | None = Field(default=None, ge=0, le=MOST_ANSWERS)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=MOST_CHANCES)
    prompt_logprobs: int | None = Field(default=None, ge=0, le=MOST_CHANCES)
    """As vLLM has it: of each token of the prompt, the log-probability of it and of so many others."""
    suffix: str | None = None


class ChatBody(Writing):
    """`POST /v1/chat/completions`"""

    messages: list[dict[str, JsonValue]] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(default=None, ge=0, lt=1 << 31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_CHANCES)
    tools: list[dict[str, JsonValue]] | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, JsonValue]] | None = None
    function_call: str | dict[str, JsonValue] | None = None
    modalities: list[str] | None = None
    audio: dict[str, JsonValue] | None = None
    web_search_options: dict[str, JsonValue] | None = None
    # Taken, and without effect here.
    moderation: JsonValue = None
    prediction: dict[str, JsonValue] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: JsonValue = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None


class EmbeddingBody(Body):
    """`POST /v1/embeddings`"""

    input: Text | list[Text] | Tokens | list[Tokens]
    dimensions: int | None = Field(default=None, ge=1, lt=1 << 31)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class TextBody(Body):
    """One text."""

    text: Text


class FillBody(TextBody):
    top: int = Field(default=5, ge=1, le=1000)


class TextsBody(Body):
    """Several texts."""

    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)


class AnswerBody(Body):
    question: Text
    context: Text


class RerankBody(Body):
    query: Text
    documents: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
    top_n: int | None = Field(default=None, ge=1)


class DetokenizeBody(Body):
    tokens: Tokens


class ExplainBody(Body):
    text: Text | Annotated[list[Text], Field(min_length=2, max_length=2)]
    """A text, or a pair: a question and its text."""
    target: str | None = None
    method: str | None = None


def problem_of(kind: type[Body], problems: Sequence[Any]) -> UsageError:
    """The first thing that is wrong with a body, as pydantic found it: E658 (no JSON object), E659 (it does not fit), E660 (nobody knows
    it)."""
    if not problems or problems[0]["type"] in ("json_invalid", "model_attributes_type") or len(problems[0]["loc"]) < 1:
        return UsageError("E658", problem=_said(problems))
    error = friendly(kind, problems, "")
    if error.code == "E402":
        return UsageError("E660", key=error.values["key"], hint=error.values["hint"])
    if error.code == "E405":
        return UsageError("E659", key=error.values["key"], value="–", problem=_("a value is missing"))
    return UsageError("E659", key=error.values["key"], value=str(error.values["value"])[:200], problem=error.values["problem"])


def _said(problems: Sequence[Any]) -> str:
    context = problems[0].get("ctx", {}) if problems else {}
    return str(context.get("error", "{}"))[:200]

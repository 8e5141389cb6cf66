"""Commands that let a model write: `generate`, `chat`."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from diptych.cli.use import Folder, Json
from diptych.messages import _

MaxNewTokens = Annotated[int, typer.Option(help="Write at most so many tokens.", min=0)]
Temperature = Annotated[float, typer.Option(help="0 always takes the most probable token.")]
TopP = Annotated[float, typer.Option(help="Choose among the fewest tokens with this much probability.")]
Seed = Annotated[int, typer.Option(help="The same seed writes the same text.")]


def generate(
    model: Folder,
    prompt: Annotated[str, typer.Argument(help="The text to go on from.")] = "",
    max_new_tokens: MaxNewTokens = 64,
    temperature: Temperature = 0.8,
    top_k: Annotated[int, typer.Option(help="Choose among so many tokens; 0 among all.")] = 0,
    top_p: TopP = 0.95,
    min_p: Annotated[float, typer.Option(help="Choose among tokens at least this share as probable as the first.")] = 0.0,
    typical: Annotated[float, typer.Option(help="Choose among tokens about as surprising as expected, with this much probability.")] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, what stands in the text is less probable.")] = 1.0,
    presence_penalty: Annotated[float, typer.Option(help="Taken off the logit of what was written.")] = 0.0,
    frequency_penalty: Annotated[float, typer.Option(help="Taken off for each time that it was written.")] = 0.0,
    no_repeat_ngram: Annotated[int, typer.Option(help="No run of so many tokens stands twice; 0 allows all.")] = 0,
    logit_bias: Annotated[
        list[str] | None, typer.Option(help="TOKEN=NUMBER is added to the logit of a token, by text or number. May be given often.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text. May be given often.")] = None,
    n: Annotated[int, typer.Option(help="Write so many answers.")] = 1,
    beams: Annotated[int, typer.Option(help="Search for the most probable answer with so many candidates.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Of a search: larger prefers longer answers.")] = 0.6,
    beam_groups: Annotated[int, typer.Option(help="Of a search: so many groups that keep away from each other.")] = 1,
    diversity: Annotated[float, typer.Option(help="Of several groups: how much they do.")] = 0.5,
    contrastive: Annotated[float, typer.Option(help="Among --top-k tokens the one least like the text; how much that weighs.")] = 0.0,
    choice: Annotated[list[str] | None, typer.Option(help="The answer is one of these. May be given often.")] = None,
    regex: Annotated[str | None, typer.Option(help="The answer is of this form.")] = None,
    json_schema: Annotated[str | None, typer.Option(help="The answer is JSON that this schema allows: a file, or the schema.")] = None,
    grammar: Annotated[str | None, typer.Option(help="The answer is of this form: a file with a Lark grammar.")] = None,
    draft: Annotated[
        str | None, typer.Option(help="Guess ahead, which changes nothing but the time: text, or the folder of a smaller model.")
    ] = None,
    draft_tokens: Annotated[int, typer.Option(help="Guess at most so many tokens at once.")] = 16,
    log_probabilities: Annotated[
        int | None, typer.Option(help="With --json: the log-probability of each token, and of so many others.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write on from a prompt."""
    from diptych import api
    from diptych.generation.settings import Decoding

    given = {name: value for name, value in locals().items() if name in Decoding.model_fields}
    given |= {"stop": stop or [], "logit_bias": dict(_bias(item) for item in logit_bias or []), "choices": choice or None}
    given["json_schema"] = json_schema if json_schema is None or json_schema.lstrip()[:1] in "{tf" else _read(json_schema)
    given["grammar"] = None if grammar is None else _read(grammar)
    settings = {name: value for name, value in given.items() if value != Decoding.model_fields[name].default}
    if draft is not None and draft != "text":
        settings["draft"] = api.load(draft)
    found = api.load(model)
    if as_json or n > 1:
        answers = found.answers(prompt, max_new_tokens, **settings)
        if as_json:
            print(json.dumps({"prompt": prompt, **answers[0].to_json()} if n == 1 else _several(prompt, answers), ensure_ascii=False))
            return
        for number, answer in enumerate(answers, 1):
            print(_("answer {number}:").format(number=number), f"{prompt}{answer.text}", sep="\n")
        return
    pieces = found.stream(prompt, max_new_tokens, **settings)
    # The first piece before the prompt is shown: a model that cannot write says so and nothing else.
    first = next(pieces, "")
    for piece in chain((prompt, first), pieces):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def chat(
    model: Folder,
    system: Annotated[str | None, typer.Option(help="What the model is told before the conversation.")] = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Converse with a model: a line is a turn; /new begins anew, /quit or the end of the input ends."""
    from diptych import api

    found = api.load(model)
    head = [{"role": "system", "content": system}] if system else []
    said = list(head)
    prompt = f"{_('you')}: " if sys.stdin.isatty() else ""
    while (line := _line(prompt)) is not None and line.strip() != "/quit":
        if line.strip() == "/new":
            said = list(head)
        elif line.strip():
            said.append({"role": "user", "content": line})
            answer = ""
            for piece in found.chat_stream(said, max_new_tokens, temperature=temperature, top_p=top_p, seed=seed + len(said)):
                answer += piece
                if not as_json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
            print(json.dumps({"user": line, "assistant": answer}, ensure_ascii=False) if as_json else "")
            said.append({"role": "assistant", "content": answer})


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(generate)
    app.command()(chat)


def _line(prompt: str) -> str | None:
    """What a person types, or the next line of a file; None at the end."""
    try:
        return input(prompt)
    except EOFError:
        return None


def _bias(item: str) -> tuple[int | str, float]:
    """TOKEN=NUMBER; the token may have an equals sign in it."""
    from diptych.errors import UsageError

    token, equals, number = item.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = None
    if not equals or not token or value is None:
        raise UsageError("E644", key="--logit-bias", value=repr(item), problem=_("TOKEN=NUMBER is wanted"))
    return int(token) if token.isascii() and token.isdigit() else token, value


def _read(path: str) -> str:
    """The text of a file that a flag names."""
    from diptych.errors import DataError

    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise DataError("E101", path=path) from None


def _several(prompt: str, answers: list[Any]) -> dict[str, Any]:
    return {"prompt": prompt, "answers": [answer.to_json() for answer in answers]}

"""Commands that look into a model: `explain`, `trace`, `calibrate`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from diptych.errors import UsageError
from diptych.messages import _

Folder = Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Page = Annotated[str | None, typer.Option(help="Write a page with pictures to this file; it needs no network.")]
METHODS = "shapley, kernel-shap, owen, lime, occlusion, integrated-gradients, gradient, attention, rollout"


def explain(
    model: Folder,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts, or a question and its text; without any, one a line from standard input.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The answer to explain; left out, the one that the model gives.")] = None,
    against: Annotated[str | None, typer.Option(help="Another answer: why the one rather than this.")] = None,
    of: Annotated[str | None, typer.Option(help="The stretch to explain, where the model marks stretches.")] = None,
    method: Annotated[str, typer.Option(help=f"How: {METHODS}.")] = "shapley",
    units: Annotated[str, typer.Option(help="What is taken away together: words, tokens or sentences.")] = "words",
    mark: Annotated[
        list[str] | None, typer.Option(help="A stretch of the text as one unit, in place of words. May be given often.")
    ] = None,
    budget: Annotated[int, typer.Option(help="Read at most so many variants of the text.", min=4)] = 400,
    seed: Annotated[int, typer.Option(help="The same seed draws the same variants.")] = 0,
    data: Annotated[str | None, typer.Option(help="Labelled rows: what a simple model learns from them stands beside.")] = None,
    nearest: Annotated[str | None, typer.Option(help="The rows that it learnt from: those that taught it this answer most.")] = None,
    out: Page = None,
    as_json: Json = False,
) -> None:
    """Why the model says so: what each word did to its answer, and how far that can be trusted.

    Example: `diptych explain my-classifier "The room was clean" --out why.html`
    """
    from diptych import api
    from diptych.explain.simple import simple_of
    from diptych.tasks import task_of_net

    found = api.load(model)
    given: list = list(texts) if texts else [line.rstrip("\n") for line in sys.stdin]
    if api.task_of(found) == "answering":
        given = [tuple(given[at : at + 2]) for at in range(0, len(given), 2)]
    simple = simple_of(task_of_net(found.net), data) if data is not None else None
    options = {"label": label, "against": against, "of": of, "method": method, "budget": budget, "seed": seed, "simple": simple}
    done = [found.explain(each, units=mark or units, **options) for each in given]
    if out is not None:
        from diptych.explain.picture import explanation_page
        from diptych.page import write_page

        write_page(Path(out), explanation_page(done))
    for text, each in zip(given, done, strict=True):
        close = found.nearest(text, nearest, label=label) if nearest is not None else None
        if as_json:
            beside = {"nearest": close.to_json()} if close is not None else {}
            print(json.dumps({**each.to_json(), **beside}, ensure_ascii=False))
            continue
        print(each)
        if close is not None:
            print(close)
    if out is not None and not as_json:
        print(_("{path} written").format(path=out))


def trace(
    text: Annotated[str | None, typer.Argument(help="A sentence; with [MASK] in it, what is hidden is the answer.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model folder or an installed model; a second one stands beside it.")] = None,
    layer: Annotated[int | None, typer.Option(help="The layer that is shown step by step, from 0; left out, the last one.")] = None,
    head: Annotated[int, typer.Option(help="The head that is shown step by step, from 0.")] = 0,
    of: Annotated[str | None, typer.Option(help="A word of it: print where it looks.")] = None,
    claims: Annotated[
        float | None, typer.Option(help="No text: let RNN, LSTM and Transformer learn so many seconds each and compare.")
    ] = None,
    out: Annotated[str, typer.Option(help="The page to write; it needs no network.")] = "trace.html",
    as_json: Json = False,
) -> None:
    """A text's way through a model as a page of its real numbers: pieces, positions, Q, K, V, softmax, heads, feed-forward, answer.

    Example: `diptych trace "I like to read" --model my-bert`
    """
    from diptych import api

    if claims is not None:
        _claims(claims, out, as_json=as_json)
        return
    if text is None or not model:
        raise UsageError("E851")
    found = [api.load(each) for each in model]
    first, *others = [each.trace(text, layer=layer, head=head) for each in found]
    looked = [each.attention(text, of).seen(layer, head) for each in found] if of is not None else []
    path = first.save(out, *others)
    if as_json:
        seen = [[{"token": piece, "weight": round(weight, 6)} for piece, weight in each] for each in looked]
        print(json.dumps({"out": str(path), "bytes": path.stat().st_size, "of": seen}, ensure_ascii=False))
        return
    for name, each in zip(model, looked):
        print(f"{name}:")
        for piece, weight in each:
            print(f"{weight:8.4f}  {piece}")
    print(_("{path} written").format(path=path))


def _claims(seconds: float, out: str, *, as_json: bool) -> None:
    """Measure what is said of three kinds of nets, and write the page."""
    from dataclasses import asdict

    from diptych import runtime
    from diptych.explain.claims import measure_claims
    from diptych.explain.claims_page import claims_page
    from diptych.page import write_page

    runtime.prepare()
    found = []
    for each in measure_claims(seconds):
        found.append(each)
        if not as_json:
            shown = "  ".join(f"{one.distance}: {one.right:.2f}" for one in each.recall)
            print(_("{name}: recall by distance {recall}").format(name=each.name, recall=shown))
    write_page(Path(out), claims_page(found, runtime.machine().processor, seconds))
    print(json.dumps({"out": out, "claims": [asdict(each) for each in found]}) if as_json else _("{path} written").format(path=out))


def calibrate(
    model: Folder,
    data: Annotated[str, typer.Argument(help="Labelled rows that the model was not trained on.")],
    out: Annotated[str | None, typer.Option(help="The folder to write; left out, the model's own.")] = None,
    target: Annotated[float | None, typer.Option(help="Find the confidence from which on such a share of the answers is right.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed cuts the rows in the same halves.")] = 0,
    as_json: Json = False,
) -> None:
    """Whether a classifier may be believed when it says how sure it is: a temperature that mends it, and when it should not answer.

    Example: `diptych calibrate my-classifier dev.csv --target 0.95`
    """
    from diptych.calibrating import calibrate as find

    columns = {name: value for name, value in (("text", text), ("label", label)) if value is not None}
    found = find(model, data, out, target=target, seed=seed, **columns)
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else found)


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(explain)
    app.command()(trace)
    app.command()(calibrate)

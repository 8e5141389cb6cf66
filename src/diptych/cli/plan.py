"""`plan`: what a run would take, on this machine or another, and what to do with a text in so many hours."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.messages import _, mark

if TYPE_CHECKING:
    from diptych.advice import Advice
    from diptych.planning import Estimate

PARTS = (
    *(mark("token embedding"), mark("positions and types"), mark("attention"), mark("feed-forward"), mark("norms")),
    *(mark("other layers"), mark("heads"), mark("weights"), mark("gradients"), mark("optimizer"), mark("activations")),
    *(mark("loss"), mark("copies"), mark("allocator"), mark("program"), mark("total")),
)
"""What the parts of a network and of its memory are called."""
LANGUAGES = {"en": mark("English"), "zh": mark("Chinese"), "mixed": mark("mixed"), "other": mark("other")}


def plan(
    source: Annotated[str | None, typer.Argument(help="A recipe (.yaml), a preset such as gpt-3-175b, or a model folder.")] = None,
    machine: Annotated[str, typer.Option(help="this, or how many of what: 8xH100.")] = "this",
    price: Annotated[float | None, typer.Option(help="Dollars for one device and hour, in place of the usual price.")] = None,
    text: Annotated[str | None, typer.Option(help="A text to be advised on instead: what fits the time, and what to type.")] = None,
    hours: Annotated[float, typer.Option(help="How long the training of --text may take.")] = 8.0,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Change one setting: part.name=value. May be given often.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a run would take: parameters, operations, memory, time and cost; or what to do with a text.

    Example: `diptych plan gpt-3-175b --machine 1024xA100`
    """
    from diptych.errors import RecipeError

    if text is not None:
        from diptych.advice import advise

        advice = advise(text, hours)
        print(json.dumps(advice.to_json(), ensure_ascii=False)) if as_json else _print_advice(advice)
        return
    if source is None:
        raise RecipeError("E418")
    from diptych.planning import plan as estimate_of

    estimate = estimate_of(source, machine=machine, price=price, sets=sets or [])
    print(json.dumps(estimate.to_json(), ensure_ascii=False)) if as_json else _print_estimate(estimate)


def add_to(app: typer.Typer) -> None:
    """Hang this command in."""
    app.command()(plan)


def _print_estimate(estimate: "Estimate") -> None:
    config, load, work = estimate.config, estimate.load, estimate.operations
    title = _("{name}: {family}, {layers} layers of {hidden}, context {context}, vocabulary {vocabulary:,}")
    print(
        title.format(
            name=estimate.name,
            family=config.family,
            layers=config.num_layers,
            hidden=config.hidden_size,
            context=config.context_length,
            vocabulary=config.vocab_size,
        )
    )
    print(
        _("on {machine}, {memory} each, in {precision}").format(
            machine=estimate.machine, memory=_size(estimate.device_bytes), precision=estimate.precision
        )
    )
    print("\n" + _("parameters"))
    for part, count in estimate.parameters.items():
        _row(_(part), f"{count:,}", f"{count / estimate.num_parameters:.0%}")
    _row(_("total"), f"{estimate.num_parameters:,}")
    print("\n" + _("operations per token"))
    _row(_("forward"), _scaled(work.forward), _("{share:.0%} of it attention").format(share=work.attention / work.forward))
    _row(_("backward"), _scaled(work.backward))
    print("\n" + _("memory of a device, {tokens:,} tokens a step, {flight:,} at once").format(tokens=load.tokens, flight=load.in_flight))
    for way in estimate.ways:
        name = _(way.name) + (f" x{way.devices}" if way.devices > 1 else "")
        _row(name, _size(way.memory.total), _("fits") if way.fits else _("does not fit"))
    for name, value in estimate.ways[0].memory.parts().items():
        if value:
            _row(f"  {_(name)}", _size(value))
    if estimate.cache_bytes:
        _row(_("KV cache of a full context"), _size(estimate.cache_bytes))
    print("\n" + _("time"))
    _row(_("tokens per second"), f"{estimate.tokens_per_second:,.0f}", estimate.basis)
    if estimate.tokens is not None:
        _row(
            _("the recipe's budget"),
            _("{tokens} tokens").format(tokens=_scaled(estimate.tokens)),
            _time_and_cost(estimate, estimate.seconds),
        )
    optimal = _("{tokens} tokens").format(tokens=_scaled(estimate.optimal_tokens))
    _row(_("compute-optimal"), optimal, _time_and_cost(estimate, estimate.optimal_seconds))
    for note in estimate.notes:
        print(note)


def _print_advice(advice: "Advice") -> None:
    facts = advice.facts
    text = _("{documents:,} documents, {characters:,} characters, about {tokens:,} tokens ({languages})")
    languages = ", ".join(_(LANGUAGES[name]) for name, _count in sorted(facts.languages.items(), key=lambda item: -item[1]))
    print(text.format(documents=facts.documents, characters=facts.characters, tokens=facts.tokens, languages=languages))
    if facts.columns is not None:
        print(_("There is a column of labels: {label}; the text is in {text}.").format(label=facts.columns.label, text=facts.columns.text))
    if advice.share is not None:
        if advice.share < 1:
            print(_("In {hours:g} hours this machine reads {share:.0%} of it.").format(hours=advice.hours, share=advice.share))
        else:
            print(_("In {hours:g} hours this machine reads all of it {share:,.1f} times.").format(hours=advice.hours, share=advice.share))
    for reason in advice.reasons:
        print(f"- {reason}")
    print(_("next:"))
    for command in advice.commands:
        print(f"  {command}")


def _row(name: str, value: str, remark: str = "") -> None:
    from diptych.report.terminal import width

    print(f"  {name}{' ' * max(1, 30 - width(name))}{value:>16}  {remark}".rstrip())


def _time_and_cost(estimate: "Estimate", seconds: float | None) -> str:
    if seconds is None:
        return ""
    cost = estimate.cost(seconds)
    return _duration(seconds) + ("" if cost is None else _(", {dollars:,.0f} dollars").format(dollars=cost))


def _duration(seconds: float) -> str:
    for limit, unit, name in (
        (120, 1, mark("{n:.0f} seconds")),
        (7200, 60, mark("{n:.0f} minutes")),
        (172_800, 3600, mark("{n:.1f} hours")),
    ):
        if seconds < limit:
            return _(name).format(n=seconds / unit)
    return _("{n:,.0f} days").format(n=seconds / 86_400)


def _size(count: float) -> str:
    """Bytes as people say them."""
    scaled, unit = _by_thousands(count, ("B", "kB", "MB", "GB", "TB"))
    return f"{scaled:,.0f} {unit}" if scaled >= 100 or unit == "B" else f"{scaled:,.1f} {unit}"


def _scaled(count: float) -> str:
    scaled, unit = _by_thousands(count, ("", "k", "M", "G", "T", "P"))
    return f"{scaled:,.3g} {unit}".rstrip()


def _by_thousands(count: float, units: tuple[str, ...]) -> tuple[float, str]:
    """A number below a thousand, and its unit; the last unit takes what is left."""
    for unit in units[:-1]:
        if count < 1000:
            return count, unit
        count /= 1000
    return count, units[-1]

"""The command that puts models behind an address: `serve`."""

from typing import Annotated

import typer

from diptych.messages import _


def serve(
    models: Annotated[list[str] | None, typer.Argument(help="Model folders, or names of installed models.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER serves a folder under a name. May be given often.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; any but this machine's own needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8000,
    int8: Annotated[bool, typer.Option("--int8", help="Put the large matrices in eight bits first.")] = False,
    slots: Annotated[int, typer.Option(help="Write so many answers of each model at once.", min=1)] = 16,
    step_tokens: Annotated[int, typer.Option(help="Read at most so many tokens in a step.", min=1)] = 256,
    prefix_mb: Annotated[int, typer.Option(help="Keep so many megabytes of beginnings that were read before.", min=0)] = 256,
    api_key_file: Annotated[str | None, typer.Option(help="A file with keys, one a line; DIPTYCH_API_KEYS does as well.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Another site whose pages may ask. May be given often.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Another name of this server. May be given often.")] = None,
    queue: Annotated[int, typer.Option(help="So many requests may be open at once.", min=1)] = 256,
    per_client: Annotated[int, typer.Option(help="So many of them from one client.", min=1)] = 128,
    body_mb: Annotated[float, typer.Option(help="The largest request, in megabytes.", min=0.001)] = 4.0,
    deadline: Annotated[float, typer.Option(help="Seconds that one request may take.", min=0.1)] = 600.0,
    grace: Annotated[float, typer.Option(help="Seconds that requests under way get when the server is to end.", min=0)] = 20.0,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Write down what is asked, which may be private.")] = False,
) -> None:
    """Put models behind an address that OpenAI's clients know, with a page at `/`.

    Example: `diptych serve my-gpt my-classifier --int8`
    """
    from diptych import serving

    named = serving.named_models(models or [])
    for each in name or []:
        key, folder = _pair(each)
        named[key] = folder
    options = {key: value for key, value in locals().items() if key in OPTIONS}
    running = serving.open_server(named, **options, allow_origins=allow_origin or (), allow_hosts=allow_host or ())
    print(_("Serving {names} at {url} (Ctrl-C ends it)").format(names=", ".join(named), url=running.url), flush=True)
    running.run()


OPTIONS = (
    *("host", "port", "int8", "slots", "step_tokens", "prefix_mb", "api_key_file"),
    *("queue", "per_client", "body_mb", "deadline", "grace", "log_texts"),
)


def add_to(app: typer.Typer) -> None:
    """Hang this command in."""
    app.command()(serve)


def _pair(item: str) -> tuple[str, str]:
    from diptych.errors import UsageError

    key, equals, folder = item.partition("=")
    if not equals or not key or not folder:
        raise UsageError("E644", key="--name", value=repr(item), problem=_("NAME=FOLDER is wanted"))
    return key, folder

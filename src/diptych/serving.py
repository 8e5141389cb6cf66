"""A model folder becomes an address: the models are read, the engine is started, and a server answers until it is stopped.

What keeps it safe is decided here and not left to chance: it listens on this machine alone unless there is a key, and when it is told to
end it takes nothing new, finishes what it can within the stated time, and cancels the rest.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych import runtime
from diptych.errors import MachineError, RecipeError, of_system
from diptych.kernels.int8 import is_int8
from diptych.model import Model
from diptych.running import load_model
from diptych.surgery.quantize import to_int8

if TYPE_CHECKING:
    from diptych.serve.desk import Desk

KEYS = "DIPTYCH_API_KEYS"
"""The environment variable with keys, separated by commas."""
SHORTEST_KEY = 16
LATER_SECONDS = 5
"""So much longer than its grace the network part waits: answers that were cancelled are still sent."""


def serve(models: Any, *, block: bool = True, **options: Any) -> "Running":
    """Serve models over HTTP, as OpenAI's clients know it, with a page at `/`.

    Args:
        models: a `Model` or a folder, several of either in a list, or a mapping from names to them.
        block: serve until interrupted; otherwise return at once, with the server running in a thread, to be ended by `stop`.
        options: those of `open_server`.

    Raises:
        what `open_server` raises.
    """
    running = open_server(models, **options)
    if block:
        running.run()
    else:
        running.start()
    return running


def open_server(
    models: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    int8: bool = False,
    slots: int = 16,
    step_tokens: int = 256,
    prefix_mb: int = 256,
    api_keys: Sequence[str] = (),
    api_key_file: str | Path | None = None,
    allow_origins: Sequence[str] = (),
    allow_hosts: Sequence[str] = (),
    queue: int = 256,
    per_client: int = 128,
    body_mb: float = 4.0,
    deadline: float = 600.0,
    grace: float = 20.0,
    log_texts: bool = False,
) -> "Running":
    """Read the models, take the port, and be ready to serve.

    Args:
        models: as `serve` takes them.
        host, port: where to listen; port 0 takes a free one.
        int8: put the large matrices in eight bits first.
        slots: so many answers of each model are written at once.
        step_tokens: a step reads so many tokens at most. prefix_mb: so much is kept of beginnings that were read before.
        api_keys, api_key_file: any of them opens, as does one of DIPTYCH_API_KEYS; none is asked for where there is none.
        allow_origins: other sites whose pages may ask. allow_hosts: other names under which the server is addressed.
        queue, per_client: so much may be open at once, of all clients and of one.
        deadline: seconds that one request may take. grace: seconds that those under way get when the server is to end.
        log_texts: write down what is asked, which may be private.

    Raises:
        MachineError E901: a package is missing. E907: another machine could come in without a key. E908: the port is taken.
        E909: the keys cannot be used. UsageError E655, E673: no model, or two of one name.
    """
    keys = read_keys(api_keys, api_key_file)
    check_bind(host, keys)
    _check_packages()
    from diptych.serve.app import Options, create_app
    from diptych.serve.gate import LOOPBACK, Rules

    runtime.prepare()
    listening = _listen(host, port)
    try:
        desk = open_desk(
            named_models(models),
            int8=int8,
            slots=slots,
            step_tokens=step_tokens,
            prefix_mb=prefix_mb,
            queue=queue,
            per_client=per_client,
            deadline=deadline,
        )
    except BaseException:
        listening.close()
        raise
    hosts = (*LOOPBACK, *allow_hosts) if host in LOOPBACK else tuple(allow_hosts)
    rules = Rules(keys, hosts, tuple(allow_origins), int(body_mb * (1 << 20)))
    app = create_app(desk, Options(rules, log_texts))
    return Running(app, desk, listening, grace)


def open_desk(
    models: Mapping[str, Any],
    *,
    int8: bool = False,
    slots: int = 16,
    step_tokens: int = 256,
    prefix_mb: int = 256,
    queue: int = 256,
    per_client: int = 128,
    deadline: float = 600.0,
) -> "Desk":
    """The models with a running engine, without the network around them.

    Raises:
        UsageError E604: a model has no tokenizer. E655, E673: no model, or two of one name.
    """
    from diptych.serve.batch import Batch
    from diptych.serve.counts import Counts
    from diptych.serve.desk import Caps, Desk
    from diptych.serve.engine import Engine, Limits
    from diptych.serve.shelf import Served, Shelf
    from diptych.serve.solo import Solo

    shelf = Shelf(Served(name, each if isinstance(each, Model) else load_model(each)) for name, each in models.items())
    counts, lanes = Counts(), {}
    for served in shelf:
        net, tokenizer = served.model.net, served.model.tokenizer
        if int8 and not is_int8(net):
            to_int8(net)
        net.eval()
        if "write" in served.can and served.is_batched:
            options: dict[str, Any] = {"num_slots": slots, "step_tokens": step_tokens, "prefix_bytes": prefix_mb << 20}
            lanes[served.name] = lambda net=net, tokenizer=tokenizer, options=options: Batch(net, tokenizer, counts, **options)
        elif {"write", "translate"} & set(served.can):
            lanes[served.name] = lambda net=net, tokenizer=tokenizer: Solo(net, tokenizer, counts, num_slots=slots)
    engine = Engine(lanes, counts, Limits(queue, per_client))
    engine.start()
    return Desk(shelf, engine, Caps(seconds=deadline))


class Running:
    """A server.

    Attributes:
        url: where it is.
    """

    def __init__(self, app: Any, desk: "Desk", listening: socket.socket, grace: float) -> None:
        import uvicorn

        self.desk, self._grace, self._socket = desk, grace, listening
        host, port = listening.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=int(grace) + LATER_SECONDS, lifespan="on"
        )
        self._server = _server(config, self._drain)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until a signal or `stop`."""
        logging.getLogger("diptych.serve").setLevel(logging.INFO)
        if not logging.getLogger("diptych.serve").handlers:
            logging.getLogger("diptych.serve").addHandler(logging.StreamHandler(sys.stderr))
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve in a thread; returns when it answers."""
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="diptych-server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def stop(self) -> None:
        """Take nothing new, finish what can be finished in time, and end."""
        self._drain()
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _drain(self) -> None:
        self.desk.engine.drain()
        threading.Thread(target=self.desk.engine.stop, args=(self._grace,), name="diptych-drain", daemon=True).start()


def named_models(models: Any) -> dict[str, Any]:
    """Names for models: those that are given, or the folder's.

    Raises:
        RecipeError E411: see `check`. UsageError E673: two have the same name.
    """
    if isinstance(models, Mapping):
        return {str(name): each for name, each in models.items()}
    several: Iterable[Any] = models if isinstance(models, list | tuple) else [models]
    found: dict[str, Any] = {}
    for each in several:
        name = name_of(each)
        if name in found:
            from diptych.errors import UsageError

            raise UsageError("E673", name=name)
        found[name] = each
    return found


def name_of(model: Any) -> str:
    """What a model is called where nobody names it: its folder."""
    folder = model.folder if isinstance(model, Model) else model
    if folder is None:
        return "model"
    path = Path(folder)
    return path.stem if path.suffix == ".gguf" else (path.name or path.resolve().name)


def read_keys(keys: Sequence[str] = (), file: str | Path | None = None) -> tuple[str, ...]:
    """All keys, from wherever they are said.

    Raises:
        MachineError E909: the file cannot be read or has none in it, or a key is too short to be one.
    """
    found = [*keys, *(key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip())]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise MachineError("E909", where=file, problem=getattr(error, "strerror", None) or error) from None
        own = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not own:
            raise MachineError("E909", where=file, problem="0")
        found += own
    if any(len(key) < SHORTEST_KEY for key in found):
        from diptych.messages import _

        problem = _("a key has at least {least} characters").format(least=SHORTEST_KEY)
        raise MachineError("E909", where=file or KEYS, problem=problem)
    return tuple(dict.fromkeys(found))


def check_bind(host: str, keys: Sequence[str]) -> None:
    """
    Raises:
        MachineError E907: other machines could come in, and no key is asked for.
    """
    from ipaddress import ip_address

    try:
        is_here = ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if not is_here and not keys:
        raise MachineError("E907", host=host)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        MachineError E908: the port is taken, or no such address is here.
    """
    if not 0 <= port < 1 << 16:
        raise RecipeError("E403", where="serve", key="port", value=port, problem="0 … 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise MachineError("E908", host=host, port=port, problem=of_system(error).values["problem"]) from None
    return found


def _server(config: Any, on_exit: Any) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        """uvicorn's, which tells the engine of a signal."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            on_exit()
            super().handle_exit(sig, frame)

    return Server(config)


def _check_packages() -> None:
    from importlib.util import find_spec

    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn"), ("prometheus_client", "prometheus-client")):
        if find_spec(module) is None:
            raise MachineError("E901", package=package, command="pip install 'diptych[serve]'")

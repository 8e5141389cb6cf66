"""Flower's client and server around a site and a center: for whoever outgrows one machine.

Flower's pins exclude today's typer, rich, fastapi and uvicorn, so it lives in an environment of its own, with Diptych beside it:

    python -m venv flower && flower/bin/pip install flwr diptych

A Flower app is then two files of two lines. `client.py`: `from diptych.flower import client_app` and `app = client_app(RECIPE)`;
`server.py`: `from diptych.flower import server_app` and `app = server_app(RECIPE, "federated-model")`. Each node says
with `--node-config 'data="/where/its/table/lies.csv"'` what it trains on, and may name its copy of the model as `base`. Texts and labels
never leave a node; weights do, and say something of them: see the guide. Set FLWR_TELEMETRY_ENABLED=0, since Flower reports its use
otherwise.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from diptych.errors import MachineError
from diptych.federating import Answer, Center, Site
from diptych.recipe import build
from diptych.streams import seed_for

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""Flower's usual names for the parts of a message."""


def client_app(recipe: Mapping[str, Any]) -> Any:
    """A Flower `ClientApp` that trains each round on the table that its node names.

    Raises:
        MachineError E901: Flower is not installed.
    """
    _need_flower()
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict  # type: ignore[import-not-found]
    from flwr.clientapp import ClientApp  # type: ignore[import-not-found]

    app = ClientApp()

    @app.train()
    def train(message: Any, context: Any) -> Any:
        told = context.node_config
        name = str(context.node_id)
        # Sites that draw the same numbers would drop the same neurons.
        number = int(told["number"]) if "number" in told else 1 + seed_for(0, "node", name) % (1 << 31)
        site = Site(_told(recipe, told), str(told["data"]), name, number)
        arrays = {name: array.numpy() for name, array in message.content[ARRAYS].items()}
        answer = site.train(arrays, int(message.content[CONFIG]["server-round"]) - 1)
        record = ArrayRecord({name: Array(value) for name, value in answer.arrays.items()})
        facts = MetricRecord({"num-examples": answer.num_examples, "round": answer.round})
        return Message(content=RecordDict({ARRAYS: record, METRICS: facts}), reply_to=message)

    return app


def server_app(recipe: Mapping[str, Any], out: str) -> Any:
    """A Flower `ServerApp` that leads the rounds and leaves the model in `out`.

    The regime says how many rounds there are and what share of the nodes is asked in each; `clients` of them have to be there.

    Raises:
        MachineError E901: Flower is not installed.
    """
    _need_flower()
    from flwr.app import Array, ArrayRecord  # type: ignore[import-not-found]
    from flwr.serverapp import ServerApp  # type: ignore[import-not-found]

    app = ServerApp()

    @app.main()
    def lead(grid: Any, context: Any) -> None:
        center = Center(_told(recipe, context.run_config))
        start = ArrayRecord({name: Array(value) for name, value in center.start().items()})
        result = _strategy(center).start(grid=grid, initial_arrays=start, num_rounds=center.rounds)
        center.finish({name: array.numpy() for name, array in result.arrays.items()}, out)
        for line in center.ledger.lines():
            print(line)

    return app


def _strategy(center: Center) -> Any:
    """Flower's averaging with our own in its place, which looks at each update before it is used."""
    from flwr.app import Array, ArrayRecord  # type: ignore[import-not-found]
    from flwr.serverapp.strategy import FedAvg  # type: ignore[import-not-found]

    class Checked(FedAvg):
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
            messages = list(super().configure_train(server_round, arrays, config, grid))
            self.before = {name: array.numpy() for name, array in arrays.items()}
            self.asked = [str(message.metadata.dst_node_id) for message in messages]
            return messages

        def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, None]:
            answers = [_answer(reply) for reply in replies if not reply.has_error()]
            merged = center.merge(self.before, server_round - 1, self.asked, answers)
            return ArrayRecord({name: Array(value) for name, value in merged.items()}), None

    nodes = center.settings.clients or 2
    # None is asked to evaluate: what the model is worth is measured where a test set is.
    return Checked(fraction_train=center.settings.share, fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=nodes)


def _answer(reply: Any) -> Answer:
    """A reply as it is, or what stands for one that makes no sense."""
    site = str(reply.metadata.src_node_id)
    try:
        facts = reply.content[METRICS]
        arrays = {name: array.numpy() for name, array in reply.content[ARRAYS].items()}
        return Answer(site, int(facts["round"]), int(facts["num-examples"]), arrays)
    except (KeyError, TypeError, ValueError):
        return Answer(site, -1, 0, {})


def _told(recipe: Mapping[str, Any], told: Mapping[str, Any]) -> Any:
    """The recipe, starting from this node's copy of the model where it names one."""
    base = {"model": {**recipe["model"], "base": str(told["base"])}} if "base" in told else {}
    return build({**recipe, **base})


def _need_flower() -> None:
    try:
        import flwr  # type: ignore[import-not-found] # noqa: F401
    except ImportError:
        raise MachineError("E901", package="flwr", command="python -m venv flower && flower/bin/pip install flwr diptych") from None

"""What the server counts, in the words of Prometheus; vLLM's names where it has one, with our own prefix."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from diptych.serve.counts import Spread
from diptych.serve.engine import Engine

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests, and shows them with what the engine counts of itself.

    Args:
        paths: those that are told apart; a path that nobody knows is "other", so that strangers cannot make names.
    """

    def __init__(self, engine: Engine, paths: set[str]) -> None:
        self._engine, self._paths = engine, paths
        self._requests: Counter[tuple[str, str]] = Counter()
        self._seconds = Spread()
        self._disconnected = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)  # type: ignore[arg-type]

    def count(self, path: str, status: int, seconds: float) -> None:
        """One request that is over."""
        self._requests[path if path in self._paths else "other", str(status)] += 1
        self._disconnected += status == 499
        self._seconds.add(seconds)

    def show(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """Called by prometheus_client."""
        counts, lanes = self._engine.counts, dict(self._engine.lanes)
        requests = CounterMetricFamily("diptych:http_requests", "requests that are over", labels=["path", "status"])
        for (path, status), number in list(self._requests.items()):
            requests.add_metric([path, status], number)
        yield requests
        yield CounterMetricFamily("diptych:http_requests_client_disconnected", "clients that hung up", value=self._disconnected)
        yield _histogram("diptych:request_seconds", "seconds a request took", self._seconds)
        for name, about, value in (
            ("prompt_tokens", "tokens of prompts", counts.prompt_tokens),
            ("prefix_cache_hit_tokens", "tokens of prompts that were found read", counts.kept_tokens),
            ("generation_tokens", "tokens that were written", counts.new_tokens),
            ("engine_steps", "passes through a network", counts.steps),
            ("jobs", "anything but writing", counts.jobs),
        ):
            yield CounterMetricFamily(f"diptych:{name}", about, value=value)
        endings = CounterMetricFamily("diptych:answers", "answers by how they ended", labels=["ending"])
        for how, number in dict(counts.answers).items():
            endings.add_metric([how], number)
        yield endings
        for name, about, attribute in (
            ("num_requests_running", "answers that are being written", "num_active"),
            ("num_requests_waiting", "answers that wait for a slot", "num_waiting"),
            ("num_slots_free", "slots that nobody uses", "num_free"),
        ):
            gauge = GaugeMetricFamily(f"diptych:{name}", about, labels=["model"])
            for model, lane in lanes.items():
                gauge.add_metric([model], getattr(lane, attribute))
            yield gauge
        yield GaugeMetricFamily("diptych:requests_open", "asks and jobs that are not over", value=self._engine.num_open)
        yield GaugeMetricFamily("diptych:prefix_cache_bytes", "memory of beginnings that were read before", value=counts.prefix_bytes)
        yield _histogram("diptych:time_to_first_token_seconds", "seconds from asking to the first token", counts.first_token)
        yield _histogram("diptych:inter_token_latency_seconds", "seconds from a token to the next", counts.between_tokens)


def _histogram(name: str, about: str, spread: Spread) -> HistogramMetricFamily:
    total, buckets = 0, []
    counts = list(spread.counts)
    for bound, number in zip([*map(str, spread.bounds), "+Inf"], counts, strict=True):
        total += number
        buckets.append((bound, total))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=spread.sum)

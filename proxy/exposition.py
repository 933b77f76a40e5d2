"""The host's metrics: the workers' snapshots added up, rendered the way Prometheus reads them.

A counter must never go backwards, or Prometheus takes it for a restart and counts everything again. So what a
worker counted outlives it, its labels keep their meaning for as long as it lives, and sums of floats, which
depend on the order of their terms, are added as whole billionths.
"""

import platform
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from operator import add

import aiohttp
import orjson
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString

from proxy import __version__, process
from proxy.families import (
    BILLION,
    BUILD_INFO,
    CPU_SECONDS,
    DRAINING,
    PROCESS_GAUGES,
    RELOAD_SUCCESSFUL,
    RELOAD_TIME,
    START_TIME,
    WORKER_FAMILIES,
    WORKER_RESTARTS,
    WORKERS,
    Family,
    Labels,
)
from proxy.metrics import MAX_ERROR_TYPES, MAX_MODELS, OTHER, OTHER_ERROR, Vocabulary

Samples = dict[Labels, list[float]]
"""By label values: a histogram's bucket counts and its sum in billionths; of anything else the one value."""

SUPERVISOR = "supervisor"

_EXPECTED = {family.name for family in WORKER_FAMILIES}


class _Worker:
    """The newest snapshot of one live worker; a label value once folded into the rest stays folded."""

    def __init__(self, vocabularies: dict[str, Vocabulary]) -> None:
        self.samples: dict[str, Samples] = {}
        self._vocabularies = vocabularies
        self._labels: dict[tuple[str, str], str] = {}

    def update(self, family: Family, cells: list[tuple[list[str], float | list[float]]]) -> None:
        bounded = [(place, name) for place, name in enumerate(family.labels) if name in self._vocabularies]
        samples: Samples = {}
        for values, cell in cells:
            for place, name in bounded:
                values[place] = self._label(name, values[place])
            _add(samples, tuple(values), _whole(cell) if isinstance(cell, list) else [cell])
        self.samples[family.name] = samples

    def _label(self, name: str, value: str) -> str:
        label = self._labels.get((name, value))
        if label is None:
            label = self._labels[name, value] = self._vocabularies[name].label(value)
        return label


class Exposition:
    """What `/metrics` answers, for one host and however many workers.

    `workers` and `draining` are set by the supervisor. The limits on models and error types hold for the
    host's whole life, so that workers coming and going do not bring new series without end. `clock` returns
    Unix time.
    """

    def __init__(self, max_models: int = MAX_MODELS, clock: Callable[[], float] = time.time) -> None:
        self.workers = 0
        self.draining = False
        self._restarts = 0
        self._reload_successful = True
        self._clock = clock
        self._started = self._reloaded = clock()
        self._models = Vocabulary((), max_models, OTHER)
        self._vocabularies = {
            "model": self._models,
            "gen_ai_request_model": self._models,
            "error_type": Vocabulary(("",), MAX_ERROR_TYPES, OTHER_ERROR),
        }
        self._live: dict[int, _Worker] = {}
        self._gone: dict[str, Samples] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def update(self, worker: int, snapshot: bytes) -> None:
        """Take a worker's newest snapshot; `worker` is any number that tells the live ones apart.

        ValueError says that the snapshot is not whole; the one before it stands.
        """
        models, *lines = map(orjson.loads, snapshot.splitlines())
        families = dict(lines)
        if families.keys() != _EXPECTED:
            raise ValueError(f"a snapshot is not of this version: {', '.join(sorted(_EXPECTED ^ families.keys()))}")
        self._models.know(models)
        state = self._live.setdefault(worker, _Worker(self._vocabularies))
        for family in WORKER_FAMILIES:
            state.update(family, families[family.name])

    def retire(self, worker: int) -> None:
        """Keep what a worker counted once it is gone; its gauges go with it. One never heard of is no error."""
        state = self._live.pop(worker, None)
        if state is None:
            return
        for family in WORKER_FAMILIES:
            if family.type != "gauge":
                _add_all(self._gone.setdefault(family.name, {}), state.samples[family.name])

    def restarted(self) -> None:
        """Count a worker that was replaced after an unexpected end."""
        self._restarts += 1

    def reload(self, *, successful: bool) -> None:
        """Say whether the newest configuration came into force."""
        self._reload_successful = successful
        if successful:
            self._reloaded = self._clock()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition and its content type: text, or OpenMetrics where `accept` asks for it."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # prometheus_client compares a version that is no number with one that is
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield the families in the library's own form, all workers, live and gone, in one."""
        own = _own_share()
        for family in WORKER_FAMILIES:
            samples: Samples = {} if family.labels else {(): _nothing(family)}
            for part in (own, self._gone, *(state.samples for state in self._live.values())):
                _add_all(samples, part.get(family.name, {}))
            yield _metric(family, samples)
        yield _metric(WORKERS, {(): [self.workers]})
        yield _metric(WORKER_RESTARTS, {(): [self._restarts]})
        yield _metric(DRAINING, {(): [self.draining]})
        yield _metric(RELOAD_SUCCESSFUL, {(): [self._reload_successful]})
        yield _metric(RELOAD_TIME, {(): [self._reloaded]})
        yield _metric(START_TIME, {(): [self._started]})
        yield _metric(BUILD_INFO, {(__version__, platform.python_version(), aiohttp.__version__): [1]})


def _own_share() -> dict[str, Samples]:
    """Return what this process, the supervisor's, has of the families that workers have too."""
    shares: dict[str, Samples] = {CPU_SECONDS.name: {(SUPERVISOR,): [process.cpu_nanoseconds()], ("worker",): [0]}}
    for family in PROCESS_GAUGES:
        shares[family.name] = {labels: [value] for labels, value in process.read(family, SUPERVISOR).items()}
    return shares


def _nothing(family: Family) -> list[float]:
    return [0] * (len(family.buckets) + 2) if family.type == "histogram" else [0]


def _whole(cell: list[float]) -> list[float]:
    return [*cell[:-1], round(cell[-1] * BILLION)]


def _add(samples: Samples, labels: Labels, value: list[float]) -> None:
    held = samples.get(labels)
    samples[labels] = value if held is None else list(map(add, held, value))


def _add_all(samples: Samples, more: Samples) -> None:
    for labels, value in more.items():
        _add(samples, labels, value)


def _metric(family: Family, samples: Samples) -> Metric:
    if family.type == "histogram":
        return _histogram(family, samples)
    kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, (value,) in samples.items():
        metric.add_metric(labels, value / family.scale)
    return metric


def _histogram(family: Family, samples: Samples) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    for labels, (*counts, total) in samples.items():
        metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total / BILLION)
    return metric

"""The cells in which one worker counts its series, and the values their labels may take.

A worker has one event loop, so its cells are plain numbers without locks; `exposition` adds the workers' snapshots up
and gives them Prometheus' shape.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from proxy.families import (
    ARCHIVE_DROPPED,
    AUTH_FAILURES,
    BINDINGS_DROPPED,
    COUNTERS,
    DURATION,
    EVENT_LOOP_LAG,
    FIRST_CHUNK,
    HISTOGRAMS,
    INFLIGHT_REQUESTS,
    INFLIGHT_STREAMS,
    OUTPUT_CHUNK,
    OVERHEAD,
    REDIS_OPERATIONS,
    REDIS_SECONDS,
    REQUESTS,
    STREAM_ENDS,
    TOKEN_BUCKETS,
    TOKEN_USAGE,
    TOKENS,
    UPSTREAM_CONNECT,
    UPSTREAM_CONNECT_FAILURES,
    UPSTREAM_RETRIES,
    WATCHED,
    Family,
    Labels,
)
from proxy.providers.base import FULL
from proxy.record import ENDS, Record
from proxy.usage import Usage

OPERATIONS = FULL | {"models"}
"""The values of the `operation` label, besides `unknown`."""
GENERATIONS = {"create": "chat", "compact": "compact"}
"""The operations that make a model work, and what OpenTelemetry calls them (it has no word for the second).

Only their usage counts: retrieving a response repeats the tokens it was created with.
"""
TOKEN_TYPES = ("input", "cached_input", "output", "reasoning")
"""The values of the `type` label, in the order of `Usage`."""
NONE, OTHER, OTHER_ERROR = "none", "other", "_OTHER"
MAX_MODELS = 200
MAX_ERROR_TYPES = 100
MAX_LABEL_LENGTH = 128
MAX_TOKENS = int(TOKEN_BUCKETS[-1])
"""A number past the last bucket is the provider's mistake; unbounded, it would overflow the snapshot."""


class Vocabulary:
    """The values one label may take: the known ones and the first `room` others; the rest become `rest`."""

    def __init__(self, known: Iterable[str], room: int, rest: str) -> None:
        self._values = {rest, *known}
        self._room = room
        self._rest = rest

    def know(self, values: Iterable[str]) -> None:
        """Allow these values for good, whatever room is left."""
        self._values.update(values)

    def label(self, value: str, *, admit: bool = True) -> str:
        """Return the value, or the rest's where it is neither allowed yet nor to be admitted now."""
        if value in self._values:
            return value
        if not admit or self._room <= 0 or not 0 < len(value) <= MAX_LABEL_LENGTH or not value.isprintable():
            return self._rest
        self._room -= 1
        self._values.add(value)
        return value


class Level:
    """A gauge that stands one higher inside each `with` block entered on it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def __enter__(self) -> None:
        self.value += 1

    def __exit__(self, *_: object) -> None:
        self.value -= 1


class _Sum:
    """One series of a counter."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = 0

    def add(self, amount: int = 1) -> None:
        self.state += amount


class _Distribution:
    """One series of a histogram: the count of each bucket, not cumulative, past the last bound too, then the sum."""

    __slots__ = ("_bounds", "state")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.state: list[float] = [0] * (len(bounds) + 1) + [0.0]

    def observe(self, value: float) -> None:
        self.state[bisect_left(self._bounds, value)] += 1
        self.state[-1] += value


class Metrics:
    """One worker's cells.

    `providers` are the configured names; anything else is labelled `none`. `models` are always labels of
    their own; of further models the first `max_models` that a provider served are, the rest is `other`.
    """

    def __init__(self, *, providers: Iterable[str], models: Iterable[str], max_models: int = MAX_MODELS) -> None:
        names = (*dict.fromkeys(providers), NONE)
        self._known_models = sorted(set(models))
        self._models = Vocabulary(self._known_models, max_models, OTHER)
        self._error_types = Vocabulary((), MAX_ERROR_TYPES, OTHER_ERROR)
        self._counters = {family.name: defaultdict[Labels, _Sum](_Sum) for family in COUNTERS}
        self._histograms = {
            family.name: defaultdict[Labels, _Distribution](partial(_Distribution, family.buckets))
            for family in HISTOGRAMS
        }
        self._watched: dict[str, Callable[[], Mapping[Labels, float]]] = {family.name: dict for family in WATCHED}
        self._duration = self._histograms[DURATION.name]
        self._first_chunk = self._histograms[FIRST_CHUNK.name]
        self._output_chunk = self._histograms[OUTPUT_CHUNK.name]
        self._token_usage = self._histograms[TOKEN_USAGE.name]
        self._overhead = self._histograms[OVERHEAD.name]
        self._redis_seconds = self._histograms[REDIS_SECONDS.name]
        self._upstream_connect = self._histograms[UPSTREAM_CONNECT.name]
        self._loop_lag = self._histograms[EVENT_LOOP_LAG.name]
        self._requests = self._counters[REQUESTS.name]
        self._tokens = self._counters[TOKENS.name]
        self._stream_ends = self._counters[STREAM_ENDS.name]
        self._redis_operations = self._counters[REDIS_OPERATIONS.name]
        self._bindings_dropped = self._counters[BINDINGS_DROPPED.name]
        self._archive_dropped = self._counters[ARCHIVE_DROPPED.name]
        self._auth_failures = self._counters[AUTH_FAILURES.name]
        self._connect_failures = self._counters[UPSTREAM_CONNECT_FAILURES.name]
        self._retries = self._counters[UPSTREAM_RETRIES.name]
        self._usage_cells: dict[Labels, tuple[list[_Sum], _Distribution, _Distribution]] = {}
        self._requests_inflight = {name: Level() for name in names}
        self._streams_inflight = {name: Level() for name in names}
        self.watch(INFLIGHT_REQUESTS, lambda: _levels(self._requests_inflight))
        self.watch(INFLIGHT_STREAMS, lambda: _levels(self._streams_inflight))
        self.present(OVERHEAD, *((operation,) for operation in sorted(OPERATIONS)))
        self.present(STREAM_ENDS, *((name, end) for name in names for end in ENDS))
        self.present(EVENT_LOOP_LAG, ())
        for family in (UPSTREAM_CONNECT, UPSTREAM_CONNECT_FAILURES, UPSTREAM_RETRIES):
            self.present(family, *((name,) for name in names if name != NONE))

    def present(self, family: Family, *labels: Labels) -> None:
        """Show these label values at zero before anything is counted, so that a first increase is seen as one."""
        cells = self._histograms[family.name] if family.type == "histogram" else self._counters[family.name]
        for each in labels:
            _ = cells[each]

    def settle(self, record: Record) -> None:
        """Count everything one exchange is worth; `record.ended` must be set."""
        provider = record.provider if record.provider in self._requests_inflight else NONE
        operation = record.operation if record.operation in OPERATIONS else "unknown"
        elapsed = record.ended - record.started
        self._requests[operation, provider, str(record.status) if record.status else NONE].add()
        self._overhead[(operation,)].observe(max(0.0, elapsed - record.waited))
        if record.retried:
            self._retries[(provider,)].add()
        if record.streamed and record.end:
            self._stream_ends[provider, record.end].add()
        if provider != NONE and operation in GENERATIONS:
            self._settle_generation(record, provider, elapsed)

    def _settle_generation(self, record: Record, provider: str, elapsed: float) -> None:
        model = self._models.label(record.model, admit=200 <= record.status < 400)  # noqa: PLR2004
        labels = (GENERATIONS[record.operation], record.otel_provider, provider, model)
        error = record.error_type and self._error_types.label(record.error_type)
        self._duration[(*labels, error)].observe(elapsed)
        if record.streamed and record.first_chunk > 0:
            self._first_chunk[labels].observe(record.first_chunk - record.started)
            if record.chunks > 1:
                self._output_chunk[labels].observe((record.last_chunk - record.first_chunk) / (record.chunks - 1))
        if record.usage is not None:
            self._settle_usage(record.usage, labels)

    def _settle_usage(self, usage: Usage, labels: Labels) -> None:
        cells = self._usage_cells.get(labels)
        if cells is None:
            *_, provider, model = labels
            sums = [self._tokens[provider, model, token_type] for token_type in TOKEN_TYPES]
            observed = self._token_usage[(*labels, "input")], self._token_usage[(*labels, "output")]
            cells = self._usage_cells[labels] = sums, *observed
        sums, of_input, of_output = cells
        if max(usage) > MAX_TOKENS:
            usage = Usage(*(min(count, MAX_TOKENS) for count in usage))
        for cell, count in zip(sums, usage, strict=True):
            if count:
                cell.add(count)
        of_input.observe(usage.input)
        of_output.observe(usage.output)

    def serving(self, provider: str) -> Level:
        """Return the gauge of requests this provider is serving, to be entered for one request's time."""
        return self._requests_inflight.get(provider) or self._requests_inflight[NONE]

    def streaming(self, provider: str) -> Level:
        """Return the gauge of this provider's open streams, to be entered for one stream's time."""
        return self._streams_inflight.get(provider) or self._streams_inflight[NONE]

    def connected(self, provider: str, seconds: float | None) -> None:
        """Count a new connection to a configured provider by the time it took; None says that it could not be made."""
        if seconds is None:
            self._connect_failures[(provider,)].add()
        else:
            self._upstream_connect[(provider,)].observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Count by how much a timer of the event loop was late."""
        self._loop_lag[()].observe(seconds)

    def redis(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one round trip to Redis; both words come from the code, never from a request."""
        self._redis_operations[operation, outcome].add()
        self._redis_seconds[(operation,)].observe(seconds)

    def auth_failure(self, reason: str) -> None:
        """Count a request refused for its key; the reason is a word of the code's own."""
        self._auth_failures[(reason,)].add()

    def binding_dropped(self, number: int = 1) -> None:
        """Count bindings given up before Redis had them."""
        self._bindings_dropped[()].add(number)

    def archive_dropped(self, number: int = 1) -> None:
        """Count responses given up before Redis had them."""
        self._archive_dropped[()].add(number)

    def watch(self, family: Family, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Read a family's values, by label values, whenever a snapshot is taken; a counter's must only grow."""
        self._watched[family.name] = read

    def snapshot(self) -> Iterator[bytes]:
        """Yield the cells' state in lines of JSON, a family each, so that a loop may turn between two.

        Joined, they are what `Exposition.update` takes.
        """
        yield orjson.dumps(self._known_models, option=orjson.OPT_APPEND_NEWLINE)
        for name, cells in (self._counters | self._histograms).items():
            yield _line(name, {labels: cell.state for labels, cell in cells.items()})
        for name, read in self._watched.items():
            yield _line(name, read())


def _levels(levels: Mapping[str, Level]) -> dict[Labels, float]:
    return {(provider,): level.value for provider, level in levels.items()}


def _line(name: str, cells: Mapping[Labels, Any]) -> bytes:
    return orjson.dumps((name, tuple(cells.items())), option=orjson.OPT_APPEND_NEWLINE)

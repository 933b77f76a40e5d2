"""The six measurements, each taken of every contender in turn within a round, and over several rounds."""

import asyncio
import contextlib
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import uvloop

from tests.bench import processes, streams, transfers, wire
from tests.bench.contenders import Contender, Scene, started
from tests.bench.formats import FORMATS
from tests.bench.processes import DISTURBED, Failed, Unavailable, Use
from tests.bench.wire import Connection, Unexpected

STREAMS, EVENTS_PER_SECOND = 200, 50
TRANSLATED_STREAMS = 100
"""Half as many, so that a worker that needs twice as long for an event is not saturated."""
OPEN_STREAMS, WARM_STREAMS, HELD_EVENTS = 1000, 20, 4
FIRST_EVENTS = 200
ATTEMPTS = 3
KIB, MIB, GIB = 1024, 1024**2, 1024**3

FAULTS = (Failed, Unexpected, OSError, TimeoutError, subprocess.CalledProcessError)


@dataclass(frozen=True)
class Plan:
    """What to measure, of whom, and for how long."""

    scene: Scene
    names: list[str]
    rounds: int
    seconds: int
    gib: float


@dataclass
class Results:
    """What came out: figure → contender → one value a round (NaN where it failed), and what went wrong."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, figure: str, name: str, value: float) -> None:
        """Append one round's value."""
        self.values.setdefault(figure, {}).setdefault(name, []).append(value)

    def note(self, text: str) -> None:
        """Keep something the reader of the table must know."""
        if text not in self.notes:
            self.notes.append(text)

    @contextlib.contextmanager
    def guarded(self, figure: str | None, name: str):
        """Turn a failed measurement into a note and, where it has a figure, a NaN, so that the others go on."""
        try:
            yield
        except Unavailable as error:
            self.note(f"{name}: left out: {error}")
        except FAULTS as error:
            if figure is not None:
                self.add(figure, name, float("nan"))
            self.note(f"{name}: {figure or 'start'}: {type(error).__name__}: {error}")


def in_turn(names: list[str], number: int) -> list[str]:
    """Return the names in this round's order: each round begins with the next."""
    start = number % len(names)
    return names[start:] + names[:start]


@contextlib.contextmanager
def side_by_side(plan: Plan, results: Results):
    """Run all contenders at once; yields those that started."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Contender] = {}
        for name in plan.names:
            with results.guarded(None, name):
                running[name] = stack.enter_context(started(plan.scene, name))
        yield running


def least_disturbed(count: Callable[[Plan, Contender], tuple[float, Use]], plan: Plan, contender: Contender):
    """Count again, a few times at most, while something else has the worker's core; return the best of them."""
    counts: list[tuple[float, Use]] = []
    while len(counts) < ATTEMPTS and (not counts or counts[-1][1].denied > DISTURBED):
        counts.append(count(plan, contender))
    return min(counts, key=lambda counted: counted[1].denied)


def measure_requests(plan: Plan, running: dict[str, Contender], results: Results) -> None:
    """Count small JSON creates a second, and the worker's CPU for each."""
    for name, contender in running.items():
        with results.guarded(None, name):
            streams.requests_per_second(contender.port, 1, plan.scene.directory)
    for number in range(plan.rounds):
        for name in in_turn(list(running), number):
            with results.guarded("requests", name):
                rate, use = least_disturbed(_count_requests, plan, running[name])
                results.add("requests", name, rate)
                results.add("request_cpu_us", name, use.cpu / (rate * plan.seconds) * 1e6)
                results.add("requests_denied", name, use.denied)


def _count_requests(plan: Plan, contender: Contender) -> tuple[float, Use]:
    before = processes.use_of(contender.worker)
    rate = streams.requests_per_second(contender.port, plan.seconds, plan.scene.directory)
    return rate, processes.use_of(contender.worker).since(before)


def measure_events(plan: Plan, running: dict[str, Contender], results: Results) -> None:
    """Take CPU time of the worker per event delivered."""
    for number in range(plan.rounds):
        for name in in_turn(list(running), number):
            with results.guarded("event_cpu_us", name):
                delivered, use = least_disturbed(_count_events, plan, running[name])
                results.add("event_cpu_us", name, use.cpu / delivered * 1e6)
                results.add("events_denied", name, use.denied)


def measure_dialects(plan: Plan, results: Results) -> None:
    """Take CPU time of one gateway's worker per event: passed through, and translated from each dialect."""
    names = [wire.PROVIDER, *FORMATS]
    with results.guarded(None, "dialects"), started(plan.scene, "translating") as contender:
        for number in range(plan.rounds):
            for name in in_turn(names, number):
                with results.guarded("dialect_cpu_us", name):
                    count = partial(_count_events, count=TRANSLATED_STREAMS, provider=f"{name}/")
                    delivered, use = least_disturbed(count, plan, contender)
                    results.add("dialect_cpu_us", name, use.cpu / delivered * 1e6)
                    results.add("dialects_denied", name, use.denied)


def _count_events(plan: Plan, contender: Contender, count: int = STREAMS, provider: str = "") -> tuple[int, Use]:
    return uvloop.run(_deliver(contender, plan.seconds, count, provider))


async def _deliver(contender: Contender, seconds: int, count: int, provider: str) -> tuple[int, Use]:
    model = f"{provider}hold-{EVENTS_PER_SECOND}-1000000"
    async with streams.opened(contender.port, count, model, EVENTS_PER_SECOND) as opened:
        before, delivered = processes.use_of(contender.worker), -sum(stream.events for stream in opened)
        await asyncio.sleep(seconds)
        delivered += sum(stream.events for stream in opened)
        use = processes.use_of(contender.worker).since(before)
        expected = count * EVENTS_PER_SECOND * seconds
        if any(stream.fault for stream in opened) or delivered < 0.9 * expected:
            raise Failed(f"{delivered} of {expected:.0f} events were delivered")
    return delivered, use


def measure_first_event(plan: Plan, running: dict[str, Contender], results: Results) -> None:
    """Compare the median time to the first event through each contender with the median without any."""
    request = wire.render_request("stream-1000-3", stream=True)
    ports = {"direct": plan.scene.upstream, **{name: contender.port for name, contender in running.items()}}
    for _ in range(plan.rounds):
        with contextlib.ExitStack() as stack:
            lines = {name: stack.enter_context(Connection(port)) for name, port in ports.items()}
            times: dict[str, list[float]] = {name: [] for name in lines}
            for _ in range(FIRST_EVENTS):
                for name, line in lines.items():
                    with contextlib.suppress(*FAULTS):
                        times[name].append(line.first_event(request))
        _add_first_events(times, results)


def _add_first_events(times: dict[str, list[float]], results: Results) -> None:
    direct = statistics.median(times.pop("direct"))
    results.add("first_event_direct_ms", "direct", direct * 1e3)
    for name, taken in times.items():
        with results.guarded("first_event_ms", name):
            if len(taken) < 0.9 * FIRST_EVENTS:
                raise Failed(f"{len(taken)} of {FIRST_EVENTS} streams went through")
            results.add("first_event_ms", name, (statistics.median(taken) - direct) * 1e3)


def fresh(plan: Plan, results: Results, figure: str, measure: Callable[[Contender], None], rounds: int) -> None:
    """Take a measurement of memory: each time of a new process, so that nothing freed before is used again."""
    for number in range(rounds):
        for name in in_turn(plan.names, number):
            with results.guarded(figure, name), started(plan.scene, name) as contender:
                uvloop.run(_hold(contender, WARM_STREAMS))
                measure(contender)


def measure_stream_memory(plan: Plan, results: Results) -> None:
    """Take the memory only the worker holds, per open stream that has carried a few events."""

    def measure(contender: Contender) -> None:
        before = processes.private_bytes(contender.worker)
        held = uvloop.run(_hold(contender, OPEN_STREAMS))
        results.add("stream_kib", contender.name, (held - before) / OPEN_STREAMS / KIB)

    fresh(plan, results, "stream_kib", measure, plan.rounds)


async def _hold(contender: Contender, count: int) -> int:
    async with streams.opened(contender.port, count, f"hold-50-{HELD_EVENTS - 1}", HELD_EVENTS):
        return processes.private_bytes(contender.worker)


def measure_transfers(plan: Plan, results: Results) -> None:
    """Watch the growth of the worker's resident memory while a huge body passes."""
    size = int(plan.gib * GIB)
    upstream = plan.scene.upstream
    kinds = {
        "upload": lambda port: transfers.upload(port, size),
        "document": lambda port: transfers.download(port, upstream, size, stream=False),
        "events": lambda port: transfers.download(port, upstream, size, stream=True),
    }
    for kind, transfer in kinds.items():

        def measure(contender: Contender, kind=kind, transfer=transfer) -> None:
            before = processes.resident_bytes(contender.worker)
            done = transfer(contender.port)
            growth = processes.peak_bytes(contender.worker) - before
            results.add(f"{kind}_growth_mib", contender.name, growth / MIB)
            results.add(f"{kind}_mib_per_second", contender.name, size / MIB / done.seconds)
            results.add(f"{kind}_read_ahead_mib", contender.name, done.read_ahead / MIB)

        fresh(plan, results, f"{kind}_growth_mib", measure, 1)

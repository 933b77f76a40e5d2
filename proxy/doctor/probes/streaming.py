"""Does each event arrive when it is sent: the first at once, and the others one by one."""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Client, Recording, Unreachable
from proxy.doctor.timing import Flow, measure

FIRST, CLUMPS = "first event", "clumping"
RATE = 25
WORDS = 30
INTERVAL = 1 / RATE
TRIES = 3
"""A hop that holds events back does so every time; a busy machine does not."""
LATE, VERY_LATE = 0.15, 1.0
"""Seconds by which the first event may come after a whole JSON answer would have: WARN, FAIL."""
HELD = 0.2
"""Seconds that an event may be held back: WARN; FAIL as for the first."""
SOME, MOST = 0.1, 1 / 3
"""Shares of the events that came together with the one before: WARN, FAIL."""
CORK = (0.18, 0.3)
"""Seconds that show that a kernel waits for more, which it does for 200 ms."""
SLOW = 30.0
UNSTEERED_EVENTS, UNSTEERED_SECONDS = 10, 1.0
"""A stream that came in one piece says something if it was at least as long."""
GOOD = 200
_RANKS = (Verdict.OK, Verdict.WARN, Verdict.FAIL)


class Sample(NamedTuple):
    """One stream, and what a JSON answer over the same way took. Times are in seconds."""

    first: float
    lasted: float
    round_trip: float
    flow: Flow


async def probe(visit: Visit) -> list[Row]:
    """Stream, again where it came badly; where it always did, also nearer to the gateway."""
    rows = await _best(visit, visit.client)
    for url in visit.options.direct:
        if all(row.verdict is Verdict.OK for row in rows):
            break
        rows = await _compare(visit, rows, url)
    return rows


async def _compare(visit: Visit, rows: Sequence[Row], url: str) -> list[Row]:
    """Try the same at an address nearer to the gateway, and say so in the rows that are not good."""
    async with visit.client.at(url) as client:
        try:
            nearer = await _best(visit, client)
        except Unreachable as error:
            return [row if row.verdict is Verdict.OK else _note(row, f"{url}: {error}") for row in rows]
    compared = []
    for row, other in zip(rows, nearer, strict=True):
        if row.verdict is not Verdict.OK:
            row = _note(row, f"{url}: {other.verdict}, {other.found}")  # noqa: PLW2901
        compared.append(row)
    return compared


def _note(row: Row, note: str) -> Row:
    return Row(row.probe, row.verdict, f"{row.found}; at {note}", row.change, row.figures)


async def _best(visit: Visit, client: Client) -> list[Row]:
    best: list[Row] = []
    for _ in range(TRIES):
        rows = await _try(visit, client)
        best = min(best, rows, key=_rank) if best else rows
        if not _rank(best):
            break
    return best


def _rank(rows: Sequence[Row]) -> int:
    return sum(_RANKS.index(row.verdict) for row in rows)


async def _try(visit: Visit, client: Client) -> list[Row]:
    round_trip = 0.0
    if visit.steerable:
        round_trip = (await client.call("POST", "/responses", body=visit.body("Hello", events_per_second="0"))).took
    recording = await client.record(visit.body(events_per_second=str(RATE), words=str(WORDS)))
    if recording.status != GOOD or not recording.arrivals:
        found = f"no stream came, {recording.answer().told()}"
        return [Row(name, Verdict.FAIL, found) for name in (FIRST, CLUMPS)]
    sample = take(recording, round_trip, INTERVAL if visit.steerable else 0.0)
    if not visit.steerable:
        return judge_unsteered(sample)
    return [judge_first(visit, sample), judge_flow(visit, sample)]


def take(recording: Recording, round_trip: float, interval: float) -> Sample:
    """Sum a stream up."""
    arrivals = recording.arrivals
    lasted = recording.ended - recording.began
    return Sample(arrivals[0] - recording.began, lasted, round_trip, measure(arrivals, interval))


def judge_first(visit: Visit, sample: Sample) -> Row:
    """Judge by how much later the first event came than a whole JSON answer, which nobody holds back."""
    late = sample.first - sample.round_trip
    figures = {"first_event_seconds": sample.first, "json_seconds": sample.round_trip}
    found = f"after {_ms(sample.first)}; a whole JSON answer takes {_ms(sample.round_trip)}"
    if late <= LATE:
        return Row(FIRST, Verdict.OK, found, figures=figures)
    if late > VERY_LATE:
        return Row(FIRST, Verdict.FAIL, found, visit.advise("buffered"), figures)
    return Row(FIRST, Verdict.WARN, found, visit.advise("corked" if _corked(late) else "head_late"), figures)


def _corked(seconds: float) -> bool:
    return CORK[0] <= seconds <= CORK[1]


def judge_flow(visit: Visit, sample: Sample) -> Row:
    """Judge events that were sent `INTERVAL` apart by how many came together, and how long one was held."""
    flow = sample.flow
    figures = {"events": flow.events, "pieces": flow.pieces, "held_seconds": flow.held, "gap_seconds": flow.gap}
    sent = f"{flow.events} events, sent {_ms(INTERVAL)} apart,"
    if flow.pieces == 1 < flow.events:
        found = f"{sent} came all at once, {sample.lasted:.1f} s after the request"
        return Row(CLUMPS, Verdict.FAIL, found, visit.advise("buffered"), figures)
    if flow.together > MOST:
        found = f"{sent} came in {flow.pieces} pieces, up to {_ms(flow.gap)} apart"
        return Row(CLUMPS, Verdict.FAIL, found, visit.advise("corked" if _corked(flow.gap) else "buffered"), figures)
    found = f"{sent} came in {flow.pieces} pieces, none held longer than {_ms(flow.held)}"
    if flow.together > SOME or flow.held > HELD:
        verdict = Verdict.FAIL if flow.held > VERY_LATE else Verdict.WARN
        return Row(CLUMPS, verdict, found, visit.advise("buffered"), figures)
    return Row(CLUMPS, Verdict.OK, found, figures=figures)


def judge_unsteered(sample: Sample) -> list[Row]:
    """Judge a stream whose sender keeps its own time: only what is plain."""
    flow = sample.flow
    first = Row(
        FIRST,
        Verdict.WARN if sample.first > SLOW else Verdict.OK,
        f"after {_ms(sample.first)}, the model's own time included",
        figures={"first_event_seconds": sample.first},
    )
    figures = {"events": flow.events, "pieces": flow.pieces, "gap_seconds": flow.gap}
    if flow.pieces == 1 and flow.events >= UNSTEERED_EVENTS and sample.lasted > UNSTEERED_SECONDS:
        found = f"{flow.events} events came all at once, {sample.lasted:.1f} s after the request"
        why = "try the sandbox, whose pace is known, to tell the provider from what is in front"
        return [first, Row(CLUMPS, Verdict.WARN, found, (why,), figures)]
    return [first, Row(CLUMPS, Verdict.OK, f"{flow.events} events came in {flow.pieces} pieces", figures=figures)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"

"""Does the gateway notice that a client has left: else it goes on paying for what nobody reads."""

import asyncio
from time import monotonic

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Recording, Unreachable

NAME = "abort"
SILENCE = 60.0
"""Seconds the stream says nothing after it was left: no failing write may give the client away."""
POLL = 0.1
SOON = 2.0
"""Seconds that passing a client's end on may take; later the next write to the client gives it away."""
EVENTS = 2
GOOD = 200
CANCELLED, COMPLETED = "cancelled", "completed"


async def probe(visit: Visit) -> list[Row]:
    """Leave a stream in its silence, then ask for the response until it is cancelled."""
    body = visit.body(events_per_second="0", silence=f"{SILENCE:g}")
    patience = visit.options.patience
    try:
        left = await visit.client.record(body, patience=patience, enough=lambda seen: len(seen.events) >= EVENTS)
    except Unreachable as error:
        return [_unseen(str(error))]
    if left.end != "left" or not left.response_id:
        return [_unseen(left.answer().told())]
    seen, since = "", 0.0
    while seen != CANCELLED and since < patience:
        answer = await visit.client.call("GET", f"/responses/{left.response_id}", fresh=True)
        if answer.status == GOOD:
            seen = str(answer.json().get("status"))
        since = monotonic() - left.ended
        if seen != CANCELLED:
            await asyncio.sleep(POLL)
    return [judge(visit, left, seen, since)]


def _unseen(why: str) -> Row:
    return Row(NAME, Verdict.SKIP, f"no event of a stream came that could be left: {why}; see the row first event")


def judge(visit: Visit, left: Recording, status: str, since: float) -> Row:
    """Judge by the last status seen, if any, of a response whose client left `since` seconds ago."""
    figures = {"id": left.response_id, "status": status, "seconds": since}
    if status == CANCELLED and since <= SOON:
        return Row(NAME, Verdict.OK, f"the gateway noticed within {since * 1000:.0f} ms", figures=figures)
    if status == CANCELLED:
        found = f"the gateway noticed only after {since:.1f} s, when it wrote something"
        return Row(NAME, Verdict.WARN, found, visit.advise("abort_unnoticed"), figures)
    if status == COMPLETED:
        return Row(NAME, Verdict.SKIP, "the stream was over before it was left: its sender was not silent", (), figures)
    if not status:
        found = f"the response was not found again in {since:.1f} s: see the row about replicas"
        return Row(NAME, Verdict.SKIP, found, (), figures)
    found = f"{since:.1f} s after its client left the response is still {status}"
    return Row(NAME, Verdict.FAIL, found, visit.advise("abort_unnoticed"), figures)

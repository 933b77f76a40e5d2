"""Is the gateway's clock right: tokens and signatures depend on it, and so do logs that are compared."""

import time
from email.utils import parsedate_to_datetime

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Answer
from proxy.doctor.timing import skew

NAME = "clock"
WARN, FAIL = 5.0, 240.0
"""Seconds; clouds refuse signatures that are five minutes off."""
GOOD = 200
RESOLUTION = 1.0


async def probe(visit: Visit) -> list[Row]:
    """Create a response: the sandbox dates it by the clock of the gateway's host."""
    before = time.time()
    answer = await visit.client.call("POST", "/responses", body=visit.body("Hello", events_per_second="0"))
    after = time.time()
    created = answer.json().get("created_at")
    if visit.steerable and answer.status == GOOD and isinstance(created, int | float):
        return [judge(visit, skew(created, RESOLUTION, before, after), "the gateway's host")]
    dated = _date(answer)
    if dated is None:
        return [Row(NAME, Verdict.SKIP, "the answer has neither created_at of the sandbox nor a Date")]
    return [judge(visit, skew(dated, RESOLUTION, before, after), "what wrote the header Date")]


def _date(answer: Answer) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return None


def judge(visit: Visit, ahead: float, whose: str) -> Row:
    """Judge by how many seconds a clock is ahead of this machine's."""
    figures = {"ahead_seconds": ahead, "clock": whose}
    if abs(ahead) <= WARN:
        return Row(NAME, Verdict.OK, f"{whose} agrees with this machine to {max(1.0, abs(ahead)):.0f} s", (), figures)
    found = f"{whose} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    verdict = Verdict.FAIL if abs(ahead) > FAIL else Verdict.WARN
    return Row(NAME, verdict, found, visit.advise("clock"), figures)

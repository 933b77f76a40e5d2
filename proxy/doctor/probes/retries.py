"""Is a create that fails sent again by something in front: then it is paid for twice."""

from proxy.doctor.base import Row, Verdict, Visit

NAME = "retries"
DELAY = 1.0
"""Seconds each attempt takes: how many there were shows in the whole."""
STATUS = 503
TOLERANCE = 0.3
"""What part of an attempt may be missing for it to count."""
TRIES = 2
"""A hop that sends again does so every time; a slow network does not look like that twice."""


async def probe(visit: Visit) -> list[Row]:
    """Ask for a refusal that takes a while, and see how long it takes."""
    body = visit.body(status=str(STATUS), silence=f"{DELAY:g}")
    took = []
    for _ in range(TRIES):
        answer = await visit.client.call("POST", "/responses", body=body)
        if answer.status != STATUS or answer.error.get("code") != "asked_for":
            return [Row(NAME, Verdict.WARN, f"a refusal with status {STATUS} arrived changed, {answer.told()}")]
        took.append(answer.took)
        row = judge(visit, min(took))
        if row.verdict is Verdict.OK:
            break
    return [row]


def judge(visit: Visit, took: float) -> Row:
    """Judge by the seconds that a refusal of `DELAY` seconds took."""
    attempts = max(1, int(took / DELAY + TOLERANCE))
    figures = {"attempts": attempts, "seconds": took}
    if attempts == 1:
        return Row(NAME, Verdict.OK, f"a create refused with {STATUS} was sent once", figures=figures)
    found = f"a create refused with {STATUS} after {DELAY:g} s took {took:.1f} s: it was sent {attempts} times"
    return Row(NAME, Verdict.FAIL, found, visit.advise("sent_again"), figures)

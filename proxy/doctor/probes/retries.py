"""Is a create that fails sent again by something in front: then it is paid for twice."""

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Answer

NAME = "retries"
DELAY = 1.0
"""Seconds each attempt takes: how many there were shows in the whole."""
GOOD, STATUS = 200, 503
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
        changed = judge_answer(visit, answer)
        if changed is not None:
            return [changed]
        took.append(answer.took)
        row = judge(visit, min(took))
        if row.verdict is Verdict.OK:
            break
    return [row]


def judge_answer(visit: Visit, answer: Answer) -> Row | None:
    """Judge whether the refusal is the one that was asked for; None where it is."""
    if answer.status == GOOD:
        return Row(NAME, Verdict.SKIP, "the sandbox answered instead of refusing: it is an older one")
    if answer.status == STATUS and answer.error.get("code") == "asked_for":
        return None
    found = f"an error with status {STATUS} arrived as another, {answer.told()}"
    return Row(NAME, Verdict.WARN, found, visit.advise("error_replaced"))


def judge(visit: Visit, took: float) -> Row:
    """Judge by the seconds that a refusal of `DELAY` seconds took."""
    attempts = max(1, int(took / DELAY + TOLERANCE))
    figures = {"attempts": attempts, "seconds": took}
    if attempts == 1:
        return Row(NAME, Verdict.OK, f"a create refused with {STATUS} was sent once", figures=figures)
    found = f"a create refused with {STATUS} after {DELAY:g} s took {took:.1f} s: it was sent {attempts} times"
    return Row(NAME, Verdict.FAIL, found, visit.advise("sent_again"), figures)

"""Do retrieve and delete find the same binding through every replica."""

from collections.abc import Mapping
from secrets import token_hex
from typing import NamedTuple

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Answer

NAME = "replicas"
GOOD, MISSING, UNAVAILABLE = 200, 404, 503


class Finding(NamedTuple):
    """How often a gateway process said what of one id: `bound` led to its provider, in whose memory it is not."""

    found: int = 0
    bound: int = 0
    lost: int = 0
    away: int = 0
    failed: int = 0

    def add(self, outcome: str) -> "Finding":
        """Count one more answer."""
        return self._replace(**{outcome: getattr(self, outcome) + 1})


async def probe(visit: Visit) -> list[Row]:
    """Create, retrieve over many new connections, delete, and retrieve again."""
    created = await visit.client.call("POST", "/responses", body=visit.body("Hello", events_per_second="0"))
    name = created.json().get("id")
    if created.status != GOOD or not isinstance(name, str):
        return [Row(NAME, Verdict.FAIL, f"nothing was created, {created.told()}")]
    forwarded = await _forwards(visit)
    before = await _ask_all(visit, name)
    deleted = await _delete(visit, name)
    after = await _ask_all(visit, name)
    return [judge(visit, before, after, deleted=deleted, forwarded=forwarded)]


async def _forwards(visit: Visit) -> bool:
    """Tell whether the gateway asks a provider for ids that nobody bound, so that a lost binding does not show."""
    answer = await _retrieve(visit, f"resp_{token_hex(24)}")
    return answer.from_provider and answer.headers["x-gateway-provider"] == visit.options.provider


async def _retrieve(visit: Visit, name: str) -> Answer:
    """Retrieve an id, naming another provider where there is one: a binding goes before the header."""
    headers = {"x-tfy-provider-name": min(visit.others)} if visit.others else {}
    return await visit.client.call("GET", f"/responses/{name}", headers=headers, fresh=True)


async def _ask_all(visit: Visit, name: str) -> dict[str, Finding]:
    processes: dict[str, Finding] = {}
    for _ in range(visit.options.connections):
        answer = await _retrieve(visit, name)
        known = processes.get(answer.process, Finding())
        processes[answer.process] = known.add(outcome_of(answer, visit.options.provider))
    return processes


def outcome_of(answer: Answer, provider: str) -> str:
    """Tell what an answer says of the id it is about: the name of what it counts as."""
    served = answer.headers.get("x-gateway-provider")
    if served not in {provider, None}:
        return "lost"
    if answer.status == GOOD:
        return "found"
    if answer.status == MISSING:
        return "bound" if served else "lost"
    return "away" if answer.status == UNAVAILABLE and answer.from_gateway else "failed"


async def _delete(visit: Visit, name: str) -> bool:
    """Delete an id; each host has a sandbox of its own, so that only the one that made it confirms."""
    for _ in range(visit.options.connections):
        answer = await visit.client.call("DELETE", f"/responses/{name}", fresh=True)
        if answer.status == GOOD:
            return True
    return False


def judge(
    visit: Visit, before: Mapping[str, Finding], after: Mapping[str, Finding], *, deleted: bool, forwarded: bool
) -> Row:
    """Judge by what each process said before and after the id was deleted."""
    count, calls = len(before), sum(map(sum, before.values()))
    lost = sum(finding.lost > 0 for finding in before.values())
    figures = {"processes": count, "lost": lost, "connections": calls, "deleted": deleted, "forwarded": forwarded}
    who = f"{count} gateway process{'es' if count > 1 else ''} over {calls} connections"
    every = [*before.values(), *after.values()]
    bound = any(finding.bound for finding in before.values())
    unsure = f"{lost} of {who} answer {MISSING}; whose that is, x-gateway-provider would say"
    unknown = f"of {who}, {lost} do not know an id that was just made: they answer {MISSING}"
    hidden = f"{who} ask the only provider for ids they do not know: a lost binding does not show"
    cases = (
        (any(f.away for f in every), Verdict.FAIL, f"of {who} some cannot look an id up (503)", "store_away"),
        (any(f.failed for f in every), Verdict.FAIL, f"of {who} some answered neither 200 nor {MISSING}", ""),
        (bool(lost) and not visit.told_provider, Verdict.SKIP, unsure, ""),
        (bool(lost), Verdict.FAIL, unknown, "store_not_shared"),
        (not deleted, Verdict.WARN, f"{who} know the id, but none could delete it", ""),
        (any(f.found for f in after.values()), Verdict.FAIL, f"of {who} some still have what was deleted", ""),
        (forwarded and bound, Verdict.SKIP, hidden, ""),
        (True, Verdict.OK, f"{who} found an id, and none after its deletion", ""),
    )
    verdict, found, symptom = next((verdict, found, symptom) for true, verdict, found, symptom in cases if true)
    return Row(NAME, verdict, found, visit.advise(symptom) if symptom else (), figures)

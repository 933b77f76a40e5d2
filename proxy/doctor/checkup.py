"""One check-up: the probes in their order, and what is left out where the earlier ones leave no sense in it."""

import asyncio
from collections.abc import Callable

from proxy.doctor.base import Needs, Probe, Row, Verdict, Visit
from proxy.doctor.client import Unreachable
from proxy.doctor.probes import BESIDE, ENTRANCE, KEY, PROVIDER, REGISTRY

REST = "everything else"
WHY = {
    Needs.ANSWERS: "no provider answers",
    Needs.STEERED: "only the built-in sandbox does on request what this takes: a provider of kind sandbox",
}

Tell = Callable[[Row], None]


async def examine(visit: Visit, tell: Tell) -> list[Row]:
    """Make every probe; each row is told as soon as the rows before it are there."""
    told: list[Row] = []

    def note(rows: list[Row]) -> list[Row]:
        for row in rows:
            told.append(row)
            tell(row)
        return rows

    if _failed(note(await make(ENTRANCE, visit))):
        note([Row(REST, Verdict.SKIP, "there is no gateway to ask")])
        return told
    note(await make(KEY, visit))
    if visit.refused:
        note([Row(REST, Verdict.SKIP, "the gateway takes no call with this key")])
        return told
    answers = not _failed(note(await make(PROVIDER, visit)))
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(_consider(probe, visit, answers=answers)) for probe in BESIDE]
        for probe in REGISTRY:
            note(await _consider(probe, visit, answers=answers))
        for task in beside:
            note(await task)
    return told


def _failed(rows: list[Row]) -> bool:
    return rows[0].verdict is Verdict.FAIL


async def _consider(probe: Probe, visit: Visit, *, answers: bool) -> list[Row]:
    if probe.needs is not Needs.NOTHING and not answers:
        return probe.skipped(WHY[Needs.ANSWERS])
    if probe.needs is Needs.STEERED and not visit.steerable:
        return probe.skipped(WHY[Needs.STEERED])
    return await make(probe, visit)


async def make(probe: Probe, visit: Visit) -> list[Row]:
    """Make one probe; where no answer comes at all, that is what it found."""
    try:
        return list(await probe.run(visit))
    except Unreachable as error:
        first, *rest = probe.skipped("no answer came")
        return [Row(first.probe, Verdict.FAIL, f"no answer came: {error}", visit.advise("unreachable")), *rest]

"""Traffic through two gateways on one Redis while something is done to it, and what callers saw of that."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, NamedTuple

import orjson

from tests.rig import scripts, wire
from tests.rig.client import fetch
from tests.rig.eventually import eventually
from tests.rig.gateway import Command, bearer, command
from tests.rig.settings import ALICE_KEY, settings
from tests.rig.upstream import Upstream

PLAIN = {"model": "gpt-4o-mini", "input": "hello"}
PACE = 0.01
"""Seconds between a caller's requests."""
WARM = 60
"""Responses made before anything is done."""
CALM = 40
"""Retrieves without a 503 after which it is over."""
AT_ONCE = 50
"""Retrieves at a time, to see what there is in the end."""
ACK_TIMEOUT = 1.0
"""Seconds a binding waits: four times the default, since the machine of a test may stand still for a moment."""


class Seen(NamedTuple):
    """One answer: when it came, its status, how long it took, and of which response it was."""

    at: float
    status: int
    took: float
    rid: str


class Traffic:
    """Creates through one gateway and retrieves through the other, of new responses at once and of old ones always."""

    def __init__(self, one: Command, other: Command) -> None:
        self.one = one
        self.other = other
        self.created: list[Seen] = []
        self.fresh: list[Seen] = []
        self.old: list[Seen] = []
        self.ending = False
        self.missing: list[str] = []
        """What the other gateway does not give in the end, of all that was made."""

    async def create(self) -> None:
        """Make responses, plain and streamed, and retrieve each once from the other gateway."""
        for streamed in itertools.cycle((False, True)):
            if self.ending:
                break
            started = time.monotonic()
            answer = await self._fetch(self.one, "POST", "/v1/responses", {**PLAIN, "stream": streamed})
            status = answer.status if answer.end == "complete" else 0
            said = answer.events()[0].json()["response"] if streamed and status == 200 else orjson.loads(answer.body)
            rid = said.get("id", "")
            self.created.append(Seen(time.monotonic(), status, time.monotonic() - started, rid))
            self.fresh.append(await self.retrieve(rid))
            await asyncio.sleep(PACE)

    async def reread(self) -> None:
        """Retrieve those made first, again and again."""
        await eventually(lambda: len(self.created) >= WARM)
        for seen in itertools.cycle(self.created[:WARM]):
            if self.ending:
                break
            self.old.append(await self.retrieve(seen.rid))
            await asyncio.sleep(PACE)

    async def retrieve(self, rid: str) -> Seen:
        """Retrieve a response through the other gateway; the status is 0 where the answer is not that response."""
        started = time.monotonic()
        answer = await self._fetch(self.other, "GET", f"/v1/responses/{rid}")
        status = answer.status
        if status == 200 and answer.json()["id"] != rid:
            status = 0
        if status == 503 and answer.header("Retry-After") != "1":
            status = 0
        return Seen(time.monotonic(), status, time.monotonic() - started, rid)

    @staticmethod
    async def _fetch(gateway: Command, method: str, target: str, body: Any = None) -> Any:
        return await fetch(gateway.port, method, target, headers=bearer(ALICE_KEY), json=body)

    def retrieved(self) -> list[Seen]:
        """Return every retrieve, in order."""
        return sorted([*self.fresh, *self.old])

    async def count(self) -> None:
        """Retrieve everything that was made."""
        rids = [seen.rid for seen in self.created]
        for at in range(0, len(rids), AT_ONCE):
            found = await asyncio.gather(*map(self.retrieve, rids[at : at + AT_ONCE]))
            self.missing += [seen.rid for seen in found if seen.status != 200]

    def figures(self, begun: float) -> str:
        """Say what callers saw from a moment on."""
        refused = [seen.at - begun for seen in self.retrieved() if seen.status == 503]
        creates = [seen for seen in self.created if seen.at >= begun]
        last = f"from {min(refused):.2f} s to {max(refused):.2f} s" if refused else "never"
        slowest = max(seen.took for seen in creates) * 1000
        end = max(refused, default=0) + begun
        retrieved = sum(begun <= seen.at <= end for seen in self.retrieved())
        failed = sum(seen.status != 200 for seen in creates)
        return (
            f"{len(creates)} creates, {failed} failed, the slowest took {slowest:.0f} ms; "
            f"{len(refused)} of {retrieved} retrieves answered 503, {last} after the fault"
        )


@contextlib.asynccontextmanager
async def traffic(upstream: Upstream, redis_url: str) -> AsyncIterator[Traffic]:
    """Run two gateways and traffic through them until the block ends; it begins once there is something to retrieve.

    At its end everything that was made is retrieved once more.
    """
    _serve(upstream)
    content = settings(upstream, redis={"url": redis_url}, bindings={"ack_timeout": ACK_TIMEOUT})
    # Or it would answer from what it remembers.
    asking = {**content, "bindings": {**content["bindings"], "cache": 0}}
    async with contextlib.AsyncExitStack() as stack:
        running = Traffic(*await asyncio.gather(*map(stack.enter_async_context, (command(content), command(asking)))))
        async with asyncio.TaskGroup() as tasks:
            for work in (running.create(), running.create(), running.reread()):
                tasks.create_task(work)
            try:
                await eventually(lambda: len(running.old) >= WARM)
                yield running
            finally:
                running.ending = True
        await running.count()


def _serve(upstream: Upstream) -> None:
    async def create(exchange: Any) -> None:
        await exchange.body()
        rid = wire.new_id()
        streamed = exchange.json().get("stream")
        answer = scripts.sse_answer(wire.stream_events(rid)) if streamed else None
        await (answer or scripts.json_answer(wire.response_object(rid)))(exchange)

    async def retrieve(exchange: Any) -> None:
        await scripts.json_answer(wire.response_object(exchange.path.rpartition("/")[2]))(exchange)

    upstream.on("POST", "/v1/responses", create)
    upstream.on("GET", "/v1/responses/*", retrieve)


async def over(running: Traffic, begun: float, of: Callable[[str], bool] = lambda _: True) -> None:
    """Wait until retrieves have been refused, and then no longer: of new responses, and of old ones."""

    def calm(seen: Collection[Seen]) -> bool:
        concerned = [each.status for each in seen if each.at >= begun and of(each.rid)]
        return 503 in concerned and len(concerned) > CALM and set(concerned[-CALM:]) == {200}

    await eventually(lambda: calm(running.fresh) and calm(running.old))

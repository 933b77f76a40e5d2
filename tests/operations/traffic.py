"""A gateway's day in a minute: providers of several tempers, and callers who use all there is."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

import aiohttp

from tests.operations.providers import DEAD_URL, Provider, Temper
from tests.rig.settings import ALICE_KEY, BOB_KEY, provider, settings
from tests.rig.upstream import Upstream

IDLE = 2.0
"""Seconds of silence within an answer that end it: those of a provider whose silence is part of the traffic."""
TEMPERS = {
    "openai": Temper(0.35, 0.02, 25, 0.02, cached=0.6, reasoning=0.8),
    "azure-eu": Temper(0.6, 0.03, 25, 0.03, cached=0.3, reasoning=0.4),
    "local-llama": Temper(0.15, 0.05, 40, 0.02, cached=0.1),
    "preview": Temper(0.8, 0.04, 15, 0.4, cached=0.0),
}
MODELS = {
    "openai": ("gpt-5", "gpt-5-mini", "gpt-4.1"),
    "azure-eu": ("gpt-5-eu", "gpt-4.1-eu"),
    "local-llama": ("llama-4-scout",),
    "preview": ("preview-1",),
    "sandbox": ("sandbox",),
    "retired": ("retired-1",),
}
SHARES = {"openai": 41, "azure-eu": 25, "local-llama": 15, "preview": 10, "sandbox": 7, "retired": 2}
KINDS = {"azure-eu": "azure-openai", "local-llama": "openai-chat-compatible"}
PROMPT = "Tell me about the sea, the sky and everything in between."
REMEMBERED = 200

Session = aiohttp.ClientSession


@contextlib.asynccontextmanager
async def neighbourhood(random: Random) -> AsyncIterator[Mapping[str, Provider]]:
    """Run the scripted providers, by their names."""
    async with contextlib.AsyncExitStack() as stack:
        running = {}
        for name, temper in TEMPERS.items():
            upstream = await stack.enter_async_context(Upstream())
            running[name] = Provider(upstream, temper, random)
            if KINDS.get(name) == "openai-chat-compatible":
                running[name].speak_chat()
            else:
                running[name].speak_responses()
        yield running


def configuration(providers: Mapping[str, Provider], **sections: Any) -> dict[str, Any]:
    """Make the gateway's: the scripted providers, the built-in one, and one that nobody can reach."""
    timeouts = {"idle": IDLE, "connect": 5}
    scripted = {
        name: provider(each.upstream, kind=KINDS.get(name, "openai"), timeouts=timeouts)
        for name, each in providers.items()
    }
    others = {"sandbox": {"kind": "sandbox", "events_per_second": 40}, "retired": provider(DEAD_URL)}
    aliases = {model: f"{name}/{model}" for name, models in MODELS.items() for model in models}
    return settings(providers={**scripted, **others}, models=aliases, **sections)


class Callers:
    """Everyone who calls these gateways: `rate` requests a second at random times, spread over all of them."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        rate: float,
        random: Random,
        tide: float = 0.0,
        shares: Mapping[str, float] = SHARES,
    ) -> None:
        self._urls = urls
        self._rate = rate
        self._random = random
        self._tide = tide
        self._shares = shares
        self._known: list[tuple[str, str]] = []
        self._habits: Sequence[tuple[float, Callable[[Session, str], Awaitable[None]]]] = (
            (60, self._stream),
            (14, self._create),
            (8, self._continue),
            (5, self._retrieve),
            (2, self._list_items),
            (2, self._forget),
            (2, self._leave),
            (2, self._count),
            (1, self._models),
            (2, self._intrude),
            (2, self._guess),
        )

    async def call(self, seconds: float) -> None:
        """Call for that long; whoever still listens then hangs up.

        With a `tide` the rate swings by that share, once in the time.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        headers = {"Authorization": f"Bearer {ALICE_KEY}"}
        async with Session(headers=headers) as session, asyncio.TaskGroup() as group:
            calls = set()
            while (passed := clock() - began) < seconds:
                rate = self._rate * (1 + self._tide * math.sin(2 * math.pi * passed / seconds))
                await asyncio.sleep(self._random.expovariate(rate))
                calls.add(group.create_task(self._one(session)))
            for each in calls:
                each.cancel()

    async def _one(self, session: Session) -> None:
        weights, habits = zip(*self._habits, strict=True)
        habit = self._random.choices(habits, weights)[0]
        # What breaks is the traffic's purpose; the gateway counts it.
        with contextlib.suppress(aiohttp.ClientError):
            await habit(session, self._random.choice(self._urls))

    def _body(self, **fields: Any) -> dict[str, Any]:
        name = self._random.choices(tuple(self._shares), tuple(self._shares.values()))[0]
        return {"model": f"{name}/{self._random.choice(MODELS[name])}", "input": PROMPT, **fields}

    def _recall(self) -> tuple[str, str]:
        """Return the id of a response, and the model that made it."""
        return self._random.choice(self._known) if self._known else ("resp_none", "openai/gpt-5")

    async def _stream(self, session: Session, url: str) -> None:
        async with session.post(f"{url}/v1/responses", json=self._body(stream=True)) as answer:
            await answer.read()

    async def _create(self, session: Session, url: str, **fields: Any) -> None:
        body = self._body(**fields)
        async with session.post(f"{url}/v1/responses", json=body) as answer:
            made = await answer.json()
            if "id" in made:
                self._known = [*self._known[-REMEMBERED:], (made["id"], body["model"])]

    async def _continue(self, session: Session, url: str) -> None:
        previous, model = self._recall()
        await self._create(session, url, model=model, previous_response_id=previous)

    async def _retrieve(self, session: Session, url: str) -> None:
        async with session.get(f"{url}/v1/responses/{self._recall()[0]}") as answer:
            await answer.read()

    async def _list_items(self, session: Session, url: str) -> None:
        async with session.get(f"{url}/v1/responses/{self._recall()[0]}/input_items") as answer:
            await answer.read()

    async def _forget(self, session: Session, url: str) -> None:
        async with session.delete(f"{url}/v1/responses/{self._known.pop(0)[0] if self._known else 'none'}") as answer:
            await answer.read()

    async def _leave(self, session: Session, url: str) -> None:
        async with session.post(f"{url}/v1/responses", json=self._body(stream=True)) as answer:
            await answer.content.readany()
            answer.close()

    async def _count(self, session: Session, url: str) -> None:
        body = {"model": "gpt-5", "input": PROMPT}
        async with session.post(f"{url}/v1/responses/input_tokens", json=body) as answer:
            await answer.read()

    async def _models(self, session: Session, url: str) -> None:
        async with session.get(f"{url}/v1/models") as answer:
            await answer.read()

    async def _intrude(self, session: Session, url: str) -> None:
        """Come without a key, with one that is none, with one that nobody has."""
        key = self._random.choice(("", "Basic x", "Bearer no-such-key-0123456789"))
        async with session.post(f"{url}/v1/responses", json=self._body(), headers={"Authorization": key}) as answer:
            await answer.read()

    async def _guess(self, session: Session, url: str) -> None:
        """Ask for another tenant's response."""
        headers = {"Authorization": f"Bearer {BOB_KEY}"}
        async with session.get(f"{url}/v1/responses/{self._recall()[0]}", headers=headers) as answer:
            await answer.read()

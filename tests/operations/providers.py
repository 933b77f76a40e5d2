"""Providers with tempers on scripted upstreams: quick ones, slow ones, and ones that fail in every way there is."""

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.rig import chat, scripts, wire
from tests.rig.upstream import Exchange, Upstream

DEAD_URL = "http://127.0.0.1:1/v1"
"""Where nobody listens."""
FAILURES = ("limited", "broken", "locked", "failed", "cut", "silent", "refused", "stale")
"""In turn. A `stale` one, on a connection used before, is the end of it without a byte."""
ERRORS = {
    "limited": (429, "rate_limit_exceeded", "Rate limit reached."),
    "broken": (500, "server_error", "The server had an error."),
    "locked": (401, "invalid_api_key", "Incorrect API key provided."),
    "refused": (400, "invalid_value", "Invalid value: 'temperature'."),
}


@dataclass
class Temper:
    """How a provider behaves: median seconds to the first chunk and between two, median chunks, share of failures.

    May be changed while it serves: that is an incident.
    """

    first: float
    gap: float = 0.03
    chunks: int = 20
    failing: float = 0.02
    cached: float = 0.5
    reasoning: float = 0.0


class Provider:
    """One provider: its temper, and the upstream that has it."""

    def __init__(self, upstream: Upstream, temper: Temper, random: Random) -> None:
        self.upstream = upstream
        self.temper = temper
        self._random = random
        self._failures = itertools.cycle(FAILURES)

    def speak_responses(self) -> None:
        """Serve the Responses API."""
        create, listed = "/v1/responses", {"object": "list", "data": [], "has_more": False}
        self.upstream.on("GET", f"{create}/*", self._retrieve)
        self.upstream.on("GET", f"{create}/*/input_items", scripts.json_answer(listed))
        self.upstream.on("DELETE", f"{create}/*", self._delete)
        self.upstream.on("POST", f"{create}/input_tokens", scripts.json_answer({"input_tokens": 11}))
        self.upstream.on("POST", create, self._respond)

    def speak_chat(self) -> None:
        """Serve chat completions."""
        self.upstream.on("POST", "/v1/chat/completions", self._complete)

    async def _respond(self, exchange: Exchange) -> None:
        asked, kind, usage = await self._asked(exchange), self._mishap(), self._usage()
        rid = wire.new_id()
        given: Any = wire.response_object(rid, model=asked["model"], usage=usage)
        if asked.get("stream"):
            told: dict[str, Any] = {"end": "failed"} if kind == "failed" else {"usage": usage}
            given = wire.stream_events(rid, _pieces(usage), model=asked["model"], **told)
        await self._answer(exchange, given, kind)

    async def _complete(self, exchange: Exchange) -> None:
        asked, kind, usage = await self._asked(exchange), self._mishap(), self._usage()
        counted = {
            "prompt_tokens": usage["input_tokens"],
            "prompt_tokens_details": usage["input_tokens_details"],
            "completion_tokens": usage["output_tokens"],
            "completion_tokens_details": usage["output_tokens_details"],
            "total_tokens": usage["total_tokens"],
        }
        given: Any = {**chat.completion(), "usage": counted}
        if asked.get("stream"):
            *said, _, done = chat.stream(_pieces(usage))
            given = [*said, chat.chunk(usage=counted), done]
        await self._answer(exchange, given, kind)

    async def _retrieve(self, exchange: Exchange) -> None:
        await scripts.json_answer(wire.response_object(exchange.path.rpartition("/")[2]))(exchange)

    async def _delete(self, exchange: Exchange) -> None:
        deleted = {"id": exchange.path.rpartition("/")[2], "object": "response", "deleted": True}
        await scripts.json_answer(deleted)(exchange)

    async def _asked(self, exchange: Exchange) -> Mapping[str, Any]:
        asked: Mapping[str, Any] = orjson.loads(await exchange.body())
        await asyncio.sleep(self._about(self.temper.first))
        return asked

    def _mishap(self) -> str:
        return next(self._failures) if self._random.random() < self.temper.failing else ""

    async def _answer(self, exchange: Exchange, given: Any, kind: str) -> None:
        if kind == "stale" and exchange.served:
            exchange.close()
        elif kind in ERRORS:
            await _refuse(exchange, kind)
        elif isinstance(given, list):
            await self._stream(exchange, given, kind)
        else:
            await scripts.json_answer(given)(exchange)

    async def _stream(self, exchange: Exchange, events: Sequence[bytes], kind: str) -> None:
        stop = len(events) // 2 if kind in ("cut", "silent") else len(events)
        await exchange.start_stream()
        for event in events[:stop]:
            await exchange.chunk(event)
            await asyncio.sleep(self._about(self.temper.gap))
        if kind == "cut":
            exchange.close()
        elif kind == "silent":
            await exchange.closed.wait()
        else:
            await exchange.end_chunks()

    def _usage(self) -> dict[str, Any]:
        visible = 3 * max(2, round(self._about(self.temper.chunks)))
        read = round(self._about(1500))
        thought = round(visible * self.temper.reasoning)
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": round(read * self.temper.cached)},
            "output_tokens": visible + thought,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": read + visible + thought,
        }

    def _about(self, median: float) -> float:
        return self._random.lognormvariate(math.log(median), 0.4)


def _pieces(usage: Mapping[str, Any]) -> list[str]:
    """Make the chunks of a text of that many tokens, three to one."""
    visible = usage["output_tokens"] - usage["output_tokens_details"]["reasoning_tokens"]
    return [f"word{at} " for at in range(visible // 3)]


async def _refuse(exchange: Exchange, kind: str) -> None:
    status, code, message = ERRORS[kind]
    error = {"message": message, "type": code, "param": None, "code": code}
    await scripts.json_answer({"error": error}, status)(exchange)

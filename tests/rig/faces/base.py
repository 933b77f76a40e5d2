"""What a face is: one provider's format in front of the scripted model, on the scripted upstream."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from tests.rig.http1 import chunk
from tests.rig.model import Answer, Prompt, Refused, answer
from tests.rig.settings import UPSTREAM_KEY
from tests.rig.upstream import Exchange, Upstream

Pairs = list[tuple[str, str]]
SIGNED = hashlib.sha256().digest_size
GOODBYES = 3
"""Pieces at the end of a stream that an endless one does not come to."""


class Asked(NamedTuple):
    """A request, read: what the model is told, how it is called, whether it streams, thinks, and shows its thoughts."""

    prompt: Prompt
    model: str
    stream: bool
    thinks: bool = True
    shows: bool = True

    def usage(self, given: Answer) -> tuple[int, int]:
        """Return the tokens read and written."""
        return self.read, len(given.pieces) + 4 * len(given.calls) + len(given.thought.split())

    @property
    def read(self) -> int:
        """The tokens read."""
        return 3 + sum(len(entry.text.split()) for entry in self.prompt.entries)


@dataclass(frozen=True)
class Face:
    """One provider. `targets` are the paths it answers at, with `*`; `counting` and `listing` likewise, or None.

    `read` holds a request to the format and raises Refused as the provider would; `whole` and `stream` render an
    answer, `error` a refusal as headers and a body, `counted` a number of tokens.
    """

    kind: str
    model: str
    targets: tuple[str, ...]
    read: Callable[[Exchange, Any], Asked]
    whole: Callable[[Answer, Asked], Any]
    stream: Callable[[Answer, Asked], list[bytes]]
    error: Callable[[Refused], tuple[Pairs, Any]]
    credential: tuple[str, str] = ("authorization", f"Bearer {UPSTREAM_KEY}")
    base_path: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    counting: str | None = None
    counted: Callable[[int], Any] = dict
    listing: str | None = None
    listed: Any = None
    stream_type: str = "text/event-stream"

    def configure(self, upstream: Upstream) -> dict[str, Any]:
        """Make the settings of the provider, and let the upstream speak for it."""
        for target in self.targets:
            upstream.on("POST", target, self._create)
        if self.counting is not None:
            upstream.on("POST", self.counting, self._count)
        if self.listing is not None:
            upstream.on("GET", self.listing, self._list)
        return {"kind": self.kind, "base_url": upstream.url + self.base_path, "api_key": UPSTREAM_KEY, **self.settings}

    async def _create(self, exchange: Exchange) -> None:
        await exchange.body()
        try:
            asked = self._asked(exchange)
            given = answer(asked.prompt)
        except Refused as refused:
            return await self._refuse(exchange, refused)
        if not asked.thinks:
            given = given._replace(thought="")
        if not asked.stream:
            return await _send(exchange, 200, [], self.whole(given, asked))
        return await self._send_stream(exchange, given, self.stream(given, asked))

    async def _count(self, exchange: Exchange) -> None:
        await exchange.body()
        try:
            asked = self._asked(exchange)
        except Refused as refused:
            return await self._refuse(exchange, refused)
        return await _send(exchange, 200, [], self.counted(asked.read))

    async def _list(self, exchange: Exchange) -> None:
        await _send(exchange, 200, [], self.listed)

    def _asked(self, exchange: Exchange) -> Asked:
        name, value = self.credential
        if exchange.header(name) != value:
            raise Refused(401, "invalid credentials")
        return self.read(exchange, exchange.json())

    async def _refuse(self, exchange: Exchange, refused: Refused) -> None:
        headers, body = self.error(refused)
        await _send(exchange, refused.status, headers, body)

    async def _send_stream(self, exchange: Exchange, given: Answer, pieces: list[bytes]) -> None:
        await exchange.start(200, [("Content-Type", self.stream_type), ("Transfer-Encoding", "chunked")])
        if given.endless:
            await exchange.send(*map(chunk, pieces[:-GOODBYES]))
            await exchange.closed.wait()
            pieces = pieces[-GOODBYES:]
        await exchange.send(*map(chunk, pieces), chunk(b""))


async def _send(exchange: Exchange, status: int, headers: Pairs, value: Any) -> None:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    fixed = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    await exchange.start(status, [*fixed, *headers])
    await exchange.send(body)


def sse(value: Any, event: str | None = None, end: bytes = b"\n") -> bytes:
    """Render one event of a stream."""
    named = b"" if event is None else b"event: " + event.encode() + end
    return named + b"data: " + orjson.dumps(value) + end + end


def sign(thought: str) -> str:
    """Make the signature of a thought, which holds it and which only the provider itself could have made."""
    return base64.b64encode(hashlib.sha256(thought.encode()).digest() + thought.encode()).decode()


def is_signed(signature: str, thought: str) -> bool:
    """Tell whether a signature is genuine, and that of this thought unless that was never told."""
    content = base64.b64decode(signature)
    signed = content[SIGNED:]
    return content[:SIGNED] == hashlib.sha256(signed).digest() and thought in ("", signed.decode())


def dumps(arguments: Mapping[str, Any]) -> str:
    """Render arguments as a model writes them."""
    return orjson.dumps(arguments).decode()


def thirds(text: str) -> list[str]:
    """Cut a text into up to three pieces."""
    size = max(1, -(-len(text) // 3))
    return [text[at : at + size] for at in range(0, len(text), size)]


def media(kind: str, content: bytes) -> str:
    """Say what was shown."""
    return f"[{kind} of {len(content)} bytes]"


def media_of_url(url: str) -> str:
    """Say what a data URL shows."""
    kind, _, content = url.removeprefix("data:").partition(";base64,")
    return media(kind, base64.b64decode(content, validate=True))

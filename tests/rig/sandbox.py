"""The sandbox on a real socket, with the official client."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from aiohttp import web
from openai import AsyncOpenAI
from openai.resources.responses import AsyncResponses

from proxy.sandbox import server as sandbox


class Sandbox(NamedTuple):
    """A running sandbox, and the official client to it."""

    port: int
    client: AsyncOpenAI

    @property
    def responses(self) -> AsyncResponses:
        """The client's responses."""
        return self.client.responses


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Sandbox]:
    """Serve a sandbox of this test's own until the block ends."""
    runner = web.AppRunner(sandbox.application(**options), handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0)
    try:
        yield Sandbox(port, client)
    finally:
        await client.close()
        await runner.cleanup()


async def ask(running: Sandbox, prompt: Any = "one two three", **fields: Any) -> Any:
    """Create a response."""
    return await running.responses.create(model="sandbox", input=prompt, **fields)


async def collect(stream: Any) -> list[Any]:
    """Read a stream to its end."""
    return [event async for event in stream]


async def status_of(running: Sandbox, name: str) -> str | None:
    """Retrieve a response and return its status."""
    return (await running.responses.retrieve(name)).status

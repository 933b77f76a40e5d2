"""The gateway's side of client connections alone, around a handler of the test's own."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from proxy.config import Config, Limits
from proxy.downstream import Server


@contextlib.asynccontextmanager
async def serving(handle: Callable[[web.BaseRequest], Awaitable[Any]], **limits: Any) -> AsyncIterator[web.Server]:
    """Serve every request by `handle` on a loopback port, given as `server.port`, until the block ends."""
    server = Server(handle, Config(limits=Limits(**limits)))
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()

"""One worker process: the gateway itself, on an inherited listening socket, at the orders of its supervisor.

The supervisor starts it as a module of its own, so that it loads nothing of the other commands.
"""

import argparse
import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from proxy.app import App
from proxy.control import Channel, Kind, parse_assignment, parse_drain


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to drain, until SIGTERM or until the supervisor is gone; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proxy.worker", description="Only the supervisor starts this.")
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--slot", type=int, default=1)
    arguments = parser.parse_args(argv)
    # Ctrl-C and a reload signal may reach every process of the service; what they mean here the supervisor says.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _lift_descriptor_limit()
    with socket.socket(fileno=arguments.listen_fd) as listener:
        uvloop.run(_work(listener, socket.socket(fileno=arguments.control_fd), arguments.slot))
    return 0


def _lift_descriptor_limit() -> None:
    """Allow as many open connections as the service manager does; the usual soft limit is enough for 500 streams."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where "unlimited" is more than the system takes, as on macOS, the limit stays as it is.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tune_collector() -> None:
    """Leave what lives as long as the process out of collections, and make them rarer: a tenth of an exchange."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def _work(listener: socket.socket, line: socket.socket, slot: int) -> None:
    channel = await Channel.open(line)
    try:
        order = await channel.receive()
        if order is not None:
            await _run(order.payload, listener, channel, slot)
    finally:
        await channel.close()


async def _run(assigned: bytes, listener: socket.socket, channel: Channel, slot: int) -> None:
    assignment = parse_assignment(assigned)
    app = App(assignment.config, redis_url=assignment.redis_url, sandbox_url=assignment.sandbox_url, slot=slot)
    try:
        await app.start(listener)
        tune_collector()
        await channel.send(Kind.READY)
        await _Worker(app, channel, assignment.config.server.drain_timeout).run()
    finally:
        await app.close()
    # Closing still counts: bindings that Redis did not take are lost now.
    await channel.send(Kind.SNAPSHOT, await app.snapshot())


class _Worker:
    """A serving gateway that obeys until it has drained."""

    def __init__(self, app: App, channel: Channel, drain_timeout: float) -> None:
        self._app = app
        self._channel = channel
        self._drain_timeout = drain_timeout
        self._tasks = asyncio.TaskGroup()
        self._draining: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()

    async def run(self) -> None:
        """Return once every exchange has ended."""
        loop = asyncio.get_running_loop()
        async with self._tasks:
            obeying = self._tasks.create_task(self._obey())
            loop.add_signal_handler(signal.SIGTERM, self._drain, self._drain_timeout)
            await self._drained.wait()
            loop.remove_signal_handler(signal.SIGTERM)
            obeying.cancel()

    async def _obey(self) -> None:
        while (order := await self._channel.receive()) is not None:
            match order.kind:
                case Kind.COLLECT:
                    await self._channel.send(Kind.SNAPSHOT, await self._app.snapshot())
                case Kind.ANNOUNCE:
                    self._app.announce_drain()
                case Kind.DRAIN:
                    self._drain(parse_drain(order.payload))
        self._drain(self._drain_timeout)

    def _drain(self, seconds: float) -> None:
        """Begin to drain; a drain that goes on is continued with this much time."""
        self._draining = self._tasks.create_task(self._finish(seconds, self._draining))

    async def _finish(self, seconds: float, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            earlier.cancel()
            await asyncio.wait([earlier])
        self._app.announce_drain()
        await self._app.drain(seconds)
        self._drained.set()


if __name__ == "__main__":
    sys.exit(main())

"""The supervisor: binds the sockets, keeps the processes, answers for health and metrics; carries no traffic."""

import asyncio
import os
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path

import uvloop
from aiohttp import web

from proxy import __version__
from proxy.config import Config
from proxy.configfile import ConfigError
from proxy.control import Assignment, spawn
from proxy.embedded import Embedded, EmbeddedError
from proxy.exposition import Exposition
from proxy.fleet import Fleet, WorkerFailed
from proxy.listening import let_in_the_last
from proxy.logs import Log
from proxy.notifier import Notifier

BACKLOG = 1024
COLLECT_TIMEOUT = 1.0
"""Seconds a scrape waits for the workers; one that is late is shown as it was last."""
SANDBOX_TIMEOUT = 30.0
"""Seconds the sandbox provider is given to start, and to stop."""
MAX_DRAINING_FLEETS = 4
"""Fleets of earlier configurations; beyond that the oldest is hurried."""
SANDBOX_BACKOFF = 1.0
ADDRESS = ("host", "port", "admin_host", "admin_port")
"""Settings that only a restart changes."""
STDERR = 2
EXIT_FAILED = 1


class CannotStart(Exception):
    """The gateway cannot run; the message is for the operator."""


def serve(load: Callable[[], Config], *, data_dir: Path) -> int:
    """Run the gateway until SIGTERM or SIGINT and return the exit status: 0, or 1 where it could not start.

    `load` is called at the start and at each SIGHUP. Raises ConfigError where the first call does.
    """
    log = Log(_write_lines, time.time)
    return uvloop.run(Supervisor(load, data_dir, log).run())


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; a name that stands for several addresses gives its first IPv4 one.

    Raises `CannotStart`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CannotStart(f"cannot listen on {_netloc(host, port)}: {reason}") from error
    listener.settimeout(0)
    return listener


class Sandbox:
    """The sandbox provider's process. `lost` is called once when it ends by itself."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.url = ""
        self.gone = False
        self._lost = lost
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and learn its base URL; raise `CannotStart` where it does not come up."""
        try:
            self._process, reader, self._writer = await spawn("proxy.sandbox")
            async with asyncio.timeout(SANDBOX_TIMEOUT):
                self.url = (await reader.readline()).decode().strip()
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise CannotStart(f"the sandbox provider did not start: {error}") from error
            raise
        if not self.url:
            await self.stop()
            raise CannotStart("the sandbox provider did not start; what it wrote tells why")
        self._watch = asyncio.create_task(self._wait(self._process, self._writer))

    async def _wait(self, process: Process, writer: asyncio.StreamWriter) -> None:
        await process.wait()
        writer.close()
        self.gone = True
        self._lost()

    async def stop(self) -> None:
        """End it, by force where closing the line is not enough."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), SANDBOX_TIMEOUT)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


class Supervisor:
    """One gateway: its sockets, its processes, and the fleet that serves the configuration in force."""

    def __init__(self, load: Callable[[], Config], data_dir: Path, log: Log) -> None:
        self._load = load
        self._data_dir = data_dir
        self._log = log
        self._notifier = Notifier.find(os.environ, log)
        self._exposition = Exposition()
        self._numbers = count(1)
        self._resources = AsyncExitStack()
        self._embedded_url: str | None = None
        self._sandbox: Sandbox | None = None
        self._fleet: Fleet | None = None
        self._drains: dict[asyncio.Task[None], Fleet] = {}
        self._stopping, self._hurry, self._changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._reload_asked = False

    async def run(self) -> int:
        """Live until told to stop, then drain; return the exit status."""
        self._config = self._load()
        self._handle_signals()
        async with self._resources:
            life = asyncio.create_task(self._live())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            life.cancel()
            stop.cancel()
            await asyncio.wait({life, stop})
            await self._stop()
        return 0 if life.cancelled() else life.result()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._terminate)
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)

    def _terminate(self) -> None:
        self._exposition.draining = True
        (self._hurry if self._stopping.is_set() else self._stopping).set()

    def _ask_reload(self) -> None:
        self._reload_asked = True
        self._changed.set()

    async def _live(self) -> int:
        """Start, then put every change into force; return an exit status where there is no start."""
        try:
            await self._start()
        except CannotStart as error:
            self._log.event("cannot_start", reason=str(error))
            return EXIT_FAILED
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._reload_asked:
                self._reload_asked = False
                self._notifier.reloading()
                successful = await self._reload()
                self._notifier.ready("serving" if successful else "serving; the last reload was refused, see the log")
            if self._sandbox is not None and self._sandbox.gone and _needs_sandbox(self._config):
                await self._restore_sandbox()

    async def _start(self) -> None:
        self._bound = server = self._config.server
        self._listener = self._resources.enter_context(bind(server.host, server.port))
        admin = self._resources.enter_context(bind(server.admin_host, server.admin_port))
        await self._serve_admin(admin)
        await self._switch(self._config)
        self._log.event(
            "listening",
            url=f"http://{_netloc(server.host, self._listener.getsockname()[1])}",
            admin=f"http://{_netloc(server.admin_host, admin.getsockname()[1])}",
            workers=server.workers,
            pid=os.getpid(),
            version=__version__,
        )
        self._notifier.ready("serving")

    async def _switch(self, config: Config) -> None:
        """Start workers with a configuration; once they serve, let the earlier ones finish."""
        try:
            assignment = await self._assignment(config)
            fleet = Fleet(self._listener, assignment, exposition=self._exposition, numbers=self._numbers, log=self._log)
            await fleet.start()
        except (EmbeddedError, WorkerFailed) as error:
            raise CannotStart(str(error)) from error
        earlier, self._fleet, self._config = self._fleet, fleet, config
        if earlier is not None:
            self._retire(earlier, config.server.drain_timeout)
            draining = list(dict.fromkeys(self._drains.values()))
            if len(draining) > MAX_DRAINING_FLEETS:
                self._retire(draining[0], 0)

    async def _assignment(self, config: Config) -> Assignment:
        """Start what the configuration needs beside workers; once started it stays, for the next one may need it."""
        if config.redis.url is None and self._embedded_url is None:
            self._embedded_url = await self._resources.enter_async_context(Embedded(self._data_dir, self._log))
        if _needs_sandbox(config) and (self._sandbox is None or self._sandbox.gone):
            sandbox = Sandbox(self._changed.set)
            await sandbox.start()
            self._sandbox = sandbox
        redis_url = config.redis.url.reveal() if config.redis.url else self._embedded_url
        return Assignment(config, redis_url or "", self._sandbox.url if self._sandbox else None)

    def _retire(self, fleet: Fleet, seconds: float) -> None:
        drain = asyncio.create_task(fleet.drain(seconds))
        self._drains[drain] = fleet
        drain.add_done_callback(self._drains.pop)

    async def _reload(self) -> bool:
        try:
            config = self._load()
            await self._switch(config)
        except ConfigError as error:
            for key, message in error.mistakes:
                self._log.event("config_mistake", key=key, message=message)
        except CannotStart as error:
            self._log.event("reload_failed", reason=str(error))
        else:
            self._exposition.reload(successful=True)
            self._log.event("reloaded", workers=config.server.workers)
            moved = [name for name in ADDRESS if getattr(self._bound, name) != getattr(config.server, name)]
            if moved:
                self._log.event("restart_needed", settings=[f"server.{name}" for name in moved])
            return True
        self._exposition.reload(successful=False)
        return False

    async def _restore_sandbox(self) -> None:
        self._log.event("sandbox_died", replaced_in=SANDBOX_BACKOFF)
        await asyncio.sleep(SANDBOX_BACKOFF)
        try:
            await self._switch(self._config)
        except CannotStart as error:
            self._log.event("sandbox_not_replaced", reason=str(error))
            self._changed.set()

    async def _stop(self) -> None:
        """Drain every fleet, faster once hurried; then end what they used."""
        if self._fleet is not None:
            self._log.event("draining")
            self._notifier.stopping()
            server = self._config.server
            await self._fleet.announce()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), server.pre_stop)
            await let_in_the_last(self._listener)
            self._listener.close()
            self._retire(self._fleet, server.drain_timeout)
            await self._drained()
            self._log.event("stopped")
        if self._sandbox is not None:
            await self._sandbox.stop()

    async def _drained(self) -> None:
        fleets = set(self._drains.values())
        drains = tuple(self._drains)
        hurry = asyncio.create_task(self._hurried(fleets))
        await asyncio.wait(drains)
        hurry.cancel()
        await asyncio.wait([hurry])
        for drain in drains:
            drain.result()

    async def _hurried(self, fleets: Iterable[Fleet]) -> None:
        await self._hurry.wait()
        await asyncio.gather(*(fleet.drain(0) for fleet in fleets))

    async def _serve_admin(self, listener: socket.socket) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._answer_metrics),
                web.get("/healthz", self._answer_health),
                web.get("/readyz", self._answer_readiness),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=COLLECT_TIMEOUT)
        await runner.setup()
        self._resources.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()

    async def _answer_health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _answer_readiness(self, _: web.Request) -> web.Response:
        if self._stopping.is_set():
            return web.Response(status=503, text="draining\n")
        if self._fleet is None or not self._fleet.ready:
            return web.Response(status=503, text="no worker is ready\n")
        return web.Response(text="ready\n")

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        await self._collect()
        body, content_type = self._exposition.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _collect(self) -> None:
        fleets = {*self._drains.values(), *([self._fleet] if self._fleet else [])}
        workers = [worker for fleet in fleets for worker in fleet.workers]
        self._exposition.workers = len(workers)
        with suppress(TimeoutError):
            async with asyncio.timeout(COLLECT_TIMEOUT), asyncio.TaskGroup() as group:
                for worker in workers:
                    if worker.ready:
                        group.create_task(worker.collect())


def _needs_sandbox(config: Config) -> bool:
    return any(provider.kind == "sandbox" and provider.base_url is None for provider in config.providers.values())


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write_lines(lines: bytes) -> None:
    # A terminal that was closed or a pipe that nobody reads is no reason to stop serving.
    with suppress(OSError):
        os.write(STDERR, lines)

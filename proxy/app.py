"""The composition root of a worker: the one module that knows everyone."""

import asyncio
import functools
import itertools
import os
import socket
import time
from contextlib import suppress

from aiohttp import web

from proxy import archive, bindings, process
from proxy.archive import Archive
from proxy.auth import REASONS, Keys
from proxy.bindings import Bindings
from proxy.catalogue import Catalogue
from proxy.config import Config, ProviderConfig, Secret
from proxy.credentials import Report
from proxy.downstream import Server
from proxy.envelope import EnvelopeScanner
from proxy.families import (
    ARCHIVE_QUEUE,
    AUTH_FAILURES,
    BINDING_QUEUE,
    CLIENT_CONNECTIONS,
    CPU_SECONDS,
    PROCESS_GAUGES,
    REDIS_OPERATIONS,
    REDIS_SECONDS,
    REDIS_STATE,
    UPSTREAM_CONNECTIONS,
    Labels,
)
from proxy.fetching import Fetcher
from proxy.handlers import Handlers
from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.ownership import Ownership
from proxy.providers import REGISTRY
from proxy.redisqueue import STATES
from proxy.routing import Router
from proxy.scanner import ObjectScanner
from proxy.services import Services
from proxy.tap import JSON_FIELDS
from proxy.upstream import Upstream

BACKLOG = 1024
STDOUT = 1
PACE_HEADER = "x-sandbox-events-per-second"
"""What the sandbox server takes the pace of its streams from."""
FLUSH_INTERVAL = 0.2
"""Seconds a log line waits at most."""
LINGER = 1.0
"""Seconds in which requests already on their way over kept-alive connections are still served by a drain."""
LINGER_STEP = 0.02
CLOSING_GRACE = 1.0
"""Seconds that exchanges cut by a drain have to write their last event."""


class App:
    """One worker's gateway: built, started on a bound socket, drained, closed.

    `slot` tells it from the other workers of its fleet.
    """

    def __init__(self, config: Config, *, redis_url: str, sandbox_url: str | None = None, slot: int = 1) -> None:
        self._config = config
        self._log = Log(_write_lines, time.time)
        self._metrics = Metrics(providers=config.providers, models=_configured_models(config))
        self._bindings = Bindings(
            redis_url,
            config.bindings,
            metrics=self._metrics,
            log=self._log,
            clock=time.monotonic,
            kept_days=config.archive.ttl_days,
        )
        self._archive = Archive(redis_url, config.archive, metrics=self._metrics, log=self._log, clock=time.monotonic)
        self._fetcher = Fetcher(config.fetch)
        self._upstreams = _upstreams(config, self._log, self._metrics, sandbox_url)
        keys, router = Keys(config.keys), Router(config)
        ownership = Ownership(self._bindings, keys, router, config.bindings)
        services = Services(
            config,
            keys,
            router,
            ownership,
            self._bindings,
            self._archive,
            self._fetcher,
            self._upstreams,
            self._metrics,
            self._log,
        )
        self._handlers = Handlers(services, Catalogue(self._upstreams, router))
        self._runner = web.ServerRunner(Server(self._handlers.handle, config), shutdown_timeout=CLOSING_GRACE)
        self._site: web.SockSite | None = None
        self._writing: list[asyncio.Task[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._watch()
        self._watch_process(f"worker-{slot}")

    def _watch(self) -> None:
        self._metrics.present(AUTH_FAILURES, *((reason,) for reason in REASONS))
        operations = (*bindings.OPERATIONS, *archive.OPERATIONS)
        self._metrics.present(REDIS_OPERATIONS, *itertools.product(operations, ("ok", "error")))
        self._metrics.present(REDIS_SECONDS, *((operation,) for operation in operations))
        self._metrics.watch(BINDING_QUEUE, lambda: {(): len(self._bindings)})
        self._metrics.watch(ARCHIVE_QUEUE, lambda: {(): self._archive.queued})
        self._metrics.watch(
            UPSTREAM_CONNECTIONS,
            lambda: {
                (name, state): count
                for name, upstream in self._upstreams.items()
                for state, count in upstream.connections().items()
            },
        )

        self._metrics.watch(CLIENT_CONNECTIONS, lambda: {(): self._client_connections()})
        self._metrics.watch(REDIS_STATE, self._redis_states)

    def _watch_process(self, name: str) -> None:
        for family in PROCESS_GAUGES:
            self._metrics.watch(family, functools.partial(process.read, family, name))
        self._metrics.watch(CPU_SECONDS, lambda: {("worker",): process.cpu_nanoseconds()})

    def _client_connections(self) -> int:
        server = self._runner.server
        return len(server.connections) if server is not None else 0

    def _redis_states(self) -> dict[Labels, float]:
        stores = {"bindings": self._bindings.state, "archive": self._archive.state}
        return {(store, state): state == now for store, now in stores.items() for state in STATES}

    async def start(self, listener: socket.socket | None) -> None:
        """Begin to serve on a bound socket."""
        warm_up()
        await asyncio.gather(self._bindings.open(), self._archive.open())
        self._writing = [asyncio.create_task(store.run()) for store in (self._bindings, self._archive)]
        self._flushing = asyncio.create_task(self._flush_log())
        await self._runner.setup()
        if listener is not None:
            self._site = web.SockSite(self._runner, listener, backlog=BACKLOG)
            await self._site.start()

    async def _flush_log(self) -> None:
        """Write log lines, and note how late the timer for them fires: by what they took to be written, too."""
        while True:
            due = time.monotonic() + FLUSH_INTERVAL
            self._log.flush()
            await asyncio.sleep(due - time.monotonic())
            self._metrics.lagged(max(0.0, time.monotonic() - due))

    async def snapshot(self) -> bytes:
        """Return the state of every series, giving the loop back between families."""
        pieces = []
        for piece in self._metrics.snapshot():
            pieces.append(piece)
            await asyncio.sleep(0)
        return b"".join(pieces)

    def announce_drain(self) -> None:
        """Tell clients, with every answer from now on, to come back elsewhere."""
        self._handlers.drain()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109
        """Stop accepting, wait `timeout` seconds for what is under way, then end the rest loudly."""
        self.announce_drain()
        if self._site is not None:
            await self._site.stop()
            self._site = None
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        await self._linger(min(clock() + LINGER, deadline))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._handlers.idle()
        for exchange in list(self._handlers.active):
            exchange.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._handlers.idle(), CLOSING_GRACE)

    async def _linger(self, until: float) -> None:
        """Leave the clients that are connected the time to ask once more, and to be told to close."""
        clock = asyncio.get_running_loop().time
        server = self._runner.server
        while server is not None and server.connections and clock() < until:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(LINGER_STEP)

    async def close(self) -> None:
        """Let go of every connection, once queued bindings are written as far as Redis takes them."""
        await self._runner.cleanup()
        for upstream in self._upstreams.values():
            await upstream.close()
        await self._fetcher.close()
        for store in (self._bindings, self._archive):
            store.stop()
        await asyncio.gather(*self._writing)
        # A store that is closed is in no state, though it takes no more writes.
        self._metrics.watch(REDIS_STATE, dict)
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        self._log.flush()


def warm_up() -> None:
    """Compile what the first request would have to compile: the scanners' patterns."""
    EnvelopeScanner().feed(b'{"model":"m"}')
    ObjectScanner(JSON_FIELDS).feed(b'{"id":"i"}')


def _upstreams(config: Config, log: Log, metrics: Metrics, sandbox_url: str | None) -> dict[str, Upstream]:
    return {
        name: Upstream(
            name,
            REGISTRY[provider.kind],
            _located(provider, sandbox_url),
            config.limits,
            report=_reporter(log, name),
            on_connect=functools.partial(metrics.connected, name),
        )
        for name, provider in config.providers.items()
    }


def _located(provider: ProviderConfig, sandbox_url: str | None) -> ProviderConfig:
    """Fill in what only this run knows of the built-in sandbox: where it listens, and the pace asked of it."""
    if provider.kind != "sandbox":
        return provider
    headers = dict(provider.headers)
    if provider.events_per_second is not None:
        headers[PACE_HEADER] = Secret(f"{provider.events_per_second:f}")
    return provider.model_copy(update={"base_url": provider.base_url or sandbox_url, "headers": headers})


def _configured_models(config: Config) -> list[str]:
    names = [*config.models, *(target.partition("/")[2] for target in config.models.values())]
    return names + [model for key in config.keys for model in key.models or ()]


def _reporter(log: Log, provider: str) -> Report:
    """Make what logs why a provider's credentials could not be obtained."""
    return lambda message: log.event("credentials", provider=provider, error=message)


def _write_lines(lines: bytes) -> None:
    """Write to standard output; nobody reads it any more is no reason to stop serving."""
    with suppress(BrokenPipeError):
        os.write(STDOUT, lines)

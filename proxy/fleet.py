"""The worker processes of one configuration: started together, replaced when they die, drained."""

import asyncio
import contextlib
import socket
from asyncio.subprocess import Process
from collections.abc import Iterator

from proxy.control import Assignment, Channel, Kind, render_assignment, render_drain, spawn
from proxy.exposition import Exposition
from proxy.logs import Log

START_TIMEOUT = 60.0
"""Seconds a worker is given to serve."""
END_GRACE = 10.0
"""Seconds a worker is given to end, past those of its exchanges."""
BACKOFF_FIRST, BACKOFF_LAST = 0.1, 10.0
"""Seconds until a dead worker is replaced; one that had run longer than the last starts over at the first."""


class WorkerFailed(Exception):
    """A worker ended, or got stuck, before it served; the message is for the operator."""


class Worker:
    """One worker process. `number` is never used again, so that metrics tell a worker from its replacement."""

    def __init__(self, number: int, process: Process, channel: Channel, exposition: Exposition, log: Log) -> None:
        self.number = number
        self.pid = process.pid
        self.ready = False
        self._process = process
        self._channel = channel
        self._exposition = exposition
        self._log = log
        self._heard = asyncio.Event()
        self._asked = False
        self._reader = asyncio.create_task(self._read())

    async def assign(self, assignment: bytes) -> bool:
        """Hand over what to run; return True once the worker serves, False where it ends instead."""
        await self._channel.send(Kind.ASSIGN, assignment)
        await self._heard.wait()
        return self.ready

    async def collect(self) -> None:
        """Wait for a snapshot: one asked for now, or the one that somebody waits for already."""
        if self.ready and not self._asked:
            self._asked = True
            self._heard.clear()
            await self._channel.send(Kind.COLLECT)
        await self._heard.wait()

    async def tell(self, kind: Kind, payload: bytes = b"") -> None:
        """Send an order that has no answer."""
        await self._channel.send(kind, payload)

    async def ended(self) -> int:
        """Wait for the worker's last word and its end; return its exit status."""
        await asyncio.wait([self._reader])
        try:
            await asyncio.wait_for(self._process.wait(), END_GRACE)
        except TimeoutError:
            self.kill()
        status = await self._process.wait()
        await self._channel.close()
        return status

    def kill(self) -> None:
        """End the process now."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _read(self) -> None:
        while (message := await self._channel.receive()) is not None:
            if message.kind is Kind.READY:
                self.ready = True
            elif message.kind is Kind.SNAPSHOT:
                self._asked = False
                try:
                    self._exposition.update(self.number, message.payload)
                except ValueError as error:
                    self._log.event("snapshot_refused", worker=self.pid, reason=str(error))
            self._heard.set()
        self.ready = False
        self._heard.set()


class Fleet:
    """The workers that run one assignment. Call `start` once and `drain` at the end.

    A worker has a slot, from 1, in which its replacement follows it: what is told of each worker has a bounded label.
    """

    def __init__(
        self,
        listener: socket.socket,
        assignment: Assignment,
        *,
        exposition: Exposition,
        numbers: Iterator[int],
        log: Log,
    ) -> None:
        self.workers: set[Worker] = set()
        self._listener = listener
        self._size = assignment.config.server.workers
        self._assignment = render_assignment(assignment)
        self._exposition = exposition
        self._numbers = numbers
        self._log = log
        self._draining = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether some worker serves and none has been told to drain."""
        return not self._draining.is_set() and any(worker.ready for worker in self.workers)

    async def start(self) -> None:
        """Start the workers and wait until all of them serve; raise `WorkerFailed` where one does not."""
        try:
            async with asyncio.TaskGroup() as group:
                launches = [group.create_task(self._launch(slot)) for slot in range(1, self._size + 1)]
        except BaseException as error:
            await asyncio.gather(*(self._kill(worker) for worker in tuple(self.workers)))
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        self._keepers = [
            asyncio.create_task(self._keep(slot, launch.result())) for slot, launch in enumerate(launches, 1)
        ]

    async def announce(self) -> None:
        """Have clients told to come back elsewhere."""
        for worker in tuple(self.workers):
            await worker.tell(Kind.ANNOUNCE)

    async def drain(self, seconds: float) -> None:
        """Give exchanges in flight that many seconds, then cut them; return once every worker is gone.

        Called again with less time it hurries.
        """
        self._draining.set()
        for worker in tuple(self.workers):
            await worker.tell(Kind.DRAIN, render_drain(seconds))
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=seconds + END_GRACE)
            if late:
                for worker in self.workers:
                    self._log.event("worker_killed", pid=worker.pid)
                    worker.kill()
            await asyncio.gather(*self._keepers)

    async def _launch(self, slot: int) -> Worker:
        descriptor = self._listener.fileno()
        try:
            process, reader, writer = await spawn(
                "proxy.worker", "--listen-fd", str(descriptor), "--slot", str(slot), inherit=[descriptor]
            )
        except OSError as error:
            raise WorkerFailed(f"a worker could not be started: {error.strerror}") from error
        worker = Worker(next(self._numbers), process, Channel(reader, writer), self._exposition, self._log)
        self.workers.add(worker)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                serves = await worker.assign(self._assignment)
        except BaseException as error:
            await self._kill(worker)
            if isinstance(error, TimeoutError):
                raise WorkerFailed(f"a worker was not ready in {START_TIMEOUT:.0f} s") from None
            raise
        if not serves:
            # Not killed: it is about to write why.
            status = await self._bury(worker)
            raise WorkerFailed(f"a worker ended before it was ready (exit status {status}); what it wrote tells why")
        return worker

    async def _keep(self, slot: int, first: Worker) -> None:
        """Replace a worker that died, less and less eagerly while replacements die young, until the drain."""
        clock = asyncio.get_running_loop().time
        worker: Worker | None = first
        fate, delay, since = "", BACKOFF_FIRST, clock()
        while True:
            if worker is not None:
                fate = f"exit status {await self._bury(worker)}"
            if clock() - since > BACKOFF_LAST:
                delay = BACKOFF_FIRST
            if self._draining.is_set():
                return
            self._log.event("worker_died", pid=worker and worker.pid, fate=fate, replaced_in=delay)
            self._exposition.restarted()
            if await self._drains_within(delay):
                return
            delay, since = min(delay * 2, BACKOFF_LAST), clock()
            try:
                worker = await self._launch(slot)
            except WorkerFailed as error:
                worker, fate = None, str(error)

    async def _drains_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._draining.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _bury(self, worker: Worker) -> int:
        status = await worker.ended()
        self.workers.discard(worker)
        self._exposition.retire(worker.number)
        return status

    async def _kill(self, worker: Worker) -> None:
        worker.kill()
        await self._bury(worker)

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable

import psutil
import pytest

from proxy.control import Assignment, Channel, Kind, render_assignment, render_drain, spawn
from proxy.exposition import Exposition
from tests.rig.client import connect, fetch
from tests.rig.eventually import PATIENCE, eventually
from tests.rig.gateway import bearer, total
from tests.rig.scripts import sse_answer
from tests.rig.settings import ALICE_KEY, config
from tests.rig.wire import new_id, stream_events

CREATE = {"model": "gpt-4o-mini", "input": "Hello", "stream": True}
HEADERS = bearer(ALICE_KEY)


class Line:
    """The supervisor's end: a worker's process, its port, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, port: int) -> None:
        self.process = process
        self.channel = channel
        self.port = port
        self.send = channel.send

    async def hear(self, kind: Kind) -> bytes:
        async with asyncio.timeout(PATIENCE):
            message = await self.channel.receive()
        assert message is not None, "the worker is gone"
        assert message.kind is kind
        return message.payload

    async def exited(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def worker(running: Assignment) -> AsyncIterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process, reader, writer = await spawn(
            "proxy.worker", "--listen-fd", str(listener.fileno()), "--slot", "5", inherit=[listener.fileno()]
        )
    line = Line(process, Channel(reader, writer), port)
    try:
        await line.send(Kind.ASSIGN, render_assignment(running))
        await line.hear(Kind.READY)
        yield line
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await line.channel.close()


@pytest.fixture
def gate():
    """Hold the stream of every create before its third event."""
    return asyncio.Event()


@pytest.fixture
async def line(upstream, valkey, gate):
    upstream.on("POST", "/v1/responses", sse_answer(stream_events(new_id()), gates={2: gate}))
    async with worker(Assignment(config(upstream), valkey.url)) as running:
        yield running
        gate.set()


def counted(snapshot: bytes) -> Callable[..., float]:
    exposition = Exposition()
    exposition.update(1, snapshot)
    text = exposition.render("")[0].decode()
    return lambda name, **labels: total(text, name, **labels)


async def test_worker_serves_and_hands_out_its_metrics(line, gate):
    gate.set()
    answer = await fetch(line.port, "POST", "/v1/responses", headers=HEADERS, json=CREATE)
    assert answer.status == 200
    await line.send(Kind.COLLECT)
    shown = counted(await line.hear(Kind.SNAPSHOT))
    assert shown("responses_proxy_requests_total") == 1
    resident = psutil.Process(line.process.pid).memory_info().rss
    assert shown("responses_proxy_resident_memory_bytes", process="worker-5") == pytest.approx(resident, rel=0.1)


@pytest.mark.parametrize("cause", ["order", "signal", "abandoned"])
async def test_worker_finishes_what_is_in_flight_and_ends(line, gate, cause):
    async with connect(line.port) as client:
        await client.request("POST", "/v1/responses", headers=HEADERS, json=CREATE)
        answer = await client.answer()
        await answer.read_until(b"response.in_progress")
        if cause == "order":
            await line.send(Kind.DRAIN, render_drain(60))
        elif cause == "signal":
            line.process.send_signal(signal.SIGTERM)
        else:
            await line.channel.close()
        await eventually(lambda: refuses(line.port))
        gate.set()
        assert (await answer.read()).rstrip().splitlines()[-1].startswith(b'data: {"type":"response.completed"')
        assert answer.end == "complete"
        if cause != "abandoned":
            last = counted(await line.hear(Kind.SNAPSHOT))
            assert last("responses_proxy_requests_total") == 1
            assert last("responses_proxy_inflight_requests") == 0
            assert last("responses_proxy_redis_state") == 0, "its stores are closed, not down"
    assert await line.exited() == 0


async def test_worker_still_serves_the_connections_it_has_when_it_drains(line):
    async with connect(line.port) as used, connect(line.port) as unused:
        await used.request("GET", "/v1/models", headers=HEADERS)
        await (await used.answer()).read()
        await line.send(Kind.COLLECT)
        await line.hear(Kind.SNAPSHOT)
        await line.send(Kind.DRAIN, render_drain(60))
        await eventually(lambda: refuses(line.port))
        for client in (used, unused):
            await client.request("GET", "/v1/models", headers=HEADERS)
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (200, "close")
    assert await line.exited() == 0


async def test_worker_answers_for_its_metrics_while_it_drains(line):
    async with connect(line.port) as client:
        await client.request("POST", "/v1/responses", headers=HEADERS, json=CREATE)
        await (await client.answer()).read_until(b"response.in_progress")
        await line.send(Kind.DRAIN, render_drain(60))
        await line.send(Kind.COLLECT)
        assert counted(await line.hear(Kind.SNAPSHOT))("responses_proxy_inflight_streams") == 1


async def test_worker_cuts_what_is_in_flight_when_hurried(line):
    async with connect(line.port) as client:
        await client.request("POST", "/v1/responses", headers=HEADERS, json=CREATE)
        answer = await client.answer()
        await answer.read_until(b"response.in_progress")
        await line.send(Kind.DRAIN, render_drain(60))
        await eventually(lambda: refuses(line.port))
        await line.send(Kind.DRAIN, render_drain(0))
        assert b"response.failed" in await answer.read()
    assert await line.exited() == 0


async def test_worker_tells_clients_to_come_back_elsewhere_once_announced(line, gate):
    gate.set()
    await line.send(Kind.ANNOUNCE)
    await line.send(Kind.COLLECT)
    await line.hear(Kind.SNAPSHOT)
    answer = await fetch(line.port, "GET", "/v1/models", headers=HEADERS)
    assert answer.status == 200
    assert answer.header("connection") == "close"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_worker_leaves_the_terminals_signals_to_its_supervisor(line, number):
    line.process.send_signal(number)
    await line.send(Kind.COLLECT)
    await line.hear(Kind.SNAPSHOT)
    assert (await fetch(line.port, "GET", "/v1/models", headers=HEADERS)).status == 200


@pytest.fixture
def few_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_worker_opens_as_many_connections_as_it_may(few_descriptors, line):
    assert psutil.Process(line.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (few_descriptors, few_descriptors)


async def test_worker_ends_when_its_supervisor_goes_before_the_first_word():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process, _, writer = await spawn(
            "proxy.worker", "--listen-fd", str(listener.fileno()), inherit=[listener.fileno()]
        )
        writer.close()
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


async def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        async with connect(port):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        return False

"""A gateway is restarted under load behind each of the shipped balancer configurations: no client notices."""

import asyncio
import contextlib
import re
import signal
import socket
from collections import Counter

import psutil

from proxy.supervisor import BACKLOG
from tests.operations.balanced import PATH, PLAIN, STREAMED, headers
from tests.operations.balancers import DEPLOY, KINDS, Replica, balancer, replicas
from tests.rig import scripts, wire
from tests.rig.client import connect
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually
from tests.rig.upstream import Upstream

PRE_STOP = int(re.findall(r"^  pre_stop: (\d+)$", (DEPLOY / "LOAD_BALANCERS.md").read_text("utf-8"), re.MULTILINE)[0])
"""What operators are told to set `server.pre_stop` to."""
CLIENTS, STREAMS = 4, 4
"""Of each balancer: clients that create without a pause, and streams that begin before and end after the restart."""
PACE = 0.02
"""Seconds the provider takes for an answer."""
ENOUGH = 200


class Load:
    """Clients of one balancer; each request is known at the provider by the balancer's name."""

    def __init__(self, name, port):
        self.name = name
        self.failures = []
        self.created = 0
        self.over = False
        self._port = port

    async def create(self):
        """Create until it is over, on a connection for as long as it lasts."""
        while not self.over:
            try:
                async with connect(self._port) as client:
                    await self._create_on(client)
            except (PeerGone, ConnectionError) as gone:
                self.failures.append(gone)

    async def _create_on(self, client):
        while not self.over:
            answer = await self._ask(client, PLAIN)
            await answer.read()
            if (answer.status, answer.end) != (200, "complete"):
                self.failures.append((answer.status, answer.end, answer.body))
            self.created += 1
            if answer.header("Connection") == "close":
                return

    async def stream(self, begun):
        """Read a stream to its end; tell when it has begun."""
        async with connect(self._port) as client:
            answer = await self._ask(client, STREAMED)
            await answer.read_events(2)
            begun()
            await answer.read()
        if (answer.end, answer.events()[-1].name) != ("complete", "response.completed"):
            self.failures.append((answer.status, answer.end, answer.body))

    async def _ask(self, client, body):
        await client.request("POST", PATH, headers=[*headers(), ("x-client-request-id", self.name)], json=body)
        return await client.answer()


class Provider:
    """Answers at a pace; streams stay open until they are let go. `served` counts by balancer, gateway and form."""

    def __init__(self):
        self.served = Counter()
        self.let_go = asyncio.Event()

    async def __call__(self, exchange):
        """Answer one request."""
        await exchange.body()
        streamed = "stream" in exchange.json()
        self.served[exchange.header("x-client-request-id"), exchange.header("x-replica"), streamed] += 1
        if streamed:
            await scripts.sse_answer(wire.stream_events(wire.new_id()), gates={2: self.let_go})(exchange)
        else:
            await asyncio.sleep(PACE)
            await scripts.json_answer(wire.response_object(wire.new_id()))(exchange)

    def through(self, replica, *, streamed=False):
        """Tell whether this gateway has served requests of every balancer."""
        return all(self.served[name, replica, streamed] for name in KINDS)


async def test_restart_under_load_fails_no_request(shared_valkey):
    """Neither those it has, nor those on their way to it, nor streams that are open all the while."""
    provider = Provider()
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Upstream())
        upstream.on("POST", PATH, provider)
        one, other = await stack.enter_async_context(replicas(upstream, shared_valkey.url, pre_stop=PRE_STOP))
        commands = [one.command, other.command]
        loads = [Load(name, (await stack.enter_async_context(balancer(name, commands))).port) for name in KINDS]
        async with asyncio.TaskGroup() as group:
            begun = asyncio.Semaphore(0)
            for load in loads:
                for _ in range(CLIENTS):
                    group.create_task(load.create())
                for _ in range(STREAMS):
                    group.create_task(load.stream(begun.release))
            for _ in range(STREAMS * len(loads)):
                await begun.acquire()
            await eventually(lambda: provider.through("1") and provider.through("1", streamed=True))
            await restart(one, provider)
            await eventually(lambda: provider.through("1") and all(load.created > ENOUGH for load in loads))
            for load in loads:
                load.over = True
    assert {load.name: load.failures for load in loads} == {name: [] for name in KINDS}


async def restart(replica, provider):
    """End a gateway with the streams it has, and start it again."""
    port = replica.command.port
    stopping = asyncio.create_task(replica.stop())
    await eventually(lambda: refuses(port))
    provider.let_go.set()
    assert await stopping == 0
    provider.served.clear()
    await replica.start()


async def refuses(port):
    """Tell whether a port is closed."""
    try:
        async with connect(port):
            return False
    except ConnectionError:
        return True


async def test_stopping_gateway_lets_in_who_got_through(shared_valkey):
    """A connection that no worker has accepted yet is served; nobody else gets through, and the port is closed then."""
    async with Upstream() as upstream, Replica(1, upstream, shared_valkey.url, 0) as replica:
        upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
        port, (worker,) = replica.command.port, psutil.Process(replica.command.pid).children()
        worker.suspend()
        async with connect(port) as client:
            await client.request("POST", PATH, headers=headers(), json=PLAIN)
            replica.command.signal(signal.SIGTERM)
            let_in = []
            await eventually(lambda: unanswered(port, let_in))
            assert len(let_in) < BACKLOG
            worker.resume()
            answer = await client.answer()
            await answer.read()
        assert (answer.status, await replica.command.exited()) == (200, 0)


def unanswered(port, let_in):
    """Tell whether a connection is neither made nor refused; note one that is made, for it waits in the queue."""
    with socket.socket() as late:
        late.settimeout(0.1)
        try:
            late.connect(("127.0.0.1", port))
        except TimeoutError:
            return True
        let_in.append(late.getsockname())
    return False

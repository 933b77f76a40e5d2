import asyncio
import itertools
import os
import signal
import socket
import sys

import orjson
import psutil
import pytest

from proxy.control import Assignment, Channel, Kind
from proxy.exposition import Exposition
from proxy.fleet import Fleet, Worker, WorkerFailed
from proxy.logs import Log
from proxy.supervisor import bind
from tests.rig.client import connect, fetch
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, total
from tests.rig.scripts import silence
from tests.rig.settings import ALICE_KEY, config

HEADERS = bearer(ALICE_KEY)
CREATE = {"model": "gpt-4o-mini", "input": "Hello"}


class Host:
    """What a fleet is given by its supervisor."""

    def __init__(self, listener):
        self.listener = listener
        self.port = listener.getsockname()[1]
        self.exposition = Exposition()
        self._numbers = itertools.count(1)
        self._lines = []
        self._fleets = []
        self.log = Log(self._lines.append, lambda: 0.0)

    def fleet(self, configuration, redis_url):
        assignment = Assignment(configuration, redis_url)
        fleet = Fleet(self.listener, assignment, exposition=self.exposition, numbers=self._numbers, log=self.log)
        self._fleets.append(fleet)
        return fleet

    async def clear(self):
        """End what a test that failed has left."""
        for fleet in self._fleets:
            for worker in fleet.workers:
                os.kill(worker.pid, signal.SIGKILL)
            await fleet.drain(0)

    def events(self, name):
        return [line for line in map(orjson.loads, self._lines) if line["event"] == name]

    def metric(self, name, **labels):
        return total(self.exposition.render("")[0].decode(), name, **labels)

    async def slots(self, fleet):
        """Return which workers the exposition shows, by the slots they are in."""
        await asyncio.gather(*(worker.collect() for worker in fleet.workers))
        shown = [f"worker-{slot}" for slot in range(9)]
        return [name for name in shown if self.metric("responses_proxy_open_fds", process=name)]

    async def serves(self):
        return (await fetch(self.port, "GET", "/v1/models", headers=HEADERS)).status == 200


@pytest.fixture
async def host():
    with bind("127.0.0.1", 0) as listener:
        made = Host(listener)
        yield made
        await made.clear()


def alive(pids):
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


async def test_fleet_starts_replaces_and_drains_its_workers(host, upstream, valkey):
    fleet = host.fleet(config(upstream, server={"workers": 2}), valkey.url)
    assert not fleet.ready
    await fleet.start()
    first = {worker.number: worker.pid for worker in fleet.workers}
    assert len(first) == 2
    assert fleet.ready
    assert await host.serves()
    os.kill(first[1], signal.SIGKILL)
    await eventually(lambda: host.events("worker_died"))
    await eventually(lambda: sum(worker.ready for worker in fleet.workers) == 2)
    now = {worker.number: worker.pid for worker in fleet.workers}
    assert set(now) == {2, 3}, "the replacement has a number of its own"
    assert await host.slots(fleet) == ["worker-1", "worker-2"], "and the slot of the one it replaces"
    assert host.metric("responses_proxy_worker_restarts_total") == 1
    await fleet.drain(30)
    assert not fleet.ready
    assert not fleet.workers
    assert not alive([*first.values(), *now.values()])
    assert len(host.events("worker_died")) == 1, "a drained worker did not die"


async def test_worker_is_asked_once_however_many_wait_for_its_metrics(host):
    ours, theirs = await asyncio.gather(*map(Channel.open, socket.socketpair()))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    worker = Worker(1, process, ours, host.exposition, host.log)
    await theirs.send(Kind.READY)
    await worker.assign(b"")
    assert (await theirs.receive()).kind is Kind.ASSIGN
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(worker.collect())
        heard = [(await theirs.receive()).kind]
        await worker.tell(Kind.ANNOUNCE)
        heard.append((await theirs.receive()).kind)
        await theirs.send(Kind.SNAPSHOT, b"not a snapshot")
    await theirs.close()
    process.stdin.close()
    await worker.ended()
    assert heard == [Kind.COLLECT, Kind.ANNOUNCE], "one question"
    assert len(host.events("snapshot_refused")) == 1


async def test_fleet_keeps_the_counts_of_workers_that_ended(host, upstream, valkey):
    fleet = host.fleet(config(upstream), valkey.url)
    await fleet.start()
    assert await host.serves()
    [worker] = fleet.workers
    await worker.collect()
    counted = host.metric("responses_proxy_requests_total")
    assert counted == 1
    assert await host.serves()
    await fleet.drain(30)
    assert host.metric("responses_proxy_requests_total") == counted + 1, "the last word counts"
    assert not host.exposition._live, "its gauges went with it"


async def test_fleet_fails_to_start_and_leaves_nothing_behind_when_a_worker_ends_at_once(host, upstream, capfd):
    fleet = host.fleet(config(upstream, server={"workers": 2}), "no-such-scheme://")
    with pytest.raises(WorkerFailed, match=r"before it was ready \(exit status 1\)"):
        await fleet.start()
    assert "ValueError: must be a redis://" in capfd.readouterr().err, "what it wrote tells why"
    assert not fleet.workers
    assert not alive(child.pid for child in psutil.Process().children() if "proxy.worker" in child.cmdline())


async def test_fleet_fails_to_start_when_a_worker_is_not_ready_in_time(host, upstream, valkey, monkeypatch):
    monkeypatch.setattr("proxy.fleet.START_TIMEOUT", 0.01)
    fleet = host.fleet(config(upstream), valkey.url)
    with pytest.raises(WorkerFailed, match="was not ready"):
        await fleet.start()
    assert not fleet.workers


async def test_fleet_tries_again_and_again_when_replacements_fail(host, upstream, valkey, monkeypatch):
    fleet = host.fleet(config(upstream), valkey.url)
    await fleet.start()
    monkeypatch.setattr("proxy.fleet.START_TIMEOUT", 0.01)
    [worker] = fleet.workers
    worker.kill()
    await eventually(lambda: len(host.events("worker_died")) == 3)
    waits = [event["replaced_in"] for event in host.events("worker_died")]
    assert waits == [0.1, 0.2, 0.4]
    monkeypatch.undo()
    await eventually(lambda: fleet.ready)
    assert await host.serves()
    await fleet.drain(0)


async def test_fleet_kills_a_worker_that_does_not_drain(host, upstream, valkey, monkeypatch):
    monkeypatch.setattr("proxy.fleet.END_GRACE", 0.2)
    fleet = host.fleet(config(upstream), valkey.url)
    await fleet.start()
    [worker] = fleet.workers
    os.kill(worker.pid, signal.SIGSTOP)
    await fleet.drain(0)
    assert host.events("worker_killed") == [{"time": 0.0, "event": "worker_killed", "pid": worker.pid}]
    assert not alive([worker.pid])


async def test_fleet_hurries_when_told_again_with_less_time(host, upstream, valkey):
    upstream.on("POST", "/v1/responses", silence)
    fleet = host.fleet(config(upstream), valkey.url)
    await fleet.start()
    async with connect(host.port) as client:
        await client.request("POST", "/v1/responses", headers=HEADERS, json=CREATE)
        await upstream.received()
        patient = asyncio.create_task(fleet.drain(500))
        await eventually(lambda: not fleet.ready)
        await fleet.drain(0)
        await patient
        await client.ended()
    assert not fleet.workers


async def test_fleet_stops_replacing_once_it_drains(host, upstream, valkey, monkeypatch):
    monkeypatch.setattr("proxy.fleet.BACKOFF_FIRST", 500)
    fleet = host.fleet(config(upstream), valkey.url)
    await fleet.start()
    [worker] = fleet.workers
    worker.kill()
    await eventually(lambda: host.events("worker_died"))
    await fleet.drain(500)
    assert not fleet.workers

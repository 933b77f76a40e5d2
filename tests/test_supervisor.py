import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import orjson
import psutil
import pytest
import yaml

from proxy.supervisor import CannotStart, bind
from tests.rig.client import connect, fetch
from tests.rig.eventually import eventually
from tests.rig.gateway import ROOT, Command, bearer, free_port
from tests.rig.scripts import json_answer, sse_answer
from tests.rig.settings import ALICE_KEY, settings
from tests.rig.wire import new_id, response_object, stream_events

CREATE = {"model": "main/gpt-4o-mini", "input": "Hello"}
HEADERS = bearer(ALICE_KEY)
PROCESSES = ("supervisor", "worker")


class Service(Command):
    """A gateway process whose configuration file can be rewritten."""

    def __init__(self, place, content, *, port=None, admin_port=None):
        self.place = place
        self._ports = {"port": port or free_port(), "admin_port": admin_port or free_port()}
        self.write(content)
        line = [sys.executable, "-m", "proxy", "serve", "--config", str(place / "gateway.yaml")]
        written = place / f"output-{self._ports['port']}"
        with written.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*line, "--data-dir", str(place / "data")], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        super().__init__(process, self._ports["port"], self._ports["admin_port"], place)
        self._written = written

    def write(self, content):
        server = {**self._ports, **content.get("server", {})}
        (self.place / "gateway.yaml").write_text(yaml.safe_dump({**content, "server": server}), encoding="utf-8")

    def events(self, name):
        *lines, _ = self.output().split("\n")
        return [event for line in lines if line.startswith("{") and (event := orjson.loads(line))["event"] == name]

    def children(self, command):
        """Return the processes, by id, that the supervisor started with this command."""
        found = []
        for child in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if command in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    async def create(self, **members):
        return await fetch(self.port, "POST", "/v1/responses", headers=HEADERS, json={**CREATE, **members})

    async def begin_stream(self, client):
        """Start a stream that the gate holds after its second event."""
        await client.request("POST", "/v1/responses", headers=HEADERS, json={**CREATE, "stream": True})
        answer = await client.answer()
        await answer.read_until(b"response.in_progress")
        return answer


@contextlib.asynccontextmanager
async def serving(place, content, **ports):
    service = Service(place, content, **ports)
    try:
        await eventually(lambda: service.process.poll() is not None or service.events("listening"))
        assert service.process.poll() is None, service.output()
        yield service
    finally:
        await service.stop()


@pytest.fixture
def gate():
    return asyncio.Event()


@pytest.fixture
async def content(upstream, valkey, gate):
    """Give settings for a provider that streams, held by the gate, as soon as it is asked to."""
    streaming, plain = sse_answer(stream_events(new_id()), gates={2: gate}), json_answer(response_object(new_id()))

    async def script(exchange):
        await (streaming if orjson.loads(await exchange.body()).get("stream") else plain)(exchange)

    upstream.on("POST", "/v1/responses", script)
    yield settings(upstream, redis={"url": valkey.url})
    gate.set()
    await asyncio.gather(*(exchange.finished.wait() for exchange in upstream.requests))


@pytest.fixture
async def service(content, tmp_path):
    async with serving(tmp_path, content) as running:
        yield running


async def refuses(port):
    try:
        async with connect(port):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        return False


async def test_supervisor_tells_of_its_own_process_beside_its_workers(service):
    itself = psutil.Process(service.pid)
    started = await service.metric("responses_proxy_start_time_seconds")
    assert itself.create_time() - 1 < started < time.time()
    assert await service.metric("responses_proxy_config_last_reload_success_timestamp_seconds") == started
    used = {name: await service.metric("responses_proxy_cpu_seconds_total", process=name) for name in PROCESSES}
    for process, shown in ((itself, "supervisor"), (psutil.Process(*service.children("proxy.worker")), "worker-1")):
        resident = await service.metric("responses_proxy_resident_memory_bytes", process=shown)
        assert resident == pytest.approx(process.memory_info().rss, rel=0.1)
        assert await service.metric("responses_proxy_max_fds", process=shown) == process.rlimit(psutil.RLIMIT_NOFILE)[0]
        times, name = process.cpu_times(), shown.partition("-")[0]
        assert used[name] == pytest.approx(times.user + times.system, abs=0.3)


async def test_supervisor_replaces_a_killed_worker_without_losing_a_request_or_a_count(service):
    assert (await service.create()).status == 200
    assert await service.metric("responses_proxy_requests_total", operation="create") == 1
    assert await service.metric("responses_proxy_workers") == 1
    [killed] = service.children("proxy.worker")
    os.kill(killed, signal.SIGKILL)
    assert (await service.create()).status == 200, "the listening socket is the supervisor's"
    assert service.children("proxy.worker") != [killed]
    assert await service.metric("responses_proxy_requests_total", operation="create") == 2
    assert await service.metric("responses_proxy_worker_restarts_total") == 1
    assert service.events("worker_died")[0]["pid"] == killed
    assert await service.metric("responses_proxy_open_fds", process="worker-2") == 0, "it took the slot of the other"


async def test_supervisor_drains_a_request_in_flight_on_sigterm(service, gate):
    async with connect(service.port) as client:
        answer = await service.begin_stream(client)
        service.signal(signal.SIGTERM)
        await eventually(lambda: refuses(service.port))
        assert (await service.admin("/readyz")).status == 503
        assert (await service.admin("/healthz")).status == 200
        assert await service.metric("responses_proxy_draining") == 1
        assert await service.metric("responses_proxy_inflight_streams") == 1
        gate.set()
        assert b"response.completed" in await answer.read()
        assert answer.end == "complete"
    assert await service.exited() == 0


async def test_supervisor_goes_on_serving_before_it_stops_and_hurries_when_told_twice(content, tmp_path):
    content = {**content, "server": {"pre_stop": 500, "drain_timeout": 500}}
    async with serving(tmp_path, content) as service, connect(service.port) as client:
        answer = await service.begin_stream(client)
        service.signal(signal.SIGINT)
        await eventually(lambda: service.events("draining"))
        assert not await service.ready()
        other = await service.create()
        assert other.status == 200
        assert other.header("connection") == "close"
        service.signal(signal.SIGTERM)
        assert b"response.failed" in await answer.read()
        assert await service.exited() == 0


async def test_supervisor_reloads_while_a_stream_goes_on(service, content, gate):
    [before] = service.children("proxy.worker")
    async with connect(service.port) as client:
        held = await service.begin_stream(client)
        service.write({**content, "models": {"fast": "main/gpt-4o-mini"}, "server": {"workers": 2}})
        service.signal(signal.SIGHUP)
        await eventually(lambda: service.events("reloaded"))
        assert (await service.create(model="fast")).status == 200
        assert len(service.children("proxy.worker")) == 3
        assert before in service.children("proxy.worker"), "it has a stream to finish"
        gate.set()
        assert b"response.completed" in await held.read()
    await eventually(lambda: len(service.children("proxy.worker")) == 2)
    assert before not in service.children("proxy.worker")
    assert await service.metric("responses_proxy_config_last_reload_successful") == 1
    assert await service.metric("responses_proxy_worker_restarts_total") == 0


class Crowd:
    """Clients that create without a pause, each on one connection for as long as it may be used."""

    def __init__(self, port):
        self.served = 0
        self._port = port
        self._leaving = False

    async def stay(self):
        while not self._leaving:
            async with connect(self._port) as client:
                told = None
                while told != "close" and not self._leaving:
                    await client.request("POST", "/v1/responses", headers=HEADERS, json=CREATE)
                    answer = await client.answer()
                    await answer.read()
                    assert (answer.status, answer.end) == (200, "complete")
                    told = answer.header("connection")
                    self.served += 1

    def leave(self):
        self._leaving = True


async def test_supervisor_reloads_without_failing_a_request(service):
    crowd = Crowd(service.port)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(crowd.stay())
        for count in (1, 2):
            service.signal(signal.SIGHUP)
            await eventually(lambda count=count: len(service.events("reloaded")) == count)
            await eventually(lambda: len(service.children("proxy.worker")) == 1)
        crowd.leave()
    assert await service.metric("responses_proxy_requests_total", operation="create", code="200") == crowd.served


async def test_supervisor_keeps_the_configuration_in_force_when_the_new_one_is_wrong(service, content):
    reloaded = "responses_proxy_config_last_reload_success_timestamp_seconds"
    started = await service.metric("responses_proxy_start_time_seconds")
    workers = service.children("proxy.worker")
    service.write({**content, "default_provider": "nobody", "surprise": 1})
    service.signal(signal.SIGHUP)
    await eventually(lambda: len(service.events("config_mistake")) == 2)
    assert {event["key"] for event in service.events("config_mistake")} == {"default_provider", "surprise"}
    assert await service.metric("responses_proxy_config_last_reload_successful") == 0
    assert await service.metric(reloaded) == started
    assert (await service.create()).status == 200
    assert service.children("proxy.worker") == workers
    service.write({**content, "server": {"port": free_port()}})
    service.signal(signal.SIGHUP)
    await eventually(lambda: service.events("restart_needed"))
    assert service.events("restart_needed")[0]["settings"] == ["server.port"]
    assert started < await service.metric(reloaded) < time.time()
    assert await service.metric("responses_proxy_config_last_reload_successful") == 1
    assert (await service.create()).status == 200, "the old address stays"
    await eventually(lambda: len(service.children("proxy.worker")) == 1)
    [worker] = map(psutil.Process, service.children("proxy.worker"))
    service.signal(signal.SIGHUP)
    assert await service.stop() == 0, "a stop overtakes a reload"
    assert not worker.is_running()


async def test_supervisor_shows_the_last_snapshot_of_a_worker_that_is_stuck(service):
    await service.create()
    assert await service.metric("responses_proxy_requests_total", operation="create") == 1
    [stuck] = service.children("proxy.worker")
    os.kill(stuck, signal.SIGSTOP)
    try:
        values = await asyncio.gather(
            *(service.metric("responses_proxy_requests_total", operation="create") for _ in range(3))
        )
        assert values == [1, 1, 1]
        assert (await service.admin("/healthz")).status == 200
    finally:
        os.kill(stuck, signal.SIGCONT)


async def test_supervisor_takes_everything_with_it_when_it_is_killed(service):
    [worker] = map(psutil.Process, service.children("proxy.worker"))
    service.process.kill()
    await service.exited()
    await eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert await refuses(service.port)


async def test_supervisor_keeps_bindings_over_a_restart_and_the_directory_to_itself(
    upstream, second_upstream, tmp_path
):
    identity = new_id()
    second_upstream.on("POST", "/v1/responses", json_answer(response_object(identity)))
    second_upstream.on("GET", f"/v1/responses/{identity}", json_answer(response_object(identity)))
    content = settings(upstream, second_upstream)
    async with serving(tmp_path, content) as service:
        assert (await service.create(model="second/gpt-4o-mini")).status == 200
        rival = Service(tmp_path, content)
        assert await rival.exited() == 1
        [reason] = [event["reason"] for event in rival.events("cannot_start")]
        assert str(tmp_path / "data") in reason
        assert "in use by another gateway" in reason
    async with serving(tmp_path, content) as service:
        answer = await fetch(service.port, "GET", f"/v1/responses/{identity}", headers=HEADERS)
        assert answer.status == 200
        assert answer.header("x-gateway-provider") == "second"


async def test_supervisor_starts_the_sandbox_provider_and_replaces_it(tmp_path, valkey):
    content = settings(providers={"main": {"kind": "sandbox"}}, redis={"url": valkey.url})
    async with serving(tmp_path, content) as service:
        assert (await service.create()).json()["status"] == "completed"
        [sandbox] = service.children("proxy.sandbox")
        os.kill(sandbox, signal.SIGKILL)
        await eventually(lambda: service.children("proxy.sandbox") not in ([], [sandbox]))
        await eventually(lambda: created(service))


async def created(service):
    return (await service.create()).status == 200


@pytest.mark.parametrize("taken", ["port", "admin_port"])
async def test_supervisor_says_so_when_an_address_is_taken(content, tmp_path, taken):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        service = Service(tmp_path, content, **{taken: port})
        assert await service.exited() == 1
    [line] = service.output().splitlines()
    assert orjson.loads(line)["reason"] == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_bind_takes_names_and_both_families():
    with bind("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with bind("::1", 0) as listener:
        assert listener.family is socket.AF_INET6
        with pytest.raises(CannotStart, match=r"^cannot listen on \[::1\]:\d+: Address already in use$"):
            bind("::1", listener.getsockname()[1])


def test_bind_of_all_addresses_takes_ipv4_too():
    with bind("::", 0) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 5):
        pass


def test_bind_says_so_when_a_name_does_not_resolve():
    with pytest.raises(CannotStart, match=r"^cannot listen on gateway\.invalid:80: "):
        bind("gateway.invalid", 80)

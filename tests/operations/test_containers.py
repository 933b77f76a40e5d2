import contextlib
import http.client
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from tests.operations.containers import Container, Image, Machine
from tests.operations.dockerfile import Build
from tests.operations.stack import Stack, read_model
from tests.operations.tools import tool
from tests.rig.eventually import eventually

ROOT = Path(__file__).parents[2]
KEY = "sk-gw-container-under-test"
CONFIGURATION = {
    "server": {"host": "0.0.0.0", "admin_host": "0.0.0.0", "drain_timeout": 20},  # noqa: S104
    "keys": [{"name": "alice", "tenant": "team-a", "key": KEY}],
    "providers": {"sandbox": {"kind": "sandbox", "events_per_second": 20}},
}
CONFIGURED = "/etc/responses-proxy/gateway.yaml"
STATE = "/var/lib/responses-proxy"


@pytest.fixture(scope="module")
def machine():
    with Machine() as running:
        yield running


@pytest.fixture(scope="module")
def image(machine):
    """Follow the Dockerfile's own instructions; the packages come from the index."""
    return Build(machine, ROOT / "deploy" / "Dockerfile", ROOT).run()


class Gateways:
    """Runs the image as its head says: read-only, without capabilities, with a file and a new volume."""

    def __init__(self, machine, image, place):
        self.configuration = place / "gateway.yaml"
        self.configuration.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
        self._machine, self._image, self._place = machine, image, place
        self._running = []

    def run(self, *command):
        """Run a command of the image's, `serve` unless another is given."""
        number = 10 + len(self._running)
        [target] = self._image.volumes
        volume = f"/mnt/volume-{number}"
        self._machine.run("cp", "-a", f"{self._image.layers[0]}{target}", volume)
        running = Container(
            self._machine,
            self._image,
            command or self._image.command,
            number=number,
            output=self._place / f"output-{number}",
            mounts={CONFIGURED: str(self.configuration), target: volume},
            writable=[target],
        )
        self._running.append(running)
        return running

    def stop(self):
        for running in self._running:
            running.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def gateways(machine, image, tmp_path_factory):
    running = Gateways(machine, image, tmp_path_factory.mktemp("gateways"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def started(gateways):
    return gateways.run()


@pytest.fixture
async def gateway(started):
    await eventually(started.healthy)
    return started


def address(container):
    return f"{container.address}:8080"


def create(machine, container, **members):
    body = json.dumps({"model": "sandbox", "input": "Hello", **members}).encode()
    return machine.fetch(address(container), "/v1/responses", body=body, key=KEY)


def supervisor(container):
    """Return the process that the container's first one started."""
    [child] = psutil.Process(container.pid).children()
    return child


@pytest.mark.timeout(180)
def test_image_holds_the_gateway_and_nothing_that_builds_it(machine, image):
    """Because what is not there cannot be used by who gets in."""
    installed = machine.run("find", image.layers[0] + "/opt/responses-proxy", "-maxdepth", "5")
    assert "/site-packages/proxy\n" in installed
    for left_out in ("/pip", "/setuptools"):
        assert f"/site-packages{left_out}" not in installed
    writable = machine.run("find", image.layers[0], "-perm", "/022", "-not", "-type", "l")
    assert writable == ""
    owned = machine.run("find", image.layers[0], "-uid", "10001")
    assert owned == f"{image.layers[0]}{STATE}\n"


async def test_image_runs_read_only_and_serves_with_a_store_of_its_own(machine, gateway):
    """One volume is all it writes to, and its own health check says when it is ready."""
    status, answer = create(machine, gateway)
    assert status == 200, answer
    status, again = machine.fetch(address(gateway), f"/v1/responses/{json.loads(answer)['id']}", key=KEY)
    assert (status, json.loads(again)["provider"]) == (200, "sandbox")
    assert gateway.execute("touch", "/opt/responses-proxy/here", "/tmp/here") != 0  # noqa: S108
    assert gateway.execute("test", "-s", f"{STATE}/lock", "-o", "-e", f"{STATE}/appendonlydir") == 0


async def test_image_runs_without_root_and_without_capabilities(gateway):
    """Every process of it: by number, with no way up."""
    first = psutil.Process(gateway.pid)
    assert first.name() == "dumb-init"
    for process in [first, *first.children(recursive=True)]:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        assert set(process.uids()) == set(process.gids()) == {10001}
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


async def test_container_that_is_stopped_lets_a_stream_end(machine, gateways):
    """SIGTERM reaches the supervisor, and it alone; the exit status is 0."""
    gateway = gateways.run()
    await eventually(gateway.healthy)
    text = " ".join(["word"] * 20)

    def stop_after_the_first_event():
        with contextlib.closing(http.client.HTTPConnection(address(gateway), timeout=30)) as connection:
            body = json.dumps({"model": "sandbox", "input": text, "stream": True})
            connection.request("POST", "/v1/responses", body, {"Authorization": f"Bearer {KEY}"})
            answer = connection.getresponse()
            first = answer.readline()
            os.kill(gateway.pid, signal.SIGTERM)
            return first + answer.read()

    stream = machine.call(stop_after_the_first_event)
    assert b"event: response.completed" in stream
    assert gateway.process.wait(20) == 0, gateway.output()
    assert {"draining", "stopped"} <= {json.loads(line)["event"] for line in gateway.output().splitlines()}


async def test_container_that_is_stopped_at_once_ends_at_once(gateways):
    """A first process without a handler would not have heard it, and been waited for until it is killed."""
    gateway = gateways.run()
    await eventually(lambda: gateway.pid and psutil.Process(gateway.pid).children())
    assert gateway.stop(signal.SIGTERM) in {0, 128 + signal.SIGTERM}


async def test_container_reaps_what_lost_its_parent(gateway):
    """A Valkey that dies while it rewrites its file leaves a child behind."""
    assert gateway.execute("sh", "-c", "(sleep 0.01 &)") == 0
    first = psutil.Process(gateway.pid)
    await eventually(lambda: all(child.name() == "responses-proxy" for child in first.children()))
    assert supervisor(gateway).status() != psutil.STATUS_ZOMBIE


async def test_container_reloads_on_sighup(gateway, gateways):
    """As `docker kill --signal HUP` sends it."""
    gateways.configuration.write_text(yaml.safe_dump({**CONFIGURATION, "default_provider": "sandbox"}), encoding="utf-8")
    os.kill(gateway.pid, signal.SIGHUP)
    await eventually(lambda: '"event":"reloaded"' in gateway.output())


@pytest.mark.parametrize("command", [["keys", "new", "--tenant", "team-a"], ["check", "--config", CONFIGURED]])
def test_image_takes_the_other_commands(gateways, command):
    """What follows the image's name replaces `serve`; a key can be made, and a file checked, before anything runs."""
    container = gateways.run(*command)
    assert container.process.wait(30) == 0, container.output()
    assert "team-a" in container.output()


@pytest.fixture(scope="module")
def images(machine, image):
    """Give what stands for each image of the stack: this machine's own Redis, nginx and Prometheus."""
    logs = "/mnt/nginx-image/var/log/nginx"
    links = " ".join(f"ln -s /dev/{stream} {logs}/{name}.log;" for name, stream in (("access", "stdout"), ("error", "stderr")))
    machine.run("sh", "-euc", f"mkdir -p {logs} /mnt/nginx-image/var/lib/nginx; {links}")
    machine.run("chmod", "777", "/mnt/nginx-image/var/lib/nginx")
    return {
        "responses-proxy": image,
        "redis": Image(),
        "nginx": Image(layers=("/mnt/nginx-image", "/")),
        "prom/prometheus": Image(entrypoint=(tool("prometheus"),)),
    }


@pytest.fixture(scope="module")
def model():
    return read_model(ROOT / "deploy" / "compose.yaml")


@pytest.fixture(scope="module")
def stack(machine, images, model, tmp_path_factory):
    """Prepare the stack of deploy/compose.yaml; its Prometheus is only made to look every second."""
    place = tmp_path_factory.mktemp("stack")
    prometheus = ROOT / "deploy" / "compose" / "prometheus.yml"
    often = prometheus.read_text(encoding="utf-8").replace("scrape_interval: 15s", "scrape_interval: 1s")
    (place / "prometheus.yml").write_text(often, encoding="utf-8")
    tagged = {
        service["image"]: images[name]
        for service in model["services"].values()
        if (name := service["image"].partition(":")[0]) in images
    }
    prepared = Stack(machine, model, tagged, place, {prometheus: place / "prometheus.yml"})
    yield prepared
    prepared.down()


@pytest.fixture
async def running(stack):
    if not stack.containers:
        await stack.up()
    return stack


@pytest.fixture
def key(machine, running):
    """Give the gateway key, as the file's second command prints it."""
    printed = running.containers["gateway-1"].run("cat", f"{STATE}/gateway-key").stdout
    assert printed.startswith("sk-gw-")
    return printed.strip()


async def test_stack_starts_in_the_order_of_health(running):
    """The only service that no server is at hand for is Grafana."""
    assert set(running.containers) == {"gateway-key", "gateway-1", "gateway-2", "redis", "nginx", "prometheus"}
    for name, container in running.containers.items():
        if check := running.check(name):
            await eventually(lambda check=check, container=container: name == "gateway-key" or container.healthy(check))


async def test_stack_answers_at_its_front_door_without_any_providers_key(machine, running, key):
    """A response made through nginx is found through either gateway."""
    front = f"{running.containers['nginx'].address}:80"
    body = json.dumps({"model": "sandbox", "input": "Hello"}).encode()
    assert machine.fetch(front, "/v1/responses", body=body, key="sk-gw-somebody-else")[0] == 401
    status, answer = machine.fetch(front, "/v1/responses", body=body, key=key)
    assert status == 200, answer
    name = json.loads(answer)["id"]
    for gateway in ("gateway-1", "gateway-2"):
        direct = f"{running.containers[gateway].address}:8080"
        # A Redis that is late is answered for with a 503 and Retry-After.
        await eventually(lambda direct=direct: machine.fetch(direct, f"/v1/responses/{name}", key=key)[0] == 200)


async def test_stack_says_which_key_a_provider_misses(machine, running, key):
    """What is in no .env is sent by its own name: here as the reason why there is no way to that provider."""
    status, answer = machine.fetch(f"{running.containers['gateway-1'].address}:8080", "/v1/models", key=key)
    assert status == 200
    assert {model["owned_by"] for model in json.loads(answer)["data"]} == {"sandbox"}


async def test_prometheus_of_the_stack_scrapes_both_gateways_and_has_the_rules(machine, running):
    """Every target is up, and every rule of the repository is loaded."""
    prometheus = f"{running.containers['prometheus'].address}:9090"

    def ask(path):
        return json.loads(machine.fetch(prometheus, f"/api/v1/{path}")[1])["data"]

    await eventually(lambda: {target["health"] for target in ask("targets")["activeTargets"]} == {"up"})
    targets = {target["labels"]["instance"] for target in ask("targets")["activeTargets"]}
    assert targets == {"gateway-1:9091", "gateway-2:9091"}
    written = yaml.safe_load((ROOT / "grafana" / "alerts" / "rules.yaml").read_text(encoding="utf-8"))
    assert {group["name"] for group in ask("rules")["groups"]} == {group["name"] for group in written["groups"]}


async def test_stack_stops_without_force(running):
    """Every service ends by its own signal, and with the status it should."""
    statuses = running.down()
    assert {name: status for name, status in statuses.items() if status} == {}

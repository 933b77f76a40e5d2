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

# The first of them builds the image, and fetches every package.
pytestmark = pytest.mark.timeout(300)


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
        self._settings = place / "gateway"
        self._settings.mkdir()
        self.write(CONFIGURATION)
        self._machine, self._image, self._place = machine, image, place
        self._running = []

    def write(self, configuration):
        """Replace the configuration's file, as editors do."""
        written = self._settings / "new"
        written.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        written.replace(self._settings / "gateway.yaml")

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
            mounts={str(Path(CONFIGURED).parent): str(self._settings), target: volume},
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


def status_of(process):
    return Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")


def has_python(first):
    """Tell whether the gateway's program has begun, long before it can have set up anything."""
    return any("python" in "".join(process.cmdline()[:1]) for process in [first, *first.children()])


def supervisor(container):
    """Return the process that the container's first one started."""
    [child] = psutil.Process(container.pid).children()
    return child


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
    for place in ("/opt/responses-proxy", "/etc", "/run", "/var"):
        assert gateway.execute("touch", f"{place}/here") != 0, place
    assert gateway.execute("test", "-s", f"{STATE}/lock", "-o", "-e", f"{STATE}/appendonlydir") == 0


async def test_image_runs_without_root_and_without_capabilities(gateway):
    """Every process of it: by number, with no way up."""
    first = psutil.Process(gateway.pid)
    assert first.name() == "dumb-init"
    for process in [first, *first.children(recursive=True)]:
        status = status_of(process)
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
    await eventually(lambda: gateway.pid and has_python(psutil.Process(gateway.pid)))
    assert gateway.stop(signal.SIGTERM) in {0, 128 + signal.SIGTERM}


async def test_container_reaps_what_lost_its_parent(gateway):
    """A Valkey that dies while it rewrites its file leaves a child behind."""
    assert gateway.execute("sh", "-c", "(sleep 0.01 &)") == 0
    first = psutil.Process(gateway.pid)
    await eventually(lambda: all(child.name() == "responses-proxy" for child in first.children()))
    assert supervisor(gateway).status() != psutil.STATUS_ZOMBIE


async def test_container_reloads_on_sighup(gateway, gateways):
    """As `docker kill --signal HUP` sends it; the file is a new one under the old name."""
    gateways.write({**CONFIGURATION, "server": {**CONFIGURATION["server"], "workers": 2}})
    os.kill(gateway.pid, signal.SIGHUP)
    await eventually(lambda: '"event":"reloaded","workers":2' in gateway.output())


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
    links = " ".join(
        f"ln -s /dev/{stream} {logs}/{name}.log;" for name, stream in (("access", "stdout"), ("error", "stderr"))
    )
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
    """Prepare the stack of deploy/compose.yaml; two of its files are only made to wait for less."""
    place = tmp_path_factory.mktemp("stack")
    prometheus, gateway = (ROOT / "deploy" / "compose" / name for name in ("prometheus.yml", "gateway"))
    (place / "gateway").mkdir()
    replaced = {prometheus: place / "prometheus.yml", gateway: place / "gateway"}
    for file, name, waits, less in (
        (prometheus, "prometheus.yml", "scrape_interval: 15s", "scrape_interval: 1s"),
        (gateway / "gateway.yaml", "gateway/gateway.yaml", "pre_stop: 6", "pre_stop: 0.5"),
    ):
        text = file.read_text(encoding="utf-8")
        assert waits in text
        (place / name).write_text(text.replace(waits, less), encoding="utf-8")
    tagged = {
        service["image"]: images[name]
        for service in model["services"].values()
        if (name := service["image"].partition(":")[0]) in images
    }
    prepared = Stack(machine, model, tagged, place, replaced)
    yield prepared
    prepared.down()


@pytest.fixture
async def running(stack):
    if not stack.containers:
        await stack.up()
    return stack


@pytest.fixture
def key(running):
    """Give the gateway key, as the file's second command prints it."""
    printed = running.containers["gateway-1"].run("cat", f"{STATE}/gateway-key").stdout
    assert printed.startswith("sk-gw-")
    return printed.strip()


async def test_stack_starts_in_the_order_of_health(running):
    """The only service that no server is at hand for is Grafana."""
    servers = {"gateway-1", "gateway-2", "sandbox", "redis", "nginx", "prometheus"}
    assert set(running.containers) == {"gateway-key", *servers}
    for name in servers - {"nginx"}:
        await eventually(lambda name=name: running.containers[name].healthy(running.check(name)))
    checked = running.containers["gateway-1"].run("responses-proxy", "check", "--config", CONFIGURED)
    assert checked.returncode == 0, checked.stderr


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
        status, found = machine.fetch(direct, f"/v1/responses/{name}", key=key)
        assert status == 200, found


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

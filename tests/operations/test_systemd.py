import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from proxy.config import ServerConfig
from proxy.embedded import _STOP_TIMEOUT
from proxy.fleet import END_GRACE
from tests.operations.containers import PATH, SCRATCH, Container, Image, Machine
from tests.operations.tools import tool
from tests.rig.eventually import eventually

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "systemd"
UNIT = HERE / "responses-proxy.service"
PROGRAM = "/opt/responses-proxy/bin/responses-proxy"
KEY = "sk-gw-service-under-test"
CONFIGURATION = {
    "keys": [{"name": "alice", "tenant": "team-a", "key": "${file:/etc/responses-proxy/secrets/alice}"}],
    "providers": {"sandbox": {"kind": "sandbox"}},
}


@pytest.fixture(scope="module")
def unit():
    """Give the service's settings; one that is given more than once has all its values."""
    settings = defaultdict(list)
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings[name].append(value)
    return settings


def run(*command):
    return subprocess.run([tool(command[0]), *command[1:]], check=False, capture_output=True, text=True)  # noqa: S603


def test_unit_is_one_that_systemd_takes(tmp_path):
    """`systemd-analyze verify` knows every setting, and finds nothing to say."""
    program = tmp_path / "responses-proxy"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    written = tmp_path / UNIT.name
    written.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, str(program)), encoding="utf-8")
    verified = run("systemd-analyze", "verify", str(written))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_unit_is_hardened():
    """systemd's own measure of what a service could do: 10 is everything, 1.5 the most this one may."""
    judged = run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", str(UNIT))
    assert judged.returncode == 0, judged.stdout


def test_unit_waits_for_the_drain(unit):
    """Whoever kills the gateway earlier cuts streams that the gateway would have let end."""
    server = ServerConfig()
    assert int(unit["TimeoutStopSec"][0]) > server.pre_stop + server.drain_timeout + END_GRACE + _STOP_TIMEOUT


def test_user_of_the_unit_is_made(unit, tmp_path):
    """By systemd-sysusers, from the file beside the unit."""
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", str(HERE / "responses-proxy.sysusers"))
    assert made.returncode == 0, made.stderr
    [name] = unit["User"]
    assert (tmp_path / "etc" / "passwd").read_text(encoding="utf-8").startswith(f"{name}:")


def expand(sets, name):
    """Return the system calls of a set, those of the sets in it included."""
    if not name.startswith("@"):
        return {name}
    return {call for member in sets[name] for call in expand(sets, member)}


@pytest.fixture(scope="module")
def rules(unit):
    """Give what the unit lets through, with the sets that this systemd has."""
    sets, current = defaultdict(list), ""
    for line in run("systemd-analyze", "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            current = line.strip()
        elif line.startswith(" ") and not line.strip().startswith("#"):
            sets[current].append(line.strip())
    allowed = set()
    for value in unit["SystemCallFilter"]:
        calls = {call for word in value.removeprefix("~").split() for call in expand(sets, word)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    families = [getattr(socket, name) for name in unit["RestrictAddressFamilies"][0].split()]
    refused = getattr(errno, unit["SystemCallErrorNumber"][0])
    return {"allowed": sorted(allowed), "families": families, "errno": refused}


@pytest.fixture(scope="module")
def machine():
    with Machine() as running:
        yield running


@pytest.fixture(scope="module")
def host(machine):
    """Give a host on which every user reaches the checkout and the Python of the tests."""
    layer = f"{SCRATCH}/host"
    for place in (ROOT, Path(sys.prefix), Path(sys.base_prefix)):
        for parent in reversed([place, *place.parents]):
            mode = stat.S_IMODE(parent.stat().st_mode) | 0o111
            machine.run("sh", "-euc", f"mkdir -p {layer}{parent}; chmod {mode:o} {layer}{parent}")
    return Image(layers=(layer, "/"), user="4242:4242")


class Manager:
    """Starts the unit as systemd would, and hears what it says of itself."""

    def __init__(self, machine, host, unit, rules, place):
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        (place / "notify").mkdir(mode=0o755)
        self._line.bind(str(place / "notify" / "socket"))
        (place / "notify" / "socket").chmod(0o777)
        (place / "etc" / "secrets").mkdir(parents=True)
        (place / "etc" / "secrets" / "alice").write_text(KEY + "\n", encoding="utf-8")
        self.configuration = place / "etc" / "gateway.yaml"
        self.write(CONFIGURATION)
        [state], [command] = unit["StateDirectory"], unit["ExecStart"]
        machine.run("install", "-d", "-m", unit["StateDirectoryMode"][0], "-o", "4242", "-g", "4242", f"{SCRATCH}/state")
        program, *arguments = command.split()
        assert program == PROGRAM
        settled = host._replace(environment={"PATH": PATH, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": "/run/n/socket"})
        confined = [sys.executable, str(ROOT / "tests" / "operations" / "confine.py"), json.dumps(rules)]
        self.container = Container(
            machine,
            settled,
            [*confined, sys.executable, "-P", "-m", "proxy", *arguments],
            number=10,
            output=place / "output",
            mounts={
                "/etc/responses-proxy": str(place / "etc"),
                f"/var/lib/{state}": f"{SCRATCH}/state",
                "/run/n": str(place / "notify"),
                "/tmp": "tmpfs",  # noqa: S108
            },
            writable=[f"/var/lib/{state}", "/run/n", "/tmp"],  # noqa: S108
            descriptors=int(unit["LimitNOFILE"][0]),
        )

    def write(self, configuration):
        self.configuration.write_text(yaml.safe_dump(configuration), encoding="utf-8")

    async def hears(self, beginning):
        """Wait for the next message and see that it begins so."""

        def receive():
            assert self.container.process.poll() is None, self.container.output()
            try:
                return self._line.recv(4096).decode()
            except BlockingIOError:
                return None

        message = await eventually(receive)
        assert message.startswith(beginning), message

    def close(self):
        self.container.stop(signal.SIGKILL)
        self._line.close()


@pytest.fixture
def manager(machine, host, unit, rules, tmp_path):
    running = Manager(machine, host, unit, rules, tmp_path)
    yield running
    running.close()


async def test_service_lives_under_what_the_unit_forbids(machine, manager, unit):
    """It starts, serves with the store of its own, reloads, drains: and says so each time."""
    container = manager.container
    api, admin = "127.0.0.1:8080", "127.0.0.1:9091"
    await manager.hears("READY=1\n")
    ask = "import sys, urllib.request as r; a = r.Request(*sys.argv[1:2], sys.argv[2].encode() or None, " + (
        "{'Authorization': 'Bearer ' + sys.argv[3]}); print(r.urlopen(a).read().decode())"
    )
    ready = container.run(sys.executable, "-c", ask, f"http://{admin}/readyz", "", "")
    assert ready.stdout.strip() == "ready", ready.stderr
    body = json.dumps({"model": "sandbox", "input": "Hello"})
    created = container.run(sys.executable, "-c", ask, f"http://{api}/v1/responses", body, KEY)
    name = json.loads(created.stdout)["id"]
    found = container.run(sys.executable, "-c", ask, f"http://{api}/v1/responses/{name}", "", KEY)
    assert json.loads(found.stdout)["id"] == name

    [reload] = unit["ExecReload"]
    assert container.execute("sh", "-c", reload.replace("$MAINPID", "1")) == 0
    await manager.hears("RELOADING=1\nMONOTONIC_USEC=")
    await manager.hears("READY=1\n")
    os.kill(container.pid, signal.SIGTERM)
    await manager.hears("STOPPING=1\n")
    assert container.process.wait(20) == 0, container.output()

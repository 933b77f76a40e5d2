import errno
import json
import os
import re
import signal
import socket
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from proxy.config import ServerConfig
from proxy.embedded import _STOP_TIMEOUT
from proxy.fleet import END_GRACE
from tests.operations.containers import PATH, SCRATCH, Container, Image, Machine
from tests.operations.roots import Root, make_base
from tests.operations.tools import tool
from tests.rig.eventually import eventually

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "systemd"
UNIT = HERE / "responses-proxy.service"
PROGRAM = "/opt/responses-proxy/bin/responses-proxy"
OFFLINE = {"SYSTEMD_OFFLINE": "1", "PIP_NO_COMPILE": "1"}
"""Makes systemctl write its files and ask no service manager for anything, and spares the byte code."""
SOURCES = ("pyproject.toml", "README.md", "proxy", "deploy")
ASK = """\
import sys, urllib.request
url, body, key = sys.argv[1:]
request = urllib.request.Request(url, body.encode() or None, {"Authorization": f"Bearer {key}"})
print(urllib.request.urlopen(request).read().decode())
"""

# The first that needs a host installs it, and fetches every package.
pytestmark = pytest.mark.timeout(300)


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
    """By systemd's own measure of what a service could do: 10 is everything, 1.5 the most this one may."""
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


def commands(name):
    """Return the commands of one of the README's blocks."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- {name} -->\n```\n(.*?)```", text, flags=re.DOTALL)[1]


class Host:
    """A host that somebody followed the README on, as root: installed, configured, and upgraded to changed sources."""

    def __init__(self, machine, user):
        self._machine = machine
        root = Root(machine, "host", make_base(machine))
        self.layers = root.layers
        files = [path for name in SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
        root.copy(ROOT, [path for path in files if path.parent.name != "__pycache__"], "/sources")
        for block in ("install", "configure", "run"):
            root.run(f"cd /sources\n{commands(block)}", OFFLINE)
        root.run("echo > /sources/proxy/newer.py")
        root.run(f"cd /sources\n{commands('upgrade')}", OFFLINE)
        self.owner, self.group = root.run(f"id -u {user}; id -g {user}").split()
        root.close()

    def read(self, path):
        return self._machine.run("cat", self.layers[0] + path)

    def mode(self, path):
        """Return who may do what with a file, as owner, group and permissions."""
        return self._machine.run("stat", "--format", "%u %g %a", self.layers[0] + path).strip()


@pytest.fixture(scope="module")
def machine():
    with Machine() as running:
        yield running


@pytest.fixture(scope="module")
def host(machine, unit):
    """Follow the README; systemd's own commands find themselves in a root directory and only write their files."""
    return Host(machine, unit["User"][0])


def test_readme_leads_to_an_installed_service(host):
    """Its unit is enabled, and nobody but its group reads the key."""
    assert host.read("/etc/systemd/system/responses-proxy.service") == UNIT.read_text(encoding="utf-8")
    wants = "/etc/systemd/system/multi-user.target.wants/responses-proxy.service"
    assert host.mode(wants)
    assert host.read("/etc/responses-proxy/secrets/alice").startswith("sk-gw-")
    assert host.mode("/etc/responses-proxy/secrets/alice") == f"0 {host.group} 640"
    assert host.mode("/etc/responses-proxy/secrets") == f"0 {host.group} 750"


def test_readme_leads_to_the_next_version(machine, host):
    """What lies in the sources is what runs, though its version may be called the same."""
    assert machine.run("find", f"{host.layers[0]}/opt/responses-proxy/lib", "-path", "*/site-packages/proxy/newer.py")


class Systemd:
    """Starts the unit as systemd would, and hears what it says of itself."""

    def __init__(self, machine, host, unit, rules, place):
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        (place / "notify").mkdir(mode=0o755)
        self._line.bind(str(place / "notify" / "socket"))
        (place / "notify" / "socket").chmod(0o777)
        [user], [group], [state], [command] = (unit[name] for name in ("User", "Group", "StateDirectory", "ExecStart"))
        assert user == group == state
        owner, of_group = host.owner, host.group
        mode = unit["StateDirectoryMode"][0]
        machine.run("install", "-d", "-m", mode, "-o", owner, "-g", of_group, f"{SCRATCH}/state")
        program, *arguments = command.split()
        assert program == PROGRAM
        environment = {"PATH": PATH, "NOTIFY_SOCKET": "/run/n/socket"}
        image = Image(layers=host.layers, user=f"{owner}:{of_group}", environment=environment)
        confined = ["python3", "/run/confine.py", json.dumps(rules), program, *arguments]
        self.configuration = place / "gateway.yaml"
        self.configuration.write_text(host.read("/etc/responses-proxy/gateway.yaml"), encoding="utf-8")
        self.container = Container(
            machine,
            image,
            confined,
            number=10,
            output=place / "output",
            mounts={
                "/etc/responses-proxy/gateway.yaml": str(self.configuration),
                f"/var/lib/{state}": f"{SCRATCH}/state",
                "/run/n": str(place / "notify"),
                "/run/confine.py": str(ROOT / "tests" / "operations" / "confine.py"),
                "/tmp": "tmpfs",  # noqa: S108
            },
            writable=[f"/var/lib/{state}", "/run/n", "/tmp"],  # noqa: S108
            descriptors=int(unit["LimitNOFILE"][0]),
        )

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
def systemd(machine, host, unit, rules, tmp_path):
    running = Systemd(machine, host, unit, rules, tmp_path)
    yield running
    running.close()


async def test_service_lives_under_what_the_unit_forbids(host, systemd, unit):
    """It starts, serves with the store of its own, reloads, drains: and says so each time."""
    container = systemd.container
    api, admin, key = "127.0.0.1:8080", "127.0.0.1:9091", host.read("/etc/responses-proxy/secrets/alice").strip()
    await systemd.hears("READY=1\n")
    ready = container.run("python3", "-c", ASK, f"http://{admin}/readyz", "", "")
    assert ready.stdout.strip() == "ready", ready.stderr
    body = json.dumps({"model": "sandbox", "input": "Hello"})
    created = container.run("python3", "-c", ASK, f"http://{api}/v1/responses", body, key)
    name = json.loads(created.stdout)["id"]
    found = container.run("python3", "-c", ASK, f"http://{api}/v1/responses/{name}", "", key)
    assert json.loads(found.stdout)["id"] == name

    [reload] = unit["ExecReload"]
    for addition, status in (
        ("", "serving"),
        ("surprise: true\n", "serving; the last reload was refused, see the log"),
    ):
        with systemd.configuration.open("a", encoding="utf-8") as file:
            file.write(addition)
        assert container.execute("sh", "-c", reload.replace("$MAINPID", "1")) == 0
        await systemd.hears("RELOADING=1\nMONOTONIC_USEC=")
        await systemd.hears(f"READY=1\nSTATUS={status}")
    os.kill(container.pid, signal.SIGTERM)
    await systemd.hears("STOPPING=1\n")
    assert container.process.wait(20) == 0, container.output()

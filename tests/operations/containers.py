"""Containers without a container engine: this machine's own namespaces, and its root file system for every base image.

What an engine would do is done by the same means: an overlay of layers as the root, read-only; a network of their own
with a bridge; process ids of their own; a user without capabilities. All of it belongs to processes of the test, and is
gone with them.
"""

import ctypes
import http.client
import os
import resource
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from tests.operations.tools import tool

SCRATCH = "/mnt"
"""Where the containers' machine has its own file system, unseen by everybody else."""
NETWORK = "10.88.0"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNET = 0x40000000
PATIENCE = 30.0
MORTAL = ("setpriv", "--pdeathsig", "KILL")
"""Has a container end with the test that started it, however that ends."""
HARD_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""Descriptors; this machine may not allow what an engine would."""


class Image(NamedTuple):
    """What a container starts from; `layers` has the topmost first."""

    layers: tuple[str, ...] = ("/",)
    environment: Mapping[str, str] = {"PATH": PATH}
    user: str = "0:0"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    volumes: Sequence[str] = ()
    healthcheck: Sequence[str] = ()


class Machine:
    """A mount and a network namespace that the containers share parts of. Use as a context manager."""

    def __enter__(self) -> Self:
        script = (
            f"mount -t tmpfs -o mode=755 tmpfs {SCRATCH} && ip link add bridge0 type bridge && ip link set lo up"
            f" && ip addr add {NETWORK}.1/24 dev bridge0 && ip link set bridge0 up && echo ready && exec cat"
        )
        self._process = subprocess.Popen(  # noqa: S603
            [tool("unshare"), "--mount", "--net", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": PATH},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "only root may make namespaces"
        self._clients = ThreadPoolExecutor(2, initializer=self._join_network)
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.shutdown()
        self._process.communicate(timeout=PATIENCE)

    @property
    def network(self) -> Path:
        """What tells this machine's network from others."""
        return Path(f"/proc/{self._process.pid}/ns/net").readlink()

    def enter(self, *command: str, network: bool = True) -> list[str]:
        """Return the command line that runs a command on this machine; without `network` on the test's own network."""
        return [tool("nsenter"), f"--target={self._process.pid}", "--mount", *(["--net"] * network), "--", *command]

    def run(self, *command: str, network: bool = True, **options: Any) -> str:
        """Run a command on this machine to its end and return what it printed."""
        done = subprocess.run(  # noqa: S603
            self.enter(*command, network=network), text=True, capture_output=True, check=False, **options
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function that opens connections as a client on this machine's network."""
        return self._clients.submit(function).result(PATIENCE)

    def fetch(self, address: str, target: str, *, body: bytes | None = None, key: str = "") -> tuple[int, bytes]:
        """Send a request, POST where it has a body, to `host:port` and return the status and the answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE)
            try:
                connection.request("GET" if body is None else "POST", target, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        return self.call(ask)

    def _join_network(self) -> None:
        with Path(f"/proc/{self._process.pid}/ns/net").open("rb") as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


class Container:
    """One running container. `number` is its address's last part, `hosts` the names it knows.

    `mounts` maps a place in the container to what is there: a path of this machine, or "tmpfs"; `writable` has those
    of them that are not read-only. Everything else is read-only. `output` collects what it writes.
    """

    def __init__(
        self,
        machine: Machine,
        image: Image,
        command: Sequence[str],
        *,
        number: int,
        output: Path,
        hosts: Mapping[str, str] = {},
        mounts: Mapping[str, str] = {},
        writable: Sequence[str] = (),
        descriptors: int = 1024,
    ) -> None:
        self.address = f"{NETWORK}.{number}"
        self.image = image
        self._machine = machine
        self._place = f"{SCRATCH}/container-{number}"
        self._output = output
        hosts_file = output.with_suffix(".hosts")
        hosts_file.write_text("".join(f"{ip} {name}\n" for name, ip in hosts.items()), encoding="utf-8")
        self._mounts = {"/dev": "/dev", "/etc/hosts": str(hosts_file), **mounts}
        self._writable = {"/dev", *writable}
        self._make_places()
        script = self._script([*image.entrypoint, *command], descriptors)
        with output.open("wb") as written:
            # What opens /dev/stdout by name needs to be allowed to, as on an engine's pipe.
            os.fchmod(written.fileno(), 0o666)
            self.process = subprocess.Popen(  # noqa: S603
                machine.enter(*MORTAL, "unshare", "--mount", "--net", "sh", "-euc", script, network=False),
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                env={"PATH": PATH},
            )
        self._connect(number)

    @property
    def pid(self) -> int:
        """The container's first process, by the number it has outside; 0 before it runs and after it ended."""
        try:
            parent = psutil.Process(self.process.pid)
            children = parent.children() if parent.name() == "unshare" else []
        except psutil.NoSuchProcess:
            return 0
        return children[0].pid if children else 0

    def output(self) -> str:
        """Return everything it wrote so far."""
        return self._output.read_text(encoding="utf-8")

    def execute(self, *command: str) -> int:
        """Run a command in the container, as its user, and return the exit status."""
        return self.run(*command).returncode

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user, to its end."""
        assert self.pid, self.output()
        inside = ["--mount", "--net", "--pid", "--root", "--wd"]
        line = [tool("nsenter"), f"--target={self.pid}", *inside, "--", *self._as_user(command)]
        return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603

    def healthy(self, check: Sequence[str] = ()) -> bool:
        """Run a health check, the image's own unless another is given, as an engine would."""
        return bool(self.pid) and self.execute(*(check or self.image.healthcheck)) == 0

    def signal(self, number: int) -> None:
        """Send the first process a signal; one that does not run yet is ended."""
        if self.process.poll() is None:
            if self.pid:
                os.kill(self.pid, number)
            else:
                self.process.kill()

    def stop(self, number: int) -> int:
        """Send a signal, wait for the container's end and return its status."""
        self.signal(number)
        return self.process.wait(PATIENCE)

    def _make_places(self) -> None:
        """Make a layer with every place that something is mounted at."""
        lines = [f"mkdir -p {self._place}/root {self._place}/places/proc"]
        for target, source in self._mounts.items():
            place = shlex.quote(f"{self._place}/places{target}")
            if source == "tmpfs" or not Path(source).is_file():
                lines.append(f"mkdir -p {place}")
            else:
                lines.append(
                    f"mkdir -p {shlex.quote(str(Path(f'{self._place}/places{target}').parent))}; touch {place}"
                )
        self._machine.run("sh", "-euc", "\n".join(lines))

    def _script(self, command: Sequence[str], descriptors: int) -> str:
        root, layers = f"{self._place}/root", ":".join([f"{self._place}/places", *self.image.layers])
        lines = [
            "read -r _",
            f"ip addr add {self.address}/24 dev eth0; ip link set eth0 up; ip link set lo up",
            "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start",
            f"mount -t overlay overlay -o lowerdir={layers} {root}",
        ]
        for target, source in self._mounts.items():
            place = shlex.quote(root + target)
            if source == "tmpfs":
                lines.append(f"mount -t tmpfs -o uid={self._ids[0]},gid={self._ids[1]} tmpfs {place}")
                continue
            lines.append(f"mount --rbind {shlex.quote(source)} {place}")
            if target not in self._writable:
                lines.append(f"mount -o remount,bind,ro {place}")
        lines.append(f"ulimit -n {min(descriptors, HARD_LIMIT)}")
        isolated = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", "chroot", root]
        lines.append("exec " + shlex.join([*isolated, *self._as_user(command)]))
        return "\n".join(lines)

    @property
    def _ids(self) -> tuple[str, str]:
        user, _, group = self.image.user.partition(":")
        return user, group or user

    def _as_user(self, command: Sequence[str]) -> list[str]:
        environment = [f"{name}={value}" for name, value in self.image.environment.items()]
        user, group = self._ids
        # Again: who becomes another user forgets it.
        powerless = [*MORTAL[1:], "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        return ["setpriv", f"--reuid={user}", f"--regid={group}", *powerless, "env", "-i", *environment, *command]

    def _connect(self, number: int) -> None:
        """Plug the container into the bridge, once it has a network of its own, and let it go on."""
        names = {self._machine.network, Path("/proc/self/ns/net").readlink()}
        while Path(f"/proc/{self.process.pid}/ns/net").readlink() in names:
            assert self.process.poll() is None, self.output()
        ends = ["name", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", str(self.process.pid)]
        self._machine.run("ip", "link", "add", *ends)
        self._machine.run("ip", "link", "set", f"veth{number}", "master", "bridge0", "up")
        assert self.process.stdin is not None
        with self.process.stdin as line:
            line.write(b"\n")

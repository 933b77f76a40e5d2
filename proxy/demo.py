"""The `demo` command: the whole gateway on this machine, without any provider's key, and how long each step takes.

It starts `serve` as a user would, a sandbox provider behind it, and speaks to it over HTTP alone.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import aiohttp
import orjson
import yaml

from proxy.config import ServerConfig, new_key
from proxy.sse import Framer, data_of, split

READY_TIMEOUT = 60.0
STEP_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0
POLL = 0.02
EVENT_LIMIT = 1_048_576
TAIL = 15
"""Lines of the gateway's log that explain a failure."""

SENTENCE = "Every word of this sentence is one event that passes through the gateway as it is sent"
PACE = "40"

NEXT = """
All of it passed. To use it with a provider of yours, set OPENAI_API_KEY (or another provider's) and run
`responses-proxy serve`; clients change two settings:

    base_url = {base_url}
    api_key  = the key that `serve` prints, or one made by `responses-proxy keys new --tenant NAME`
"""


class DemoFailed(Exception):
    """A step did not do what it should; the message names it and says why."""


class Step(NamedTuple):
    """One line of the table; seconds, None where nothing was streamed."""

    name: str
    status: int
    first: float | None
    total: float
    outcome: str


class Gateway(NamedTuple):
    """The running gateway: where it is, and the keys of two tenants."""

    url: str
    alice: str
    bob: str


def main() -> int:
    """Run the demo and return the process's exit status; nothing is left behind."""
    try:
        with tempfile.TemporaryDirectory(prefix="responses-proxy-") as directory:
            asyncio.run(_run(Path(directory)))
    except DemoFailed as failed:
        sys.stderr.write(f"\nThe demo failed at: {failed}\n")
        return 1
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    sys.stdout.write(NEXT.format(base_url=f"http://{ServerConfig().host}:{ServerConfig().port}/v1"))
    return 0


async def _run(directory: Path) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    timeout = aiohttp.ClientTimeout(total=STEP_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        _print(f"{'step':<30}{'status':>6}{'first event':>13}{'total':>11}  what happened")
        started = perf_counter()
        async with _serving(session, directory) as gateway:
            where = f"listening on {gateway.url}"
            _report(Step("start gateway and its store", 200, None, perf_counter() - started, where))
            await _tour(Client(session, gateway.url), gateway)


@contextlib.asynccontextmanager
async def _serving(session: aiohttp.ClientSession, directory: Path) -> AsyncIterator[Gateway]:
    """Run `serve` on free ports and a data directory of its own, until the block ends."""
    port, admin_port = _free_ports()
    gateway = Gateway(f"http://127.0.0.1:{port}/v1", new_key(), new_key())
    config = directory / "gateway.yaml"
    config.write_text(yaml.safe_dump(_settings(port, admin_port, gateway)), encoding="utf-8")
    log = directory / "gateway.log"
    process = await _spawn(config, directory / "data", log)
    try:
        await _until_ready(session, f"http://127.0.0.1:{admin_port}/readyz", process, log)
        yield gateway
    finally:
        stopping = asyncio.create_task(_stop(process))
        try:
            await asyncio.shield(stopping)
        finally:
            await stopping


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _settings(port: int, admin_port: int, gateway: Gateway) -> Mapping[str, Any]:
    return {
        "server": {"port": port, "admin_port": admin_port, "drain_timeout": 1},
        "keys": [
            {"name": "alice", "tenant": "team-a", "key": gateway.alice},
            {"name": "bob", "tenant": "team-b", "key": gateway.bob},
        ],
        "providers": {"sandbox": {"kind": "sandbox"}},
    }


async def _spawn(config: Path, data: Path, log: Path) -> Process:
    # Without -P, `-m` looks into the working directory first, which may hold a `proxy` of the user's.
    arguments = ("-P", "-m", "proxy", "serve", "--config", str(config), "--data-dir", str(data))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=environment,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )


async def _until_ready(session: aiohttp.ClientSession, url: str, process: Process, log: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_TIMEOUT):
            while process.returncode is None:
                if await _is_ready(session, url):
                    return
                await asyncio.sleep(POLL)
    ended = "it did not become ready" if process.returncode is None else f"it exited with {process.returncode}"
    raise DemoFailed("\n  ".join([f"start gateway and its store: {ended}; its last lines:", *_tail(log)]))


def _tail(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200  # noqa: PLR2004
    except aiohttp.ClientError:
        return False


async def _stop(process: Process) -> None:
    """End the gateway; by force, with all it started, where it does not end by itself."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Client:
    """What an application does, over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, name: str, key: str, method: str, path: str, body: Any = None) -> tuple[Step, Any]:
        """Make one call; the step's outcome is the error's message, if the answer has one."""
        started = perf_counter()
        try:
            async with self._request(key, method, path, body) as answer:
                content = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise DemoFailed(f"{name}: {error!r}") from error
        message = content.get("error") and content["error"]["message"]
        return Step(name, answer.status, None, perf_counter() - started, message or ""), content

    async def stream(self, name: str, key: str, body: Any) -> tuple[Step, Any]:
        """Create with a stream, print its text as it comes, and return its last event."""
        _print("  > ", end="")
        started = perf_counter()
        count, first, event = 0, 0.0, {"type": "nothing"}
        try:
            async with self._request(key, "POST", "/responses", {**body, "stream": True}) as answer:
                if answer.content_type != "text/event-stream":
                    raise DemoFailed(f"{name}: status {answer.status}, {await answer.text()}")
                framer = Framer(EVENT_LIMIT)
                async for chunk in answer.content.iter_any():
                    for raw in split(framer.feed(chunk)):
                        event = orjson.loads(data_of(raw) or b'{"type": "comment"}')
                        first = first or perf_counter() - started
                        count += 1
                        _print(event.get("delta", ""), end="")
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise DemoFailed(f"{name}: {error!r}") from error
        _print("")
        return Step(name, answer.status, first, perf_counter() - started, f"{count} events"), event

    def _request(self, key: str, method: str, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        return self._session.request(method, self._url + path, headers=headers, json=body)


async def _tour(client: Client, gateway: Gateway) -> None:
    body = {"model": "sandbox", "input": "Hello, gateway"}
    step, created = await client.call("create (JSON)", gateway.alice, "POST", "/responses", body)
    _check(step, 200, created.get("status") == "completed" and created.get("provider") == "sandbox", _text(created))

    paced = {"model": "sandbox", "input": SENTENCE, "metadata": {"events_per_second": PACE}}
    step, event = await client.stream("create (stream)", gateway.alice, paced)
    _check(step, 200, event["type"] == "response.completed", step.outcome)

    path = f"/responses/{created['id']}"
    step, again = await client.call("retrieve", gateway.alice, "GET", path)
    _check(step, 200, _text(again) == _text(created), "the same response")
    step, refused = await client.call("retrieve as another tenant", gateway.bob, "GET", path)
    _check(step, 404, "error" in refused, step.outcome)
    step, deleted = await client.call("delete", gateway.alice, "DELETE", path)
    _check(step, 200, deleted.get("deleted") is True, "deleted")
    step, gone = await client.call("retrieve once more", gateway.alice, "GET", path)
    _check(step, 404, "error" in gone, step.outcome)


def _text(response: Any) -> str:
    parts = [part["text"] for item in response.get("output", ()) for part in item.get("content", ())]
    return "".join(parts)


def _check(step: Step, status: int, good: bool, outcome: str) -> None:  # noqa: FBT001
    """Print a step, or raise where it did not do what it should."""
    if step.status != status or not good:
        raise DemoFailed(f"{step.name}: status {step.status} where {status} was due; {step.outcome or outcome}")
    _report(step._replace(outcome=outcome))


def _report(step: Step) -> None:
    first = "" if step.first is None else f"{step.first * 1000:.1f} ms"
    _print(f"{step.name:<30}{step.status:>6}{first:>13}{step.total * 1000:>8.1f} ms  {step.outcome}")


def _print(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()

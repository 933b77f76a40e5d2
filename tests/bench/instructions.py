"""Instructions a worker runs for a request and for a streamed event: the same whatever else runs on the machine.

`python -m tests.bench.instructions` runs the bare pass-through and the gateway under valgrind's callgrind, which it
needs, in about three minutes. Counted is user code only, not what the kernel does. The gateway's worker runs here
without its supervisor, in the configuration of the benchmark.
"""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop

from proxy.app import App
from proxy.configload import load_config
from proxy.providers import REGISTRY
from proxy.worker import tune_collector
from tests.bench import contenders, processes, wire
from tests.bench.formats import FORMATS

CONNECTIONS = 32
WARM_UP = 10
ROUNDS = 20
"""Requests over each connection; each round sends over all of them before it reads."""
SHORT, LONG = 2, 42
"""Events of two streams whose difference is the cost of an event; ten a second, so that each is a write of its own."""
START_SECONDS = 60


def main() -> None:
    """Print a table of both contenders, and one of what the gateway passes through or translates."""
    with tempfile.TemporaryDirectory() as directory, contenders.scene_in(Path(directory)) as scene:
        rows = {name: measure(scene, name) for name in ("bare", "gateway")}
        dialects = measure_dialects(scene)
    print("| instructions | bare | gateway | gateway ÷ bare |\n|---|--:|--:|--:|")  # noqa: T201
    for figure, bare in rows["bare"].items():
        gateway = rows["gateway"][figure]
        print(f"| {figure} | {bare:,.0f} | {gateway:,.0f} | {gateway / bare:.2f} |")  # noqa: T201
    print("\n| streamed event | instructions | ÷ passed through |\n|---|--:|--:|")  # noqa: T201
    native = dialects[wire.PROVIDER]
    for name, event in dialects.items():
        print(f"| `{name}` | {event:,.0f} | {event / native:.2f} |")  # noqa: T201


def measure(scene: contenders.Scene, name: str) -> dict[str, float]:
    """Count a contender's instructions a request, a stream and an event."""
    with counted(scene, name) as count:
        request = count(wire.render_request("json", stream=False), ROUNDS)
        short, event = count_events(count)
    return {"JSON request": request, f"stream of {SHORT} events": short, "streamed event": event}


def measure_dialects(scene: contenders.Scene) -> dict[str, float]:
    """Count the gateway's instructions for an event of each dialect, and for one it passes through.

    What is done with the event once its stream has ended, to keep the response, is in them.
    """
    with counted(scene, "translating") as count:
        return {name: count_events(count, f"{name}/")[1] for name in (wire.PROVIDER, *FORMATS)}


def count_events(count: Callable[[bytes, int], float], provider: str = "") -> tuple[float, float]:
    """Return the instructions of a short stream, and of an event."""
    short = count(wire.render_request(f"{provider}stream-10-{SHORT}", stream=True), 2)
    long = count(wire.render_request(f"{provider}stream-10-{LONG}", stream=True), 1)
    return short, (long - short) / (LONG - SHORT)


@contextlib.contextmanager
def counted(scene: contenders.Scene, name: str):
    """Run a contender under callgrind; the function given counts the instructions a request."""
    port, output, log = processes.free_port(), scene.directory / f"callgrind-{name}", scene.directory / f"{name}.log"
    command = contenders.STARTED[name](scene, port, scene.directory)
    if name != "bare":
        command = [sys.executable, "-m", "tests.bench.instructions", command[-1], str(port)]
    options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
    process = processes.spawn(["valgrind", *options, *command], log, {processes.WORKER_CORE})
    try:
        processes.wait_until(lambda: wire.answers(port), process, log, START_SECONDS)

        def count(request: bytes, rounds: int) -> float:
            send(port, request, WARM_UP if rounds == ROUNDS else 1)
            control("-i", "on", process.pid)
            send(port, request, rounds)
            control("-i", "off", process.pid)
            control("-d", "", process.pid)
            newest = max(scene.directory.glob(f"{output.name}.*"), key=lambda path: int(path.suffix[1:]))
            return int(re.search(r"^totals: (\d+)", newest.read_text(), re.MULTILINE)[1]) / (rounds * CONNECTIONS)

        yield count
    finally:
        processes.stop(process)


def control(option: str, value: str, pid: int) -> None:
    """Tell the callgrind of a process what to do."""
    command = ["callgrind_control", option, *filter(None, [value]), str(pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603


def send(port: int, request: bytes, rounds: int) -> None:
    """Send a request over every connection, read every answer; so often."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(wire.Connection(port)) for _ in range(CONNECTIONS)]
        for _ in range(rounds):
            for connection in connections:
                connection.open().sendall(request)
            for connection in connections:
                answer = connection.read()
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise wire.Unexpected(answer[:300].decode(errors="replace"))


async def serve(path: Path, port: int) -> None:
    """Serve as a worker does, until the process is ended."""
    config = load_config(path, environment={}, kinds=REGISTRY)
    app = App(config, redis_url=config.redis.url.reveal())
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        listener.settimeout(0)
        await app.start(listener)
        tune_collector()
        await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main()

"""The demo works on a bare machine, says what failed where it does not, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy import demo
from tests.rig.eventually import eventually
from tests.rig.sandbox import serving

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their environment in /proc")


async def start_demo(directory):
    """Start the command; what it and its descendants inherit names the directory."""
    environment = {**os.environ, "TMPDIR": str(directory)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def descendants(directory):
    """Return the processes whose environment names the directory."""
    marker = f"TMPDIR={directory}\0".encode()
    return [entry.parent.name for entry in Path("/proc").glob("[0-9]*/environ") if marker in environment_of(entry)]


def environment_of(entry):
    try:
        return entry.read_bytes()
    except OSError:
        return b""


@LINUX
async def test_demo_shows_every_step_and_leaves_nothing_behind(short_path):
    process = await start_demo(short_path)
    output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, ""), output.decode()
    steps = [line[:30].strip() for line in output.decode().splitlines() if " ms  " in line]
    assert steps == [
        "start gateway and its store",
        "create (JSON)",
        "create (stream)",
        "retrieve",
        "retrieve as another tenant",
        "delete",
        "retrieve once more",
    ]
    assert f"> You said: {demo.SENTENCE}\n" in output.decode()
    assert "base_url = http://127.0.0.1:8080/v1\n" in output.decode()
    assert list(short_path.iterdir()) == []
    assert descendants(short_path) == []


@LINUX
@pytest.mark.parametrize(
    ("number", "status", "moment"),
    [(signal.SIGTERM, 143, b"> You said: "), (signal.SIGINT, 130, b"retrieve once more")],
)
async def test_demo_leaves_nothing_behind_when_it_is_ended_early(short_path, number, status, moment):
    """The second moment is that at which it stops the gateway anyway."""
    process = await start_demo(short_path)
    await process.stdout.readuntil(moment)
    assert len(descendants(short_path)) > 1
    process.send_signal(number)
    _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (status, "")
    assert list(short_path.iterdir()) == []
    assert descendants(short_path) == []


async def test_demo_says_why_the_gateway_did_not_start(tmp_path):
    config, log = tmp_path / "gateway.yaml", tmp_path / "gateway.log"
    config.write_text("providers: {sandbox: {kind: no-such-kind}}")
    process = await demo._spawn(config, tmp_path / "data", log)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(demo.DemoFailed, match=r"it exited with 2; its last lines:(.|\n)*no-such-kind"):
            await demo._until_ready(session, "http://127.0.0.1:1/readyz", process, log)
    await demo._stop(process)


async def test_demo_stops_a_gateway_that_does_not_end_by_itself(monkeypatch):
    monkeypatch.setattr(demo, "STOP_TIMEOUT", 0.2)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    await process.stdout.readline()
    await demo._stop(process)
    assert process.returncode == -signal.SIGKILL


async def test_tour_names_the_step_that_failed():
    """A provider without the gateway lacks the member `provider`."""
    async with serving() as running, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{running.port}/v1"
        with pytest.raises(demo.DemoFailed, match=r"create \(JSON\): status 200 where 200 was due; You said: Hello"):
            await demo._tour(demo.Client(session, url), demo.Gateway(url, "a", "b"))


async def test_call_names_the_step_when_nobody_listens():
    async with serving() as running:
        url = f"http://127.0.0.1:{running.port}/v1"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(demo.DemoFailed, match="retrieve: ClientConnectorError"):
            await demo.Client(session, url).call("retrieve", "key", "GET", "/responses/x")


async def test_stream_names_the_step_when_it_is_refused():
    async with serving() as running, aiohttp.ClientSession() as session:
        client = demo.Client(session, f"http://127.0.0.1:{running.port}/v1")
        with pytest.raises(demo.DemoFailed, match=r"create: status 400, .*missing_required_parameter"):
            await client.stream("create", "key", {"model": "m"})


async def test_stream_prints_the_text_while_it_still_comes(capsys):
    async with serving() as running, aiohttp.ClientSession() as session:
        client = demo.Client(session, f"http://127.0.0.1:{running.port}/v1")
        body = {"model": "m", "input": "one two", "metadata": {"events_per_second": "50", "words": "10000"}}
        reading = asyncio.create_task(client.stream("create", "key", body))
        printed = []

        def shown():
            printed.append(capsys.readouterr().out)
            return "".join(printed).startswith("  > You said: one two You")

        await eventually(shown)
        assert reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()


async def test_stream_tells_what_came(capsys):
    async with serving() as running, aiohttp.ClientSession() as session:
        client = demo.Client(session, f"http://127.0.0.1:{running.port}/v1")
        step, event = await client.stream("create", "key", {"model": "m", "input": "one two"})
    assert capsys.readouterr().out == "  > You said: one two\n"
    assert (event["type"], step.status, step.outcome) == ("response.completed", 200, "12 events")
    assert 0 < step.first <= step.total

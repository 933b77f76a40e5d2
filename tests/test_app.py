"""One worker's gateway as a whole: what it starts with, what it writes, how it goes."""

import asyncio
import os
import socket

import orjson
import pytest

from proxy import app
from proxy.app import App
from proxy.config import ProviderConfig
from tests.flows.calls import PLAIN, STREAMED, ask
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, config

SANDBOX_URL = "http://127.0.0.1:8081/v1"


def answering(upstream):
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))


@pytest.mark.parametrize(
    ("settings", "base_url", "headers"),
    [
        ({"kind": "sandbox"}, SANDBOX_URL, {}),
        ({"kind": "sandbox", "base_url": "http://far/v1"}, "http://far/v1", {}),
        ({"kind": "sandbox", "events_per_second": 0}, SANDBOX_URL, {app.PACE_HEADER: "0.000000"}),
        (
            {"kind": "sandbox", "events_per_second": 100_000, "headers": {"x-a": "b"}},
            SANDBOX_URL,
            {"x-a": "b", app.PACE_HEADER: "100000.000000"},
        ),
        ({"kind": "openai", "base_url": None}, None, {}),
    ],
)
def test_sandbox_is_located_and_paced(settings, base_url, headers):
    """Other kinds stay as they are configured."""
    located = app._located(ProviderConfig.model_validate(settings), SANDBOX_URL)
    assert located.base_url == base_url
    assert {name: value.reveal() for name, value in located.headers.items()} == headers


async def test_gateway_without_a_listener_starts_and_closes(upstream, valkey):
    """As where another process listens; the pools and the writing task end with it."""
    running = App(config(upstream), redis_url=valkey.url)
    await running.start(None)
    assert b"responses_proxy_requests_total" in await running.snapshot()
    await running.close()
    assert all(writing.done() for writing in running._writing)
    assert running._flushing.done()


async def test_gateway_that_never_started_closes(upstream, valkey):
    await App(config(upstream), redis_url=valkey.url).close()


async def test_configured_models_are_labels_whatever_room_is_left(upstream, valkey):
    """Aliases, what they stand for, and what keys name."""
    answering(upstream)
    keys = [{**ALICE, "models": ["gpt-listed", "fast", "gpt-else"]}]
    async with gateway(config(upstream, keys=keys, models={"fast": "main/quick"}), redis_url=valkey.url) as gw:
        gw.app._metrics._models._room = 0
        for model in ("gpt-listed", "fast"):
            assert (await gw.fetch("POST", "/v1/responses", json={**PLAIN, "model": model})).status == 200
        for label in ("gpt-listed", "quick"):
            assert await gw.metric("responses_proxy_tokens_total", type="input", model=label) == 12


async def test_log_lines_are_written_while_the_gateway_runs(upstream, valkey, capfd):
    """A line waits for the next flush, not for the next request."""
    answering(upstream)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
        await eventually(lambda: '"event":"exchange"' in capfd.readouterr().out)


async def test_gateway_serves_on_when_nobody_reads_its_log(upstream, valkey, monkeypatch):
    """The pipe to the log's reader broke: that is no reason to stop."""
    answering(upstream)
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(app, "STDOUT", writing)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for _ in range(2):
            assert (await gw.fetch("POST", "/v1/responses", json=PLAIN)).status == 200
            gw.app._log.flush()
    os.close(writing)


async def test_drain_lets_exchanges_finish_and_turns_new_connections_away(upstream, valkey):
    """The stream that was open is whole; its connection ends behind it."""
    gate, events = asyncio.Event(), wire.stream_events(wire.new_id())
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={3: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(3)
        draining = asyncio.create_task(gw.app.drain(30))
        await eventually(lambda: _refused(gw.port))
        assert not draining.done()
        gate.set()
        assert await answer.read() == b"".join(events)
        await draining


async def _refused(port):
    with socket.socket() as probe:
        probe.settimeout(0)
        try:
            await asyncio.get_running_loop().sock_connect(probe, ("127.0.0.1", port))
        except ConnectionRefusedError:
            return True
    return False


async def test_drain_ends_loudly_what_does_not_finish(upstream, valkey, capfd):
    """A stream gets its last event, a request without an answer a 503, and both are counted."""
    rid = wire.new_id()
    streaming = scripts.sse_answer(wire.stream_events(rid), gates={3: asyncio.Event()})
    upstream.on("POST", "/v1/responses", streaming, scripts.silence)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as one, gw.connect() as other:
        await ask(one, STREAMED)
        streamed = await one.answer()
        await streamed.read_events(3)
        await ask(other, PLAIN)
        await upstream.received(2)
        await gw.app.drain(0)
        await streamed.read()
        refused = await other.answer()
        await refused.read()
        assert await gw.metric("responses_proxy_stream_ends_total", end="drained") == 1
    last = streamed.events()[-1]
    assert (last.name, last.json()["response"]["id"]) == ("response.failed", rid)
    assert (refused.status, refused.json()["error"]["code"]) == (503, "draining")
    lines = [orjson.loads(line) for line in capfd.readouterr().out.splitlines() if '"exchange"' in line]
    assert sorted(line["status"] for line in lines) == [200, 503]


async def test_answers_after_a_drain_was_announced_end_their_connection(upstream, valkey):
    """So that the client's next request goes to another process."""
    answering(upstream)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, PLAIN)
        kept = await client.answer()
        await kept.read()
        gw.app.announce_drain()
        await ask(client, PLAIN)
        last = await client.answer()
        await last.read()
        assert await client.ended() == "closed"
    assert (kept.header("Connection"), last.header("Connection")) == (None, "close")

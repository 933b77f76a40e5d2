"""What has to hold of a gateway behind a balancer, each as a function: for the shipped files and for broken ones."""

import asyncio
from contextlib import AsyncExitStack

import orjson

from tests.operations.http2 import Http2
from tests.rig import scripts, wire
from tests.rig.client import Answer, connect, fetch, render_request, split_events
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import bearer
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE_KEY
from tests.rig.upstream import Exchange, Upstream

PATH = "/v1/responses"
PLAIN = {"model": "gpt-4o-mini", "input": "hello"}
STREAMED = {**PLAIN, "stream": True}
MEBIBYTE = 1_048_576
PROMPT = 0.1
"""Seconds. HAProxy without `http-no-delay` holds every event for 200 ms; a hop takes a fraction of a millisecond."""


def headers(provider="main"):
    """Make the headers of a create that names its provider, so that nothing of its body has to be waited for."""
    return [*bearer(ALICE_KEY), ("x-tfy-provider-name", provider)]


async def ask(client, body, provider="main"):
    """Send a create on an open connection."""
    await client.request("POST", PATH, headers=headers(provider), json=body)


async def events_pass_one_by_one(port, upstream):
    """Let the provider hold each event until the client has the one before: what is clumped never comes.

    Of the delays the shortest counts: a machine that stands still makes some of them long, a balancer that waits all.
    """
    clock = asyncio.get_running_loop().time
    events = wire.stream_events(wire.new_id(), ["x"] * 5)
    gates = {number: asyncio.Event() for number in range(1, len(events))}
    upstream.on("POST", PATH, scripts.sse_answer(events, gates=gates))
    delays = []
    async with connect(port) as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(1)
        for number, gate in gates.items():
            released = clock()
            gate.set()
            await answer.read_events(number + 1)
            delays.append(clock() - released)
        await answer.read()
    assert (answer.end, answer.events()) == ("complete", split_events(b"".join(events)))
    # The last event goes out with the end of the body, which nothing holds.
    assert min(delays[:-1]) < PROMPT


async def events_pass_over_http2(port, ca_file, upstream):
    """Do the same with HTTP/2 on the client's side."""
    events = wire.stream_events(wire.new_id())
    gates = {number: asyncio.Event() for number in range(1, len(events))}
    upstream.on("POST", PATH, scripts.sse_answer(events, gates=gates))
    client = await Http2.connect(port, "gateway.test", ca_file)
    fields = [*headers(), ("Content-Type", "application/json")]
    client.request("POST", PATH, "gateway.test", fields, orjson.dumps(STREAMED))
    for number, gate in gates.items():
        while len(split_events(client.body)) < number:
            await client.read_frame()
        gate.set()
    while not client.ended:
        await client.read_frame()
    await client.close()
    assert split_events(client.body) == split_events(b"".join(events))


async def client_that_leaves_reaches_the_provider(port, upstream, *, at):
    """Close while the provider is silent: before the answer (`head`), or in the middle of it (`body`)."""
    gate = asyncio.Event()
    script = scripts.sse_answer(wire.stream_events(wire.new_id()), gates={2: gate})
    upstream.on("POST", PATH, scripts.silence if at == "head" else script)
    async with connect(port) as client:
        await ask(client, STREAMED)
        exchange = await upstream.received()
        if at == "body":
            await (await client.answer()).read_events(2)
        client.close()
        await exchange.closed.wait()
    gate.set()


async def upload_passes_as_it_comes(port, upstream, size, *, chunked=False):
    """Send the rest of a body once the provider has its beginning."""
    upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
    begin, end = b'{"model":"gpt-4o-mini","input":"', b'"}'
    length = len(begin) + size + len(end)
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))
    framed = chunk if chunked else bytes
    head = render_request("POST", PATH, headers=[*headers(), ("Content-Type", "application/json"), framing])
    block = b"x" * MEBIBYTE
    async with connect(port) as client:
        await client.send(head, framed(begin), framed(block))
        exchange = await upstream.received()
        await eventually(lambda: exchange.size > len(begin))
        assert not exchange.complete
        for _ in range(size // MEBIBYTE - 1):
            await client.send(framed(block))
        await client.send(framed(end) + (chunk(b"") if chunked else b""))
        answer = await client.answer()
        await answer.read()
    assert (answer.status, exchange.complete, exchange.size) == (200, True, length)


async def stream_over_silence(port, upstream, provider, seconds):
    """Return a stream whose provider is silent for that long in the middle, and how many events it was to have."""
    gate = asyncio.Event()
    events = wire.stream_events(wire.new_id())
    upstream.on("POST", PATH, scripts.sse_answer(events, gates={3: gate}))
    async with connect(port) as client:
        await ask(client, STREAMED, provider)
        answer = await client.answer()
        await answer.read_events(3)
        asyncio.get_running_loop().call_later(seconds, gate.set)
        await answer.read()
    return answer, len(events)


async def slow_client_slows_the_provider(port, upstream):
    """Read nothing of 64 MiB: the provider gets rid of what sockets and buffers take, and stands still."""
    sent = []

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.start(200, [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])
        await exchange.chunk(b'{"id":"resp_1","x":"')
        for _ in range(64):
            await exchange.chunk(b"x" * MEBIBYTE)
            sent.append(MEBIBYTE)

    upstream.on("POST", PATH, script)
    async with connect(port, receive_buffer=4096) as client:
        await ask(client, PLAIN)
        exchange = await upstream.received()
        await client.answer()
        client.hold()
        await standstill(lambda: len(sent))
        assert exchange.stream.blocked
        assert not exchange.finished.is_set()
        client.abort()
        await exchange.finished.wait()


async def requests_go_where_the_fewest_are(port, upstream):
    """Open three streams at each gateway and end those of one: the next three go there.

    Of three, two are the same thread's, which could not send both there if it went round in turn.
    """
    async with AsyncExitStack() as stack:
        open_streams = [await _open(stack, port, upstream) for _ in range(6)]
        assert sorted(number for number, _, _ in open_streams) == ["1"] * 3 + ["2"] * 3
        for number, gate, answer in open_streams:
            if number == "1":
                gate.set()
                await answer.read()
                assert answer.end == "complete"
        assert [(await _open(stack, port, upstream))[0] for _ in range(3)] == ["1"] * 3


async def _open(stack: AsyncExitStack, port: int, upstream: Upstream) -> tuple[str | None, asyncio.Event, Answer]:
    """Begin a stream; return which gateway serves it, what ends it, and the answer."""
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(wire.stream_events(wire.new_id()), gates={1: gate}))
    client = await stack.enter_async_context(connect(port))
    await ask(client, STREAMED)
    answer = await client.answer()
    await answer.read_events(1)
    return upstream.requests[-1].header("x-replica"), gate, answer


async def websocket_is_told_to_use_http(port):
    """Ask for a WebSocket, as Codex does: it goes on at once only where it reads 426."""
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    async with connect(port) as client:
        await client.request(
            "GET", PATH, headers=[*headers(), *upgrade, ("Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")]
        )
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.header("x-gateway-request-id") is not None) == (426, True)


async def connection_to_a_gateway_is_kept(balancer, upstream):
    """See that a connection to a gateway is there after the answer."""
    upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
    async with connect(balancer.port) as client:
        await ask(client, PLAIN)
        assert (await (await client.answer()).read()).startswith(b"{")
        assert balancer.connections()


async def create_with_a_large_head_passes(port, upstream):
    """Send 20 KB of headers."""
    upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
    answer = await fetch(port, "POST", PATH, headers=[*headers(), ("Cookie", "x" * 20_000)], json=PLAIN)
    assert answer.status == 200


async def refused_connection_is_made_elsewhere(port, upstream):
    """Make creates in front of two gateways of which one, though it seems ready, takes no connection."""
    upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
    for _ in range(4):
        assert (await fetch(port, "POST", PATH, headers=headers(), json=PLAIN)).status == 200


async def late_create_is_sent_once(port, upstream):
    """Let a create be late for the balancer, which gives up, and the provider with it: a second one would be billed."""
    upstream.on("POST", PATH, scripts.silence)
    answer = await fetch(port, "POST", PATH, headers=headers("silent"), json=PLAIN)
    assert answer.status == 504
    (exchange,) = upstream.requests
    await exchange.closed.wait()

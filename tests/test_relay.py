import asyncio
import contextlib

import pytest

from proxy.config import Limits, ProviderConfig, Timeouts
from proxy.downstream import Downstream
from proxy.providers import REGISTRY
from proxy.record import Record
from proxy.relay import Outcome, Relay
from proxy.tap import JsonTap, RawTap, StreamTap
from proxy.upstream import Upstream
from tests.rig import scripts, wire
from tests.rig.client import comments, connect, fetch
from tests.rig.edge import serving
from tests.rig.eventually import eventually, standstill
from tests.rig.settings import provider

HEAD = b"Content-Type: text/plain\r\n"


class Moving:
    """One body on its way from a scripted provider to a raw client, with everything around the relay left out."""

    def __init__(self, upstream, tap, timeouts):
        settings = ProviderConfig.model_validate(provider(upstream, timeouts=timeouts))
        self._upstream = Upstream("main", REGISTRY["openai"], settings, Limits())
        self._tap = tap
        self._timeouts = Timeouts(**timeouts)
        self.relay = None
        self.answer = None
        self.bound = []
        self.heads = 0
        self.bind = self.note
        self.outcome = asyncio.get_running_loop().create_future()

    async def note(self):
        """Bind at once, and remember how much the client had been sent by then."""
        self.bound.append(self.downstream.sent)

    async def handle(self, request):
        self.downstream = Downstream(request, keep_alive=True)
        line = await self._upstream.connect()
        line.write(self._upstream.head("GET", "/x", b"", b""))
        self.answer = await line.answer()
        self.relay = Relay(self.answer, self.downstream, self._tap, self.head, self._timeouts)
        try:
            await self.move()
        finally:
            self.relay.close()
            self.answer.close()
        return self.downstream.finish()

    async def move(self):
        try:
            self.outcome.set_result(await self.relay.run(self.bind))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.outcome.set_exception(error)

    def head(self):
        self.heads += 1
        return self.downstream.head(200, HEAD, None)

    async def close(self):
        await self._upstream.close()


@contextlib.asynccontextmanager
async def moving(upstream, script, tap=None, **timeouts):
    upstream.on("GET", "/v1/x", script)
    one = Moving(upstream, tap or RawTap(), timeouts)
    async with serving(one.handle) as server:
        one.port = server.port
        yield one
    await one.close()


def stream_tap(limit=1_000_000):
    return StreamTap(Record("gw_1", 0.0), limit=limit)


def stalling(body):
    """Send a chunk, then nothing until the peer gives up."""

    async def script(exchange):
        await exchange.start_stream()
        await exchange.chunk(body)
        await exchange.closed.wait()

    return script


@pytest.mark.parametrize("size", [1, 7, None])
async def test_relay_moves_a_body_to_its_end(size, upstream):
    events = wire.stream_events("resp_1")
    async with moving(upstream, scripts.sse_answer(events, size=size), stream_tap()) as one:
        answer = await fetch(one.port, "GET", "/")
        assert await one.outcome is Outcome.WHOLE
    assert (answer.body, answer.end, one.heads) == (b"".join(events), "complete", 1)


async def test_relay_renders_no_head_when_nothing_comes(upstream):
    async with moving(upstream, scripts.answer(b"")) as one, connect(one.port) as client:
        await client.request("GET", "/")
        assert await one.outcome is Outcome.WHOLE
    assert one.heads == 0


async def test_relay_binds_before_the_bytes_that_carry_the_id(upstream):
    events = wire.stream_events("resp_1")
    async with moving(upstream, scripts.sse_answer(events), stream_tap()) as one:
        answer = await fetch(one.port, "GET", "/")
    assert one.bound == [0]
    assert answer.body == b"".join(events)


async def test_relay_binds_before_the_end_of_an_object(upstream):
    tap = JsonTap(Record("gw_1", 0.0), b"", max_depth=64)
    async with moving(upstream, scripts.answer(b'{"id":"resp_1"}', framing="chunked"), tap) as one:
        answer = await fetch(one.port, "GET", "/")
    assert one.bound == [len(b'{"id":"resp_1"')]
    assert answer.body == b'{"id":"resp_1"}'


async def test_relay_takes_nothing_while_it_binds(upstream):
    gate = asyncio.Event()
    events = wire.stream_events("resp_1", ["x" * 100_000] * 40)
    async with moving(upstream, scripts.sse_answer(events), stream_tap()) as one:
        one.bind = gate.wait
        async with connect(one.port) as client:
            await client.request("GET", "/")
            await standstill(lambda: one.answer.body.total_bytes if one.answer else 0)
            assert upstream.requests[0].stream.blocked
            assert (one.downstream.sent, one.heads) == (0, 0)
            gate.set()
            answer = await client.answer()
            await answer.read()
    assert answer.size == len(b"".join(events))


async def test_relay_ends_with_what_the_binding_raises(upstream):
    async with moving(upstream, scripts.sse_answer(wire.stream_events("resp_1")), stream_tap()) as one:

        async def failing():
            raise LookupError("no")

        one.bind = failing
        async with connect(one.port) as client:
            await client.request("GET", "/")
            with pytest.raises(LookupError):
                await one.outcome
    assert one.downstream.sent == 0


async def test_relay_ends_with_what_the_tap_raises(upstream):
    class Failing(RawTap):
        def feed(self, chunk, _now):
            raise LookupError(chunk)

    async with moving(upstream, scripts.answer(b"hello"), Failing()) as one, connect(one.port) as client:
        await client.request("GET", "/")
        with pytest.raises(LookupError, match="hello"):
            await one.outcome


@pytest.mark.parametrize("reset", [False, True])
async def test_relay_passes_whole_events_of_a_body_that_is_cut(reset, upstream):
    events = wire.stream_events("resp_1")
    cut = len(b"".join(events[:3])) + 10
    async with moving(upstream, scripts.cut_stream(events, cut, reset=reset), stream_tap()) as one:
        answer = await fetch(one.port, "GET", "/")
        assert await one.outcome is Outcome.CUT
    assert answer.body == b"".join(events[:3])


async def test_relay_ends_when_the_provider_is_silent(upstream):
    async with moving(upstream, stalling(b"hello"), idle=0.05) as one:
        answer = await fetch(one.port, "GET", "/")
        assert await one.outcome is Outcome.IDLE
    assert answer.body == b"hello"


async def test_relay_ends_when_the_client_does_not_read(upstream):
    events = [b"x" * 100_000] * 100
    script = scripts.sse_answer(events)
    async with moving(upstream, script, idle=0.2) as one, connect(one.port, receive_buffer=4096) as client:
        await client.request("GET", "/")
        client.hold()
        assert await one.outcome is Outcome.STALLED


async def test_relay_ends_when_it_is_stopped(upstream):
    async with moving(upstream, stalling(b"hello")) as one, connect(one.port) as client:
        await client.request("GET", "/")
        await (await client.answer()).read_until(b"hello")
        one.relay.stop()
        assert await one.outcome is Outcome.STOPPED


async def test_relay_ends_a_while_behind_the_terminal_event(upstream, monkeypatch):
    monkeypatch.setattr("proxy.relay.TERMINAL_GRACE", 0.05)
    whole = b"".join(wire.stream_events("resp_1"))
    async with moving(upstream, stalling(whole), stream_tap()) as one:
        answer = await fetch(one.port, "GET", "/")
        assert await one.outcome is Outcome.WHOLE
    assert answer.body == whole


async def test_relay_comments_on_silence_between_events_only(upstream):
    gate = asyncio.Event()
    whole = b"".join(wire.stream_events("resp_1"))
    cut = len(wire.stream_events("resp_1")[0]) + 5
    script = scripts.sse_answer([whole[:cut], whole[cut:]], gates={1: gate})
    async with moving(upstream, script, stream_tap(), keep_alive_comment=0.02) as one, connect(one.port) as client:
        await client.request("GET", "/")
        answer = await client.answer()
        while len(comments(answer.body)) < 3:
            await answer.read_piece()
        gate.set()
        await answer.read()
    assert answer.body.replace(b": keep-alive\n\n", b"") == whole
    assert answer.body.startswith(wire.stream_events("resp_1")[0] + b": keep-alive\n\n")


@pytest.mark.parametrize("tap", [RawTap, lambda: stream_tap(limit=10)], ids=["no events", "inside a large event"])
async def test_relay_does_not_comment_where_no_comment_has_a_place(tap, upstream):
    async with moving(
        upstream, stalling(b"data: more than the limit"), tap(), keep_alive_comment=0.02, idle=0.2
    ) as one:
        answer = await fetch(one.port, "GET", "/")
        assert await one.outcome is Outcome.IDLE
    assert answer.body == b"data: more than the limit"


async def test_relay_goes_on_without_a_client_once_detached(upstream):
    gate = asyncio.Event()
    events = wire.stream_events("resp_1", ["x" * 100_000] * 20)
    async with moving(upstream, scripts.sse_answer(events, gates={4: gate}), stream_tap()) as one:
        moved = one.move

        async def detaching():
            try:
                await one.relay.run(one.note)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
                one.relay.detach()
                await moved()

        one.move = detaching
        async with connect(one.port) as client:
            await client.request("GET", "/")
            await (await client.answer()).read_events(4)
            client.abort()
            await eventually(lambda: one.downstream.gone)
            gate.set()
            assert await one.outcome is Outcome.WHOLE
    assert one._tap.finished
    assert one.downstream.sent < 10_000


async def test_relay_lets_go_of_both_connections(upstream):
    async with moving(upstream, scripts.answer(b"hello")) as one:
        await fetch(one.port, "GET", "/")
        assert one.answer.connection.on_data is None
        assert one.downstream.connection.on_writable is None

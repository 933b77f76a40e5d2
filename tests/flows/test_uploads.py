"""A request body on its way up: at once, in bounded memory, and never to its end before every check has passed."""

import asyncio
import os
import tracemalloc

import orjson
import pytest

from tests.flows.calls import nothing_left
from tests.flows.exact import check_refusal, chunked, create, finish, head, uploading
from tests.rig import scripts
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, config, provider

MEBIBYTE = 1_048_576
NAMED = "x-tfy-provider-name: main"
ALIASES = {"short": "second/a-name-that-is-much-longer", "a-name-that-is-much-longer": "second/s"}


def in_single_bytes(data):
    return b"".join(chunked(data[at : at + 1]) for at in range(len(data)))


@pytest.fixture
def answering(upstream, second_upstream):
    """Give two providers that read a whole create and answer it."""
    for each in (upstream, second_upstream):
        each.on("POST", "*", scripts.json_answer({"id": "resp_1"}))
    return upstream, second_upstream


@pytest.mark.parametrize("framing", ["Content-Length: 2048", "Transfer-Encoding: chunked"])
async def test_body_leaves_as_it_arrives_when_the_header_names_the_provider(framing, answering, valkey):
    """Nothing is waited for: not the model, not the end."""
    body = orjson.dumps({"input": "x" * 2000, "model": "gpt-4o-mini"}).ljust(2048)
    in_chunks = "chunked" in framing
    frame = chunked if in_chunks else bytes
    async with gateway(config(*answering), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, framing))
        for start, stop in ((0, 1), (1, 9), (9, 1000)):
            await client.send(frame(body[start:stop]))
            request = await answering[0].received(1)
            await eventually(lambda stop=stop, request=request: request.received == body[:stop])
        assert (await finish(client, frame(body[1000:]) + (b"0\r\n\r\n" if in_chunks else b""))).status == 200
    assert (request.received, request.complete) == (body, True)
    assert request.header("Content-Length") == (None if in_chunks else "2048")


@pytest.mark.parametrize("pieces", range(2, 10))
async def test_body_arrives_whole_wherever_a_pause_falls(pieces, answering, valkey, monkeypatch):
    """A pause at the end of what had come makes aiohttp's parser stop inside what comes next."""
    monkeypatch.setattr("proxy.downstream.READ_BUFFER", 32)
    body = b'{"input":"' + b"x" * pieces + b'"}'
    begun, rest = body[:-4], body[-4:]
    async with gateway(config(*answering), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, "Transfer-Encoding: chunked"), in_single_bytes(begun))
        request = await answering[0].received(1)
        await eventually(lambda: request.received == begun)
        assert (await finish(client, in_single_bytes(rest) + b"0\r\n\r\n")).status == 200
    assert (request.received, request.complete) == (body, True)


@pytest.mark.parametrize(
    ("keys", "model", "sent"),
    [
        ([ALICE], "second/m", b'{"model":"m","input":"abc'),
        ([ALICE], "fast", b'{"model":"quick","input":"abc'),
        ([{**ALICE, "providers": ["second"]}], "gpt-4o-mini", b'{"model":"gpt-4o-mini","input":"abc'),
    ],
)
async def test_body_leaves_as_it_arrives_when_the_model_comes_early(keys, model, sent, answering, valkey):
    """A model that names its provider, or leaves no choice, is all there is to wait for."""
    settings = config(*answering, keys=keys, models={"fast": "second/quick"})
    async with gateway(settings, redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Transfer-Encoding: chunked"), chunked(b'{"model":"%b","input":"abc' % model.encode()))
        request = await answering[1].received(1)
        await eventually(lambda: request.received == sent)
        assert (await finish(client, chunked(b'"}') + b"0\r\n\r\n")).status == 200
    assert (request.received, request.complete) == (sent + b'"}', True)


async def test_route_by_model_holds_back_what_precedes_it_and_no_more(answering, valkey):
    """The provider hears nothing until the model is known, and everything there is from then on."""
    before = b'{"input":"' + b"x" * 100_000 + b'","model":"sec'
    async with gateway(config(*answering), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Transfer-Encoding: chunked"), chunked(before))
        await eventually(lambda: gw.app._handlers.active and uploading(gw).received == len(before))
        assert not answering[1].connections
        await client.send(chunked(b'ond/m","user":"u'))
        request = await answering[1].received(1)
        await eventually(lambda: request.received == before[:-4] + b'"m","user":"u')
        assert (await finish(client, chunked(b'"}') + b"0\r\n\r\n")).status == 200
    assert not answering[0].requests


async def test_look_ahead_ends_at_its_limit(answering, valkey):
    """A model that comes too late decides nothing: the default serves, or the client is told what would decide."""
    body = orjson.dumps({"input": "x" * 5000, "model": "second/m"})
    raw = create(f"Content-Length: {len(body)}") + body[:3000]
    limits = {"look_ahead_bytes": 1024}
    settings = config(*answering, default_provider="main", limits=limits)
    async with gateway(settings, redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(raw)
        request = await answering[0].received(1)
        await eventually(lambda: request.received == body[:3000])
        assert (await finish(client, body[3000:])).status == 200
    assert request.received == body
    async with gateway(config(*answering, limits=limits), redis_url=valkey.url) as gw, gw.connect() as client:
        check_refusal(await finish(client, raw), 400, "provider_undecided")


@pytest.mark.parametrize(
    ("serves", "sent", "arrives"),
    [
        ("main", b'{"model":"main/m"}', b'{"model":"m"}'),
        ("main", b'{"model":"main/a/b","input":"main/m"}', b'{"model":"a/b","input":"main/m"}'),
        ("main", b' { "model" :\t"main/m"\r\n, "x" : 1 } \n', b' { "model" :\t"m"\r\n, "x" : 1 } \n'),
        ("main", b'{"input":[{"model":"main/m"}],"model":"main/m"}', b'{"input":[{"model":"main/m"}],"model":"m"}'),
        ("main", b'{"model":"ma\\u0069n\\/m\\u00e9\\"\\\\"}', '{"model":"mé\\"\\\\"}'.encode()),
        ("second", b'{"model":"short","n":1E400}', b'{"model":"a-name-that-is-much-longer","n":1E400}'),
        ("second", b'{"model":"a-name-that-is-much-longer"}', b'{"model":"s"}'),
        ("second", b'{"model":"sh\\u006frt"}', b'{"model":"a-name-that-is-much-longer"}'),
    ],
)
@pytest.mark.parametrize("piece", [1, 10_000])
@pytest.mark.parametrize("named", [False, True])
async def test_model_is_replaced_in_its_place(serves, sent, arrives, named, piece, answering, valkey):
    """Around the name nothing changes, wherever the client's packets are cut, and whoever named the provider."""
    settings = config(*answering, models=ALIASES)
    async with gateway(settings, redis_url=valkey.url) as gw, gw.connect() as client:
        lines = [f"x-tfy-provider-name: {serves}"] if named else []
        await client.send(create(*lines, "Transfer-Encoding: chunked"))
        await eventually(lambda: gw.app._handlers.active)
        for at in range(0, len(sent), piece):
            await client.send(chunked(sent[at : at + piece]))
            await eventually(lambda at=at: uploading(gw).received == min(at + piece, len(sent)))
        assert (await finish(client, b"0\r\n\r\n")).status == 200
    (request,) = [*answering[0].requests, *answering[1].requests]
    assert (request.received, request.complete) == (arrives, True)


@pytest.mark.parametrize(
    ("lines", "sent", "arrives", "length"),
    [
        ([], b'{"model":"main/m","input":"x"}', b'{"model":"m","input":"x"}', "25"),
        ([], b'{"model":"short","input":"x"}', b'{"model":"a-name-that-is-much-longer","input":"x"}', "50"),
        ([NAMED], b'{"input":"%b","model":"main/m"}', b'{"input":"%b","model":"m"     }', "as sent"),
        (["x-tfy-provider-name: second"], b'{"input":"%b","model":"short"}', None, None),
    ],
    ids=["whole, shorter", "whole, longer", "on its way, shorter", "on its way, longer"],
)
async def test_length_announced_is_the_length_sent(lines, sent, arrives, length, answering, valkey):
    """Known beforehand where it can be; a shorter name is padded behind; what may yet grow goes in chunks."""
    filler = b"y" * 10_000
    sent, arrives = (text if text is None else text.replace(b"%b", filler) for text in (sent, arrives))
    settings = config(*answering, models=ALIASES)
    async with gateway(settings, redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(*lines, f"Content-Length: {len(sent)}"), sent[:2000])
        if lines:
            await eventually(lambda: any(request.size == 2000 for each in answering for request in each.requests))
        if sent[2000:]:
            await client.send(sent[2000:])
        assert (await client.answer()).status == 200
    (request,) = [*answering[0].requests, *answering[1].requests]
    arrives = arrives or sent.replace(b'"short"', b'"a-name-that-is-much-longer"')
    assert (request.received, request.complete) == (arrives, True)
    assert request.header("Content-Length") == (str(len(sent)) if length == "as sent" else length)
    assert (request.header("Transfer-Encoding") == "chunked") == (length is None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":null}',
        b"{}",
        b' \r\n\t{ "a" : [ 1.0 , -0e-0, 1E+400, "\\u00e9\\ud83d\\ude00\xc3\xa9" ] }\r\n ',
        b'{"x":1,"x":2,"input":{"model":"main/m","model":"main/n"},"model":"m\\u002d1"}',
        b'{"model":"unknown/m","store":false,"stream":null,"background":false}',
        b'{"model":"main/","input":""}',
        b'{"input":"data: [DONE]\\n\\n","metadata":{"a":""}}',
    ],
)
async def test_body_is_untouched_where_nothing_is_replaced(body, answering, valkey):
    """Blanks, spellings of numbers, escapes, fields nobody knows: byte for byte."""
    async with gateway(config(*answering, default_provider="main"), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", body=body)).status == 200
    assert answering[0].requests[0].received == body


async def test_body_that_names_no_model_passes_untouched(upstream, valkey):
    """Only what the gateway routes by `model` has it replaced."""
    upstream.on("POST", "*", scripts.json_answer({}))
    body = b'{"items":[],"model":"main/m"}'
    async with gateway(config(upstream, keys=[ALICE]), redis_url=valkey.url) as gw:
        for path in ("/v1/conversations/conv_1/items", "/v1/conversations", "/v1/responses/resp_1/cancel"):
            assert (await gw.fetch("POST", path, body=body)).status == 200
            assert upstream.requests[-1].received == body


async def test_provider_that_does_not_read_stops_the_client(upstream, valkey):
    """Both sockets stand still until it reads on, and nothing is lost."""
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await scripts.json_answer({})(exchange)

    upstream.on("POST", "/v1/responses", late)
    body = b'{"model":"m","input":"' + b"x" * (32 * MEBIBYTE) + b'"}'
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, f"Content-Length: {len(body)}"))
        sending = asyncio.create_task(client.send(body))
        await upstream.received(1)
        await eventually(lambda: client.stream.blocked and gw.app._handlers.active)
        upload = uploading(gw)
        assert await standstill(lambda: upload.received) < len(body) // 2
        assert client.stream.blocked
        gate.set()
        await sending
        assert (await client.answer()).status == 200
    assert (upstream.requests[0].size, upstream.requests[0].complete) == (len(body), True)


async def drop(exchange):
    """Read a whole chunked body without keeping it, then answer."""
    tail = b""
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        tail = tail[-16:] + await exchange.stream.read_some()
    exchange.request_body.complete = True
    await scripts.json_answer({})(exchange)


@pytest.mark.parametrize("stalled", [False, True])
async def test_memory_does_not_depend_on_the_size_of_a_body(stalled, upstream, valkey):
    """64 MiB pass, or wait, in less than two."""
    gate = asyncio.Event()

    async def reading(exchange):
        await gate.wait()
        await drop(exchange)

    upstream.on("POST", "/v1/responses", reading)
    piece = chunked(b"x" * MEBIBYTE)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, "Transfer-Encoding: chunked"), chunked(b'{"model":"m","input":"'))
        await upstream.received(1)
        tracemalloc.start()
        try:
            sending = asyncio.create_task(client.send(*[piece] * 64, chunked(b'"}'), b"0\r\n\r\n"))
            if stalled:
                await eventually(lambda: client.stream.blocked)
                await standstill(lambda: uploading(gw).received)
            else:
                gate.set()
                await sending
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gate.set()
        await sending
        assert (await client.answer()).status == 200
    assert held < 2 * len(piece)


REFUSAL = b"HTTP/1.1 413 No\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + b'{"error":{}}'


@pytest.mark.parametrize("end", ["stays", "closes", "resets"])
@pytest.mark.parametrize("size", [100_000, 32 * MEBIBYTE], ids=["waiting", "blocked"])
async def test_provider_that_refuses_early_ends_the_upload(size, end, upstream, valkey):
    """Its answer goes down at once; nobody reads the rest of the body, and nobody waits for it."""
    blocked = asyncio.Event()

    async def refusing(exchange):
        await exchange.body_piece()
        await blocked.wait()
        if end == "resets":
            # In one turn of the loop, so that the gateway finds the answer and the reset at the same time.
            asyncio.get_running_loop().call_soon(os.write, exchange.stream.socket.fileno(), REFUSAL)
            exchange.abort()
            return
        await exchange.send(REFUSAL)
        if end == "closes":
            exchange.close()

    upstream.on("POST", "/v1/responses", refusing)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, "Content-Length: 99999999"))
        sending = asyncio.create_task(client.send(b'{"model":"m","input":"', b"x" * size))
        await upstream.received(1)
        await eventually(lambda: sending.done() if size == 100_000 else client.stream.blocked)
        await standstill(lambda: uploading(gw).received)
        blocked.set()
        answer = await client.answer()
        await answer.read()
        assert (answer.status, answer.end, answer.body) == (413, "complete", b'{"error":{}}')
        assert answer.header("Connection") == "close"
        await nothing_left(gw, upstream)
        client.abort()
        await asyncio.wait({sending})
        assert sending.exception() is None or isinstance(sending.exception(), PeerGone)


async def test_provider_that_never_reads_is_given_up(upstream, valkey):
    """Its silence is bounded while it reads nothing, as it is while it says nothing."""
    given_up = asyncio.Event()

    async def deaf(_exchange):
        await given_up.wait()

    upstream.on("POST", "/v1/responses", deaf)
    main = provider(upstream, timeouts={"idle": 0.2})
    async with gateway(config(providers={"main": main}), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Content-Length: 99999999"), b'{"model":"m","input":"')
        sending = asyncio.create_task(client.send(b"x" * 32 * MEBIBYTE))
        answer = await client.answer()
        await answer.read()
        check_refusal(answer, 504, "upstream_first_byte_timeout")
        given_up.set()
        await nothing_left(gw, upstream)
        client.abort()
        await asyncio.wait({sending})
        assert isinstance(sending.exception(), PeerGone)


@pytest.mark.parametrize("reset", [False, True])
async def test_provider_that_goes_during_the_upload_is_told_at_once(reset, upstream, valkey):
    """502 while the client still sends; the request is not sent again."""

    async def leaving(exchange):
        await exchange.body_piece()
        if reset:
            exchange.abort()
        else:
            exchange.close()

    upstream.on("POST", "/v1/responses", leaving)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, "Content-Length: 99999999"), b'{"model":"m","input":"' + b"x" * 100_000)
        answer = await client.answer()
        await answer.read()
        check_refusal(answer, 502)
        await nothing_left(gw, upstream)
    assert len(upstream.requests) == 1


async def test_early_refusal_reaches_a_client_that_sends_on(upstream, valkey):
    """The gateway reads on and drops for a while, so that no reset overtakes its answer."""
    body = b"x" * (4 * MEBIBYTE)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for raw, status in (
            (create(f"Content-Length: {len(body)}", key=None), 401),
            (head("POST", "/v1/unknown", f"Content-Length: {len(body)}"), 404),
            (create("Transfer-Encoding: chunked"), 400),
        ):
            async with gw.connect() as client:
                await client.send(raw, body if status != 400 else chunked(body) + b"0\r\n\r\n")
                answer = await client.answer()
                await answer.read()
                check_refusal(answer, status)
        assert (await gw.fetch("GET", "/v1/models")).status == 200
    assert not [request for request in upstream.requests if request.method == "POST"]

"""Answers that are whole but odd: errors of every shape, framings of every age, codings nobody asked for."""

import asyncio
import gzip
import zlib

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left, stream_ends
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE_KEY, UPSTREAM_KEY, config, provider

BODIES = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
ERROR = b'{ "error": {"message":"Slow down.", "type":"requests","param":null,"code":"rate_limit_exceeded"} }\n'
HTML = b"<html><body><h1>Bad Gateway</h1></body></html>"
HUGE = "x" * 200_000


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize(
    ("status", "content", "content_type", "error_type"),
    [
        (400, ERROR, "application/json", "rate_limit_exceeded"),
        (429, ERROR, "application/json; charset=utf-8", "rate_limit_exceeded"),
        (400, b'{"code":"invalid-argument","error":"Model not found"}', "application/json", "invalid-argument"),
        (529, b" ", "application/json", "529"),
        (502, HTML, "text/html", "502"),
        (500, ERROR, "text/event-stream", "rate_limit_exceeded"),
        (503, b"{" + b"x" * 150_000, "application/json", "503"),
    ],
    ids=["400", "429", "xai", "blank", "html", "event-stream", "huge"],
)
async def test_error_passes_as_it_is(status, content, content_type, error_type, framing, upstream, valkey, capfd):
    """Status, body and type are the provider's, to the byte; so is what tells a client when to come back."""
    headers = [("Retry-After", "7"), ("x-should-retry", "true"), ("x-request-id", "req_1"), ("Set-Cookie", "a=b")]
    script = scripts.answer(content, status, headers, content_type=content_type, framing=framing)
    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await gw.metric("responses_proxy_requests_total", code=str(status)) == 1
        assert await stream_ends(gw) == {}
    assert (answer.status, answer.body, answer.end) == (status, content, "complete")
    assert answer.header("Content-Type") == content_type
    assert [answer.header(name) for name in ("retry-after", "x-should-retry", "x-request-id")] == ["7", "true", "req_1"]
    assert answer.header("Set-Cookie") is None
    assert answer.header("x-gateway-provider") == "main"
    (line,) = log_lines(capfd)
    assert (line["status"], line["error_type"]) == (status, error_type)


async def test_connection_goes_back_to_the_pool_after_an_error(upstream, valkey):
    """An error that was read to its end leaves a connection as good as any."""
    upstream.on("POST", "/v1/responses", scripts.answer(ERROR, 429), scripts.answer(HTML, 502, framing="chunked"))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for _ in range(3):
            await create(gw, PLAIN)
    assert [request.connection for request in upstream.requests] == [1, 1, 1]


@BODIES
async def test_redirect_is_answered_502(body, upstream, valkey):
    """Followed, it would carry the credential to wherever the provider says."""
    moved = [("Location", "http://127.0.0.1:1/v1/responses")]
    upstream.on("POST", "/v1/responses", scripts.answer(b"", 308, moved))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
        await nothing_left(gw, upstream)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")
    assert answer.header("Location") is None


NOTHING = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 json": b"HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n\r\n",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "200 chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "429": b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n",
    "503 chunked": b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("raw", NOTHING.values(), ids=NOTHING.keys())
async def test_empty_answer_passes(raw, upstream, valkey):
    """Nothing is an answer too; the client's connection and the provider's go on."""
    upstream.on("POST", "/v1/responses", scripts.raw_answer(raw))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        for _ in range(2):
            await ask(client, PLAIN)
            answer = await client.answer()
            await answer.read()
            assert (str(answer.status).encode(), answer.body, answer.end) == (raw[9:12], b"", "complete")
        assert gw.app._upstreams["main"].connections() == {"active": 0, "idle": 1}
    assert [request.connection for request in upstream.requests] == [1, 1]


async def test_html_with_status_200_passes_as_it_is(upstream, valkey):
    """What is no JSON is not read, and nothing is put into it."""
    upstream.on("POST", "/v1/responses", scripts.html_answer(200))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, HTML, "text/html")
    assert not valkey.keys()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("text", ["Hi.", HUGE], ids=["small", "large"])
async def test_json_passes_in_every_framing(text, framing, upstream, valkey):
    """The object gains its last member, and stays what it was before it."""
    body = orjson.dumps(wire.response_object(wire.new_id(), text))
    upstream.on("POST", "/v1/responses", scripts.json_answer(body, framing=framing))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw)
    assert (answer.status, answer.end) == (200, "complete")
    assert answer.body == body[:-1] + b',"provider":"openai"}'
    assert len(valkey.keys()) == 1


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_stream_passes_in_every_framing(framing, upstream, valkey):
    """However the provider ends its body, the client's is chunked and the same."""
    events = wire.stream_events(wire.new_id())
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, framing=framing))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"completed": 1}
    assert (answer.body, answer.framing, answer.end) == (b"".join(events), "chunked", "complete")


CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("text", ["Hi.", HUGE], ids=["small", "large"])
async def test_answer_is_decoded_when_it_is_coded_although_nobody_asked(text, coding, upstream, valkey):
    """The client did not ask either: it gets plain JSON, a plain stream, a plain error."""
    rid = wire.new_id()
    body, events = orjson.dumps(wire.response_object(rid, text)), b"".join(wire.stream_events(rid, text))
    encode = CODINGS[coding]
    headers = [("Content-Encoding", coding)]
    upstream.on(
        "POST",
        "/v1/responses",
        scripts.answer(encode(body), 200, headers),
        scripts.answer(encode(events), 200, headers, content_type="text/event-stream", framing="chunked"),
        scripts.answer(encode(body), 500, headers),
    )
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        whole, stream, error = [await create(gw, sent) for sent in (PLAIN, STREAMED, PLAIN)]
    assert upstream.requests[0].header("Accept-Encoding") == "identity"
    assert whole.body == body[:-1] + b',"provider":"openai"}'
    assert (stream.body, error.body) == (events, body)
    assert [answer.header("Content-Encoding") for answer in (whole, stream, error)] == [None] * 3


@BODIES
async def test_answer_that_does_not_decode_is_a_provider_that_died(body, upstream, valkey):
    """Half decoded is not an answer."""
    headers = [("Content-Encoding", "gzip")]
    content_type = "text/event-stream" if "stream" in body else "application/json"
    upstream.on("POST", "/v1/responses", scripts.answer(b"plain after all", 200, headers, content_type=content_type))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
        await nothing_left(gw, upstream)
    assert answer.status == 502


@BODIES
async def test_interim_answers_are_skipped(body, upstream, valkey):
    """`103 Early Hints` and `100 Continue` are no answers; the one that follows is."""
    events = wire.stream_events("resp_1")
    good = scripts.sse_answer(events) if "stream" in body else scripts.json_answer(wire.response_object("resp_1"))

    async def script(exchange):
        await exchange.body()
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        await good(exchange)

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answers = [await create(gw, body) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body


async def test_bytes_behind_an_answer_reach_nobody(upstream, valkey):
    """A body longer than announced must not become the beginning of the next client's answer."""
    first, second = orjson.dumps(wire.response_object("resp_1")), orjson.dumps(wire.response_object("resp_2"))
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    behind = asyncio.Event()

    async def script(exchange):
        await exchange.body()
        await scripts.json_answer(first)(exchange)
        await behind.wait()
        await exchange.send(smuggled)

    upstream.on("POST", "/v1/responses", script, scripts.json_answer(second))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        assert (await create(gw, PLAIN)).json()["id"] == "resp_1"
        (pooled,) = gw.app._upstreams["main"]._pool._idle
        behind.set()
        await eventually(lambda: pooled.should_close)
        assert (await create(gw, PLAIN)).json()["id"] == "resp_2"
    assert [request.connection for request in upstream.requests] == [1, 2]


async def test_body_longer_than_announced_poisons_no_later_answer(upstream, valkey):
    """Whatever becomes of the first answer, the second is its own request's."""
    body = orjson.dumps(wire.response_object("resp_1"))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    good = scripts.json_answer(wire.response_object("resp_2"))
    upstream.on("POST", "/v1/responses", scripts.raw_answer(head + body + b"and more"), good)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        first = await create(gw, PLAIN)
        assert first.status == 502 or first.json()["id"] == "resp_1"
        assert (await create(gw, PLAIN)).json()["id"] == "resp_2"
    assert [request.connection for request in upstream.requests] == [1, 2]


ECHO = f'{{"error":{{"message":"Incorrect API key: {UPSTREAM_KEY}, sent as Bearer {UPSTREAM_KEY}"}}}}'.encode()


@pytest.mark.parametrize("padding", [0, 65_536 - 40, 65_536 - 10, 131_072], ids=str)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_credentials_are_taken_out_of_errors(padding, framing, upstream, valkey, tmp_path):
    """Wherever in the error they stand, and wherever they come from: key, token file or header."""
    token = tmp_path / "token"
    token.write_text("token-0123456789abcdef\n")
    content = b" " * padding + ECHO + b"token-0123456789abcdef header-0123456789"
    upstream.on("POST", "/v1/responses", scripts.answer(content, 401, framing=framing))
    secrets = {"headers": {"x-secret": "header-0123456789"}}
    providers = {
        "keyed": provider(upstream, **secrets),
        "tokened": {**provider(upstream, kind="azure-openai", token_file=str(token), **secrets), "api_key": None},
    }
    async with gateway(config(providers=providers), redis_url=valkey.url) as gw:
        keyed, tokened = [
            await create(gw, PLAIN, headers=[("x-tfy-provider-name", name)]) for name in ("keyed", "tokened")
        ]
    assert upstream.requests[1].header("Authorization") == "Bearer token-0123456789abcdef"
    for answer in (keyed, tokened):
        assert (answer.status, answer.end) == (401, "complete")
        assert b"header-0123456789" not in answer.body
    assert UPSTREAM_KEY.encode() not in keyed.body
    assert keyed.body.count(b"***") == 3
    assert b"token-0123456789abcdef" not in tokened.body


async def test_credentials_are_taken_out_of_the_headers_of_an_answer(upstream, valkey):
    """A header that crosses may repeat what it likes."""
    echo = [("x-request-id", f"req-{UPSTREAM_KEY}"), ("openai-model", UPSTREAM_KEY), ("x-secret", UPSTREAM_KEY)]
    upstream.on("POST", "/v1/responses", scripts.answer(b"{}", 401, echo), scripts.answer(b"{}", 200, echo))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for _ in range(2):
            answer = await create(gw, PLAIN)
            assert UPSTREAM_KEY.encode() not in answer.head.raw


async def test_client_key_never_reaches_the_provider(upstream, valkey):
    """Nor does any other header of the client's that nobody put on the list."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_1")))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await create(gw, PLAIN, headers=[("api-key", ALICE_KEY), ("x-api-key", ALICE_KEY), ("Cookie", ALICE_KEY)])
        await create(gw, PLAIN, key=None, headers=[("api-key", ALICE_KEY)])
    for request in upstream.requests:
        assert ALICE_KEY.encode() not in request.head.raw
        assert request.head.all("Authorization") == [f"Bearer {UPSTREAM_KEY}"]
    assert len(upstream.requests) == 2

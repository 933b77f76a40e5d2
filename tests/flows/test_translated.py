"""A provider that speaks another format, on the way through the gateway: what its client sees is the Responses API."""

import asyncio
import zlib

import orjson
import pytest
from openai.types.responses import Response

from tests.dialects.oracle import read_events, text_of
from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left, relay_of, stream_ends
from tests.rig import chat, scripts
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import gateway
from tests.rig.http1 import chunk
from tests.rig.settings import UPSTREAM_KEY, config, provider

PATH = "/v1/chat/completions"


def translating(upstream, **sections):
    """Configure the scripted upstream as a provider that has chat completions only."""
    options = sections.pop("options", {})
    return config(providers={"it": provider(upstream, kind="openai-chat-compatible", **options)}, **sections)


async def test_stream_is_a_legal_one_and_says_what_the_provider_said(upstream, valkey, capfd):
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream()))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"completed": 1}
        assert await gw.metric("responses_proxy_tokens_total", type="output") == 7
    assert (answer.status, answer.end) == (200, "complete")
    assert answer.head.all("content-type") == ["text/event-stream; charset=utf-8"]
    assert answer.header("x-accel-buffering") == "no"
    assert answer.header("x-gateway-provider") == "it"
    response = read_events(answer.body)[-1]["response"]
    assert (text_of(response), response["usage"]["output_tokens"]) == ("Hello", 7)
    (line,) = log_lines(capfd)
    assert (line["response_id"], line["tokens"]["input"], line["end"]) == (response["id"], 11, "completed")


async def test_json_names_its_provider_last(upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(chat.completion()))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    value = answer.json()
    assert list(value)[-1] == "provider"
    assert value.pop("provider") == "openai-chat-compatible"
    assert text_of(Response.model_validate(value).model_dump()) == "Hello"
    assert answer.head.all("content-type") == ["application/json"]


async def test_request_goes_up_in_the_providers_form_with_its_credentials_only(upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(chat.completion()))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        theirs = [("OpenAI-Organization", "org"), ("Cookie", "a=b"), ("x-stainless-lang", "python")]
        await create(gw, {**PLAIN, "instructions": "Be kind."}, headers=theirs)
    (request,) = upstream.requests
    assert request.json()["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
    ]
    sent = {name.lower(): value for name, value in request.headers}
    assert sent["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert sent["user-agent"].startswith("responses-proxy/")
    assert sent.keys() == {
        "host",
        "accept-encoding",
        "authorization",
        "user-agent",
        "content-type",
        "content-length",
    }


async def test_first_byte_of_the_provider_opens_the_response(upstream, valkey):
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer([b":", b" busy\n\n", *chat.stream()], gates={1: gate}))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        events = await answer.read_events(2)
        assert [event.name for event in events] == ["response.created", "response.in_progress"]
        gate.set()
        await answer.read()
    read_events(answer.body)


async def test_what_is_dropped_is_told_and_cannot_break_the_head(upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(chat.completion()))
    evil = "x\r\nSet-Cookie: a=b"
    many = {**PLAIN, evil: 1, "é": 1, **{f"field_{at}": 1 for at in range(100)}}
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, many)
        one = await create(gw, {**PLAIN, "text": {"verbosity": "low"}})
        plain = await create(gw, PLAIN)
    names = answer.header("x-gateway-dropped").split(", ")
    assert (names[0], names[-1]) == ("xSet-Cookieab", "and 69 more")
    assert answer.header("set-cookie") is None
    assert one.header("x-gateway-dropped") == "text.verbosity"
    assert plain.header("x-gateway-dropped") is None


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (429, {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limited"}}, (429, "rate_limited")),
        (503, {"message": "Overloaded."}, (503, "server_error")),
        (400, {"detail": "No such model."}, (400, "invalid_prompt")),
        (404, b"<html>nothing here</html>", (404, "not_found")),
    ],
)
async def test_error_before_the_stream_is_told_in_the_apis_terms(status, error, expected, body, upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(error, status, headers=[("Retry-After", "7")]))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
        assert await gw.metric("responses_proxy_requests_total", code=str(expected[0])) == 1
        assert await stream_ends(gw) == {}
    told = answer.json()["error"]
    assert (answer.status, told["code"]) == expected
    assert told.keys() == {"message", "type", "param", "code"}
    assert answer.header("retry-after") == "7"
    assert answer.header("content-type") == "application/json"


async def test_providers_credentials_do_not_come_back_in_its_errors(upstream, valkey):
    error = {"error": {"message": f"Bad key {UPSTREAM_KEY}.", "code": "invalid_api_key"}}
    upstream.on("POST", PATH, scripts.json_answer(error, 401))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert (answer.status, answer.json()["error"]["message"]) == (401, "Bad key ***.")


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_error_in_a_200_that_is_no_stream_has_a_status_of_its_own(body, upstream, valkey):
    error = {"error": {"message": "Filtered.", "code": "content_filter", "status": 400}}
    upstream.on("POST", PATH, scripts.json_answer(error))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "content_filter")


async def test_error_inside_the_stream_ends_it_at_once(upstream, valkey):
    """Whatever the provider still has to say: a client must not wait for it."""
    gate = asyncio.Event()
    error = b'data: {"error":{"message":"Out of memory.","code":"oom"}}\n\n'
    said = [*chat.stream()[:2], error, b"data: {}\n\n"]
    upstream.on("POST", PATH, scripts.sse_answer(said, gates={3: gate}))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read()
        assert await stream_ends(gw) == {"failed": 1}
        await eventually(lambda: upstream.open_connections == 0)
    events = read_events(answer.body)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["error"]["message"] == "Out of memory."
    assert answer.end == "complete"
    await client.closed.wait()


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_stream_that_is_cut_ends_in_a_failed_response(after, upstream, valkey, capfd):
    gate = asyncio.Event()
    events = chat.stream(("one ", "two ", "three"))
    upstream.on("POST", PATH, scripts.cut_stream(events, len(b"".join(events[:after])) + 9, gate=gate))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(2)
        gate.set()
        await answer.read()
        assert await stream_ends(gw) == {"upstream_cut": 1}
        await nothing_left(gw, upstream)
    failed = read_events(answer.body)[-1]
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "server_error")
    assert answer.end == "complete"
    (line,) = log_lines(capfd)
    assert (line["end"], line["error_type"]) == ("upstream_cut", "upstream_cut")


async def test_stream_that_ends_too_early_but_politely_has_failed_as_well(upstream, valkey):
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream()[:2]))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert read_events(answer.body)[-1]["type"] == "response.failed"


async def test_silence_inside_the_stream_ends_it(upstream, valkey):
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream(), gates={2: gate}))
    short = {"timeouts": {"idle": 0.3, "keep_alive_comment": 3600}}
    async with gateway(translating(upstream, options=short), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"idle_timeout": 1}
    assert read_events(answer.body)[-1]["type"] == "response.failed"


async def test_silence_inside_the_stream_is_commented_on(upstream, valkey):
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream(), gates={2: gate}))
    often = {"timeouts": {"keep_alive_comment": 0.02}}
    async with gateway(translating(upstream, options=often), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(b": keep-alive\n\n: keep-alive\n\n")
        gate.set()
        await answer.read()
    assert text_of(read_events(answer.body.replace(b": keep-alive\n\n", b""))[-1]["response"]) == "Hello"


@pytest.mark.parametrize("script", [scripts.no_answer(), scripts.no_answer(reset=True)], ids=["closed", "reset"])
async def test_provider_that_gives_no_answer_is_a_502(script, upstream, valkey):
    upstream.on("POST", PATH, script)
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_disconnected")


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"choices":[]}', b'{"choices":[{"message":{}'])
async def test_body_that_is_no_completion_is_a_502(body, upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(body))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")


async def test_stale_connection_is_tried_once_more_with_the_same_request(upstream, valkey, capfd):
    upstream.on("POST", PATH, scripts.stale_when_reused(scripts.json_answer(chat.completion())))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        assert [(await create(gw, PLAIN)).status for _ in range(2)] == [200, 200]
    first, second, third = upstream.requests
    assert second.received in (b"", first.received)
    assert third.json() == first.json()
    assert [line.get("retried") for line in log_lines(capfd)] == [None, True]


async def test_client_that_leaves_stops_the_provider(upstream, valkey):
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream(), gates={3: gate}))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, STREAMED)
            answer = await client.answer()
            await answer.read_events(5)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"client_gone": 1}


async def test_client_that_stops_reading_stops_the_provider(upstream, valkey):
    sent = []

    async def endless(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
        block = chat.chunk({"content": "x" * 60_000})
        for piece in (*[block] * 250, *chat.stream()):
            sent.append(len(piece))
            await exchange.send(chunk(piece))
        await exchange.end_chunks()

    upstream.on("POST", PATH, endless)
    async with (
        gateway(translating(upstream), redis_url=valkey.url) as gw,
        gw.connect(receive_buffer=4096) as client,
    ):
        await ask(client, {**STREAMED, "store": False})
        answer = await client.answer()
        client.hold()
        await standstill(lambda: sum(sent))
        assert upstream.requests[0].stream.blocked
        (exchange,) = gw.app._handlers.active
        held = relay_of(exchange)._answer.body._size + exchange._downstream._transport.get_write_buffer_size()
        assert held < 500_000
        client.release()
        await answer.read()
        assert await stream_ends(gw) == {"completed": 1}
    assert answer.end == "complete"


async def test_answer_past_the_limit_fails_clearly(upstream, valkey):
    small = {"archive": {"max_response_bytes": 20_000}}
    long = ["x" * 1000] * 40
    upstream.on(
        "POST", PATH, scripts.sse_answer(chat.stream(long)), scripts.json_answer(chat.completion("".join(long)))
    )
    async with gateway(translating(upstream, **small), redis_url=valkey.url) as gw:
        streamed, whole = await create(gw, STREAMED), await create(gw, PLAIN)
    assert read_events(streamed.body)[-1]["response"]["error"]["code"] == "response_too_large"
    assert (whole.status, whole.json()["error"]["code"]) == (502, "response_too_large")


async def test_request_past_the_limit_is_refused_before_anything_is_sent(upstream, valkey):
    small = {"limits": {"max_translated_body_bytes": 1000}}
    async with gateway(translating(upstream, **small), redis_url=valkey.url) as gw:
        answer = await create(gw, {**PLAIN, "input": "x" * 2000})
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert not upstream.requests


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"background": True}, "background"),
        ({"input": [{"type": "message", "role": "robot", "content": ""}]}, "input[0].role"),
        ({"input": [3]}, "input[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"tool_choice": "required"}, "tools"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
async def test_request_that_cannot_be_honoured_is_refused_with_its_field(fields, param, upstream, valkey):
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, {**PLAIN, **fields})
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert not upstream.requests


@pytest.mark.parametrize("status", [201, 204, 205])
async def test_stream_has_a_status_that_has_a_body_whatever_the_provider_said(status, upstream, valkey):
    framing = b"" if status == 204 else b"Content-Length: 0\r\n"
    upstream.on("POST", PATH, scripts.raw_answer(b"HTTP/1.1 %d Scripted\r\n%b\r\n" % (status, framing)))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
    assert (answer.status, answer.end) == (200, "complete")
    assert read_events(answer.body)[-1]["type"] == "response.failed"


async def test_stream_that_comes_as_json_is_a_stream_all_the_same(upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(chat.completion()))
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"completed": 1}
    assert text_of(read_events(answer.body)[-1]["response"]) == "Hello"


async def test_upload_in_any_coding_is_translated(upstream, valkey):
    upstream.on("POST", PATH, scripts.json_answer(chat.completion()))
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(orjson.dumps(PLAIN)) + packer.flush()
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", headers=[("Content-Encoding", "gzip")], body=body)
    assert answer.status == 200
    assert upstream.requests[0].json()["messages"][0]["content"] == "hello"

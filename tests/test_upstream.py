import asyncio

import aiohttp
import pytest
from aiohttp.http_exceptions import TransferEncodingError
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy.config import Config, Limits, ProviderConfig
from proxy.errors import (
    BadAnswer,
    BadRequest,
    ConnectFailed,
    ConnectTimeout,
    Disconnected,
    FirstByteTimeout,
)
from proxy.providers import REGISTRY
from proxy.upstream import RedactingTap, Upstream, mapped
from tests.rig import scripts
from tests.rig.eventually import eventually
from tests.rig.settings import UPSTREAM_KEY, provider, settings
from tests.rig.upstream import blackhole

GET = (b"", b"")
"""No header lines of the client's, no framing."""


@pytest.fixture
async def reach():
    """Make the gateway's end of a provider; its connections are closed with the test."""
    made = []

    def make(upstream, kind="openai", **fields):
        typed = Config.model_validate(settings(providers={"main": provider(upstream, kind=kind, **fields)}))
        made.append(Upstream("main", REGISTRY[kind], typed.providers["main"], Limits()))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def ask(main, *, fresh=False):
    """Send a GET and return its line and the head of its answer."""
    line = await main.connect(fresh=fresh)
    line.write(main.head("GET", "/x", *GET))
    return line, await line.answer()


async def drained(answer):
    """Take a body to whatever end it has."""
    taken = answer.take()
    while not answer.ended and not answer.broken:
        await asyncio.sleep(0)
        taken += answer.take()
    return taken


def answering(upstream, *scripted):
    upstream.on("GET", "/v1/x", *scripted)


async def test_head_carries_the_providers_own_fields_before_the_clients(reach, upstream):
    main = reach(upstream, organization="org-1", project="proj-1", headers={"X-Own": "own"})
    answering(upstream, scripts.answer(b"hello"))
    line = await main.connect()
    line.write(main.head("GET", "/x?a=%2F", b"traceparent: 00-1\r\n", b"Content-Length: 0\r\n"))
    await line.answer()
    (request,) = upstream.requests
    assert request.target == "/v1/x?a=%2F"
    assert request.headers == [
        ("Host", f"127.0.0.1:{upstream.port}"),
        ("Accept-Encoding", "identity"),
        ("OpenAI-Organization", "org-1"),
        ("OpenAI-Project", "proj-1"),
        ("X-Own", "own"),
        ("Authorization", f"Bearer {UPSTREAM_KEY}"),
        ("traceparent", "00-1"),
        ("Content-Length", "0"),
    ]
    assert main.own_headers >= {b"host", b"accept-encoding", b"x-own", b"openai-organization"}
    line.close()


async def test_token_is_read_anew_when_its_file_was_replaced(reach, upstream, tmp_path):
    token = tmp_path / "token"
    token.write_text("first-token\n")
    main = reach(upstream, kind="azure-openai", api_key=None, token_file=str(token))
    assert b"Authorization: Bearer first-token\r\n" in main.head("GET", "/x", *GET)
    replacement = tmp_path / "next"
    replacement.write_text("second-token")
    replacement.replace(token)
    await eventually(lambda: b"Authorization: Bearer second-token\r\n" in main.head("GET", "/x", *GET))
    assert main.redact(b"first-token, second-token") == b"***, ***"


async def test_redact_leaves_placeholders_alone(reach, upstream):
    main = reach(upstream, kind="openai-compatible", api_key="none", headers={"x-a": "secret-value-1"})
    assert main.redact(b"none of secret-value-1") == b"none of ***"


async def test_redact_takes_the_longer_of_two_secrets_first(reach, upstream):
    main = reach(upstream, api_key="secret-secret", headers={"x-a": "secret-secret-and-more"})
    assert main.redact(b"secret-secret-and-more") == b"***"


@examples(max_examples=60)
@given(st.lists(st.sampled_from([b"sec", b"ret-", b"12", b"3", b"secret-123", b"x" * 40]), max_size=30))
def test_redacting_tap_takes_out_what_it_would_of_the_whole(pieces):
    secret = b"secret-123"
    tap = RedactingTap(lambda data: data.replace(secret, b"***"), len(secret) - 1)
    out = b"".join([tap.feed(piece, 0.0) for piece in pieces] + [tap.close()])
    assert out == b"".join(pieces).replace(secret, b"***")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_answer_ends_where_its_framing_ends(framing, reach, upstream):
    answering(upstream, scripts.answer(b"hello", framing=framing))
    _, answer = await ask(reach(upstream))
    assert (answer.status, answer.framed) == (200, framing != "close")
    assert await drained(answer) == b"hello"
    assert answer.ended
    answer.release()


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_answer_without_a_body_has_ended(status, reach, upstream):
    answering(upstream, scripts.answer(b"", status))
    _, answer = await ask(reach(upstream))
    assert (answer.status, answer.take(), answer.ended, answer.framed) == (status, b"", True, True)
    answer.release()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("head", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_answer_is_broken_when_its_connection_ends_inside_it(head, reset, reach, upstream):
    async def script(exchange):
        await exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", b"5\r\nhello")
        exchange.abort() if reset else exchange.close()

    answering(upstream, script)
    _, answer = await ask(reach(upstream))
    assert (await drained(answer)).endswith(b"hello")
    assert (answer.broken, answer.ended) == (True, False)
    answer.close()


async def test_answer_is_broken_when_a_reset_is_its_only_end(reach, upstream):
    gate = asyncio.Event()

    async def script(exchange):
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n", b"hello")
        await gate.wait()
        exchange.abort()

    answering(upstream, script)
    _, answer = await ask(reach(upstream))
    gate.set()
    await drained(answer)
    assert (answer.broken, answer.ended, answer.framed) == (True, False, False)
    answer.close()


async def test_connection_tells_of_data_and_of_its_end(reach, upstream):
    gates = [asyncio.Event(), asyncio.Event()]
    told = []

    async def script(exchange):
        await exchange.start(200, [("Content-Length", "10")])
        await gates[0].wait()
        await exchange.send(b"hello")
        await gates[1].wait()
        exchange.close()

    answering(upstream, script)
    _, answer = await ask(reach(upstream))
    answer.connection.on_data = lambda: told.append(answer.take())
    gates[0].set()
    await eventually(lambda: b"hello" in told)
    told.clear()
    gates[1].set()
    await eventually(lambda: answer.broken)
    assert told == [b""]
    answer.close()


async def test_connection_is_used_again_once_released(reach, upstream):
    main = reach(upstream)
    answering(upstream, scripts.answer(b"hello"))
    for reused in (False, True):
        line, answer = await ask(main)
        assert (line.reused, main.connections()) == (reused, {"active": 1, "idle": 0})
        await drained(answer)
        answer.release()
        assert main.connections() == {"active": 0, "idle": 1}
    line, answer = await ask(main, fresh=True)
    assert (line.reused, len(upstream.requests), upstream.connections) == (False, 3, 2)
    answer.close()
    assert main.connections() == {"active": 0, "idle": 0}


@pytest.mark.parametrize("end", ["close", "not reusable", "not ended", "given up"])
async def test_connection_is_not_used_again_when_an_exchange_did_not_end(end, reach, upstream):
    hold = asyncio.Event()
    main = reach(upstream)
    answering(upstream, scripts.cut_json("x" * 100, 10, gate=hold) if end == "not ended" else scripts.answer(b"hello"))
    line, answer = await ask(main)
    if end == "not ended":
        answer.release()
    elif end == "given up":
        line.close()
        answer.close()
    else:
        await drained(answer)
        answer.reusable = end == "close"
        answer.close() if end == "close" else answer.release()
    assert main.connections() == {"active": 0, "idle": 0}
    await upstream.requests[0].closed.wait()
    hold.set()


async def test_line_is_stale_when_a_pooled_connection_brought_no_byte(reach, upstream):
    main = reach(upstream)
    answering(upstream, scripts.stale_when_reused(scripts.answer(b"hello")))
    line, answer = await ask(main)
    await drained(answer)
    answer.release()
    assert not line.stale
    line = await main.connect()
    line.write(main.head("GET", "/x", *GET))
    with pytest.raises(Disconnected):
        await line.answer()
    assert line.stale
    with pytest.raises(Disconnected):
        line.write(b"more")
    line.close()
    line = await main.connect(fresh=True)
    assert not line.stale
    line.close()


async def test_interim_answers_are_skipped(reach, upstream):
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    answering(upstream, scripts.raw_answer(interim, interim + b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"))
    _, answer = await ask(reach(upstream))
    assert (answer.status, answer.ended) == (201, True)
    answer.release()


async def test_first_byte_is_waited_for_a_bounded_time(reach, upstream):
    answering(upstream, scripts.silence)
    main = reach(upstream, timeouts={"first_byte": 0.05})
    line = await main.connect()
    line.write(main.head("GET", "/x", *GET))
    with pytest.raises(FirstByteTimeout):
        await line.answer()
    line.close()
    await upstream.requests[0].closed.wait()


async def test_connect_fails_when_the_provider_refuses(reach, upstream):
    main = reach(upstream)
    await upstream.refuse()
    with pytest.raises(ConnectFailed) as caught:
        await main.connect()
    assert (caught.value.retry_safe, main.connections()) == (True, {"active": 0, "idle": 0})


async def test_connect_is_waited_for_a_bounded_time(reach):
    with blackhole() as url:
        main = reach(url, timeouts={"connect": 0.05})
        with pytest.raises(ConnectTimeout) as caught:
            await main.connect()
    assert (caught.value.retry_safe, main.connections()) == (True, {"active": 0, "idle": 0})


async def test_writable_waits_for_a_provider_that_does_not_read(reach, upstream):
    gate = asyncio.Event()

    async def script(exchange):
        exchange.stream.hold()
        await gate.wait()
        exchange.stream.release()
        await exchange.body()

    answering(upstream, script)
    main = reach(upstream)
    line = await main.connect()
    line.write(main.head("GET", "/x", b"", b"Content-Length: 20000000\r\n"))
    await upstream.received()
    line.write(b"x" * 20_000_000)
    waiting = asyncio.create_task(line.connection.writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    await waiting
    line.close()


async def test_writable_ends_when_the_provider_goes(reach, upstream):
    answering(upstream, scripts.no_answer())
    main = reach(upstream)
    line = await main.connect()
    line.write(main.head("GET", "/x", *GET))
    await eventually(lambda: not line.connection.is_connected())
    with pytest.raises(Disconnected):
        await line.connection.writable()
    line.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), Disconnected),
        (aiohttp.ClientOSError(104, "reset"), Disconnected),
        (ConnectionResetError(), Disconnected),
        (aiohttp.ClientPayloadError(), BadAnswer),
        (TransferEncodingError("not a chunk"), BadAnswer),
    ],
)
def test_mapped_says_what_a_foreign_error_means(error, expected):
    assert type(mapped(error)) is expected


async def test_operation_is_refused_when_the_kind_does_not_offer_it(reach, upstream):
    main = reach(upstream, kind="groq")
    main.check_operation("create")
    with pytest.raises(BadRequest, match=r"Provider 'main' \(Groq\) does not offer 'retrieve': it keeps no responses"):
        main.check_operation("retrieve")
    with pytest.raises(BadRequest, match=r"does not offer 'input_tokens'\."):
        main.check_operation("input_tokens")


def test_secret_of_a_provider_is_not_printed():
    assert "hush-hush" not in repr(ProviderConfig(kind="openai", api_key="hush-hush"))

"""Heads, bodies and JSON that go too far, or that two parsers could read in two ways: refused while nothing is done."""

import asyncio

import orjson
import pytest

from tests.flows.calls import nothing_left
from tests.flows.exact import check_refusal, chunked, create, exchange_bytes, finish, head
from tests.rig import scripts
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, config

NAMED = "x-tfy-provider-name: main"
MEBIBYTE = 1_048_576


@pytest.fixture
def replying(upstream):
    """Give a provider that answers every create."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({"id": "resp_1"}))
    return upstream


@pytest.mark.parametrize(
    "raw",
    [
        head("GET", f"/v1/responses/{'a' * 2048}"),
        head("GET", f"/v1/responses/a?{'b' * 2048}"),
        head("GET", "/v1/models", f"X: {'a' * 2048}"),
        head("GET", "/v1/models", f"{'X' * 2048}: a"),
        head("GET", "/v1/models", *(f"X-{n}: a" for n in range(200))),
    ],
    ids=["path", "query", "value", "name", "count"],
)
async def test_head_over_the_limit_is_refused(raw, upstream, valkey):
    """431 for what is too long or too many, and the connection ends."""
    async with gateway(config(upstream, limits={"max_header_bytes": 1024}), redis_url=valkey.url) as gw:
        answer = await exchange_bytes(gw, raw)
        check_refusal(answer, 431, "headers_too_large")
        assert answer.header("Connection") == "close"
        await eventually(lambda: not gw.app._runner.server.connections)


async def test_head_that_never_ends_is_refused(upstream, valkey):
    """Each header within the limit, their sum far over it: the client is told while it still sends."""
    line = b"X: " + b"a" * 50_000 + b"\r\n"
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(head("GET", "/v1/models")[:-2])
        answer = await finish(client, line * 100)
        check_refusal(answer, 431, "headers_too_large")
        assert await client.ended() == "closed"


async def test_head_within_the_limit_passes(replying, valkey):
    """Codex alone sends kilobytes of metadata."""
    many = [f"x-codex-{n}: {'a' * 600}" for n in range(100)]
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        assert (await exchange_bytes(gw, create(*many, "Content-Length: 2") + b"{}")).status == 200
    assert replying.requests[0].header("x-codex-99") == "a" * 600


@pytest.mark.parametrize("length", [1025, 10**12, 2**64 - 1])
async def test_length_over_the_limit_is_refused_before_the_body(length, replying, valkey):
    """The number alone will do, as far as one can count."""
    async with gateway(config(replying, limits={"max_body_bytes": 1024}), redis_url=valkey.url) as gw:
        for target in ("/v1/responses", "/v1/conversations"):
            answer = await exchange_bytes(gw, head("POST", target, f"Content-Length: {length}"))
            check_refusal(answer, 413, "request_too_large")
    assert not replying.requests


@pytest.mark.parametrize("named", [NAMED, "X-Title: none"])
async def test_body_over_the_limit_is_refused_when_it_is_reached(named, replying, valkey):
    """Counted as it arrives; the provider never has a whole request."""
    limits = {"max_body_bytes": 200_000}
    body = b'{"model":"m","input":"' + b"x" * 150_000
    async with gateway(config(replying, limits=limits), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(named, "Transfer-Encoding: chunked"), chunked(body))
        answer = await finish(client, chunked(b"x" * 50_001))
        check_refusal(answer, 413, "request_too_large")
        assert answer.header("Connection") == "close"
        await nothing_left(gw, replying)
    assert not any(request.complete for request in replying.requests)


async def test_body_at_the_limit_passes(replying, valkey):
    """The limit itself is allowed."""
    body = orjson.dumps({"input": "x" * 2000})
    async with gateway(config(replying, limits={"max_body_bytes": len(body)}), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", body=body)).status == 200
        check_refusal(await gw.fetch("POST", "/v1/responses", body=body + b" "), 413)


@pytest.mark.parametrize("named", [NAMED, "X-Title: none"])
async def test_blanks_without_end_are_refused(named, replying, valkey):
    """They belong to no document, and are held until it is known that none follows."""
    limits = {"look_ahead_bytes": 1024}
    async with gateway(config(replying, limits=limits), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(named, "Transfer-Encoding: chunked"), chunked(b'{"model":"m"}'))
        check_refusal(await finish(client, chunked(b" " * 2000)), 413, "request_too_large")
        await nothing_left(gw, replying)
    assert not any(request.complete for request in replying.requests)


INVALID = {
    "nothing": b"",
    "blanks": b" \r\n",
    "array": b'[{"model":"m"}]',
    "string": b'"model"',
    "number": b"1",
    "null": b"null",
    "form": b"model=m&input=x",
    "byte order mark": b'\xef\xbb\xbf{"model":"m"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16-le"),
    "NUL before": b'\0{"model":"m"}',
    "NUL behind": b'{"model":"m"}\0',
    "NUL within": b'{"model":"m\0"}',
    "line feed within a string": b'{"model":"m\n"}',
    "not UTF-8": b'{"model":"m\xff"}',
    "two objects": b'{"model":"m"}{"model":"n"}',
    "text behind": b'{"model":"m"} x',
    "comma at the end": b'{"model":"m",}',
    "comma missing": b'{"model":"m" "a":1}',
    "colon missing": b'{"model" "m"}',
    "single quotes": b"{'model':'m'}",
    "no quotes": b'{model:"m"}',
    "comment": b'{"model":"m"/* */}',
    "not a number": b'{"model":"m","a":NaN}',
    "leading zero": b'{"model":"m","a":01}',
    "hexadecimal": b'{"model":"m","a":0x1}',
    "unknown escape": b'{"model":"\\x6d"}',
    "wrong bracket": b'{"model":"m","a":[}]',
    "never closed": b'{"model":"m","a":[[',
    "cut in a string": b'{"model":"m',
    "cut in an escape": b'{"model":"m\\u00',
    "cut behind a colon": b'{"model":',
    "cut before the end": b'{"model":"m"',
}
TWO_READINGS = {
    "model twice": b'{"model":"small","model":"big"}',
    "model and null": b'{"model":null,"model":"big"}',
    "model in another case": b'{"model":"small","Model":"big"}',
    "only another case": b'{"MODEL":"big"}',
    "model by escapes": b'{"model":"small","m\\u006fdel":"big"}',
    "another case by escapes": b'{"\\u004dodel":"big"}',
    "model behind a NUL": b'{"model":"small","model\\u0000x":"big"}',
    "stream twice": b'{"model":"small","stream":true,"stream":false}',
    "previous_response_id twice": b'{"model":"small","previous_response_id":null,"previous_response_id":"resp_1"}',
    "conversation twice": b'{"model":"small","conversation":null,"conversation":"conv_1"}',
    "conversation of two ids": b'{"model":"small","conversation":{"id":"conv_1","id":"conv_2"}}',
    "conversation of another case": b'{"model":"small","conversation":{"id":"conv_1","ID":"conv_2"}}',
}
WRONG_TYPES = {
    "model": [b"1", b"[]", b"{}", b"true", b'["m"]'],
    "stream": [b'"true"', b"1", b"[]"],
    "store": [b'"false"', b"0"],
    "background": [b'"true"', b"{}"],
    "previous_response_id": [b"1", b'["resp_1"]', b'{"id":"resp_1"}'],
    "conversation": [b"1", b"[]", b'["conv_1"]', b"true"],
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
@pytest.mark.parametrize("lines", [[], [NAMED]], ids=["routed by the body", "routed by the header"])
async def test_body_that_is_no_json_object_is_refused(lines, body, replying, valkey):
    """400 before a provider can act on it."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        raw = create(*lines, f"Content-Length: {len(body)}") + body
        check_refusal(await exchange_bytes(gw, raw), 400, "invalid_json")
    assert not any(request.complete for request in replying.requests)


@pytest.mark.parametrize("body", TWO_READINGS.values(), ids=TWO_READINGS.keys())
@pytest.mark.parametrize("late", [b"", b" " * 100_000], ids=["at once", "later"])
async def test_field_that_could_be_read_twice_bypasses_no_allow_list(late, body, replying, valkey):
    """Whichever of the two a provider would take: none of them reaches it as a whole request."""
    key = {**ALICE, "models": ["small"]}
    first, _, rest = body.partition(b",")
    body = first + late + (b"," + rest if rest else b"")
    async with gateway(config(replying, keys=[key]), redis_url=valkey.url) as gw:
        error = check_refusal(await gw.fetch("POST", "/v1/responses", body=body), 400, "ambiguous_field")
        assert "Field '" in error["message"]
        await nothing_left(gw)
        assert (await gw.fetch("POST", "/v1/responses", body=b'{"model":"small"}')).status == 200
    assert [request.complete for request in replying.requests][-1:] == [True]
    assert not any(request.complete for request in replying.requests[:-1])


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG_TYPES for value in WRONG_TYPES[field]])
async def test_field_of_the_wrong_type_is_refused_by_name(field, value, replying, valkey):
    """What decides the route or the owner has to be what it claims."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        body = b'{"input":"x","%b":%b}' % (field.encode(), value)
        error = check_refusal(await gw.fetch("POST", "/v1/responses", body=body), 400, "invalid_type")
    assert error["param"].startswith(field)
    assert not replying.requests


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
async def test_depth_has_a_limit(opening, closing, replying, valkey):
    """At the limit it passes, one level more is refused, and a million cost nothing."""

    def nested(levels):
        return b'{"model":"m","input":' + opening * levels + b"1" + closing * levels + b"}"

    async with gateway(config(replying, limits={"max_json_depth": 100}), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", body=nested(99))).status == 200
        check_refusal(await gw.fetch("POST", "/v1/responses", body=nested(100)), 400, "too_deep")
        check_refusal(await gw.fetch("POST", "/v1/responses", body=nested(1_000_000)), 400, "too_deep")
    assert replying.requests[0].received == nested(99)
    assert [request.complete for request in replying.requests] == [True] * len(replying.requests[:1])


async def test_long_strings_and_many_items_pass(replying, valkey):
    """Only what the gateway itself keeps has to be short."""
    body = orjson.dumps({"input": [{"image": "A" * (3 * MEBIBYTE)}, *({"n": n} for n in range(20_000))], "k" * 200: 1})
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", body=body)).status == 200
    assert replying.requests[0].received == body


@pytest.mark.parametrize("field", ["model", "previous_response_id", "conversation"])
async def test_field_the_gateway_keeps_has_a_limit(field, replying, valkey):
    """A megabyte of model name is refused while it arrives."""
    body = b'{"%b":"' % field.encode() + b"x" * MEBIBYTE
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Transfer-Encoding: chunked"))
        answer = await finish(client, chunked(body))
        assert check_refusal(answer, 400, "field_too_long")["param"] == field
    assert not replying.requests


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", "application/vnd.api+json"])
async def test_content_type_decides_nothing(content_type, replying, valkey):
    """What counts is the body; the provider sees the type as sent."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        answer = await gw.fetch(
            "POST", "/v1/responses", headers=[("Content-Type", content_type)], body=b'{"model":"m"}'
        )
        assert answer.status == 200
    assert replying.requests[0].header("Content-Type") == content_type


async def test_limits_hold_for_many_at_once(replying, valkey):
    """Fifty clients with a body that is refused, and one with a body that is not."""
    limits = {"max_body_bytes": 100_000}
    async with gateway(config(replying, limits=limits), redis_url=valkey.url) as gw:
        refused = (gw.fetch("POST", "/v1/responses", json={"input": "x" * 200_000}) for _ in range(50))
        served = gw.fetch("POST", "/v1/responses", json={"input": "x"})
        *answers, last = await asyncio.gather(*refused, served)
        assert {answer.status for answer in answers} == {413}
        assert last.status == 200
        await nothing_left(gw)

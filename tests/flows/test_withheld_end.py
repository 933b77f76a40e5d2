"""A request is completed at the provider only when every check has passed."""

import pytest

from tests.flows.calls import nothing_left
from tests.flows.exact import check_refusal, chunked, create, finish, uploading
from tests.rig import scripts, wire
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import gateway
from tests.rig.settings import BOB_KEY, config

MEBIBYTE = 1_048_576
NAMED = "x-tfy-provider-name: main"
REFERENCES = {
    "previous_response_id": '"previous_response_id":"%s"',
    "conversation": '"conversation":"%s"',
    "conversation object": '"conversation":{"x":1,"id":"%s"}',
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("field", REFERENCES)
@pytest.mark.parametrize("whose", ["nobody's", "another tenant's"])
async def test_reference_to_what_is_not_the_callers_stops_the_request(whose, field, framing, upstream, valkey):
    """Also as the last field of a huge body: the provider has the bytes before it, and never the end."""
    made = wire.new_id()
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(made)))
    end = (', "z":[0],' + REFERENCES[field] % made + "}").encode()
    body = b'{"model":"m","input":"' + b"x" * (3 * MEBIBYTE) + b'"' + end
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        if whose == "another tenant's":
            await gw.fetch("POST", "/v1/responses", key=BOB_KEY, json={"model": "m"})
        asked = len(upstream.requests) + 1
        if framing == "length":
            await client.send(create(NAMED, f"Content-Length: {len(body)}"), body)
        else:
            await client.send(create(NAMED, "Transfer-Encoding: chunked"), chunked(body), b"0\r\n\r\n")
        answer = await client.answer()
        await answer.read()
        request = await upstream.received(asked)
        await request.closed.wait()
        await nothing_left(gw)
    code = "previous_response_not_found" if field == "previous_response_id" else None
    error = check_refusal(answer, 400 if code else 404, code)
    assert made in error["message"]
    assert not request.complete
    assert MEBIBYTE < request.size < len(body)
    assert len(upstream.requests) == asked


@pytest.mark.parametrize("field", REFERENCES)
async def test_reference_to_what_is_the_callers_passes(field, upstream, valkey):
    """The end follows once ownership is known, and nothing has changed."""
    made = wire.new_id()
    upstream.on("POST", "/v1/*", scripts.json_answer(wire.response_object(made)))
    body = b'{"model":"m","input":"' + b"x" * MEBIBYTE + b'",' + (REFERENCES[field] % made).encode() + b"} "
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/conversations" if "conv" in field else "/v1/responses", json={"model": "m"})
        assert (await gw.fetch("POST", "/v1/responses", body=body)).status == 200
    assert (upstream.requests[1].received, upstream.requests[1].complete) == (body, True)


async def test_end_waits_for_the_end_of_the_envelope(upstream, valkey):
    """What is still to come could be anything: until then the provider holds half a document."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({}))
    body = b'{"model":"m","input":[{}]} '
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Transfer-Encoding: chunked"), chunked(body))
        request = await upstream.received(1)
        await eventually(lambda: uploading(gw).received == len(body))
        await standstill(lambda: request.size)
        assert request.received == body[:-2]
        assert (await finish(client, chunked(b"\n") + b"0\r\n\r\n")).status == 200
    assert request.received == body + b"\n"


@pytest.mark.parametrize(
    "rest", [b'"} {}', b'"},', b'"}}', b'","model":"n"}', b'","previous_response_id":1}', b'"', b'\xff"}']
)
async def test_body_that_turns_out_wrong_never_ends_at_the_provider(rest, upstream, valkey):
    """However late the mistake comes."""
    body = b'{"model":"m","input":"' + b"x" * 200_000 + rest
    upstream.on("POST", "/v1/responses", scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        check_refusal(await gw.fetch("POST", "/v1/responses", body=body), 400)
        request = await upstream.received(1)
        await request.closed.wait()
        await nothing_left(gw, upstream)
    assert not request.complete
    assert request.size <= len(body) - len(rest) + 2

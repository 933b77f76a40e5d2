"""Compressed bodies, end to end: what goes up is what they say, and none of them says more than it may."""

import asyncio
import functools
import gzip
import random
import tracemalloc
import zlib

import orjson
import pytest

from proxy.codings import zstd
from tests.flows.calls import nothing_left
from tests.flows.exact import check_refusal, chunked, create, finish, uploading
from tests.rig import scripts
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import gateway
from tests.rig.settings import config

MEBIBYTE = 1_048_576
CHECKED = {zstd.CompressionParameter.checksum_flag: 1}
CODINGS = {"gzip": gzip.compress, "zstd": functools.partial(zstd.compress, options=CHECKED)}
NAMED = "x-tfy-provider-name: main"
BODY = orjson.dumps({"model": "gpt-4o-mini", "input": [{"n": n, "text": "Grüße"} for n in range(1000)]})


@pytest.fixture
def replying(upstream):
    """Give a provider that answers every create."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({"id": "resp_1"}))
    return upstream


def noise(size):
    """Make text that compresses to about half."""
    return random.Random(1).randbytes(size // 2).hex().encode()  # noqa: S311


async def post(gw, body, coding, *lines):
    """Send a compressed create and read its answer."""
    headers = [("Content-Encoding", coding), *(line.split(": ") for line in lines)]
    return await gw.fetch("POST", "/v1/responses", headers=headers, body=body)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("lines", [[], [NAMED]], ids=["routed by the body", "routed by the header"])
async def test_compressed_body_goes_up_as_it_reads(lines, coding, replying, valkey):
    """Identity, without a word of a coding, of the length that it has then."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        assert (await post(gw, CODINGS[coding](BODY), coding, *lines)).status == 200
    request = replying.requests[0]
    assert (request.received, request.complete) == (BODY, True)
    assert request.header("Content-Encoding") is None
    assert request.header("Content-Length") == str(len(BODY))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_compressed_body_passes_however_it_is_cut(piece, coding, replying, valkey):
    """Packet by packet, with the provider named beforehand."""
    packed = CODINGS[coding](BODY)
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked"))
        pieces = [packed[at : at + piece] for at in range(0, len(packed), piece)]
        assert (await finish(client, chunked(*pieces) + b"0\r\n\r\n")).status == 200
    assert (replying.requests[0].received, replying.requests[0].complete) == (BODY, True)


@pytest.mark.parametrize("name", ["GZIP", "  gzip ", "Zstd", "identity", "IDENTITY", ""])
async def test_name_of_a_coding_is_read_as_the_standard_says(name, replying, valkey):
    """In any case, with blanks; identity is none."""
    pack = CODINGS.get(name.strip().lower(), bytes)
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        assert (await post(gw, pack(BODY), name)).status == 200
    assert replying.requests[0].received == BODY
    assert replying.requests[0].header("Content-Encoding") is None


@pytest.mark.parametrize(
    "names", [["br"], ["deflate"], ["gzip, gzip"], ["zstd,gzip"], ["gzip", "zstd"], ["identity", "gzip"], ["x"]]
)
async def test_coding_the_gateway_does_not_read_is_refused(names, replying, valkey):
    """415 names those it reads; one on top of another is none of them."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        headers = [("Content-Encoding", name) for name in names]
        answer = await gw.fetch("POST", "/v1/responses", headers=headers, body=gzip.compress(BODY))
    error = check_refusal(answer, 415, "unsupported_content_encoding")
    assert "gzip, zstd" in error["message"]
    assert not replying.requests


async def test_transfer_coding_the_gateway_does_not_read_is_refused(replying, valkey):
    """Chunked is the only one; the connection goes on, as chunked it was."""
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Transfer-Encoding: gzip, chunked"), chunked(gzip.compress(BODY)))
        check_refusal(await finish(client, b"0\r\n\r\n"), 400, "malformed_request")
        await client.send(create("Transfer-Encoding: chunked"), chunked(BODY))
        assert (await finish(client, b"0\r\n\r\n")).status == 200
    assert len(replying.requests) == 1


def broken(pack):
    """Return compressed bodies with something wrong in each."""
    packed = pack(BODY)
    middle = len(packed) // 2
    return {
        "cut": packed[:-1],
        "cut early": packed[:10],
        "nothing": b"",
        "text behind": packed + b"x",
        "damaged": packed[:middle] + bytes(byte ^ 0xFF for byte in packed[middle : middle + 8]) + packed[middle + 8 :],
        "not compressed": BODY,
        "another coding": zlib.compress(BODY),
    }


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("fault", broken(gzip.compress))
@pytest.mark.parametrize("lines", [[], [NAMED]], ids=["routed by the body", "routed by the header"])
async def test_body_that_does_not_decode_is_refused(lines, fault, coding, replying, valkey):
    """400, and the provider never has a whole request."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        answer = await post(gw, broken(CODINGS[coding])[fault], coding, *lines)
        code = check_refusal(answer, 400)["code"]
        assert code == "invalid_content_encoding" or fault in {"nothing", "damaged"}
        await nothing_left(gw)
    assert not any(request.complete for request in replying.requests)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("lines", [[], [NAMED]], ids=["routed by the body", "routed by the header"])
async def test_bomb_is_refused(lines, coding, replying, valkey):
    """16 MiB of blanks in a few kilobytes: over the ratio, long before the end."""
    bomb = CODINGS[coding](b'{"model":"m","input":"' + b" " * (16 * MEBIBYTE) + b'"}')
    async with gateway(config(replying, limits={"max_decompression_ratio": 100}), redis_url=valkey.url) as gw:
        check_refusal(await post(gw, bomb, coding, *lines), 413, "request_too_large")
        await nothing_left(gw)
    assert not any(request.complete for request in replying.requests)
    assert all(request.size < 4 * MEBIBYTE for request in replying.requests)


@pytest.mark.parametrize("coding", CODINGS)
async def test_limit_of_a_body_holds_for_what_it_decodes_to(coding, replying, valkey):
    """Exactly the limit passes, one byte more does not, however small it was as sent."""
    limits = {"max_body_bytes": len(BODY)}
    async with gateway(config(replying, limits=limits), redis_url=valkey.url) as gw:
        assert (await post(gw, CODINGS[coding](BODY), coding)).status == 200
        check_refusal(await post(gw, CODINGS[coding](BODY + b" "), coding), 413, "request_too_large")


@pytest.mark.parametrize("coding", CODINGS)
async def test_checks_look_into_a_compressed_body(coding, replying, valkey):
    """A foreign reference as the last field of megabytes stops the request; the provider has what came before."""
    body = b'{"model":"m","input":"' + noise(3 * MEBIBYTE) + b'","previous_response_id":"resp_of_somebody_else"}'
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        answer = await post(gw, CODINGS[coding](body), coding, NAMED)
        check_refusal(answer, 400, "previous_response_not_found")
        await replying.requests[0].closed.wait()
        await nothing_left(gw, replying)
    (request,) = replying.requests
    assert not request.complete
    assert MEBIBYTE < request.size < len(body)


@pytest.mark.parametrize("coding", CODINGS)
async def test_duplicates_in_a_compressed_body_are_refused(coding, replying, valkey):
    """The same rules, whatever the coding."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        packed = CODINGS[coding](b'{"model":"a","model":"b"}')
        check_refusal(await post(gw, packed, coding), 400, "ambiguous_field")
    assert not replying.requests


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("input_bytes", [10, 200_000])
async def test_model_is_replaced_in_a_compressed_body(input_bytes, coding, replying, valkey):
    """Around it nothing changes, whether the body was read to its end before or not."""
    body = b'{"input":"%b","model":"main/m" }' % noise(input_bytes)
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        assert (await post(gw, CODINGS[coding](body), coding, NAMED)).status == 200
    assert (replying.requests[0].received, replying.requests[0].complete) == (body.replace(b"main/", b""), True)


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_body_leaves_as_it_arrives(coding, replying, valkey):
    """What decodes goes up before the rest has come."""
    packed = CODINGS[coding](b'{"model":"m","input":"' + noise(MEBIBYTE) + b'"}')
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create(NAMED, f"Content-Encoding: {coding}", f"Content-Length: {len(packed)}"), packed[:-100])
        request = await replying.received(1)
        await eventually(lambda: request.size > MEBIBYTE // 2)
        assert request.header("Transfer-Encoding") == "chunked"
        assert (await finish(client, packed[-100:])).status == 200
    assert request.complete


@pytest.mark.parametrize("coding", CODINGS)
async def test_memory_does_not_depend_on_what_a_body_decodes_to(coding, upstream, valkey):
    """A provider that does not read leaves 24 MB compressed, however little they take like that."""
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await scripts.json_answer({})(exchange)

    upstream.on("POST", "/v1/responses", late)
    text = noise(300 * 1000)
    lines = (text[at : at + 300] + b" " * 25_000 for at in range(0, len(text), 300))
    packed = CODINGS[coding](b'{"model":"m","input":"' + b"".join(lines) + b'"}')
    assert 65_536 < len(packed) < MEBIBYTE
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        head = create(NAMED, f"Content-Encoding: {coding}", f"Content-Length: {len(packed)}")
        await client.send(head, packed[:100])
        await upstream.received(1)
        tracemalloc.start()
        try:
            await client.send(packed[100:])
            await standstill(lambda: uploading(gw).received)
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gate.set()
        assert (await client.answer()).status == 200
    assert upstream.requests[0].size > 24 * 1_000_000
    assert held < 3 * MEBIBYTE

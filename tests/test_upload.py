"""A body is released up to what must stay, and comes out as it went in but for the model."""

import asyncio
import gzip

import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Config, Limits
from proxy.downstream import Server
from proxy.errors import BadRequest, PayloadTooLarge, RequestTimeout
from proxy.upload import Upload
from tests.flows.exact import chunked, create
from tests.rig.client import connect
from tests.rig.edge import serving
from tests.rig.eventually import eventually

LIMITS = Limits()


class Arriving:
    """A request whose body arrives, by way of the server's own parser, when the test says so."""

    def __init__(self, *lines, limits=LIMITS):
        loop = asyncio.get_running_loop()
        connection = Server(None, Config(limits=limits))()
        self._parser = connection._parser
        self._framed = any(line.startswith("Content-Length") for line in lines)
        framing = [] if self._framed else ["Transfer-Encoding: chunked"]
        ((message, self.content),), _, _ = self._parser.feed_data(create(*lines, *framing))
        request = web.BaseRequest(message, self.content, connection, None, asyncio.current_task(), loop)
        self.upload = Upload(request, limits)

    def feed(self, piece, *, last=False):
        """Let a piece arrive, and the end behind it where it is the last."""
        frame = bytes if self._framed else chunked
        end = b"0\r\n\r\n" if last and not self._framed else b""
        self._parser.feed_data((frame(piece) if piece else b"") + end)

    async def read(self):
        """Read to the end without letting anything go up."""
        while not self.upload.ended:
            await self.upload.more()


async def arrived(body, *lines, limits=LIMITS):
    """Return an upload whose body is there, and read."""
    request = Arriving(*lines, limits=limits)
    request.feed(body, last=True)
    await request.read()
    return request.upload


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text('abxyz é"\\\n\x00', max_size=5), VALUES, max_size=5)


@settings(max_examples=150)
@given(OBJECTS, OBJECTS, st.sampled_from(["m", "main/m", "a-name-that-is-longer"]), st.booleans(), st.data())
def test_any_body_comes_out_as_it_went_in_but_for_the_model(before, behind, model, packed, data):
    """Wherever it is cut, compressed or not; the end and the model stay until they may go."""
    members = [orjson.dumps(part)[1:-1] for part in (before, {"model": "short"}, behind)]
    body = b"{%b} " % b" , ".join(member for member in members if member)
    expected = body.replace(b'"model":"short"', b'"model":"%b"' % model.encode(), 1)
    sent = gzip.compress(body) if packed else body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    pieces = [sent[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    lines = ["Content-Encoding: gzip"] if packed else []

    async def drive():
        request = Arriving(*lines)
        upload, released = request.upload, b""
        for number, piece in enumerate(filter(None, pieces)):
            request.feed(piece, last=number == len(list(filter(None, pieces))) - 1)
            await upload.more()
            while upload._next is not None:
                await upload.more()
            if upload.envelope.model is not None and upload._model is None:
                upload.rewrite(model)
            released += upload.release()
            assert expected.startswith(released)
            assert len(released) < len(expected) - 1
        return released + upload.release_all()

    assert asyncio.run(drive()) == expected


@pytest.mark.parametrize(
    ("body", "model", "length"),
    [(b'{"model":"m"}', None, 13), (b'{"model":"m"}', "longer", 18), (b'{"model":"main/m"}', "m", 13), (b"{}", "m", 2)],
)
async def test_length_of_a_body_that_is_there_is_exact(body, model, length):
    upload = await arrived(body)
    if model is not None:
        upload.rewrite(model)
    assert upload.start(may_grow=True) == length
    assert len(upload.release_all()) == length


@pytest.mark.parametrize(
    ("part", "model", "may_grow", "length"),
    [
        (b'{"input":"', None, False, 100),
        (b'{"input":"', None, True, None),
        (b'{"model":"main/m","input":"', "m", True, 95),
        (b'{"model":"m","input":"', "longer", True, 105),
        (b'{"model":"m","input":"', None, True, 100),
    ],
)
async def test_length_of_a_body_on_its_way_is_known_unless_it_may_yet_grow(part, model, may_grow, length):
    request = Arriving("Content-Length: 100")
    request.feed(part)
    await request.upload.more()
    if model is not None:
        request.upload.rewrite(model)
    assert request.upload.start(may_grow=may_grow) == length


async def test_length_of_a_compressed_body_is_known_once_it_is_there():
    body = gzip.compress(b'{"model":"m"}')
    lines = ["Content-Encoding: gzip", f"Content-Length: {len(body)}"]
    request = Arriving(*lines)
    request.feed(body[:20])
    await request.upload.more()
    assert request.upload.start(may_grow=False) is None
    assert (await arrived(body, *lines)).start(may_grow=False) == 13


async def test_shorter_model_is_padded_once_the_length_is_announced():
    body = b'{"a":1,"model":"main/m","b":2}'
    request = Arriving(f"Content-Length: {len(body)}")
    request.feed(body[:18])
    await request.upload.more()
    assert request.upload.start(may_grow=False) == len(body)
    assert request.upload.release() == b'{"a":1,"model":'
    request.feed(body[18:], last=True)
    await request.upload.more()
    request.upload.rewrite("m")
    assert request.upload.release() == b'"m"     ,"b":2'
    assert request.upload.release_all() == b"}"


async def test_compressed_body_is_decoded_no_further_than_it_is_asked_for():
    """One packet may hold megabytes: they come piece by piece, so that a slow provider holds them up."""
    body = b'{"input":"' + b"x" * 1_000_000 + b'"}'
    request = Arriving("Content-Encoding: gzip")
    request.feed(gzip.compress(body), last=True)
    released, steps = b"", 0
    while not request.upload.ended:
        await request.upload.more()
        piece = request.upload.release()
        assert len(piece) <= 65_536
        released += piece
        steps += 1
    assert released + request.upload.release_all() == body
    assert steps > 10


async def test_look_ahead_reads_no_further_than_decided_or_allowed():
    seen, first = [], asyncio.Event()

    async def handle(request):
        upload = Upload(request, Limits(look_ahead_bytes=1024))

        def decided():
            seen.append(upload.received)
            first.set()
            return len(seen) == 2

        await upload.look_ahead(decided)
        await upload.look_ahead(lambda: False)
        seen.append(upload.received)
        return web.Response()

    async with serving(handle) as server, connect(server.port) as client:
        await client.send(create("Content-Length: 9999"), b'{"input":"')
        await first.wait()
        await client.send(b"x" * 10)
        await eventually(lambda: len(seen) == 2)
        await client.send(b"x" * 2000)
        assert (await client.answer()).status == 200
    assert seen == [10, 20, 2020]


@pytest.mark.parametrize(
    ("body", "lines", "limits", "error"),
    [
        (b"", [], {}, BadRequest),
        (b"{", [], {}, BadRequest),
        (b"{}", ["Content-Encoding: gzip"], {}, BadRequest),
        (b"{}", ["Content-Length: 2000"], {"max_body_bytes": 1000}, PayloadTooLarge),
        (b"{}".ljust(1001), [], {"max_body_bytes": 1000}, PayloadTooLarge),
        (b"{}".ljust(1027), [], {"look_ahead_bytes": 1024}, PayloadTooLarge),
    ],
)
async def test_body_that_cannot_be_is_refused(body, lines, limits, error):
    with pytest.raises(error):
        await arrived(body, *lines, limits=Limits(**limits))


async def test_blanks_behind_the_end_pass_up_to_the_limit():
    """However much came before them."""
    body = b'{"input":"' + b"x" * 5000 + b'"}' + b" " * 1023
    assert (await arrived(body, limits=Limits(look_ahead_bytes=1024))).release_all() == body


async def test_body_that_breaks_is_refused_even_if_what_came_looks_whole():
    request = Arriving()
    request.feed(b"{}")
    request.content.set_exception(web.RequestPayloadError("broken"))
    request.content.feed_eof()
    with pytest.raises(BadRequest) as refused:
        await request.read()
    assert refused.value.code == "malformed_request"


async def test_client_that_stops_is_given_up_and_the_wait_is_counted():
    waited = []

    async def handle(request):
        upload = Upload(request, Limits(body_timeout=0.02))
        await upload.more()
        waited.append(upload.waited)
        with pytest.raises(RequestTimeout):
            await upload.more()
        waited.append(upload.waited)
        return web.Response()

    async with serving(handle) as server, connect(server.port) as client:
        await client.send(create("Content-Length: 9999"), b"{")
        assert (await client.answer()).status == 200
    assert waited[0] < waited[1]

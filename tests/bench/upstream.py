"""The provider behind every contender: one uvloop protocol that costs as little as possible.

The request's model says what the answer is, so that the same path serves every measurement:
`json`, `stream-RATE-EVENTS`, `hold-RATE-EVENTS` (never ends), `document-BYTES`, `events-BYTES`, `sink-BYTES`.
The path says whose format a stream has: the Responses API's, unless it is one of `formats.py`.
`GET` anything answers the body bytes sent so far by all downloads.
"""

import asyncio
import itertools
import re
import ssl
import sys
from typing import NamedTuple

import uvloop

from tests.bench.formats import DELTAS, FORMATS

EVENT_BYTES = 250
JSON_BYTES = 1024
SINK_PAUSES = 4
SINK_PAUSE_SECONDS = 0.5

MODEL = re.compile(rb'"model": ?"([a-z]+)(?:-(\d+))?(?:-(\d+))?"')
MODEL_IN_PATH = re.compile(rb"/models?/([a-z]+)(?:-(\d+))?(?:-(\d+))?[:/]")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
SSE_HEAD = STREAM_HEAD % b"text/event-stream; charset=utf-8"
RESPONSE = (
    b'{"id":"resp_%048x","object":"response","created_at":1764000000,"status":"%s","error":null,'
    b'"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"bench","output":[%s],'
    b'"parallel_tool_calls":true,"previous_response_id":null,"store":true,"temperature":1.0,"tool_choice":"auto",'
    b'"tools":[],"top_p":1.0,"truncation":"disabled","usage":%s,"metadata":{}}'
)
USAGE = (
    b'{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,'
    b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123}'
)
MESSAGE_OPEN = (
    b'{"id":"msg_1","type":"message","status":"completed","role":"assistant",'
    b'"content":[{"type":"output_text","annotations":[],"text":"'
)
MESSAGE_CLOSE = b'"}]}'

BLOCK_BYTES = 262_144
TEXT_BLOCK = b"a" * BLOCK_BYTES

_identities = itertools.count(1)


def render_response(identity: int, status: bytes, text: bytes | None = None) -> bytes:
    """Return a Responses object; one without text has no output and no usage yet."""
    if text is None:
        return RESPONSE % (identity, status, b"", b"null")
    return RESPONSE % (identity, status, MESSAGE_OPEN + text + MESSAGE_CLOSE, USAGE)


JSON_TEXT = b"a" * (JSON_BYTES - len(render_response(0, b"completed", b"")))


def render_chunk(data: bytes) -> bytes:
    """Frame data as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def render_envelope(event: bytes, identity: int, number: int, status: bytes, text: bytes | None = None) -> bytes:
    """Return one of the events that carry a whole response object."""
    data = b'{"type":"%s","sequence_number":%d,"response":%s}' % (
        event,
        number,
        render_response(identity, status, text),
    )
    return b"event: %s\ndata: %s\n\n" % (event, data)


def render_delta(number: int) -> bytes:
    """Return a text delta of exactly `EVENT_BYTES`."""
    start = (
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_1","output_index":0,'
        b'"content_index":0,"delta":" word","logprobs":[],"obfuscation":"' % number
    )
    return start + b"x" * (EVENT_BYTES - len(start) - 4) + b'"}\n\n'


def render_chunks(delta) -> tuple[bytes, ...]:
    """Return the chunks of a format's deltas."""
    return tuple(render_chunk(delta(number)) for number in range(1, DELTAS + 1))


NATIVE_CHUNKS = render_chunks(render_delta)
TRANSLATED_CHUNKS = {name: render_chunks(found.delta) for name, found in FORMATS.items()}
CHUNK_EVENTS, BLOCK_CHUNKS = 64, 16
DELTA_BLOCK = BLOCK_CHUNKS * render_chunk(b"".join(render_delta(number) for number in range(1, CHUNK_EVENTS + 1)))


class Upstream(asyncio.Protocol):
    """One connection of the provider."""

    downloaded = 0
    """Body bytes handed to the transport by all downloads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._buffer = b""
        self._sink: Sink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._pump = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._pump = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._pump is not None:
            self._advance()

    def data_received(self, data: bytes) -> None:
        if self._sink is not None:
            self._swallow(data)
            return
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        if head.startswith(b"GET"):
            self._buffer = b""
            count = b"%d" % Upstream.downloaded
            self._transport.write(JSON_HEAD % len(count) + count)
            return
        model = MODEL.search(body) or MODEL_IN_PATH.search(head)
        length = CONTENT_LENGTH.search(head)
        if model is not None and model[1] == b"sink":
            self._buffer = b""
            self._sink = Sink(int(model[2]), int(length[1]) if length else None)
            self._swallow(body)
        elif len(body) >= int(length[1]) if length else body.endswith(LAST_CHUNK):
            self._buffer = b""
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            self._answer(path, model[1], [int(number) for number in model.groups()[1:] if number])

    def _answer(self, path: bytes, kind: bytes, numbers: list[int]) -> None:
        identity = next(_identities)
        if kind == b"json":
            body = render_response(identity, b"completed", JSON_TEXT)
            self._transport.write(JSON_HEAD % len(body) + body)
        elif kind == b"document":
            self._download(document_pieces(identity, numbers[0]))
        elif kind == b"events":
            self._download(event_pieces(identity, numbers[0]))
        else:
            self._stream(stream_of(path, identity, numbers[1]), *numbers, ends=kind == b"stream")

    def _stream(self, stream: "Stream", rate: int, events: int, *, ends: bool) -> None:
        self._transport.write(stream.opening)
        chunks = stream.chunks
        due = self._loop.time()
        sent = 0

        def tick() -> None:
            nonlocal due, sent
            if sent < events:
                self._transport.write(chunks[sent % len(chunks)])
                sent += 1
                due += 1 / rate
                self._timer = self._loop.call_later(max(0.0, due - self._loop.time()), tick)
            elif ends:
                self._transport.write(stream.closing)

        self._timer = self._loop.call_later(1 / rate, tick)

    def _download(self, pieces) -> None:
        self._pump = pieces
        self._advance()

    def _advance(self) -> None:
        while not self._paused:
            piece = next(self._pump, None)
            if piece is None:
                self._pump = None
                return
            Upstream.downloaded += len(piece)
            self._transport.write(piece)

    def _swallow(self, data: bytes) -> None:
        sink = self._sink
        if sink.feed(data):
            self._sink = None
            body = b'{"id":"resp_%048x","object":"response","status":"completed","received":%d}'
            body %= (next(_identities), sink.received)
            self._transport.write(JSON_HEAD % len(body) + body)
        elif sink.take_pause():
            self._transport.pause_reading()
            self._timer = self._loop.call_later(SINK_PAUSE_SECONDS, self._transport.resume_reading)


class Stream(NamedTuple):
    """A stream as it is written: head and opening, a chunk for each delta, the end."""

    opening: bytes
    chunks: tuple[bytes, ...]
    closing: bytes


def stream_of(path: bytes, identity: int, events: int) -> Stream:
    """Return the stream in the format whose path this is."""
    for name, found in FORMATS.items():
        if path.endswith(found.asked):
            head = STREAM_HEAD % found.content_type
            closing = render_chunk(found.closing) + LAST_CHUNK
            return Stream(head + render_chunk(found.opening), TRANSLATED_CHUNKS[name], closing)
    created = render_envelope(b"response.created", identity, 0, b"in_progress")
    end = render_envelope(b"response.completed", identity, events + 1, b"completed", b"word")
    return Stream(SSE_HEAD + render_chunk(created), NATIVE_CHUNKS, render_chunk(end) + LAST_CHUNK)


class Sink:
    """Counts an upload, finds its end, and says when the provider stops reading for a while."""

    def __init__(self, size: int, content_length: int | None) -> None:
        self.received = 0
        self._content_length = content_length
        self._tail = b""
        self._pauses = [size * part // (SINK_PAUSES + 1) for part in range(SINK_PAUSES, 0, -1)]

    def feed(self, data: bytes) -> bool:
        """Count data; return whether the body is whole."""
        self.received += len(data)
        if self._content_length is not None:
            return self.received >= self._content_length
        self._tail = (self._tail + data[-5:])[-5:]
        return self._tail == LAST_CHUNK

    def take_pause(self) -> bool:
        """Return whether the next pause has been reached, once for each."""
        if self._pauses and self.received >= self._pauses[-1]:
            self._pauses.pop()
            return True
        return False


def document_pieces(identity: int, size: int):
    """Yield a JSON answer of `size` body bytes: one huge string in `output`."""
    before, _, after = render_response(identity, b"completed", b"\0").partition(b"\0")
    yield JSON_HEAD % size + before
    left = size - len(before) - len(after)
    while left > 0:
        yield TEXT_BLOCK[:left]
        left -= BLOCK_BYTES
    yield after


def event_pieces(identity: int, size: int):
    """Yield a stream of at least `size` bytes of events, as fast as it is taken."""
    yield SSE_HEAD + render_chunk(render_envelope(b"response.created", identity, 0, b"in_progress"))
    for _ in range(-(-size // (BLOCK_CHUNKS * CHUNK_EVENTS * EVENT_BYTES))):
        yield DELTA_BLOCK
    yield render_chunk(render_envelope(b"response.completed", identity, 1, b"completed", b"word")) + LAST_CHUNK


async def serve(port: int, certificate: str | None = None) -> None:
    """Serve on loopback until the process is ended; over TLS where a file with certificate and key is given."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:]))

"""Writes and reads messages of the binary event stream, by its layout alone."""

import struct
import zlib

import orjson

TEXT = 7
"""Type of a header that is text."""


def frame(payload, **headers):
    """Write a message; header names have `_` for `-`, and a colon before them."""
    written = b"".join(header(f":{name.replace('_', '-')}", value) for name, value in headers.items())
    return seal_frame(written, payload if isinstance(payload, bytes) else orjson.dumps(payload))


def header(name, value):
    """Write one header of text."""
    raw = value.encode()
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", TEXT, len(raw)) + raw


def seal_frame(headers, payload):
    """Put headers and payload between their lengths and checksums."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack("!I", zlib.crc32(body))


def event(kind, payload):
    """Write an event of the service."""
    return frame(payload, event_type=kind, content_type="application/json", message_type="event")


def exception(kind, payload):
    """Write an exception of the service."""
    return frame(payload, exception_type=kind, content_type="application/json", message_type="exception")


def split_frames(body):
    """Cut a stream into its messages."""
    found = []
    while body:
        (length,) = struct.unpack_from("!I", body)
        found.append(body[:length])
        body = body[length:]
    return found


def read_frame(raw):
    """Read one message whose headers are all text: its headers and its payload."""
    total, size, _ = struct.unpack_from("!III", raw)
    rest, headers = raw[12 : 12 + size], {}
    while rest:
        name = rest[1 : 1 + rest[0]].decode()
        rest = rest[1 + rest[0] :]
        kind, length = struct.unpack_from("!BH", rest)
        assert kind == TEXT
        headers[name] = rest[3 : 3 + length].decode()
        rest = rest[3 + length :]
    return headers, raw[12 + size : total - 4]


# What a stream is made of.


def start():
    return event("messageStart", {"role": "assistant", "p": "abc"})


def text(content, index=0):
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": content}, "p": "ab"})


def thought(index=0, **members):
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": {"reasoningContent": members}})


def use(index, name, call_id, **members):
    begun = {"toolUse": {"name": name, "toolUseId": call_id, **members}}
    return event("contentBlockStart", {"contentBlockIndex": index, "start": begun})


def arguments(index, piece):
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": piece}}})


def block_stop(index=0):
    return event("contentBlockStop", {"contentBlockIndex": index})


def stop(reason="end_turn"):
    return event("messageStop", {"stopReason": reason})


def usage(**counts):
    told = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, **counts}
    return event("metadata", {"usage": told, "metrics": {"latencyMs": 7}})

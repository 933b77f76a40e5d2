import itertools
import struct
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.bedrock_converse.frames import Frames, load_decoder
from proxy.dialects.translator import Malformed
from tests.dialects.bedrock_converse.recorded import STREAMS
from tests.dialects.bedrock_converse.wire import event, header, read_frame, seal_frame, split_frames

BODY = b"".join(event("kind", {"number": number, "filler": "x" * number}) for number in range(20))


def feed(pieces, limit=100_000):
    frames = Frames(limit)
    return [(dict(read.headers), read.payload) for piece in pieces for read in frames.feed(piece)]


def cut(body, size):
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 7, len(BODY)])
def test_messages_come_whole_whatever_the_chunks(size):
    assert feed(cut(BODY, size)) == [read_frame(raw) for raw in split_frames(BODY)]


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(BODY)), max_size=10))
def test_cuts_change_nothing(cuts):
    bounds = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[begin:end] for begin, end in itertools.pairwise(bounds)]
    assert feed(pieces) == feed([BODY])


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_is_read_as_its_layout_says(recording):
    assert feed([recording.body]) == [read_frame(raw) for raw in split_frames(recording.body)]


def test_message_waits_for_its_last_byte():
    frames = Frames(1000)
    assert list(frames.feed(BODY[:100])) == []
    assert frames.pending
    assert len(list(frames.feed(BODY[100:]))) == 20
    assert not frames.pending


@pytest.mark.parametrize("length", [0, 4, 12, 15, 1001, 2**32 - 1])
def test_length_no_message_has_is_refused_at_once(length):
    with pytest.raises(Malformed):
        list(Frames(1000).feed(struct.pack("!I", length)))


def test_what_is_held_is_bounded():
    frames = Frames(1000)
    raw = event("kind", {"filler": "x" * 800})
    for byte in raw[:-1]:
        assert not list(frames.feed(bytes([byte])))
    assert len(frames._held) < 1000
    assert sys.getsizeof(frames._held) < 4000


def test_messages_before_a_damaged_one_are_read():
    read = Frames(1000).feed(event("kind", {}) + b"<html>")
    assert next(read).payload == b"{}"
    with pytest.raises(Malformed):
        next(read)


def test_every_flipped_bit_is_found():
    raw = event("kind", {"a": 1})
    for at in range(4, len(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= 0x10
        with pytest.raises(Malformed):
            feed([bytes(damaged)])


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05:kind",
        b"\x05:kind\x63",
        b"\x05:kind\x07\x00\x02\xff\xff",
        header(":twice", "a") * 2,
        b"\x05:kind\x07\x00",
    ],
    ids=["no type", "unknown type", "no text", "twice", "cut"],
)
def test_headers_that_are_none_are_refused(headers):
    with pytest.raises(Malformed):
        feed([seal_frame(headers, b"{}")])


def test_headers_longer_than_the_message_are_refused():
    whole = seal_frame(b"", b"{}")
    prelude = struct.pack("!II", len(whole), 500)
    with pytest.raises(Malformed):
        feed([prelude + struct.pack("!I", zlib.crc32(prelude)) + whole[12:]])


def test_without_the_decoder_nothing_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.eventstream", None)
    for needs in (load_decoder, lambda: Frames(1000)):
        with pytest.raises(ImportError):
            needs()


def test_decoder_that_is_there_is_loaded():
    load_decoder()
    assert "botocore.eventstream" in sys.modules


@pytest.mark.parametrize("at", [1, 8, 9, 20, -5, -1])
def test_message_that_is_damaged_is_refused_also_where_its_headers_are_known(at):
    """Headers seen before are not decoded again: the checksums are still held to."""
    good = event("kind", {"number": 1})
    damaged = bytearray(good)
    damaged[at] ^= 1
    frames = Frames(1000)
    assert len(list(frames.feed(good + good))) == 2
    with pytest.raises(Malformed):
        list(frames.feed(bytes(damaged) + good * 5))


def test_headers_that_are_remembered_are_few():
    frames = Frames(100_000)
    for number in range(100):
        list(frames.feed(event(f"kind-{number}", {})))
    assert len(frames._known) <= 16

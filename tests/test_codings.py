"""Bodies come out of their coding whole and in small pieces, and bombs do not go off."""

import gzip
import os
import sys
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codings import PIECE_BYTES, decoder
from proxy.errors import BadRequest, PayloadTooLarge, UnsupportedCoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODERS = {"gzip": gzip.compress, "zstd": zstd.compress}
CODINGS = pytest.mark.parametrize("coding", ENCODERS)
TEXT = b'{"model":"gpt-4o-mini","input":"' + b"text " * 40 + b'"}'


def decode(coding, *pieces, max_output=1 << 26, max_ratio=10_000):
    decoding = decoder(coding, max_output=max_output, max_ratio=max_ratio)
    out = [part for piece in pieces for part in decoding.feed(piece)]
    out.extend(decoding.close())
    assert all(0 < len(part) <= PIECE_BYTES for part in out)
    return b"".join(out)


def zstd_of_unknown_size(data):
    """Encode as a sender does that does not know the length beforehand."""
    encoder = zstd.ZstdCompressor()
    return encoder.compress(data, mode=encoder.FLUSH_BLOCK) + encoder.flush()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        (" GZip ", gzip.compress),
        ("zstd", zstd.compress),
        ("zstd", zstd_of_unknown_size),
        ("", bytes),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize(
    "data", [b"", TEXT, os.urandom(200_000), b" " * 300_000], ids=["empty", "text", "noise", "blanks"]
)
def test_decoder_restores_what_was_encoded(coding, encode, data):
    body = encode(data)
    assert decode(coding, body) == data
    assert decode(coding, *(body[at : at + 1000] for at in range(0, len(body), 1000))) == data


@CODINGS
def test_decoder_reads_the_same_at_every_split(coding):
    body = ENCODERS[coding](TEXT)
    assert decode(coding, *(body[at : at + 1] for at in range(len(body)))) == TEXT
    for at in range(len(body) + 1):
        assert decode(coding, body[:at], b"", body[at:]) == TEXT


@CODINGS
def test_decoder_yields_what_it_can_before_the_end(coding):
    encoder = zlib.compressobj(wbits=31) if coding == "gzip" else zstd.ZstdCompressor()
    flush = zlib.Z_SYNC_FLUSH if coding == "gzip" else zstd.ZstdCompressor.FLUSH_BLOCK
    decoding = decoder(coding, max_output=1000, max_ratio=10)
    assert b"".join(decoding.feed(encoder.compress(b"first") + encoder.flush(flush))) == b"first"


def test_decoder_keeps_nothing_back_when_a_piece_is_full():
    for size in range(PIECE_BYTES, PIECE_BYTES + 300):
        encoder = zlib.compressobj(wbits=31)
        # Without the flush's own bytes, the input is used up before the output has been fetched.
        start = (encoder.compress(bytes(size)) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-5]
        available = len(zlib.decompressobj(wbits=31).decompress(start))
        decoding = decoder("gzip", max_output=1 << 20, max_ratio=1)
        assert sum(len(piece) for piece in decoding.feed(start)) == available


@CODINGS
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_decoder_reads_several_members_as_one_body(coding, step):
    encode = ENCODERS[coding]
    body = encode(b"one, ") + encode(b"") + encode(b"two")
    assert decode(coding, *(body[at : at + step] for at in range(0, len(body), step))) == b"one, two"


def test_decoder_passes_over_zstd_skippable_frames():
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert decode("zstd", skippable + zstd.compress(b"one") + skippable) == b"one"


@CODINGS
def test_decoder_refuses_truncated_input_wherever_it_ends(coding):
    body = ENCODERS[coding](TEXT)
    for end in range(len(body)):
        with pytest.raises(BadRequest) as caught:
            decode(coding, body[:end])
        assert caught.value.code == "invalid_content_encoding"


@CODINGS
@pytest.mark.parametrize("garbage", [b"\x00", b"garbage!", TEXT])
def test_decoder_refuses_what_follows_the_last_member(coding, garbage):
    body = ENCODERS[coding](TEXT)
    for pieces in ([body + garbage], [body, garbage]):
        with pytest.raises(BadRequest) as caught:
            decode(coding, *pieces)
        assert caught.value.code == "invalid_content_encoding"


@CODINGS
def test_decoder_refuses_what_is_not_in_the_coding(coding):
    other = next(encode for name, encode in ENCODERS.items() if name != coding)
    for body in (TEXT, zlib.compress(TEXT), other(TEXT)):
        with pytest.raises(BadRequest, match=coding):
            decode(coding, body)


def test_decoder_refuses_a_gzip_body_whose_checksum_is_wrong():
    body = bytearray(gzip.compress(TEXT))
    body[-8] ^= 1
    with pytest.raises(BadRequest):
        decode("gzip", bytes(body))


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "compress", "gzip, gzip", "zstd,gzip", "gzip, identity", "gzip;q=1", "*"]
)
def test_decoder_refuses_codings_it_does_not_read(coding):
    with pytest.raises(UnsupportedCoding) as caught:
        decoder(coding, max_output=1, max_ratio=1)
    assert caught.value.status == 415


@CODINGS
@pytest.mark.parametrize(("max_output", "max_ratio"), [(16 << 20, 1_000_000), (1 << 40, 200)])
def test_decoder_defuses_ten_gigabytes_of_zeros_in_little_memory(coding, max_output, max_ratio):
    bomb = ENCODERS[coding](bytes(1 << 24)) * 640
    decoding = decoder(coding, max_output=max_output, max_ratio=max_ratio)
    seen = []
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            seen.extend(
                len(piece) for at in range(0, len(bomb), 65_536) for piece in decoding.feed(bomb[at : at + 65_536])
            )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 < sum(seen) <= min(max_output, max_ratio * len(bomb))
    assert peak < 1_000_000


@pytest.mark.parametrize("coding", ["", *ENCODERS])
def test_decoder_allows_the_size_and_no_more(coding):
    body = ENCODERS.get(coding, bytes)(TEXT)
    assert decode(coding, body, max_output=len(TEXT)) == TEXT
    with pytest.raises(PayloadTooLarge) as caught:
        decode(coding, body, max_output=len(TEXT) - 1)
    assert caught.value.status == 413


@CODINGS
def test_decoder_minds_the_ratio_from_a_mebibyte_on(coding):
    encode = ENCODERS[coding]
    assert len(decode(coding, encode(bytes(1 << 20)), max_ratio=2)) == 1 << 20
    with pytest.raises(PayloadTooLarge):
        decode(coding, encode(bytes((1 << 20) + 1)), max_ratio=2)
    noise = os.urandom(3 << 20)
    assert decode(coding, encode(noise), max_ratio=2) == noise


@CODINGS
def test_decoder_refuses_a_body_of_nothing_but_frames(coding):
    with pytest.raises(BadRequest, match="too many small frames"):
        decode(coding, ENCODERS[coding](b"") * 500)
    parts = os.urandom(500 * 256)
    body = b"".join(ENCODERS[coding](parts[at : at + 256]) for at in range(0, len(parts), 256))
    assert decode(coding, body) == parts


@pytest.mark.parametrize(("window_log", "reads"), [(23, True), (24, False)])
def test_decoder_holds_a_zstd_window_of_eight_mebibytes_and_no_more(window_log, reads):
    options = {zstd.CompressionParameter.window_log: window_log}
    encoder = zstd.ZstdCompressor(options=options)
    body = encoder.compress(TEXT, mode=encoder.FLUSH_BLOCK) + encoder.flush()
    if reads:
        assert decode("zstd", body) == TEXT
    else:
        with pytest.raises(BadRequest, match="too much memory"):
            decode("zstd", body)


PARTS = st.lists(st.binary(max_size=300) | st.integers(0, 300_000).map(bytes), min_size=1, max_size=4)


@settings(max_examples=100)
@given(st.sampled_from(sorted(ENCODERS)), PARTS, st.lists(st.integers(0, 100_000), max_size=5))
def test_decoder_restores_any_body_however_cut(coding, parts, places):
    body = b"".join(map(ENCODERS[coding], parts))
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert decode(coding, *pieces) == b"".join(parts)


@settings(max_examples=150)
@given(st.sampled_from(sorted(ENCODERS)), st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 255))
def test_decoder_reads_a_damaged_body_or_refuses_it(coding, data, at, byte):
    body = bytearray(ENCODERS[coding](data))
    body[at % len(body)] = byte
    try:
        decode(coding, bytes(body))
    except (BadRequest, PayloadTooLarge):
        return

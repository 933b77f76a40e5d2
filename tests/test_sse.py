import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.sse import KEEP_ALIVE, Framer, data_of, encode, lone_data, split
from tests.rig.client import comments, split_events

UNLIMITED = 1 << 30

TOKENS = [
    b"data: a",
    b"data:b",
    b"data",
    b"event: x",
    b": c",
    b"id: 1",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"\xc3\xa9",
]
streams = st.lists(st.sampled_from(TOKENS), max_size=24).map(b"".join)
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def cut(stream, lengths):
    """Cut a stream into pieces of these lengths, in turn and over again."""
    start, turn = 0, 0
    while start < len(stream):
        length = lengths[turn % len(lengths)]
        yield stream[start : start + length]
        start, turn = start + length, turn + 1


def lines_of(stream):
    """Split by the letter of the standard: CRLF, LF and CR each end a line."""
    return stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def between_events(stream):
    """Tell whether a reader of this much stands between two events: its last line was empty."""
    return not stream or lines_of(stream)[-2:] == [b"", b""]


@settings(max_examples=200)
@given(st.one_of(streams, st.binary(max_size=80)), sizes, st.sampled_from([0, 1, 5, 20, UNLIMITED]))
def test_framer_passes_every_byte_in_order(stream, lengths, limit):
    framer = Framer(limit)
    passed = b"".join(framer.feed(piece) for piece in cut(stream, lengths))
    assert passed + framer.close() == stream


@settings(max_examples=200)
@given(st.one_of(streams, st.binary(max_size=80)), sizes, st.sampled_from([0, 1, 5, 20, UNLIMITED]))
def test_framer_stands_between_events_unless_one_is_oversized(stream, lengths, limit):
    framer, passed = Framer(limit), b""
    for piece in cut(stream, lengths):
        passed += framer.feed(piece)
        assert between_events(passed) or not framer.aligned
        assert framer.aligned or limit < UNLIMITED


@settings(max_examples=200)
@given(streams, sizes)
def test_framer_holds_no_complete_event(stream, lengths):
    framer = Framer(UNLIMITED)
    for piece in cut(stream, lengths):
        framer.feed(piece)
    rest = framer.close()
    assert b"" not in lines_of(rest.removesuffix(b"\r"))[1:-1]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_framer_lets_each_event_go_with_its_last_byte(end):
    events = [b"event: x" + end + b"data: 1" + end + end, b": comment" + end + end, b"data: 2" + end + end]
    framer = Framer(UNLIMITED)
    for event in events:
        outputs = [framer.feed(event[at : at + 1]) for at in range(len(event))]
        assert outputs == [b""] * (len(event) - 1) + [event]


def test_framer_lets_an_event_go_when_the_line_ends_are_mixed():
    framer = Framer(UNLIMITED)
    assert framer.feed(b"data: 1\n\r") == b"", "the CR may be half of a CRLF"
    assert framer.feed(b"data: 2\r\n\r") == b"data: 1\n\r"
    assert framer.feed(b"data: 3\r\r\n") == b"data: 2\r\n\rdata: 3\r\r"
    assert framer.feed(b"data: 4\n\n") == b"\ndata: 4\n\n"


def test_framer_lets_an_oversized_event_through_and_finds_its_end():
    framer = Framer(10)
    assert framer.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert framer.aligned
    assert framer.feed(b"345678") == b"data: 2345678"
    assert (framer.aligned, framer.opened, framer.continued) == (False, 13, 0)
    assert framer.feed(b"9\n") == b"9\n"
    assert (framer.aligned, framer.opened, framer.continued) == (False, 0, 2)
    assert framer.feed(b"\ndata: 3\n\nda") == b"\ndata: 3\n\n"
    assert (framer.aligned, framer.opened, framer.continued) == (True, 0, 1)
    assert framer.close() == b"da"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_framer_forgets_an_oversized_event_with_the_one_behind_it(end):
    framer = Framer(8)
    framer.feed(b"data: 12345")
    framer.feed(b"678" + end)
    assert (framer.continued, framer.oversized) == (3 + len(end), False)
    assert framer.feed(b"data: x" + end) == b"data: x" + end
    assert (framer.continued, framer.opened) == (0, 0)


def test_framer_tells_two_oversized_events_of_one_piece_apart():
    framer = Framer(4)
    framer.feed(b"data: 1")
    assert framer.feed(b"\n\ndata: 2\n\ndata: 3") == b"\n\ndata: 2\n\ndata: 3"
    assert (framer.continued, framer.opened, framer.oversized) == (2, 7, True)


@settings(max_examples=200)
@given(streams, sizes, st.integers(0, 30))
def test_framer_accounts_for_the_bytes_of_oversized_events(stream, lengths, limit):
    framer, passed, large = Framer(limit), b"", False
    for piece in cut(stream, lengths):
        was, before = framer.oversized, len(passed)
        block = framer.feed(piece)
        passed += block
        if not was and not framer.oversized:
            assert (framer.continued, framer.opened) == (0, 0)
            continue
        large = True
        assert framer.continued <= len(block) - framer.opened
        assert was or framer.continued == 0
        assert between_events(passed[: before + framer.continued]) or framer.continued == len(block)
        assert between_events(passed[: len(passed) - framer.opened]) or framer.opened == 0
    assert large or between_events(passed)


@pytest.mark.timeout(20)
def test_framer_reads_an_event_in_small_pieces_without_reading_it_again_each_time():
    """Read again each time, terabytes would be looked at."""
    framer = Framer(UNLIMITED)
    piece = bytes(8)
    for _ in range(800_000):
        assert not framer.feed(piece)
    assert framer.feed(b"\n\n") == piece * 800_000 + b"\n\n"


@settings(max_examples=200)
@given(streams)
def test_split_and_data_agree_with_a_parser_by_the_standard(stream):
    complete = Framer(UNLIMITED).feed(stream)
    expected = [event.data.encode() for event in split_events(complete) if event.data]
    found = [data for event in split(complete) if (data := data_of(event))]
    assert found == expected
    assert b"".join(split(complete)) == complete


def test_split_gives_what_is_behind_the_last_event_too():
    assert list(split(b"data: 1\n\ndata: 2")) == [b"data: 1\n\n", b"data: 2"]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: 1\n\n", b"1"),
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"event: x\r\ndata: 1\r\ndata: 2\r\n\r\n", b"1\n2"),
        (b"data: 1\rdata\rdata: 3\r\r", b"1\n\n3"),
        (b": data: 1\n\n", b""),
        (b"event: ping\n\n", b""),
        (b"dataset: 1\n\n", b""),
        (b" data: 1\n\n", b""),
    ],
)
def test_data_of_an_event_is_its_data_lines(event, data):
    assert data_of(event) == data


@settings(max_examples=50)
@given(
    st.from_regex(re.compile(r"[a-z.]+"), fullmatch=True), st.text().filter(lambda text: not set("\r\n") & set(text))
)
def test_encode_writes_what_a_parser_reads_back(name, data):
    written = encode(name, data.encode())
    assert split_events(written) == [(name, data)]
    assert Framer(UNLIMITED).feed(written) == written


def test_keep_alive_is_a_comment_and_nothing_else():
    assert comments(KEEP_ALIVE) == [" keep-alive"]
    assert split_events(KEEP_ALIVE) == []
    assert between_events(KEEP_ALIVE)


@pytest.mark.parametrize(
    "block", [b'data: {"a":1}\n\n', b'event: content-delta\ndata: {"a":1}\n\n', b'data: {"a":1}\r\n\r\n']
)
def test_lone_data_is_read_off_an_event_of_one_line(block):
    assert lone_data(block) == b'{"a":1}'


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\n\n",
        b": comment\n\n",
        b"data\n\n",
        b"data:1\n\n",
        b"id: 1\ndata: 1\n\n",
        b"data: 1\nid: 1\n\n",
        b"data: 1\ndata: 2\n\n",
        b"data: 1\n\ndata: 2\n\n",
        b"data: 1\n\n\n",
        b"data: 1\n",
        b"data: 1\rdata: 2\n\n",
        b"event: a\rdata: 1\ndata: 2\n\n",
        b"data: 1\r\ndata: 2\r\n\r\n",
        b"data: 1\ndata: 2\r\n\r\n",
        b"data: 1\r\n\r\ndata: 2\r\n\r\n",
        b"event: a\r\ndata: 1\r\n\r\n",
        b"event: a\nevent: b\ndata: 1\n\n",
        b"event: a\n\n",
    ],
)
def test_lone_data_leaves_any_other_block_to_be_split(block):
    assert lone_data(block) == b""


@settings(max_examples=300)
@given(streams)
def test_lone_data_is_what_a_parser_by_the_standard_finds(stream):
    found = lone_data(stream)
    assert not found or [event.data.encode() for event in split_events(stream)] == [found]

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.responses import ENDS
from proxy.record import Record
from proxy.tap import RawTap, StreamTap
from proxy.usage import Usage
from tests.rig import wire
from tests.rig.replay import recordings

UNLIMITED = 1 << 30
USAGE = Usage(12, 4, 7, 2)


def start(limit=UNLIMITED):
    record = Record("req_1", 0.0)
    return StreamTap(record, limit=limit), record


def cut(stream, size):
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def run(pieces, limit=UNLIMITED):
    """Feed pieces as the relay does; return the tap, the record, what passed, and what carried the id."""
    tap, record = start(limit)
    blocks, carriers = [], []
    for time, piece in enumerate(pieces, 1):
        blocks.append(tap.feed(piece, float(time)))
        if tap.identified:
            carriers.append(blocks[-1])
            tap.identified = False
    blocks.append(tap.close())
    return tap, record, blocks, carriers


def frame(value, *, name=None, end=b"\n"):
    head = b"" if name is None else b"event: %b%b" % (name.encode(), end)
    return head + b"data: " + orjson.dumps(value) + end + end


def sort_keys(event):
    """Write an event as a server does that sorts its fields: the type comes last."""
    head, _, data = event.partition(b"data: ")
    return head + b"data: " + orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS) + b"\n\n"


# The response's id


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b": OPENROUTER PROCESSING\n\n",
        b'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n',
        b"event: ping\n\n",
        b'data: not json "response"\n\n',
        b'data: {"type":"x","response":null}\n\ndata: {"response":"text"}\n\ndata: {"response":{"id":7}}\n\n',
        b'data: {"response":{"id":""}}\n\ndata: ["response"]\n\n',
        b"\n\n\r\n\r\n",
    ],
)
def test_stream_tap_finds_the_id_whatever_comes_before_it(before):
    rid = wire.new_id()
    events = wire.stream_events(rid)
    for size in (1, 7, 1000, 100_000):
        _, record, blocks, carriers = run(cut(before + b"".join(events), size))
        assert record.response_id == rid
        assert [rid.encode() in block for block in carriers] == [True]
        assert rid.encode() not in b"".join(blocks).partition(carriers[0])[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event,
        lambda event: event.partition(b"\n")[2],
        lambda event: event.replace(b"\n", b"\r\n"),
        lambda event: event.replace(b"\n", b"\r"),
        lambda event: event.replace(b"data: ", b"data:"),
        lambda event: event.replace(b'":', b'" : '),
        lambda event: b"id: 1\n: note\n" + event,
        sort_keys,
    ],
    ids=["plain", "no event lines", "CRLF", "CR", "no space", "spaced JSON", "id and comment", "sorted keys"],
)
@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_stream_tap_reads_id_model_end_and_usage_in_every_framing(change, end):
    rid = wire.new_id()
    stream = b"".join(change(event) for event in wire.stream_events(rid, end=end))
    for size in (1, 11, 4096, 100_000):
        tap, record, blocks, carriers = run(cut(stream, size))
        assert b"".join(blocks) == stream
        assert (record.response_id, record.model, record.end, tap.finished) == (rid, wire.MODEL, end, True)
        assert record.usage == (None if end == "failed" else USAGE)
        assert record.error_type == ("server_error" if end == "failed" else "")
        assert len(carriers) == 1


def test_stream_tap_finds_the_id_in_a_stream_that_begins_in_the_middle():
    """A stream taken up by `starting_after` has no `response.created`."""
    rid = wire.new_id()
    events = wire.stream_events(rid)[4:]
    _, record, _, carriers = run(events)
    assert (record.response_id, carriers) == (rid, [events[-1]])


def test_stream_tap_identifies_the_response_again_where_the_last_event_has_another_id():
    first, last = wire.new_id(), wire.new_id()
    events = [*wire.stream_events(first)[:-1], wire.stream_events(last)[-1]]
    _, record, _, carriers = run(events)
    assert (record.response_id, carriers) == (last, [events[0], events[-1]])


def test_stream_tap_takes_the_model_the_request_named_for_the_better_one():
    tap, record = start()
    record.model = "gpt-4o"
    tap.feed(wire.stream_events(wire.new_id())[0], 1.0)
    assert record.model == "gpt-4o"


# The end


@pytest.mark.parametrize(
    ("event", "end", "error_type"),
    [
        ({"type": "response.completed", "response": {"id": "resp_1"}}, "completed", ""),
        ({"type": "response.cancelled", "response": {"id": "resp_1"}}, "cancelled", ""),
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit"}}}, "failed", "rate_limit"),
        ({"type": "response.failed", "response": {"error": None}}, "failed", "failed"),
        ({"type": "response.failed", "response": "gone"}, "failed", "failed"),
        ({"type": "error", "error": {"type": "quota", "code": "over"}}, "upstream_error", "over"),
        ({"type": "error", "error": {"type": "quota", "code": None}}, "upstream_error", "quota"),
        ({"type": "error", "code": "flat", "message": "m", "param": None}, "upstream_error", "flat"),
        ({"type": "error", "code": 429, "message": "m"}, "upstream_error", "429"),
        ({"type": "error"}, "upstream_error", "upstream_error"),
    ],
)
def test_stream_tap_names_the_end_and_the_error(event, end, error_type):
    tap, record, blocks, _ = run([frame(event)])
    assert (tap.finished, record.end, record.error_type) == (True, end, error_type)
    assert blocks[0] == frame(event)


ERROR = {"type": "error", "sequence_number": 5, "error": {"type": "quota", "code": "over", "message": "m"}}
FAILED = {"type": "response.failed", "response": {"id": "resp_1", "error": {"code": "insufficient_quota"}}}


@pytest.mark.parametrize("events", [[ERROR, FAILED], [FAILED, ERROR]])
def test_stream_tap_prefers_failed_to_the_error_event_beside_it(events):
    for pieces in ([frame(event) for event in events], [b"".join(map(frame, events))]):
        tap, record, _, _ = run(pieces)
        assert (tap.finished, record.end) == (True, "failed")


@pytest.mark.parametrize(
    "data",
    [
        rb'{"type":"response.output_text.delta","delta":"{\"type\":\"response.completed\"}"}',
        b'{"type":"response.output_item.done","item":{"type":"error","x":{"type":"response.completed"}}}',
        b'{"type":"response.completed.soon"}',
        b'{"kind":"response.completed"}',
        b'{"type":{"type":"error"}}',
        b'{"type":[{"type":"response.completed"}]}',
        b'[{"type":"response.completed"}]',
        b'"type":"response.completed"',
    ],
)
def test_stream_tap_takes_nothing_else_for_an_end(data):
    tap, record, blocks, _ = run([b"event: response.completed\ndata: " + data + b"\n\n", b"data: partial"])
    assert (tap.finished, record.end, record.usage) == (False, "", None)
    assert blocks[-1] == b""


def test_stream_tap_passes_done_without_its_empty_line_behind_the_end():
    events = wire.stream_events(wire.new_id())
    stream = b"".join(events) + b"data: [DONE]"
    _, record, blocks, _ = run(cut(stream, 50))
    assert b"".join(blocks) == stream
    assert record.end == "completed"


def test_stream_tap_passes_a_terminal_event_without_its_empty_line():
    events = wire.stream_events(wire.new_id())
    stream = b"".join(events).removesuffix(b"\n\n")
    tap, record, blocks, _ = run(cut(stream, 50))
    assert b"".join(blocks) == stream
    assert (tap.finished, record.end, record.usage) == (True, "completed", USAGE)


def test_stream_tap_identifies_a_response_whose_only_event_lacks_its_empty_line():
    rid = wire.new_id()
    tap, record = start()
    event = wire.stream_events(rid)[-1].removesuffix(b"\n\n")
    assert tap.feed(event, 1.0) == b""
    assert not tap.identified
    assert tap.close() == event
    assert (tap.identified, record.response_id) == (True, rid)


@pytest.mark.parametrize("kept", [1, 20, -3])
def test_stream_tap_keeps_a_partial_event_of_an_unfinished_stream(kept):
    events = wire.stream_events(wire.new_id())
    tap, _, blocks, _ = run([b"".join(events[:5]) + events[5][:kept]])
    assert b"".join(blocks) == b"".join(events[:5])
    assert not tap.finished


# Times


def test_stream_tap_times_the_first_output_and_counts_what_follows():
    tap, record = start()
    events = wire.stream_events(wire.new_id(), ["Hel", "lo"])
    for time, event in enumerate(events, 10):
        tap.feed(event[:-1], time - 0.5)
        tap.feed(event[-1:], float(time))
    deltas = [time for time, event in enumerate(events, 10) if b'.delta"' in event]
    assert (record.first_chunk, record.last_chunk, record.chunks) == (deltas[0], 9 + len(events), len(events) - 4)


def test_stream_tap_times_no_output_where_there_is_none():
    tap, record = start()
    text = {"instructions": 'say "response.output_text.delta"'}
    for event in wire.stream_events(wire.new_id(), [], **text):
        tap.feed(event, 5.0)
    assert (record.first_chunk, record.chunks) == (0.0, 0)


# Oversized events


@pytest.mark.parametrize("change", [lambda event: event, sort_keys], ids=["plain", "sorted keys"])
@pytest.mark.parametrize("limit", [0, 64, 1024])
@pytest.mark.parametrize("size", [1, 100, 5000])
def test_stream_tap_reads_events_over_its_limit(change, limit, size):
    """Whatever the limit, id, end, usage and error are read; the id waits for its binding where it can."""
    rid = wire.new_id()
    for end in ("completed", "failed"):
        long = {"instructions": "x" * 3000, "metadata": {"usage": "none", "type": "error"}}
        events = [change(event) for event in wire.stream_events(rid, end=end, **long)]
        tap, record, blocks, carriers = run(cut(b"".join(events), size), limit)
        assert b"".join(blocks) == b"".join(events)
        assert (record.response_id, len(carriers)) == (rid, 1)
        assert (record.end, tap.finished, tap.aligned) == (end, True, True)
        assert record.usage == (None if end == "failed" else USAGE)
        assert record.error_type == ("server_error" if end == "failed" else "")


def test_stream_tap_holds_back_the_id_of_an_opening_event_over_its_limit():
    rid = wire.new_id()
    opening = wire.stream_events(rid, instructions="x" * 9000)[0]
    tap, record = start(1024)
    assert tap.feed(opening[:900], 1.0) == b""
    assert tap.feed(opening[900:2000], 2.0) == opening[:2000]
    assert (tap.identified, record.response_id) == (True, rid)
    tap.identified = False
    tap.feed(opening[2000:], 3.0)
    assert not tap.identified


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_item.done", "item": {"type": "response.completed", "response": {"id": "no"}}},
        {"type": "response.mcp_call.completed", "response": {"id": "no", "usage": {"input_tokens": 1}}},
        {"type": ["response.completed"], "response": {"id": "no"}},
        {"type": "response.completed", "response": {"id": 7}, "id": "no"},
    ],
)
def test_stream_tap_takes_no_id_from_other_events_over_its_limit(event):
    _, record, _, carriers = run(cut(frame({**event, "padding": "x" * 3000}), 500), 1024)
    assert (record.response_id, record.usage, carriers) == ("", None, [])


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"response.completed","response":{"id":"resp_1"' + b" " * 3000 + b"\n\n",
        b'data: {"type":"response.created","response":{"id":"a","id":"b","x":"' + b"y" * 3000 + b'"}}\n\n',
        b'data: {"type":"response.created"\ndata: ,"response":{"x":"' + b"y" * 3000 + b'"}}\n\n',
        b": " + b"c" * 9000 + b"\n\n",
        b"data: \xff\xfe" + b"c" * 9000 + b"\n\n",
    ],
    ids=["cut short", "id twice", "data in two lines", "comment", "no text"],
)
def test_stream_tap_passes_an_event_over_its_limit_that_it_cannot_read(event):
    events = wire.stream_events(wire.new_id())
    for size in (1, 800, 20_000):
        _, record, blocks, _ = run(cut(event + b"".join(events), size), 1024)
        assert b"".join(blocks) == event + b"".join(events)
        assert record.end == "completed"


def test_stream_tap_gives_up_nothing_when_an_event_over_its_limit_is_cut_in_the_middle():
    """The half of a terminal event is no end: the client must be told."""
    events = wire.stream_events(wire.new_id(), "x" * 4000)
    stream = b"".join(events)
    tap, record, blocks, _ = run(cut(stream[:-10], 500), 1024)
    assert b"".join(blocks) == stream[:-10]
    assert (tap.finished, tap.aligned, record.end) == (False, False, "")


# Everything at once


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    st.sampled_from([100, 1024, UNLIMITED]),
    st.sampled_from(["completed", "incomplete", "failed"]),
    st.integers(0, 6000),
)
def test_stream_tap_reads_the_same_however_a_stream_is_cut(lengths, limit, end, padding):
    events = wire.stream_events("resp_1", ["a" * padding, "b"], end=end, instructions="c" * padding)
    stream = b"".join(events)
    pieces, at = [], 0
    for length in itertools.cycle(lengths):
        pieces.append(stream[at : at + length])
        at += length
        if at >= len(stream):
            break
    tap, record, blocks, carriers = run(pieces, limit)
    assert b"".join(blocks) == stream
    assert (record.response_id, record.end, len(carriers), tap.finished) == ("resp_1", end, 1, True)
    assert record.usage == (None if end == "failed" else USAGE)


STREAMS = [recording for recording in recordings() if recording.api.startswith("responses") and recording.streamed]


@pytest.mark.skipif(not STREAMS, reason="recorded traffic is not here")
def test_stream_tap_reads_every_recorded_stream():
    for recording in STREAMS:
        events = list(_parse(recording.body))
        ids = [event["response"]["id"] for event in events if isinstance(event.get("response"), dict)]
        ends = {ENDS[event["type"]] for event in events if event.get("type") in ENDS}
        for size in (7, 1400):
            tap, record, blocks, carriers = run(cut(recording.body, size))
            assert tap.finished is bool(ends), recording.id
            assert b"".join(blocks) == recording.body or not ends, recording.id
            assert record.response_id == (ids[-1] if ids else ""), recording.id
            assert len(carriers) == len(set(ids)), recording.id
            assert record.end in ends | {""}, recording.id


def _parse(body):
    """Parse the data of each event, without the code under test."""
    for line in body.decode().splitlines():
        if line.startswith("data:") and "[DONE]" not in line and line[5:].strip():
            yield orjson.loads(line[5:])


def test_raw_tap_passes_everything_and_knows_nothing():
    tap = RawTap()
    assert [tap.feed(piece, 0.0) for piece in (b"", b"{", b"\n\n")] == [b"", b"{", b"\n\n"]
    assert (tap.close(), tap.broken("code", "message")) == (b"", None)
    assert (tap.identified, tap.finished, tap.aligned) == (False, False, False)

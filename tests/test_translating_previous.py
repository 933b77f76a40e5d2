"""A stream that continues a response its provider knows nothing of tells which one."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.responses import LIFECYCLE
from proxy.record import Record
from proxy.translating import KeepingTap
from tests.rig import wire
from tests.rig.client import split_events

PIECES = wire.stream_events("resp_2", ["one ", "two"])


def keeping(previous="resp_1", limit=1 << 20):
    """Return a tap, and what it logs."""
    logged = []
    return KeepingTap(Record("gw_1", 0.0), limit=limit, log=logged.append, previous=previous), logged


def told(stream):
    """Return what each event with a response says of the one before it."""
    events = [event.json() for event in split_events(stream)]
    return [event["response"]["previous_response_id"] for event in events if event["type"] in LIFECYCLE]


@given(st.lists(st.integers(1, 900), max_size=20), st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=40)
def test_cuts_change_nothing_of_what_is_told(cuts, end):
    body = b"".join(PIECES).replace(b"\n", end)
    tap, logged = keeping()
    passed, at = [], 0
    for size in cuts:
        passed.append(tap.feed(body[at : at + size], 1.0))
        at += size
    passed += [tap.feed(body[at:], 1.0), tap.close()]
    assert b"".join(passed) == b"".join(logged)
    assert told(b"".join(passed).replace(b"\r\n", b"\n")) == ["resp_1"] * 3
    assert (tap.finished, tap.response["previous_response_id"]) == (True, "resp_1")


def test_stream_that_continues_nothing_stays_as_it_is():
    tap, _ = keeping(previous=None)
    assert b"".join(tap.feed(event, 1.0) for event in PIECES) == b"".join(PIECES)
    assert tap.response["previous_response_id"] is None


def test_event_too_long_to_be_held_stays_as_it_is():
    tap, _ = keeping(limit=100)
    assert b"".join(tap.feed(bytes([byte]), 1.0) for byte in b"".join(PIECES)) == b"".join(PIECES)


@pytest.mark.parametrize("events", [1, 4])
def test_failure_of_a_stream_that_broke_tells_it_too(events):
    tap, _ = keeping()
    begun = b"".join(tap.feed(event, 1.0) for event in PIECES[:events])
    failed = tap.broken("server_error", "It broke.")
    assert set(told(begun + failed)) == {"resp_1"}
    assert orjson.loads(failed.partition(b"data: ")[2])["type"] == "response.failed"


def test_stream_that_broke_before_it_began_has_nothing_to_tell():
    tap, _ = keeping()
    assert b'"type":"error"' in tap.broken("server_error", "It broke.")

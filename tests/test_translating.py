import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.chat_completions.stream import ChatTranslator
from proxy.record import Record
from proxy.translating import KeepingTap, TranslatingTap, note_end
from tests.dialects.oracle import context_of, read_events
from tests.rig import chat, wire


def translating(log=None):
    """Return a translating tap of chat completions, its record, and what it logs."""
    record, logged = Record("gw_1", 0.0), []
    return TranslatingTap(ChatTranslator(context_of()), record, (log or logged).append), record, log or logged


def test_tap_asks_to_be_waited_for_at_the_first_events_and_at_the_last():
    tap, record, _ = translating()
    asked = []
    for event in chat.stream():
        tap.identified = False
        tap.feed(event, 1.0)
        asked.append(tap.identified)
    assert asked == [True, *[False] * (len(asked) - 2), True]
    assert tap.finished
    assert (record.end, record.usage.output) == ("completed", 7)
    assert orjson.loads(tap.response)["status"] == "completed"
    assert not tap.abandoned


def test_everything_that_goes_on_is_logged():
    tap, _, logged = translating()
    passed = [tap.feed(event, 1.0) for event in chat.stream()]
    passed.append(tap.close())
    assert b"".join(logged) == b"".join(passed)
    read_events(b"".join(passed))


def test_first_and_last_delta_are_timed_and_chunks_counted():
    tap, record, _ = translating()
    for at, event in enumerate(chat.stream(("a", "b", "c")), 1):
        tap.feed(event, float(at))
    assert record.first_chunk == 2.0
    assert record.last_chunk >= 4.0
    assert record.chunks >= 3


def test_failure_of_the_providers_own_leaves_the_rest_of_the_body_alone():
    tap, record, _ = translating()
    tap.feed(chat.stream()[0], 1.0)
    tap.feed(b'data: {"error":{"message":"Overloaded.","code":"busy"}}\n\n', 1.0)
    assert (tap.abandoned, record.end, record.error_type) == (True, "failed", "busy")


def test_body_without_an_end_is_a_cut_one():
    tap, record, _ = translating()
    tap.feed(chat.stream()[0], 1.0)
    assert b"response.failed" in tap.close()
    assert record.end == "upstream_cut"


def test_broken_stream_ends_in_an_event_that_is_kept():
    tap, _, logged = translating()
    opened = tap.feed(chat.stream()[0], 1.0)
    tap.identified = False
    ended = tap.broken("server_error", "It broke.")
    events = read_events(opened + ended)
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "It broke."}
    assert (tap.identified, b"".join(logged)) == (True, opened + ended)


@given(st.lists(st.integers(1, 60), max_size=40))
@settings(max_examples=30)
def test_cuts_change_nothing_of_what_is_kept(cuts):
    body = b"".join(wire.stream_events("resp_1", ["one ", "two"]))
    logged = []
    tap = KeepingTap(Record("gw_1", 0.0), limit=1 << 20, log=logged.append)
    passed, at = [], 0
    for size in cuts:
        passed.append(tap.feed(body[at : at + size], 1.0))
        at += size
    passed += [tap.feed(body[at:], 1.0), tap.close()]
    assert b"".join(logged) == b"".join(passed) == body
    assert tap.finished
    assert tap.response["id"] == "resp_1"


def test_keeping_tap_asks_to_be_waited_for_once_more_at_the_end():
    tap = KeepingTap(Record("gw_1", 0.0), limit=1 << 20, log=lambda _frames: None)
    asked = []
    for event in wire.stream_events("resp_1"):
        tap.feed(event, 1.0)
        asked.append(tap.identified)
        tap.identified = False
    assert (asked[0], asked[-1], any(asked[1:-1])) == (True, True, False)


@pytest.mark.parametrize(("status", "error"), [("incomplete", None), ("failed", {"code": "oops"})])
def test_end_is_put_down_as_the_response_has_it(status, error):
    record = Record("gw_1", 0.0)
    assert note_end(record, {"status": status, "error": error}) == status
    assert (record.end, record.error_type) == (status, error["code"] if error else "")

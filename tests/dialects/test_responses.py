import orjson
import pytest
from openai.types.responses import ResponseErrorEvent, ResponseFailedEvent

from proxy.dialects.responses import (
    ENDS,
    LIFECYCLE,
    MAX_KEPT,
    keep_opened,
    render_error,
    render_failed,
    tell_previous,
    tell_previous_in,
)
from proxy.record import ENDS as KNOWN_ENDS
from tests.rig import wire
from tests.rig.client import split_events


def read(event):
    """Parse the one event, which has to carry its name."""
    (only,) = split_events(event)
    assert only.name == only.json()["type"]
    return only.json()


def test_ends_are_those_a_record_knows():
    assert set(ENDS.values()) <= set(KNOWN_ENDS)


def test_lifecycle_is_every_event_that_carries_the_response():
    assert {f"response.{name}" for name in ("created", "queued", "in_progress")} | {*ENDS} - {"error"} == LIFECYCLE


def test_failure_is_the_response_as_it_was_opened():
    response = wire.response_object("resp_1", status="in_progress", output=[], usage=None, metadata={"a": "b"})
    event = read(render_failed(keep_opened(response), 7, "server_error", 'It "broke".'))
    error = {"code": "server_error", "message": 'It "broke".'}
    failed = {**response, "status": "failed", "error": error}
    assert event == {"type": "response.failed", "sequence_number": 7, "response": failed}
    assert {"status", "error"}.isdisjoint(orjson.loads(keep_opened(response))), "no member is there twice"
    ResponseFailedEvent.model_validate(event)


def test_failure_has_no_output():
    """Output arrived, if any did, by events of its own; the response was opened without."""
    event = read(render_failed(keep_opened(wire.response_object("resp_1", "Hello")), 0, "c", "m"))
    assert event["response"]["output"] == []


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"instructions": "x" * 9000},
        {"tools": [{"type": "function", "name": f"f{number}"} for number in range(900)]},
        {f"member_{number}": "v" * 500 for number in range(100)},
        {"output": ["x" * 90_000], "error": {"x": "y" * 90_000}, "status": "x" * 90_000},
        {"x": orjson.loads(b"[" * 600 + b"]" * 600)},
        {"id": "r" * 2000, "instructions": "x" * 9000},
        {"id": "r" * 40_000, "instructions": "x" * 9000},
    ],
)
def test_response_kept_is_bounded_and_enough_for_a_failure(members):
    response = {"id": "resp_1", **members}
    kept = keep_opened(response)
    assert len(kept) <= MAX_KEPT + len(response["id"])
    event = read(render_failed(kept, 1, "server_error", "m"))
    assert (event["response"]["id"], event["response"]["status"]) == (response["id"], "failed")
    ResponseFailedEvent.model_validate(event)


def test_small_members_of_a_large_response_are_kept():
    response = wire.response_object("resp_1", instructions="x" * 9000, temperature=0.5)
    kept = orjson.loads(keep_opened(response))
    assert (kept["instructions"], kept["temperature"], kept["model"]) == (None, 0.5, wire.MODEL)


def test_error_event_is_the_nested_one_every_client_raises_for():
    event = read(render_error(3, "server_error", "m"))
    detail = {"type": "server_error", "code": "server_error", "message": "m", "param": None}
    assert event == {"type": "error", "sequence_number": 3, "error": detail}
    ResponseErrorEvent.model_validate({**event, **event["error"], "type": "error"})


def test_response_tells_the_one_it_continues():
    response = wire.response_object("resp_2")
    told = {**response, "previous_response_id": "resp_1"}
    assert orjson.loads(tell_previous(orjson.dumps(response), "resp_1")) == told
    assert list(orjson.loads(tell_previous(orjson.dumps(response), "resp_1"))) == list(response)
    for event in wire.stream_events("resp_2"):
        (before,), (after,) = split_events(event), split_events(tell_previous_in(event, "resp_1"))
        if before.name in LIFECYCLE:
            response = {**before.json()["response"], "previous_response_id": "resp_1"}
            assert (after.name, after.json()) == (before.name, {**before.json(), "response": response})
        else:
            assert after == before


DEEP = b'{"object":"response","type":"response.created","response":{"tools":' + b"[" * 300 + b"]" * 300 + b"}}"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"nonsense", b'{"object":"response.input_tokens"}', b'{"object":["response"]}', DEEP],
)
def test_what_is_no_response_stays_as_it_is(body):
    assert tell_previous(body, "resp_1") == body


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b'{"type":["response.created"],"response":{}}',
        b'{"type":"response.created","response":[]}',
        b'{"type":"response.output_text.delta","delta":"\\"response\\"","response":{}}',
        DEEP,
    ],
)
def test_event_without_a_response_stays_as_it_is(data):
    for event in (b"data: %b\n\n" % data, b"event: x\r\ndata:%b\r\n\r\n" % data, b": %b\n\n" % data):
        assert tell_previous_in(event, "resp_1") == event

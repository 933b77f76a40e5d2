"""How a stream ends that its provider left: by an event every client understands, or not at all."""

import orjson
import pytest
from openai import APIError, AsyncOpenAI
from openai.types.responses import ResponseFailedEvent

from proxy.record import Record
from proxy.tap import StreamTap
from tests.rig import scripts, wire
from tests.rig.client import split_events

UNLIMITED = 1 << 30
MESSAGE = "The provider's connection broke before the response was complete."


def leave(pieces, limit=UNLIMITED):
    """Feed pieces and let the provider go; return what the client has then."""
    tap = StreamTap(Record("req_1", 0.0), limit=limit)
    passed = b"".join(tap.feed(piece, 1.0) for piece in pieces)
    assert tap.close() == b""
    last = tap.broken("server_error", MESSAGE)
    return passed, last


def data_of(event):
    """Parse the one event, which has to carry its name."""
    (only,) = split_events(event)
    assert only.name == only.json()["type"]
    return only.json()


@pytest.mark.parametrize(
    "partial", [b"", b"event: response.output_text.del", b'event: x\ndata: {"delta":"\\', b": c\n"]
)
def test_broken_stream_ends_with_response_failed_wherever_it_broke(partial):
    rid = wire.new_id()
    events = wire.stream_events(rid, ["Hel", "lo"], end="incomplete", metadata={"a": "b"}, instructions="Be brief.")
    opened = orjson.loads(events[0].partition(b"data: ")[2])["response"]
    for count in range(1, len(events)):
        passed, last = leave([*events[:count], partial])
        assert passed == b"".join(events[:count])
        error = {"code": "server_error", "message": MESSAGE}
        expected = {**opened, "status": "failed", "error": error, "output": []}
        assert data_of(last) == {"type": "response.failed", "sequence_number": count, "response": expected}


def test_broken_stream_of_any_cut_goes_on_with_the_next_sequence_number():
    events = wire.stream_events(wire.new_id(), "x" * 5000)
    stream = b"".join(events)
    for size in (1, 100, 2000, 6000):
        for limit in (600, 1024, UNLIMITED):
            for end in range(len(events[0]), len(stream), 1777):
                piece = stream[:end]
                passed, last = leave([piece[at : at + size] for at in range(0, end, size)], limit)
                numbers = [event.json()["sequence_number"] for event in split_events(passed)]
                if last is None:
                    assert not passed.endswith(b"\n\n"), "only inside an event over the limit no event can be placed"
                else:
                    assert data_of(last)["sequence_number"] == numbers[-1] + 1


def test_broken_stream_goes_on_after_a_large_block_and_after_a_large_event():
    """The number is kept also of what is too large to be kept."""
    opening, *_, output, _ = wire.stream_events(wire.new_id(), "x" * 5000)
    unnumbered = b'data: {"type":"response.custom","padding":"%b"}\n\n' % (b"x" * 3000)
    for limit in (1024, UNLIMITED):
        for after in ([], [unnumbered], [b": comment\n\n"]):
            _, last = leave([opening, output, *after], limit)
            assert data_of(last)["sequence_number"] == 8


def test_broken_stream_goes_on_after_an_event_just_over_the_limit():
    opening = wire.stream_events(wire.new_id())[0]
    delta = wire.event("response.output_text.delta", 1, delta="x" * 1200)
    for size in (1, 500, 2000):
        pieces = [(opening + delta)[at : at + size] for at in range(0, len(opening + delta), size)]
        assert data_of(leave(pieces, limit=1024)[1])["sequence_number"] == 2


def test_broken_stream_goes_on_after_what_has_no_number():
    opening = wire.stream_events(wire.new_id())[0]
    assert len(opening) < 2000, "small enough to be kept as it is"
    for after in (b": OPENROUTER PROCESSING\n\n", b'data: {"type":"response.custom"}\n\n', b"\n\n"):
        assert data_of(leave([opening, after])[1])["sequence_number"] == 1


def test_broken_stream_takes_no_number_from_a_text():
    opening = wire.stream_events(wire.new_id())[0]
    text = wire.event("response.output_text.delta", 1, delta='{"sequence_number":77}')
    endless = b'data: {"type":"x","sequence_number":%b}\n\n' % (b"9" * 5000)
    for pieces in ([opening, text], [opening, text, endless]):
        assert data_of(leave(pieces)[1])["sequence_number"] == 2


def test_broken_stream_counts_from_nothing_where_the_provider_does_not():
    opening = wire.stream_events(wire.new_id())[0].replace(b'"sequence_number":0', b'"x":0')
    assert data_of(leave([opening])[1])["sequence_number"] == 0


@pytest.mark.parametrize("before", [b"", b": comment\n\n", b'event: x\ndata: {"type":"x","sequence_number":4}\n\n'])
def test_broken_stream_ends_with_an_error_event_before_any_response(before):
    passed, last = leave([before, b"event: response.cre"])
    assert passed == before
    detail = {"type": "server_error", "code": "server_error", "message": MESSAGE, "param": None}
    assert data_of(last) == {"type": "error", "sequence_number": 5 if b"4" in before else 0, "error": detail}


def test_broken_stream_has_no_event_inside_an_oversized_one():
    events = wire.stream_events(wire.new_id(), instructions="x" * 2000)
    passed, last = leave([events[0], events[1][:1500]], limit=1024)
    assert passed == events[0] + events[1][:1500]
    assert last is None


# A response too large to be kept as it was opened


LARGE = {
    "instructions": "x" * 20_000,
    "tools": [{"type": "function", "name": f"f{number}", "parameters": {}} for number in range(900)],
    "x_vendor": "z" * 9000,
}


@pytest.mark.parametrize("limit", [1024, UNLIMITED])
def test_broken_stream_leaves_out_what_was_too_large_to_keep(limit):
    rid = wire.new_id()
    opening = wire.stream_events(rid, **LARGE)[0]
    response = data_of(leave([opening], limit)[1])["response"]
    assert (response["id"], response["model"], response["status"]) == (rid, wire.MODEL, "failed")
    assert response["created_at"] == wire.response_object(rid)["created_at"]
    assert (response["instructions"], response["tools"]) == (None, [])
    assert "x_vendor" not in response
    ResponseFailedEvent.model_validate(data_of(leave([opening], limit)[1]))


@pytest.mark.parametrize(
    "extra",
    [
        b'"x":' + b"[" * 600 + b"]" * 600,
        b'"tools":[{"x":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]",
        b",".join(b'"member_%d":"%b"' % (number, b"v" * 500) for number in range(100)),
        b'"status":{"x":"' + b"v" * 9000 + b'"}',
    ],
    ids=["deep", "deep tool", "many members", "large status"],
)
def test_broken_stream_keeps_the_id_whatever_the_response_holds(extra):
    opening = b'data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1",%b}}\n\n' % extra
    _, last = leave([opening])
    assert len(last) < 40_000
    event = data_of(last)
    assert (event["response"]["id"], event["response"]["status"]) == ("resp_1", "failed")
    ResponseFailedEvent.model_validate(event)


def test_broken_stream_completes_what_a_terse_provider_opened():
    _, last = leave([b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'])
    ResponseFailedEvent.model_validate(data_of(last))


# The official client reads it


@pytest.fixture
async def client(upstream):
    async with AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("count", [1, 4, 6, 8])
async def test_broken_stream_passes_the_official_client_as_far_as_a_failure_can(upstream, client, count):
    """The typed helper is a strict state machine; it must find nothing to object to but the missing end."""
    rid = wire.new_id()
    passed, last = leave(wire.stream_events(rid, ["Hel", "lo"])[:count])
    upstream.on("POST", "/v1/responses", scripts.sse_answer([passed, last]))
    async with client.responses.stream(model="m", input="x") as stream:
        events = [event async for event in stream]
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(count + 1))
    assert events[-1].type == "response.failed"
    assert (events[-1].response.id, events[-1].response.status) == (rid, "failed")
    assert (events[-1].response.error.code, events[-1].response.error.message) == ("server_error", MESSAGE)


async def test_broken_stream_raises_in_the_official_client_before_any_response(upstream, client):
    _, last = leave([b": comment\n\n"])
    upstream.on("POST", "/v1/responses", scripts.sse_answer([last]))
    with pytest.raises(APIError, match="connection broke"):
        _ = [event async for event in await client.responses.create(model="m", input="x", stream=True)]

import orjson
import pytest

from proxy.dialects.base import Failure
from proxy.dialects.events import EventWriter, OutputTooLong, TokenCounts
from proxy.dialects.output import Call, Message
from tests.dialects.oracle import RESPONSE_ID, context_of, read_events

COUNTS = TokenCounts(9, 4, 2, 7, 3, 16)


def opened(**options):
    writer = EventWriter(context_of(**options))
    writer.open()
    return writer


@pytest.mark.parametrize(
    ("reason", "status"), [(None, "completed"), ("max_output_tokens", "incomplete"), ("content_filter", "incomplete")]
)
def test_response_ends_once_with_all_it_has(reason, status):
    writer = opened()
    Message(writer).add_text("Hi")
    writer.report(model="large-1")
    writer.finish(reason, COUNTS)
    events = read_events(writer.take())
    response = events[-1]["response"]
    assert (response["status"], response["model"], response["id"]) == (status, "large-1", RESPONSE_ID)
    assert response["incomplete_details"] == (reason and {"reason": reason})
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 2}
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert response["output"][0]["status"] == status
    assert response == orjson.loads(writer.response)
    assert writer.take() == b""


def test_only_the_last_item_is_incomplete():
    writer = opened()
    Message(writer).add_text("Hi")
    Call(writer, None, "f", "c").add('{"a"')
    writer.finish("max_output_tokens", None)
    assert [item["status"] for item in read_events(writer.take())[-1]["response"]["output"]] == [
        "completed",
        "incomplete",
    ]


def test_failure_tells_what_there_was_and_completes_none_of_it():
    writer = opened()
    message = Message(writer)
    message.add_text("Hel")
    writer.fail(Failure(500, "server_error", "overloaded", "Busy.", None), COUNTS, announce=True)
    events = read_events(writer.take())
    assert [event["type"] for event in events[-3:]] == ["response.output_text.delta", "error", "response.failed"]
    response = events[-1]["response"]
    assert response["error"] == {"code": "overloaded", "message": "Busy."}
    assert (response["output"][0]["status"], response["usage"]["total_tokens"]) == ("incomplete", 16)
    assert response["completed_at"] is None


def test_item_ids_are_the_same_in_every_translation():
    ids = []
    for _ in range(2):
        writer = opened()
        ids.append((Message(writer).id, Call(writer, None, "f", "").call_id))
    assert ids[0] == ids[1]
    assert ids[0][0] == "msg_" + RESPONSE_ID.removeprefix("resp_") + "00"


def test_call_ids_of_one_response_differ():
    writer = opened()
    ids = [Call(writer, None, "f", given).call_id for given in ("x", "x", "", "y")]
    assert len(set(ids)) == 4
    assert (ids[0], ids[3]) == ("x", "y")


def test_what_is_kept_is_bounded():
    writer = opened(limit=1000)
    message = Message(writer)
    message.add_text("x" * 700)
    with pytest.raises(OutputTooLong):
        message.add_text("x" * 100)
    writer.fail(Failure(502, "upstream_error", "response_too_large", "m"), announce=False)
    assert read_events(writer.take())[-1]["type"] == "response.failed"


def test_items_count_against_the_bound():
    writer = opened(limit=1000)
    for at in range(3):
        Call(writer, None, "f", str(at))
    with pytest.raises(OutputTooLong):
        Call(writer, None, "f", "3")

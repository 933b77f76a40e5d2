import dataclasses

import pytest

from proxy.dialects.events import EventWriter
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.tools import read_tools
from tests.dialects.oracle import context_of, read_events

TEXTS = ["", "plain", 'quote " and \\', "percent %d %b %%", "ünïcode \u2028 🙂", "line\nend"]


def written(make):
    """Return the events of a stream whose output `make` writes."""
    writer = EventWriter(context_of())
    writer.open()
    make(writer)
    writer.finish(None, None)
    return read_events(writer.take())


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_arrives_as_it_is(text):
    def make(writer):
        message = Message(writer)
        message.add_text(text)
        message.add_text(text)
        message.add_refusal(text)

    (message,) = written(make)[-1]["response"]["output"]
    assert [part.get("text", part.get("refusal")) for part in message["content"]] == [text * 2, text]


def test_text_of_a_message_is_what_an_annotation_is_placed_in():
    writer = EventWriter(context_of())
    writer.open()
    message = Message(writer)
    assert message.text == ""
    message.add_text("Hel")
    message.add_text("lo")
    assert message.text == "Hello"
    message.add_refusal("No.")
    assert message.text == ""


def test_any_response_id_makes_ids_of_items():
    writer = EventWriter(dataclasses.replace(context_of(), response_id="resp_100%d"))
    writer.open()
    Message(writer).add_text("x")
    writer.finish(None, None)
    assert read_events(writer.take())[-1]["response"]["output"][0]["id"] == "msg_100%d00"


def test_id_of_a_call_can_be_known_before_it():
    ids = []

    def make(writer):
        ids.append(writer.call_id(""))
        Reasoning(writer)
        Call(writer, None, "f", ids[0], taken=True)

    assert written(make)[-1]["response"]["output"][1]["call_id"] == ids[0]


def test_reasoning_has_summaries_and_text_of_their_own_count():
    def make(writer):
        reasoning = Reasoning(writer)
        reasoning.add_summary("One")
        reasoning.end_part()
        reasoning.add_summary("Two")
        reasoning.add_text("Raw")
        reasoning.encrypted_content = "sealed"

    events = written(make)
    (item,) = events[-1]["response"]["output"]
    assert [part["text"] for part in item["summary"]] == ["One", "Two"]
    assert item["content"] == [{"type": "reasoning_text", "text": "Raw"}]
    assert item["encrypted_content"] == "sealed"
    added = [event.get("summary_index", event.get("content_index")) for event in events if "added" in event["type"]]
    assert added == [None, 0, 1, 0]
    assert [event["item"]["encrypted_content"] for event in events if "item" in event] == [None, "sealed"]


def test_message_without_content_is_empty():
    assert written(Message)[-1]["response"]["output"][0]["content"] == []


def test_annotation_belongs_to_the_text():
    annotation = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}

    def make(writer):
        message = Message(writer)
        message.add_text("x")
        message.annotate(annotation)
        message.annotate(annotation)

    events = written(make)
    added = [event["annotation_index"] for event in events if event["type"].endswith("annotation.added")]
    assert added == [0, 1]
    assert events[-1]["response"]["output"][0]["content"][0]["annotations"] == [annotation] * 2


def test_call_tells_its_name_with_its_arguments():
    def make(writer):
        call = Call(writer, None, "f", "c")
        call.add('{"a":')
        call.add("1}")

    events = written(make)
    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert (done["name"], done["arguments"]) == ("f", '{"a":1}')
    assert events[-1]["response"]["output"][0]["call_id"] == "c"


@pytest.mark.parametrize(
    ("arguments", "told"), [('{"input":"a\\nb"}', "a\nb"), ('{"input":3}', '{"input":3}'), ("{", "{")]
)
def test_custom_call_tells_its_input(arguments, told):
    (tool,) = read_tools([("tools[0]", {"type": "custom", "name": "exec"})], None).functions

    def make(writer):
        call = Call(writer, tool, "exec", "c")
        for piece in arguments:
            call.add(piece)

    events = written(make)
    assert events[-1]["response"]["output"][0]["input"] == told
    deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
    assert deltas == [told]


def test_item_is_closed_once():
    def make(writer):
        message = Message(writer)
        message.close()
        message.close()

    assert sum(event["type"] == "response.output_item.done" for event in written(make)) == 1


@pytest.mark.parametrize(("arguments", "told"), [('{"query":"a"}', {"query": "a"}), ("", {}), ("[1]", {}), ("{", {})])
def test_search_for_tools_tells_its_arguments_whole(arguments, told):
    (tool,) = read_tools([("tools[0]", {"type": "tool_search", "execution": "client"})], None).functions

    def make(writer):
        call = Call(writer, tool, "tool_search", "c")
        for piece in arguments:
            call.add(piece)

    events = written(make)
    (item,) = events[-1]["response"]["output"]
    assert item.pop("id").startswith("tsc_")
    searched = {"type": "tool_search_call", "status": "completed", "call_id": "c", "execution": "client"}
    assert item == {**searched, "arguments": told}
    assert [event["type"] for event in events[2:-1]] == ["response.output_item.added", "response.output_item.done"]

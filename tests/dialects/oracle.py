"""The official client as the judge of an event stream, and what its own code does not look at."""

from typing import Any

import orjson
from openai import omit
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from proxy.dialects.base import Context
from proxy.dialects.create import read_create
from tests.rig.client import split_events

RESPONSE_ID = "resp_" + "0123456789abcdef" * 3
LIMIT = 1 << 22
SAID = ("text", "refusal", "arguments", "input", "code")
"""What a `done` says of its deltas."""
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


def context_of(body=None, *, limit=LIMIT, provider="primary", model="large", hosted=frozenset()):
    """Return the context of a request's answer."""
    create = read_create(body or {"model": "m", "input": "Hi"}, provider, model, hosted=hosted)
    return Context(create, RESPONSE_ID, 1_700_000_000, lambda: 1_700_000_009.7, limit)


def translate(translator, body, size):
    """Feed a body in chunks of a size, and return everything that came out."""
    fed = [translator.feed(body[at : at + size]) for at in range(0, len(body), size)]
    return b"".join([*fed, translator.close()])


def read_events(stream) -> list[dict[str, Any]]:
    """Parse a stream and hold every frame, order and identity to the rules; return its events."""
    assert b"\r" not in stream
    assert not stream or stream.endswith(b"\n\n")
    frames = split_events(stream)
    events = [frame.json() for frame in frames]
    assert [frame.name for frame in frames] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    check_parts(events)
    check_items(events)
    drive_sdk(events)
    return events


def drive_sdk(events) -> None:
    """Run the SDK's state machine, whose final response has to be the terminal event's."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        if event["type"] != "error":
            state.handle_event(construct_type_unchecked(type_=ResponseStreamEvent, value=event))
    last = events[-1]
    # Of error codes the types know a few; the API itself sends others.
    Response.model_validate({**last["response"], "error": None})
    if last["type"] == "response.completed":
        assert plain(state._completed_response) == plain(Response.model_validate(last["response"]))


def plain(response) -> dict[str, Any]:
    """Return a response as JSON, without what the SDK's parsing adds."""
    return strip(orjson.loads(response.model_dump_json(exclude_none=True)))


def strip(value):
    """Remove the members the SDK's parsing adds, and empty ones."""
    if isinstance(value, dict):
        return {name: strip(member) for name, member in value.items() if name not in {"parsed", "parsed_arguments"}}
    return [strip(member) for member in value] if isinstance(value, list) else value


def check_parts(events) -> None:
    """Deltas add up to what their `done` says, for every part there is."""
    open_parts: dict[tuple, list[str]] = {}
    for event in events:
        stem, _, last = event["type"].rpartition(".")
        key = (stem, event.get("item_id"), event.get("content_index"), event.get("summary_index"))
        if last == "delta":
            open_parts.setdefault(key, []).append(event["delta"])
        elif last == "done" and any(name in event for name in SAID):
            said = next(event[name] for name in SAID if name in event)
            assert "".join(open_parts.pop(key, [])) == said
    if events[-1]["type"] != "response.failed":
        assert not open_parts


def check_items(events) -> None:
    """Every item is added once at the next index, and done as it is in the final response."""
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == list(range(len(added)))
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    final = events[-1]["response"]["output"]
    assert [item["id"] for item in final] == [event["item"]["id"] for event in added]
    for index, item in done.items():
        assert final[index] == item
    if events[-1]["type"] != "response.failed":
        assert set(done) == set(range(len(added)))
    statuses = {item["status"] for item in final[:-1]}
    # A hosted tool may have failed without an end to the response.
    assert events[-1]["type"] == "response.failed" or statuses <= {"completed", "failed"}


def text_of(response) -> str:
    """Return all output text."""
    return "".join(part.get("text", "") for item in messages_of(response) for part in item["content"])


def refusal_of(response) -> str:
    """Return all refusals."""
    return "".join(part.get("refusal", "") for item in messages_of(response) for part in item["content"])


def reasoning_of(response) -> str:
    """Return all summaries of reasoning."""
    items = [item for item in response["output"] if item["type"] == "reasoning"]
    return "".join(part["text"] for item in items for part in item["summary"])


def citations_of(response) -> list[tuple[str, str]]:
    """Return URL and title of the annotations of all output text, in order."""
    parts = [part for item in messages_of(response) for part in item["content"]]
    return [(cited["url"], cited["title"]) for part in parts for cited in part.get("annotations", ())]


def messages_of(response) -> list[dict[str, Any]]:
    """Return the messages of the output."""
    return [item for item in response["output"] if item["type"] == "message"]


def calls_of(response) -> list[tuple[str, str]]:
    """Return name and arguments of the function calls of the output, in order."""
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    return [(item["name"], item["arguments"]) for item in calls]

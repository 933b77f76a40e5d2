"""Streams and messages of the format, written by hand."""

import orjson

from proxy.dialects.anthropic_messages.response import parse_response
from proxy.dialects.anthropic_messages.stream import MessagesTranslator
from tests.dialects.oracle import context_of, read_events, translate

USAGE = {"input_tokens": 10, "output_tokens": 1, "service_tier": "standard"}


def event(kind, **members):
    """Return an event of the stream."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


def start(**members):
    """Return the event that comes first."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1", "content": []}
    return event("message_start", message={**message, "usage": USAGE, **members})


def block(index, kind, *deltas, stopped=True, **members):
    """Return the events of one content block; a delta is its type and one member."""
    events = [event("content_block_start", index=index, content_block={"type": kind, **members})]
    events += [event("content_block_delta", index=index, delta={"type": name, **delta}) for name, delta in deltas]
    return b"".join([*events, event("content_block_stop", index=index)] if stopped else events)


def text(index, *pieces, **members):
    """Return the events of a text."""
    return block(index, "text", *[("text_delta", {"text": piece}) for piece in pieces], text="", **members)


def thinking(index, *pieces, signature="sig"):
    """Return the events of a thought."""
    deltas = [("thinking_delta", {"thinking": piece}) for piece in pieces]
    signed = [("signature_delta", {"signature": signature})] if signature else []
    return block(index, "thinking", *deltas, *signed, thinking="", signature="")


def tool(index, name, *pieces, call_id="toolu_1", kind="tool_use", **members):
    """Return the events of a tool's use."""
    deltas = [("input_json_delta", {"partial_json": piece}) for piece in pieces]
    return block(index, kind, *deltas, id=call_id, name=name, **{"input": {}, **members})


def end(reason="end_turn", **members):
    """Return the events that come last."""
    told = members.pop("usage", {"output_tokens": 5})
    delta = {"stop_reason": reason, "stop_sequence": None, **members}
    return event("message_delta", delta=delta, usage=told) + event("message_stop")


def answer(*events, body=None, **context):
    """Translate a stream, and return the events that come out."""
    stream = b"".join(events)
    return read_events(translate(MessagesTranslator(context_of(body, **context)), stream, len(stream) or 1))


def final(*events, **options):
    """Return the final response of a stream."""
    return answer(*events, **options)[-1]["response"]


def whole(*content, reason="end_turn", body=None, **members):
    """Return the response to a message that came whole."""
    message = {"type": "message", "model": "claude-1", "content": list(content), "stop_reason": reason, "usage": USAGE}
    return parse_response(orjson.dumps({**message, **members}), context_of(body))


def types_of(events):
    """Return the names of events, without what all have in common."""
    return [event["type"].removeprefix("response.") for event in events]


def items_of(response):
    """Return the types of the output items."""
    return [item["type"] for item in response["output"]]

"""Streams as Cohere would send them, said event by event, and what comes out of them."""

import orjson

from proxy.dialects.cohere_chat.stream import CohereTranslator
from tests.dialects.oracle import context_of, messages_of, read_events, translate

PAGE = {"type": "tool", "id": "f_1:0", "tool_output": {"url": "https://a.example", "title": "A", "text": "…"}}
TOOL = {"type": "tool", "id": "f_1:0", "tool_output": {"content": "20°C"}}
DOCUMENT = {"type": "document", "id": "doc:1", "document": {"id": "doc:1", "title": "notes.txt", "text": "…"}}


def event(kind, index=None, **message):
    """Return an event of the stream."""
    placed = {} if index is None else {"index": index}
    said = {"delta": {"message": message}} if message else {}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **placed, **said}))


def text(piece, index=0, **members):
    value = {"type": "content-delta", "index": index, "delta": {"message": {"content": {"text": piece}}}, **members}
    return b"data: %b\n\n" % orjson.dumps(value)


def thinking(piece, index=0):
    return event("content-delta", index, content={"thinking": piece})


def plan(piece):
    return event("tool-plan-delta", tool_plan=piece)


def begin(index, name="f", call_id="c", arguments=""):
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return event("tool-call-start", index, tool_calls=call)


def go_on(index, arguments):
    return event("tool-call-delta", index, tool_calls={"function": {"arguments": arguments}})


def call(index, arguments, **options):
    """Return the events of a whole call."""
    return begin(index, **options) + go_on(index, arguments) + event("tool-call-end", index)


def cite(start, end, *sources, **members):
    citation = {"start": start, "end": end, "text": "", "sources": list(sources), **members}
    return event("citation-start", 0, citations=citation) + event("citation-end", 0)


def end(reason="COMPLETE", usage=None, **members):
    delta = {"finish_reason": reason, **members} | ({} if usage is None else {"usage": usage})
    return b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps({"type": "message-end", "delta": delta})


def answer(*events, body=None, **context):
    """Translate events, and return those that come out."""
    stream = b"".join(events)
    return read_events(translate(CohereTranslator(context_of(body, **context)), stream, len(stream) or 1))


def final(*events, **options):
    """Return the final response."""
    return answer(*events, **options)[-1]["response"]


def types_of(events):
    return [one["type"].removeprefix("response.") for one in events]


def annotations_of(response):
    return [annotation for message in messages_of(response) for annotation in message["content"][0]["annotations"]]

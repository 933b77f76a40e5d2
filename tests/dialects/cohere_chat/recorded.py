"""What is in a recorded answer of Cohere's chat, read from the format itself and not by the dialect."""

import json
from typing import Any, NamedTuple

from tests.rig.replay import recordings

ALL = recordings(api="cohere-chat", provider="cohere")
ANSWERS = [recording for recording in ALL if recording.status == 200]
ERRORS = [recording for recording in ALL if recording.status != 200]


class Content(NamedTuple):
    """What one answer says; a citation is its text, and what its source is known by."""

    text: str
    thinking: str
    plan: str
    calls: list[tuple[str, str, Any]]
    citations: list[tuple[str, str]]
    finish: str
    usage: dict[str, Any]


def is_stream(recording) -> bool:
    """Tell by the body: not every recorded content type is right."""
    return recording.body.lstrip().startswith((b"event:", b"data:"))


STREAMS = [recording for recording in ANSWERS if is_stream(recording)]
WHOLE = [recording for recording in ANSWERS if not is_stream(recording)]


def events_of(recording) -> list[dict[str, Any]]:
    """Return the payloads of a recorded stream."""
    lines = [line[5:].strip() for line in recording.body.decode().splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def whole_of(recording) -> dict[str, Any]:
    """Return a recorded answer as one object: a stream is folded into what it would have been whole."""
    return fold(events_of(recording)) if is_stream(recording) else json.loads(recording.body)


def fold(events) -> dict[str, Any]:
    """Fold a stream: content and calls by their index, the plan and the citations in their order."""
    by_index: dict[str, dict[int, dict[str, Any]]] = {"content": {}, "tool_calls": {}}
    plan, citations, ending = "", [], {}
    for event in events:
        said = (event.get("delta") or {}).get("message") or {}
        for member, found in by_index.items():
            if isinstance(said.get(member), dict):
                merge(found.setdefault(event["index"], {}), said[member])
        if event["type"] == "tool-plan-delta":
            plan += said["tool_plan"]
        elif event["type"] == "citation-start":
            citations.append(said["citations"])
        elif event["type"] == "message-end":
            ending = event["delta"]
    lists = {member: list(found.values()) for member, found in by_index.items()}
    return {"id": "", "message": {"role": "assistant", "tool_plan": plan, "citations": citations, **lists}, **ending}


def merge(into, said) -> None:
    """Add what a delta says to what was said before: text to text."""
    for name, value in said.items():
        if isinstance(value, dict):
            merge(into.setdefault(name, {}), value)
        else:
            into[name] = (into.get(name) or "") + (value or "")


def unfold(value) -> bytes:
    """Return the stream that a whole answer would have come as, in pieces of a few letters."""
    message, events = value["message"], []

    def add(kind, member=None, said=None, index=0):
        delta = {} if member is None else {"delta": {"message": {member: said}}}
        events.append({"type": kind, "index": index, **delta})

    events.append({"type": "message-start", "id": value["id"], "delta": {"message": {"role": "assistant"}}})
    for at, part in enumerate(message.get("content") or []):
        name = "thinking" if part["type"] == "thinking" else "text"
        add("content-start", "content", {"type": part["type"], name: ""}, at)
        for piece in pieces(part[name]):
            add("content-delta", "content", {name: piece}, at)
        for citation in message.get("citations") or [] if name == "text" else []:
            add("citation-start", "citations", citation)
            add("citation-end")
        add("content-end", index=at)
    for piece in pieces(message.get("tool_plan") or ""):
        add("tool-plan-delta", "tool_plan", piece)
    for at, call in enumerate(message.get("tool_calls") or []):
        function = call["function"]
        add("tool-call-start", "tool_calls", {**call, "function": {"name": function["name"], "arguments": ""}}, at)
        for piece in pieces(function["arguments"] or ""):
            add("tool-call-delta", "tool_calls", {"function": {"arguments": piece}}, at)
        add("tool-call-end", index=at)
    ending = {name: value[name] for name in ("finish_reason", "usage") if name in value}
    events.append({"type": "message-end", "delta": ending})
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in events)


def pieces(text, size=9):
    """Cut a text."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def content_of(recording) -> Content:
    """Read a recorded answer."""
    value = whole_of(recording)
    message = value["message"]
    parts = message.get("content") or []
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or []]
    return Content(
        text="".join(part.get("text") or "" for part in parts),
        thinking="".join(part.get("thinking") or "" for part in parts),
        plan=message.get("tool_plan") or "",
        calls=[(id_, function["name"], json.loads(function["arguments"] or "{}") or {}) for id_, function in calls],
        citations=[
            (citation["text"], (source.get("tool_output") or {}).get("url") or source["id"])
            for citation in message.get("citations") or []
            for source in citation["sources"]
        ],
        finish=value["finish_reason"],
        usage=value["usage"],
    )

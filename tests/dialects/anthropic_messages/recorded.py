"""What is in a recorded message, read from the Messages API's format itself and not by the dialect."""

import base64
import json
from typing import Any, NamedTuple

from botocore.eventstream import EventStreamBuffer

from tests.rig.replay import recordings


class Content(NamedTuple):
    """What one answer says."""

    text: str
    reasoning: str
    signatures: list[str]
    calls: list[tuple[str, Any]]
    served: list[tuple[str, Any]]
    results: list[str]
    citations: list[tuple[str, str]]
    stop: str | None
    usage: dict[str, Any]


def payloads(recording) -> list[dict[str, Any]]:
    """Return the events of a stream's first message: server-sent ones, or what is in Bedrock's binary frames."""
    return list(first_message(all_payloads(recording)))


def first_message(events):
    """Yield the events up to the end of a message: some recordings hold all the messages of a dialogue."""
    for event in events:
        yield event
        if event.get("type") == "message_stop":
            return


def all_payloads(recording) -> list[dict[str, Any]]:
    """Return all events of a stream."""
    body = recording.body
    if recording.api == "invoke-stream":
        buffer = EventStreamBuffer()
        buffer.add_data(body)
        frames = [json.loads(frame.payload) for frame in buffer]
        return [json.loads(base64.b64decode(frame["bytes"])) for frame in frames if "bytes" in frame]
    lines = [line for line in body.decode().replace("\r\n", "\n").split("\n") if line.startswith("data:")]
    return [json.loads(line[5:]) for line in lines if line[5:].strip() != "[DONE]"]


def stream_of(recording) -> bytes:
    """Return a stream as server-sent events: as it was received, where it was one."""
    if recording.api != "invoke-stream":
        return recording.body
    events = [(event["type"].encode(), json.dumps(event).encode()) for event in payloads(recording)]
    return b"".join(b"event: %b\ndata: %b\n\n" % event for event in events)


def is_stream(recording) -> bool:
    """Tell by the body: not every recorded content type is right."""
    return recording.api == "invoke-stream" or recording.body.lstrip().startswith((b"event:", b"data:"))


def is_spliced(recording) -> bool:
    """Tell whether a second attempt follows a first that broke off, within one stream."""
    ids = {event["message"]["id"] for event in payloads(recording) if event["type"] == "message_start"}
    return len(ids) > 1


def is_message(recording) -> bool:
    """Tell whether the answer is in this format: other models of Bedrock have others."""
    if recording.provider != "bedrock":
        return True
    if recording.api == "invoke-stream":
        return bool(all_payloads(recording)) and all_payloads(recording)[0].get("type") == "message_start"
    return json.loads(recording.body).get("type") == "message"


ALL = [
    *recordings(api="messages", provider="anthropic"),
    *recordings(api="messages", provider="vertex"),
    *recordings(api="messages", provider="openrouter"),
    *recordings(api="invoke", provider="bedrock"),
    *recordings(api="invoke-stream", provider="bedrock"),
]
ANSWERS = [recording for recording in ALL if recording.status == 200 and is_message(recording)]
ERRORS = [recording for recording in ALL if recording.status != 200]
STREAMS = [recording for recording in ANSWERS if is_stream(recording)]
WHOLE = [recording for recording in ANSWERS if not is_stream(recording)]
COUNTS = recordings(api="messages.count_tokens", provider="anthropic")


GROWTH = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("json", "partial_json"),
}
"""Which member of a block a delta goes on with, and under which name."""


def content_of(recording) -> Content:
    """Read a recorded answer."""
    if not is_stream(recording):
        value = json.loads(recording.body)
        return summarise(value["content"], value["stop_reason"], [value["usage"]])
    events = payloads(recording)
    usages = [event.get("usage") or event.get("message", {}).get("usage") for event in events]
    stops = [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    return summarise(blocks_of(events), stops[-1] if stops else None, usages)


def blocks_of(events) -> list[dict[str, Any]]:
    """Add the deltas of a stream up to its blocks."""
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            else:
                member, piece = GROWTH[delta["type"]]
                block[member] = block.get(member, "") + delta[piece]
    for block in blocks.values():
        written = block.pop("json")
        if written:
            block["input"] = json.loads(written)
    return [blocks[index] for index in sorted(blocks)]


def summarise(blocks, stop, usages) -> Content:
    """Sum blocks up."""
    told = {name: value for usage in usages for name, value in (usage or {}).items() if value is not None}
    thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    return Content(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block.get("thinking", "") for block in thoughts),
        signatures=[block.get("signature") or block.get("data") for block in thoughts],
        calls=[(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        served=[(block["name"], block["input"]) for block in blocks if block["type"] == "server_tool_use"],
        results=[block["type"] for block in blocks if block["type"].endswith("_tool_result")],
        citations=[
            (citation.get("url") or citation.get("document_title"), block["text"])
            for block in blocks
            for citation in block.get("citations") or ()
        ],
        stop=stop,
        usage=told,
    )

"""What is in a recorded answer of Converse, read from the format itself and not by the dialect."""

import json
from typing import Any, NamedTuple

from tests.dialects.bedrock_converse.wire import read_frame, split_frames
from tests.rig.replay import recordings

EXCHANGES = [
    *recordings(api="converse", provider="bedrock"),
    *recordings(api="converse-stream", provider="bedrock"),
]
ERRORS = [recording for recording in EXCHANGES if recording.status != 200]
ANSWERS = [recording for recording in EXCHANGES if recording.status == 200]
STREAMS = [recording for recording in ANSWERS if recording.api == "converse-stream"]
WHOLE = [recording for recording in ANSWERS if recording.api == "converse"]


class Content(NamedTuple):
    """What one answer says; `kinds` are those of its blocks, one for each run of text."""

    text: str
    reasoning: str
    signatures: list[str]
    calls: list[tuple[str, Any, str]]
    code: list[tuple[str, str]]
    citations: list[dict[str, Any]]
    kinds: list[str]
    stop: str
    usage: dict[str, Any] | None


def content_of(recording) -> Content:
    """Read a recorded answer."""
    if recording.api == "converse-stream":
        return summarise(*blocks_of(recording.body))
    value = json.loads(recording.body)
    return summarise(value["output"]["message"]["content"], value["stopReason"], value["usage"])


def blocks_of(body):
    """Put the content blocks of a stream together, and return them with stop reason and usage."""
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = "", None
    for headers, payload in map(read_frame, split_frames(body)):
        value = json.loads(payload)
        kind = headers[":event-type"]
        if kind == "contentBlockStart":
            blocks[value["contentBlockIndex"]] = {name: {**made} for name, made in value["start"].items()}
        elif kind == "contentBlockDelta":
            add(blocks.setdefault(value["contentBlockIndex"], {}), value["delta"])
        elif kind == "messageStop":
            stop = value["stopReason"]
        elif kind == "metadata":
            usage = value["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
    return [blocks[index] for index in sorted(blocks)], stop, usage


def add(block, delta):
    """Add a delta to its block, in the form the block has in an answer that was not streamed."""
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    if "citation" in delta:
        block.setdefault("citations", []).append(delta["citation"])
    if "toolUse" in delta:
        block["toolUse"]["input"] = block["toolUse"].get("input", "") + delta["toolUse"]["input"]
    if "toolResult" in delta:
        block["toolResult"]["content"] = delta["toolResult"]
    thought = delta.get("reasoningContent", {})
    for name in ("text", "signature"):
        if name in thought:
            whole = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {})
            whole[name] = whole.get(name, "") + thought[name]
    if "redactedContent" in thought:
        block.setdefault("reasoningContent", {})["redactedContent"] = thought["redactedContent"]


def summarise(blocks, stop, usage) -> Content:
    """Add blocks up."""
    said = [(text_in(block), block) for block in blocks]
    thoughts = [block["reasoningContent"] for block in blocks if "reasoningContent" in block]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    own = [use for use in uses if use.get("type") != "server_tool_use"]
    runs = {use["toolUseId"]: use["input"]["snippet"] for use in uses if use.get("type") == "server_tool_use"}
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    cited = [block.get("citations") or block.get("citationsContent", {}).get("citations", []) for block in blocks]
    return Content(
        text="".join(text for text, _ in said),
        reasoning="".join(thought.get("reasoningText", {}).get("text", "") for thought in thoughts),
        signatures=[sign for thought in thoughts if (sign := signature_in(thought))],
        calls=[(use["name"], use["input"], use["toolUseId"]) for use in own],
        code=[(runs[result["toolUseId"]], result["content"][0]["json"]["stdOut"]) for result in results],
        citations=[citation for some in cited for citation in some],
        kinds=kinds_in(blocks),
        stop=stop,
        usage=usage,
    )


def text_in(block) -> str:
    """Return the text of a block, cited or not."""
    cited = block.get("citationsContent", {}).get("content", [])
    return block.get("text", "") + "".join(part["text"] for part in cited)


def signature_in(thought) -> str | None:
    """Return what has to come back of reasoning."""
    return thought.get("redactedContent") or thought.get("reasoningText", {}).get("signature")


def kinds_in(blocks) -> list[str]:
    """Return the types of output items the blocks are, in order."""
    kinds: list[str] = []
    for block in blocks:
        kind = "message" if text_in(block) else "reasoning" if "reasoningContent" in block else ""
        if "toolUse" in block:
            hosted = block["toolUse"].get("type") == "server_tool_use"
            kind = "code_interpreter_call" if hosted else "function_call"
        if kind and not (kind == "message" and kinds[-1:] == ["message"]):
            kinds.append(kind)
    return kinds

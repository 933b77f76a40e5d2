"""Bedrock's Converse: blocks that are unions, a binary event stream with padding in every payload."""

import base64
import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from tests.dialects.bedrock_converse.service import check_request
from tests.dialects.bedrock_converse.wire import event
from tests.rig.faces.base import Asked, Face, dumps, is_signed, media, sign, thirds
from tests.rig.model import Answer, Entry, Prompt, Refused

MODEL = "us.anthropic.claude-sonnet-5"
TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
SEEN = {"png": "image/png", "jpeg": "image/jpeg", "pdf": "application/pdf", "txt": "text/plain"}

_numbers = itertools.count(1)


def read(exchange: Any, body: Any) -> Asked:
    """Read a request to answer or to count."""
    _, _, model, operation = exchange.path.split("/")
    model = unquote(model)
    names = {"converse": "Converse", "converse-stream": "ConverseStream", "count-tokens": "CountTokens"}
    check_request(names[operation], _decoded(body), model)
    body = body["input"]["converse"] if operation == "count-tokens" else body
    if {"temperature", "topP"} & body.get("inferenceConfig", {}).keys():
        raise Refused(400, "`temperature` is deprecated for this model.")
    check_pairs(body["messages"], declared="toolConfig" in body)
    said = [Entry("system", block["text"]) for block in body.get("system", ()) if "text" in block]
    entries = (*said, *itertools.chain.from_iterable(map(_entries, body["messages"])))
    specs = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ()) if "toolSpec" in tool]
    thinking = body.get("additionalModelRequestFields", {}).get("thinking", {})
    return Asked(
        Prompt(entries, {spec["name"]: spec["inputSchema"] for spec in specs}, "outputConfig" in body),
        model,
        operation == "converse-stream",
        thinks=thinking.get("type") == "adaptive",
        shows=thinking.get("display") == "summarized",
    )


def _decoded(value: Any) -> Any:
    """Return a request with its bytes as such, as the service's model has them."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if isinstance(value, dict):
        return {name: base64.b64decode(one) if name == "bytes" else _decoded(one) for name, one in value.items()}
    return value


def check_pairs(messages: list[Any], *, declared: bool) -> None:
    """Refuse turns that do not alternate, uses of tools that the next does not answer, and those of no tools."""
    if any(first["role"] == second["role"] for first, second in itertools.pairwise(messages)):
        raise Refused(400, "A conversation must alternate between user and assistant roles.")
    for at, message in enumerate(messages):
        used = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        behind = messages[at + 1]["content"] if at + 1 < len(messages) else []
        results = [block["toolResult"]["toolUseId"] for block in behind if "toolResult" in block]
        if used and results != used:
            raise Refused(400, "Expected toolResult blocks for the toolUse blocks of the previous turn.")
        if (used or results) and not declared:
            raise Refused(400, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _entries(message: Any) -> Iterator[Entry]:
    role = "model" if message["role"] == "assistant" else "user"
    for block in message["content"]:
        if "toolResult" in block:
            yield Entry("result", "".join(map(_text_of, block["toolResult"]["content"])))
        elif "reasoningContent" in block:
            thought = block["reasoningContent"]["reasoningText"]
            if not is_signed(thought.get("signature", ""), thought["text"]):
                raise Refused(400, "Invalid `signature` in `thinking` block")
        elif "toolUse" not in block and "cachePoint" not in block:
            yield Entry(role, _text_of(block))


def _text_of(block: Any) -> str:
    if "text" in block:
        return block["text"]
    if "json" in block:
        return dumps(block["json"])
    ((_, shown),) = block.items()
    source = shown["source"]
    return source["text"] if "text" in source else media(SEEN[shown["format"]], base64.b64decode(source["bytes"]))


def usage_of(given: Answer, asked: Asked) -> dict[str, Any]:
    """Count tokens."""
    read_, written = asked.usage(given)
    return {"inputTokens": read_, "outputTokens": written, "totalTokens": read_ + written, "serverToolUsage": {}}


def stop_reason(given: Answer) -> str:
    """Say why the answer ends."""
    return "max_tokens" if given.cut else "tool_use" if given.calls else "end_turn"


def blocks_of(given: Answer, asked: Asked) -> Iterator[dict[str, Any]]:
    """Render an answer's content."""
    if given.thought:
        told = given.thought if asked.shows else ""
        yield {"reasoningContent": {"reasoningText": {"text": told, "signature": sign(given.thought)}}}
    if given.text:
        yield {"text": given.text}
    for call in given.calls:
        use = {"toolUseId": f"tooluse_{next(_numbers):022d}", "name": call.name}
        yield {"toolUse": {**use, "input": call.arguments}}


def whole(given: Answer, asked: Asked) -> Any:
    """Render an answer."""
    message = {"role": "assistant", "content": list(blocks_of(given, asked))}
    ended = {"stopReason": stop_reason(given), "usage": usage_of(given, asked), "metrics": {"latencyMs": 7}}
    return {"output": {"message": message}, **ended}


def stream(given: Answer, asked: Asked) -> list[bytes]:
    """Render a stream: what was used is told behind the message's end."""
    events = [_padded("messageStart", role="assistant")]
    for index, block in enumerate(blocks_of(given, asked)):
        place = {"contentBlockIndex": index}
        if "toolUse" in block:
            use = {name: value for name, value in block["toolUse"].items() if name != "input"}
            events.append(_padded("contentBlockStart", **place, start={"toolUse": {**use, "type": "tool_use"}}))
        events += [_padded("contentBlockDelta", **place, delta=delta) for delta in _deltas(block, given)]
        events.append(_padded("contentBlockStop", **place))
    used = {"usage": usage_of(given, asked), "metrics": {"latencyMs": 7}}
    return [*events, _padded("messageStop", stopReason=stop_reason(given)), _padded("metadata", **used)]


def _deltas(block: Any, given: Answer) -> list[dict[str, Any]]:
    if "text" in block:
        return [{"text": piece} for piece in given.pieces]
    if "toolUse" in block:
        return [{"toolUse": {"input": piece}} for piece in thirds(dumps(block["toolUse"]["input"]))]
    thought = block["reasoningContent"]["reasoningText"]
    told = [{"reasoningContent": {"text": piece}} for piece in thirds(thought["text"])]
    return [*told, {"reasoningContent": {"signature": thought["signature"]}}]


def _padded(kind: str, **members: Any) -> bytes:
    return event(kind, {**members, "p": "abcdefghijklmnop"[: next(_numbers) % 16]})


def error(refused: Refused) -> tuple[list[tuple[str, str]], Any]:
    """Render a refusal: what it is stands in a header."""
    kind = f"{TYPES[refused.status]}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return [("x-amzn-errortype", kind), ("x-amzn-requestid", f"r-{next(_numbers)}")], {"message": refused.message}


FACE = Face(
    kind="bedrock",
    model=MODEL,
    settings={"region": "us-east-1"},
    targets=("/model/*/converse", "/model/*/converse-stream"),
    read=read,
    whole=whole,
    stream=stream,
    error=error,
    counting="/model/*/count-tokens",
    counted=lambda tokens: {"inputTokens": tokens},
    stream_type="application/vnd.amazon.eventstream",
)

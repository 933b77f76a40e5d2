"""Gemini's generateContent: parts, calls without ids, signatures of thoughts on whatever part comes next."""

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import orjson

from tests.dialects.gemini_generate_content.official import check_body
from tests.rig.faces.base import Asked, Face, dumps, is_signed, media, sign, sse, thirds
from tests.rig.model import Answer, Entry, Prompt, Refused
from tests.rig.settings import UPSTREAM_KEY

MODEL = "gemini-3-pro-preview"
MODELS = "/v1beta/models/"
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
UNSIGNED = "skip_thought_signature_validator"
"""What stands for the signature of a call that another model made."""

_numbers = itertools.count(1)


def read(exchange: Any, body: Any) -> Asked:
    """Read a request to answer or to count."""
    model, _, operation = exchange.path.removeprefix(MODELS).partition(":")
    streams = operation == "streamGenerateContent"
    assert exchange.query == ("alt=sse" if streams else ""), exchange.target
    body = body.get("generateContentRequest", body)
    check_body({name: value for name, value in body.items() if name != "model"})
    check_signatures(body["contents"])
    config = body.get("generationConfig", {})
    said = [Entry("system", _text_of(part)) for part in body.get("systemInstruction", {}).get("parts", ())]
    entries = (*said, *itertools.chain.from_iterable(map(_entries, body["contents"])))
    return Asked(
        Prompt(entries, _tools_of(body), "responseMimeType" in config, config.get("temperature")),
        model,
        streams,
        shows=config.get("thinkingConfig", {}).get("includeThoughts", False),
    )


def _tools_of(body: Any) -> dict[str, Any]:
    declared = (tool.get("functionDeclarations", ()) for tool in body.get("tools", ()))
    return {one["name"]: one.get("parametersJsonSchema") for one in itertools.chain.from_iterable(declared)}


def check_signatures(contents: list[Any]) -> None:
    """Refuse calls since the user last spoke whose first has lost its signature."""
    asked = max(at for at, content in enumerate(contents) if any("text" in part for part in content["parts"]))
    for content in contents[asked:]:
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls and not _is_genuine(calls[0]):
            raise Refused(400, "Function call is missing a thought_signature in functionCall parts.")


def _is_genuine(part: Any) -> bool:
    signature = part.get("thoughtSignature", "")
    return signature == UNSIGNED or is_signed(signature, part["functionCall"]["name"])


def _entries(content: Any) -> Iterator[Entry]:
    role = "model" if content.get("role") == "model" else "user"
    for part in content["parts"]:
        if "functionResponse" in part:
            shown = map(_text_of, part["functionResponse"].get("parts", ()))
            yield Entry("result", "".join([dumps(part["functionResponse"]["response"]), *shown]))
        elif "functionCall" not in part and not part.get("thought"):
            yield Entry(role, _text_of(part))


def _text_of(part: Any) -> str:
    if "text" in part:
        return part["text"]
    blob = part["inlineData"]
    return media(blob["mimeType"], base64.b64decode(blob["data"], validate=True))


def parts_of(given: Answer, asked: Asked) -> Iterator[dict[str, Any]]:
    """Render an answer, part by part as they come; only the first of several calls has a signature."""
    if given.thought and asked.shows:
        yield from ({"text": piece, "thought": True} for piece in thirds(given.thought))
    yield from ({"text": piece} for piece in given.pieces)
    for at, call in enumerate(given.calls):
        part = {"functionCall": {"name": call.name, "args": call.arguments}}
        yield part if at else {**part, "thoughtSignature": sign(call.name)}
    if given.thought and not given.calls:
        yield {"text": "", "thoughtSignature": sign(given.thought)}


def answer_of(given: Answer, asked: Asked, parts: list[Any], reason: str | None) -> dict[str, Any]:
    """Render an answer, or a chunk of one."""
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    read_, written = asked.usage(given)
    thought = len(given.thought.split())
    usage = {"promptTokenCount": read_, "candidatesTokenCount": written - thought, "totalTokenCount": read_ + written}
    usage |= {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": read_}], "thoughtsTokenCount": thought}
    named = {"modelVersion": asked.model, "responseId": f"r{next(_numbers)}"}
    return {"candidates": [candidate], "usageMetadata": usage, **named}


def finish(given: Answer) -> str:
    """Say why the answer ends: a call is no reason of its own."""
    return "MAX_TOKENS" if given.cut else "STOP"


def whole(given: Answer, asked: Asked) -> Any:
    """Render an answer: of thoughts and of text, one part each."""
    thoughts = [{"text": given.thought, "thought": True}] if given.thought and asked.shows else []
    texts: list[dict[str, Any]] = [{"text": given.text}] if given.text else []
    if texts and given.thought:
        texts[0]["thoughtSignature"] = sign(given.thought)
    calls = [part for part in parts_of(given, asked) if "functionCall" in part]
    value = answer_of(given, asked, [*thoughts, *texts, *calls], finish(given))
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def stream(given: Answer, asked: Asked) -> list[bytes]:
    """Render a stream, which nothing but its last chunk ends."""
    parts = list(parts_of(given, asked))
    chunks = [answer_of(given, asked, [part], None) for part in parts]
    return [sse(chunk, end=b"\r\n") for chunk in (*chunks, answer_of(given, asked, [{"text": ""}], finish(given)))]


def error(refused: Refused) -> tuple[list[tuple[str, str]], Any]:
    """Render a refusal."""
    detail = {"code": refused.status, "message": refused.message, "status": STATUSES[refused.status]}
    return [], orjson.dumps({"error": detail}, option=orjson.OPT_INDENT_2)


FACE = Face(
    kind="gemini",
    model=MODEL,
    credential=("x-goog-api-key", UPSTREAM_KEY),
    targets=(f"{MODELS}*:generateContent", f"{MODELS}*:streamGenerateContent"),
    read=read,
    whole=whole,
    stream=stream,
    error=error,
    counting=f"{MODELS}*:countTokens",
    counted=lambda tokens: {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]},
    listing="/v1beta/models",
    listed={"models": [{"name": f"models/{MODEL}", "supportedGenerationMethods": ["generateContent"]}]},
)

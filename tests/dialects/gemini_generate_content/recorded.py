"""What is in a recorded answer of Gemini, read from the format itself and not by the dialect."""

import json
from typing import Any, NamedTuple

from tests.rig.replay import recordings

PROVIDERS = ("gemini", "vertex")
EXCHANGES = [
    recording
    for provider in PROVIDERS
    for api in ("generateContent", "streamGenerateContent")
    for recording in recordings(api=api, provider=provider)
]
COUNTS = [recording for provider in PROVIDERS for recording in recordings(api="countTokens", provider=provider)]
ANSWERS = [recording for recording in EXCHANGES if recording.status == 200]
ERRORS = [recording for recording in (*EXCHANGES, *COUNTS) if recording.status != 200]

STATUSES = {"STOP": "completed", 1: "completed", "MAX_TOKENS": "incomplete", 2: "incomplete", "SAFETY": "incomplete"}


class Content(NamedTuple):
    """What one answer says; `signatures` are those of parts that come back as they are, each with its part."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    runs: list[tuple[str, str]]
    queries: list[str]
    finish: Any
    usage: dict[str, Any]
    parts: list[dict[str, Any]]
    cited: list[tuple[str, str]]

    @property
    def status(self) -> str:
        """What becomes of the response."""
        return STATUSES.get(self.finish, "failed")


def is_stream(recording) -> bool:
    """Tell by the body: errors are said to be event streams, too."""
    return recording.body.lstrip().startswith(b"data:")


STREAMS = [recording for recording in ANSWERS if is_stream(recording)]
WHOLE = [recording for recording in ANSWERS if not is_stream(recording)]


def values_of(recording) -> list[dict[str, Any]]:
    """Return the objects of an answer: of an event stream, a list, or the one there is."""
    text = recording.body.decode()
    if is_stream(recording):
        lines = text.replace("\r\n", "\n").split("\n")
        return [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


def content_of(recording) -> Content:
    """Read a recorded answer."""
    values = values_of(recording)
    candidates = [candidate for value in values for candidate in value.get("candidates", [])]
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", [])]
    texts = [part for part in parts if "text" in part]
    blocked = any("promptFeedback" in value for value in values) and not candidates
    finishes = [candidate["finishReason"] for candidate in candidates if candidate.get("finishReason")]
    grounding = [candidate.get("groundingMetadata", {}) for candidate in candidates]
    return Content(
        text="".join(part["text"] for part in texts if not part.get("thought")),
        reasoning="".join(part["text"] for part in texts if part.get("thought")),
        calls=calls_in(part["functionCall"] for part in parts if "functionCall" in part),
        runs=list(zip(codes_in(parts), results_in(parts), strict=True)),
        queries=[query for one in grounding for query in one.get("webSearchQueries", []) if query],
        finish="SAFETY" if blocked else finishes[-1],
        usage=next((value["usageMetadata"] for value in reversed(values) if "usageMetadata" in value), {}),
        parts=parts,
        cited=[pair for one in grounding for pair in citations_in(one)],
    )


def codes_in(parts) -> list[str]:
    return [part["executableCode"]["code"] for part in parts if "executableCode" in part]


def results_in(parts) -> list[str]:
    return [part["codeExecutionResult"].get("output", "") for part in parts if "codeExecutionResult" in part]


def citations_in(grounding) -> list[tuple[str, str]]:
    """Return what is cited: the words, and the URL they come from."""
    chunks = grounding.get("groundingChunks", [])
    return [
        (support["segment"]["text"], chunks[at]["web"]["uri"])
        for support in grounding.get("groundingSupports", [])
        for at in support.get("groundingChunkIndices", [])
        if "web" in chunks[at]
    ]


def calls_in(functions) -> list[tuple[str, Any]]:
    """Return the calls; one in pieces has its name first and, of top-level texts, a piece at a time."""
    calls: list[tuple[str, Any]] = []
    for function in functions:
        if "name" in function:
            calls.append((function["name"], dict(function.get("args") or {})))
        for piece in function.get("partialArgs", []):
            member = piece["jsonPath"].removeprefix("$.")
            arguments = calls[-1][1]
            arguments[member] = arguments.get(member, "") + piece["stringValue"]
    return calls

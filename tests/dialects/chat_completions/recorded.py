"""What is in a recorded answer in chat completions, read from the format itself and not by the dialect."""

import json
import re
from typing import Any, NamedTuple

from tests.rig.replay import recordings

ANSWERS = [recording for recording in recordings(api="chat.completions") if recording.status == 200]
ERRORS = [recording for recording in recordings(api="chat.completions") if recording.status != 200]


class Content(NamedTuple):
    """What one answer says."""

    text: str
    refusal: str
    reasoning: str
    calls: list[tuple[str, str]]
    finish: str
    usage: dict[str, Any] | None
    failed: bool
    citations: list[tuple[str, str]]


def is_stream(recording) -> bool:
    """Tell by the body: not every recorded content type is right."""
    return recording.body.lstrip().startswith((b"data:", b":"))


STREAMS = [recording for recording in ANSWERS if is_stream(recording)]
WHOLE = [recording for recording in ANSWERS if not is_stream(recording)]


def content_of(recording) -> Content:
    """Read a recorded answer."""
    if not is_stream(recording):
        value = json.loads(recording.body)
        choices = value.get("choices") or [{}]
        return summarise([choices[0].get("message") or {}], [value], [choices[0].get("finish_reason")])
    lines = [line for line in recording.body.decode().replace("\r\n", "\n").split("\n") if line.startswith("data:")]
    chunks = [json.loads(line[5:]) for line in lines if line[5:].strip() != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or [] if choice["index"] == 0]
    finishes = [choice.get("finish_reason") for choice in choices]
    return summarise([choice.get("delta") or {} for choice in choices], chunks, finishes)


def summarise(deltas, values, finishes) -> Content:
    """Add deltas up."""
    usages = [value.get("usage") or (value.get("x_groq") or {}).get("usage") for value in values]
    finish = next((finish for finish in reversed(finishes) if finish), "")
    return Content(
        text="".join(text_in(delta.get("content")) for delta in deltas),
        refusal="".join(delta.get("refusal") or "" for delta in deltas),
        reasoning="".join(reasoning_in(delta) for delta in deltas),
        calls=calls_in(deltas, empty="" if finish == "length" else "{}"),
        finish=finish,
        usage=next((usage for usage in reversed(usages) if usage), None),
        failed=any(value.get("error") for value in values),
        citations=citations_in(deltas, values),
    )


def citations_in(deltas, values) -> list[tuple[str, str]]:
    """Return what is cited: by annotations, or by numbers in the text that count the sources beside it."""
    notes = [note for delta in deltas for note in delta.get("annotations") or [] if note["type"] == "url_citation"]
    cited = [note["url_citation"] for note in notes]
    numbered = next((value["search_results"] for value in reversed(values) if value.get("search_results")), [])
    text = "".join(text_in(delta.get("content")) for delta in deltas)
    referred = [numbered[int(number) - 1] for number in re.findall(r"\[(\d+)\]", text)] if numbered else []
    return [(source["url"], source["title"]) for source in [*cited, *referred]]


def text_in(content) -> str:
    """Return the text of content, be it a string or parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if part["type"] == "text")
    return content or ""


def reasoning_in(delta) -> str:
    """Return the reasoning of a delta, from the one of its places that has it."""
    direct = delta.get("reasoning") or delta.get("reasoning_content")
    if direct:
        return direct
    parts = delta.get("content") if isinstance(delta.get("content"), list) else []
    thinking = [piece["text"] for part in parts if part["type"] == "thinking" for piece in part["thinking"]]
    details = [detail.get("text") or detail.get("summary") or "" for detail in delta.get("reasoning_details") or []]
    return "".join([*thinking, *details])


def calls_in(deltas, empty) -> list[tuple[str, str]]:
    """Return the calls: a piece with a name begins one, the others go on with that of their index."""
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for piece in delta.get("tool_calls") or []:
            function = piece.get("function")
            if function is None:
                continue
            if function.get("name"):
                calls.append({"index": piece.get("index"), "name": function["name"], "arguments": ""})
            call = next(call for call in reversed(calls) if call["index"] == piece.get("index"))
            call["arguments"] += function.get("arguments") or ""
    return [(call["name"], empty if call["arguments"] in ("", "null") else call["arguments"]) for call in calls]

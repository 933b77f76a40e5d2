"""The event stream that a finished response has been, or would have been: written anew, or cut behind an event."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.output import OUTPUT_TEXT, REASONING_TEXT, REFUSAL, SUMMARY_TEXT, PartKind
from proxy.sse import data_of, encode, split

Json = dict[str, Any]
Named = tuple[str, Json]
Cut = Callable[[str], Iterable[str]]

_ENDS: Final = frozenset({"completed", "incomplete", "failed"})
_OPEN: Final = frozenset({"incomplete", "in_progress"})
_PARTS: Final[Mapping[str, PartKind]] = {
    "output_text": OUTPUT_TEXT,
    "refusal": REFUSAL,
    "reasoning_text": REASONING_TEXT,
    "summary_text": SUMMARY_TEXT,
}
_HOSTED: Final[Mapping[str, str]] = {
    "web_search_call": "searching",
    "file_search_call": "searching",
    "code_interpreter_call": "interpreting",
    "image_generation_call": "generating",
}
"""The types of hosted tools' calls, and what they are called at work."""
_EMPTY: Final[Mapping[str, Json]] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": [], "encrypted_content": None},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "code_interpreter_call": {"code": "", "outputs": None},
}
"""What of an item comes later than the item, as it is before."""
_ENDINGS: Final = (".done", ".completed", ".failed")
_SEQUENCE: Final = re.compile(rb'data: \{"type":"[^"\\]*","sequence_number":(\d{1,18})[,}]')


def _whole(text: str) -> Iterable[str]:
    return (text,) if text else ()


def render_replay(response: Json) -> bytes:
    """Render the whole stream of a finished response."""
    return b"".join(encode(event["type"], orjson.dumps(event)) for event in replay(response))


def replay(response: Json, cut: Cut = _whole) -> Iterator[Json]:
    """Yield the events of a finished response; `cut` makes the deltas of a text."""
    for number, (name, members) in enumerate(_sequence(response, cut)):
        yield {"type": name, "sequence_number": number, **members}


def unfinished(response: Json, status: str) -> Json:
    """Return a finished response as it is before its end, or where it was cancelled."""
    return {
        **response,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }


def _sequence(response: Json, cut: Cut) -> Iterator[Named]:
    background = response.get("background") is True
    first = unfinished(response, "queued" if background else "in_progress")
    yield "response.created", {"response": first}
    if background:
        yield "response.queued", {"response": first}
    yield "response.in_progress", {"response": unfinished(response, "in_progress")}
    status = str(response.get("status"))
    for index, item in enumerate(_objects(response.get("output"))):
        # Of a failed response what has no end is told only: its `done` would say that it can be used.
        yield from _item(index, item, cut, ended=status != "failed" or not _is_open(item))
    yield f"response.{status if status in _ENDS else 'incomplete'}", {"response": response}


def _objects(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _is_open(item: Json) -> bool:
    return str(item.get("status")) in _OPEN


def _item(index: int, item: Json, cut: Cut, *, ended: bool) -> Iterator[Named]:
    kind = str(item.get("type"))
    begun = {name: value for name, value in {**item, **_EMPTY.get(kind, {})}.items() if name in item}
    if "status" in item:
        begun["status"] = "in_progress"
    yield "response.output_item.added", {"output_index": index, "item": begun}
    place = {"item_id": item.get("id"), "output_index": index}
    for name, members in _inside(kind, item, cut):
        if ended or not name.endswith(_ENDINGS):
            yield name, {**place, **members}
    if ended:
        yield "response.output_item.done", {"output_index": index, "item": item}


def _inside(kind: str, item: Json, cut: Cut) -> Iterable[Named]:
    """Return the events between an item's beginning and its end, but for their place."""
    if kind in _HOSTED:
        return _hosted(kind, item, cut)
    reader = _READERS.get(kind)
    return reader(item, cut) if reader is not None else ()


def _parts(item: Json, cut: Cut) -> Iterator[Named]:
    for member in ("summary", "content"):
        for at, part in enumerate(_objects(item.get(member))):
            kind = _PARTS.get(str(part.get("type")))
            yield from _other_part(part, at) if kind is None else _text_part(kind, part, at, cut)


def _other_part(part: Json, at: int) -> Iterator[Named]:
    for name in OUTPUT_TEXT.events:
        yield name, {OUTPUT_TEXT.position: at, "part": part}


def _text_part(kind: PartKind, part: Json, at: int, cut: Cut) -> Iterator[Named]:
    place = {kind.position: at}
    text = _text(part.get(kind.member))
    pieces = list(cut(text))
    yield kind.events[0], {**place, "part": kind.opened}
    done: Json = {kind.member: text}
    more: Json = {}
    if kind is OUTPUT_TEXT:
        done["logprobs"] = _objects(part.get("logprobs"))
        more["logprobs"] = done["logprobs"] if len(pieces) == 1 else []
    for piece in pieces:
        yield f"{kind.stem}.delta", {**place, "delta": piece, **more}
    for index, annotation in enumerate(_objects(part.get("annotations"))):
        yield f"{kind.stem}.annotation.added", {**place, "annotation_index": index, "annotation": annotation}
    yield f"{kind.stem}.done", {**place, **done}
    yield kind.events[1], {**place, "part": part}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _call(item: Json, cut: Cut) -> Iterator[Named]:
    arguments = _text(item.get("arguments"))
    for piece in cut(arguments):
        yield "response.function_call_arguments.delta", {"delta": piece}
    yield "response.function_call_arguments.done", {"name": item.get("name"), "arguments": arguments}


def _custom_call(item: Json, cut: Cut) -> Iterator[Named]:
    given = _text(item.get("input"))
    for piece in cut(given):
        yield "response.custom_tool_call_input.delta", {"delta": piece}
    yield "response.custom_tool_call_input.done", {"input": given}


def _hosted(kind: str, item: Json, cut: Cut) -> Iterator[Named]:
    yield f"response.{kind}.in_progress", {}
    code = item.get("code")
    if isinstance(code, str):
        for piece in cut(code):
            yield f"response.{kind}_code.delta", {"delta": piece}
        yield f"response.{kind}_code.done", {"code": code}
    yield f"response.{kind}.{_HOSTED[kind]}", {}
    if not _is_open(item):
        yield f"response.{kind}.completed", {}


_READERS: Final[Mapping[str, Callable[[Json, Cut], Iterator[Named]]]] = {
    "message": _parts,
    "reasoning": _parts,
    "function_call": _call,
    "custom_tool_call": _custom_call,
}


def after(frames: bytes, sequence: int) -> bytes:
    """Return what comes behind the event with a sequence number, in frames that are whole."""
    at = 0
    for frame in split(frames):
        number = _number_of(frame)
        if number is not None and number > sequence:
            return frames[at:]
        at += len(frame)
    return b""


def _number_of(frame: bytes) -> int | None:
    """Read a sequence number; None for a comment and what else has none."""
    found = _SEQUENCE.search(frame)
    if found is not None:
        return int(found[1])
    try:
        event = orjson.loads(data_of(frame))
    except orjson.JSONDecodeError:
        return None
    number = event.get("sequence_number") if isinstance(event, dict) else None
    return number if isinstance(number, int) else None

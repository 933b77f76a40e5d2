"""Renders the turns of a dialogue as the messages of chat completions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from proxy.dialects.chat_completions.assembly import DETAILS, SIGNATURE, TEXT_FIELDS, THINKING
from proxy.dialects.chat_completions.profile import Media
from proxy.dialects.items import (
    Audio,
    Call,
    File,
    Image,
    Output,
    Part,
    Refusal,
    Reply,
    Said,
    Text,
    Thought,
    Turn,
    nothing_said,
)
from proxy.dialects.media import read_file
from proxy.errors import BadRequest

_SHOWN_BELOW: Final = "What this call returned is shown below."
DETAILS_OF_IMAGES: Final = frozenset({"auto", "high", "low"})
_PARAGRAPH: Final = "\n\n"


def fetches(part: Image | File, media: Media) -> bool:
    """Tell whether a document has to be fetched: one of text is sent as text whatever the provider takes."""
    return isinstance(part, File) and part.url is not None and not media.file_urls


def render_messages(
    turns: Iterable[Said | Turn], media: Media, call_id: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """Render the turns in their order; BadRequest, with the part as `param`, for content there is no place for."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, Said):
            role = "system" if turn.role == "developer" and not media.developer else turn.role
            _add(messages, role, _render_content(turn.parts, media))
        else:
            messages.extend(_render_turn(turn, media, call_id))
    if not messages:
        raise nothing_said()
    return messages


def _add(messages: list[dict[str, Any]], role: str, content: Any) -> None:
    """Add a message; instructions go into those right before, as many chat templates have a place for one only."""
    last = messages[-1] if messages and role != "user" else None
    if last and last["role"] == role and isinstance(last["content"], str) and isinstance(content, str):
        last["content"] += _PARAGRAPH + content
    else:
        messages.append({"role": role, "content": content})


def _render_turn(turn: Turn, media: Media, call_id: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    texts = [_plain(act.parts) for act in turn.acts if isinstance(act, Reply)]
    if text := _PARAGRAPH.join(filter(None, texts)):
        message["content"] = text
    calls = [_render_call(act, call_id(act.call_id)) for act in turn.acts if isinstance(act, Call)]
    if calls:
        message["tool_calls"] = calls
    _add_reasoning(message, [act.state for act in turn.acts if isinstance(act, Thought)])
    if message["content"] is not None or calls:
        yield message
    outputs = [output._replace(call_id=call_id(output.call_id)) for output in turn.outputs]
    for output in outputs:
        yield {"role": "tool", "tool_call_id": output.call_id, "content": _render_output(output.parts, media)}
    # What a tool's message cannot hold is shown behind all of them, as they have to stand together.
    for output in outputs if not media.in_tools else ():
        yield from _render_shown(output, media)


def _render_call(call: Call, call_id: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call_id, "type": "function", "function": function}


def _render_output(parts: Sequence[Part], media: Media) -> str | list[dict[str, Any]]:
    if media.in_tools and not _is_text(parts):
        return _render_content(parts, media)
    return _plain(parts, "\n") or (_SHOWN_BELOW if not _is_text(parts) else "")


def _render_shown(output: Output, media: Media) -> Iterator[dict[str, Any]]:
    shown = [part for part in output.parts if not isinstance(part, Text | Refusal)]
    if shown:
        note = Text(f"This is what the tool call {output.call_id} returned beside text:")
        yield {"role": "user", "content": _render_content((note, *shown), media)}


def _add_reasoning(message: dict[str, Any], states: Sequence[Any]) -> None:
    """Put the upstream's own reasoning back where it came from."""
    known = [state for state in states if isinstance(state, dict)]
    lists = [state[DETAILS] for state in known if isinstance(state.get(DETAILS), list)]
    if details := [detail for listed in lists for detail in listed]:
        message[DETAILS] = details
    for field in TEXT_FIELDS:
        if text := _joined(known, field):
            message[field] = text
    thinking, signature = _joined(known, THINKING), _joined(known, SIGNATURE)
    if thinking or signature:
        said = [{"type": "text", "text": message["content"]}] if message["content"] else []
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": thinking}] if thinking else []}
        message["content"] = [{**thought, "signature": signature} if signature else thought, *said]


def _joined(states: Iterable[Mapping[str, Any]], field: str) -> str:
    """Return the text of a field; a client can have put anything there."""
    return "".join(text for state in states if isinstance(text := state.get(field), str))


def _is_text(parts: Iterable[Part]) -> bool:
    return all(isinstance(part, Text | Refusal) for part in parts)


def _plain(parts: Iterable[Part], joint: str = "") -> str:
    return joint.join(part.text for part in parts if isinstance(part, Text | Refusal))


def _render_content(parts: Sequence[Part], media: Media) -> str | list[dict[str, Any]]:
    if _is_text(parts):
        # Not every server of the format takes text in parts.
        return _plain(parts, _PARAGRAPH)
    return [_render_part(part, media) for part in parts]


def _render_part(part: Part, media: Media) -> dict[str, Any]:
    if isinstance(part, Text | Refusal):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return _render_image(part, media)
    if isinstance(part, File):
        return _render_file(part, media)
    return _render_audio(part, media)


def _render_audio(audio: Audio, media: Media) -> dict[str, Any]:
    if not media.audio:
        raise BadRequest("This provider takes no audio.", param="input")
    return {"type": "input_audio", "input_audio": {"data": audio.data, "format": audio.format}}


def _render_image(image: Image, media: Media) -> dict[str, Any]:
    if image.url is None:
        raise BadRequest("This provider keeps no files: send the image itself.", param=f"{image.param}.file_id")
    if not media.images:
        raise BadRequest("This provider takes no images.", param=image.param)
    url: dict[str, Any] = {"url": image.url}
    if image.detail in DETAILS_OF_IMAGES:
        url["detail"] = image.detail
    return {"type": "image_url", "image_url": url}


def _render_file(file: File, media: Media) -> dict[str, Any]:
    if file.file_id is not None:
        raise BadRequest("This provider keeps no files: send the document itself.", param=f"{file.param}.file_id")
    data = read_file(file)
    text = None if data is None else data.text()
    if text is not None:
        return {"type": "text", "text": f"{file.filename}:\n{text}" if file.filename else text}
    if not (media.file_urls if data is None else media.files):
        raise BadRequest("This provider takes no documents of this kind.", param=file.param)
    source = file.url if data is None else f"data:{data.type};base64,{data.encoded}"
    if media.document == "document_url":
        named = {} if file.filename is None else {"document_name": file.filename}
        return {"type": "document_url", "document_url": source, **named}
    return {"type": "file", "file": {"filename": file.filename or "document", "file_data": source}}

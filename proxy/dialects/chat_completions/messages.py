"""Renders the turns of a dialogue as the messages of chat completions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from proxy.dialects.chat_completions.assembly import DETAILS, TEXT_FIELDS, THINKING
from proxy.dialects.items import Audio, Call, File, Image, Output, Part, Refusal, Reply, Said, Text, Thought, Turn
from proxy.dialects.media import read_text
from proxy.errors import BadRequest

_SHOWN_BELOW: Final = "What this call returned is shown below."


class Media(NamedTuple):
    """What messages may hold: the role `developer` beside `system`, images, audio, documents by data and by URL."""

    developer: bool = False
    images: bool = True
    audio: bool = False
    files: bool = False
    file_urls: bool = False


def render_messages(turns: Iterable[Said | Turn], media: Media) -> list[dict[str, Any]]:
    """Render the turns in their order; BadRequest, with the part as `param`, for content there is no place for."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, Said):
            role = "system" if turn.role == "developer" and not media.developer else turn.role
            messages.append({"role": role, "content": _render_content(turn.parts, media)})
        else:
            messages.extend(_render_turn(turn, media))
    return messages


def _render_turn(turn: Turn, media: Media) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    text = "".join(_plain(act.parts) for act in turn.acts if isinstance(act, Reply))
    if text:
        message["content"] = text
    calls = [_render_call(act) for act in turn.acts if isinstance(act, Call)]
    if calls:
        message["tool_calls"] = calls
    _add_reasoning(message, [act.state for act in turn.acts if isinstance(act, Thought)])
    if message["content"] is not None or calls:
        yield message
    for output in turn.outputs:
        text = _plain(output.parts, "\n") or (_SHOWN_BELOW if output.parts and not _is_text(output.parts) else "")
        yield {"role": "tool", "tool_call_id": output.call_id, "content": text}
    # A tool's message is text only: what else it returned is shown behind all of them, as they have to stand together.
    for output in turn.outputs:
        yield from _render_shown(output, media)


def _render_call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.call_id, "type": "function", "function": function}


def _render_shown(output: Output, media: Media) -> Iterator[dict[str, Any]]:
    shown = [part for part in output.parts if not isinstance(part, Text | Refusal)]
    if shown:
        note = Text(f"This is what the tool call {output.call_id} returned beside text:")
        yield {"role": "user", "content": _render_content((note, *shown), media)}


def _add_reasoning(message: dict[str, Any], states: Sequence[Any]) -> None:
    """Put the upstream's own reasoning back where it came from."""
    known = [state for state in states if isinstance(state, dict)]
    details = [detail for state in known for detail in state.get(DETAILS) or ()]
    if details:
        message[DETAILS] = details
    for field in TEXT_FIELDS:
        text = "".join(state.get(field) or "" for state in known)
        if text:
            message[field] = text
    thinking = "".join(state.get(THINKING) or "" for state in known)
    if thinking:
        said = [{"type": "text", "text": message["content"]}] if message["content"] else []
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}
        message["content"] = [thought, *said]


def _is_text(parts: Iterable[Part]) -> bool:
    return all(isinstance(part, Text | Refusal) for part in parts)


def _plain(parts: Iterable[Part], joint: str = "") -> str:
    return joint.join(part.text for part in parts if isinstance(part, Text | Refusal))


def _render_content(parts: Sequence[Part], media: Media) -> str | list[dict[str, Any]]:
    if _is_text(parts) and len(parts) <= 1:
        return _plain(parts)
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
    if image.detail in ("low", "high", "auto"):
        url["detail"] = image.detail
    return {"type": "image_url", "image_url": url}


def _render_file(file: File, media: Media) -> dict[str, Any]:
    if file.file_id is not None:
        raise BadRequest("This provider keeps no files: send the document itself.", param=f"{file.param}.file_id")
    text = read_text(file)
    if text is not None:
        return {"type": "text", "text": f"{file.filename}:\n{text}" if file.filename else text}
    if not (media.files if file.data is not None else media.file_urls):
        raise BadRequest("This provider takes no documents of this kind.", param=file.param)
    rendered: Mapping[str, Any] = {"filename": file.filename or "document", "file_data": file.data or file.url}
    return {"type": "file", "file": rendered}

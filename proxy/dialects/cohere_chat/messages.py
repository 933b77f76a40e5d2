"""Renders the turns of a dialogue as the messages of Cohere's chat.

A document in a message becomes text in its place, as it is in the API. The format's own `documents` stand beside the
dialogue, go with neither tools nor a response format, and have the model answer by quoting them. What a tool returned
is cited in any case, so there a document is one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from proxy.dialects.cohere_chat.assembly import PLAN, THINKING, text_in
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
from proxy.dialects.media import read_image, read_text
from proxy.errors import BadRequest

_SHOWN_BELOW: Final = "What this call returned is shown below."
DETAILS: Final = frozenset({"auto", "high", "low"})


def fetches(part: Image | File) -> bool:
    """Tell that a remote document has to be fetched; images are taken by URL."""
    return isinstance(part, File) and part.url is not None


def render_messages(turns: Iterable[Said | Turn]) -> list[dict[str, Any]]:
    """Render the turns in their order; BadRequest, with the part as `param`, for content there is no place for."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, Turn):
            messages.extend(_render_turn(turn))
        elif turn.role == "user":
            messages.append({"role": "user", "content": _render_content(turn.parts)})
        else:
            messages.append({"role": "system", "content": _render_text(turn.parts, "A system message")})
    if not messages:
        raise nothing_said()
    return messages


def _render_turn(turn: Turn) -> Iterator[dict[str, Any]]:
    message = _render_acts(turn)
    if "content" in message or "tool_calls" in message:
        yield message
    for output in turn.outputs:
        yield {"role": "tool", "tool_call_id": output.call_id, "content": _render_output(output)}
    # A tool's message has no images: they are shown behind all of them, as they have to stand together.
    for output in turn.outputs:
        shown = [part for part in output.parts if isinstance(part, Image)]
        if shown:
            note = Text(f"This is what the tool call {output.call_id} returned beside text:")
            yield {"role": "user", "content": _render_content((note, *shown))}


def _render_acts(turn: Turn) -> dict[str, Any]:
    """Render what the model did as one message, with its own reasoning where that came from.

    Reasoning alone is none: the model was cut short, or did not get to what it led to.
    """
    calls = [_render_call(act) for act in turn.acts if isinstance(act, Call)]
    content = [part for act in turn.acts for part in _render_act(act)]
    plan = "".join(_state(act, PLAN) for act in turn.acts)
    message: dict[str, Any] = {"role": "assistant"}
    if len(content) == 1 and "text" in content[0]:
        message["content"] = content[0]["text"]
    elif calls or any("text" in part for part in content):
        message |= {"content": content} if content else {}
    if plan:
        message[PLAN] = plan
    if calls:
        message["tool_calls"] = calls
    return message


def _render_act(act: Reply | Thought | Call) -> Iterator[dict[str, Any]]:
    """Render the part of the content that an act was."""
    text = _render_text(act.parts, "A message of the model", "") if isinstance(act, Reply) else ""
    if text:
        yield {"type": "text", "text": text}
    thinking = _state(act, THINKING)
    if thinking:
        yield {"type": "thinking", "thinking": thinking}


def _state(act: Reply | Thought | Call, kind: str) -> str:
    """Return the reasoning of a kind that an act was, if it was."""
    state = act.state if isinstance(act, Thought) else None
    return text_in(state.get(kind)) if isinstance(state, dict) else ""


def _render_call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.call_id, "type": "function", "function": function}


def _render_output(output: Output) -> str | list[dict[str, Any]]:
    held = [part for part in output.parts if not isinstance(part, Image)]
    if any(isinstance(part, File) for part in held):
        return [_render_document(part) if isinstance(part, File) else _render_plain(part) for part in held]
    text = "\n".join(_render_plain(part)["text"] for part in held)
    return text or (_SHOWN_BELOW if output.parts and not held else "")


def _render_document(file: File) -> dict[str, Any]:
    data = {"text": _read_document(file)} | ({"title": file.filename} if file.filename else {})
    return {"type": "document", "document": {"data": data}}


def _render_text(parts: Sequence[Part], where: str, joint: str = "\n") -> str:
    """Render parts where only text may stand; BadRequest names the place, `where`, for an image."""
    for part in parts:
        if isinstance(part, Image):
            raise BadRequest(f"{where} cannot hold images with this provider.", param=part.param)
    return joint.join(_render_part(part)["text"] for part in parts)


def _render_content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text | Refusal) for part in parts) and len(parts) <= 1:
        return "".join(_render_plain(part)["text"] for part in parts)
    return [_render_part(part) for part in parts]


def _render_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        return _render_image(part)
    if isinstance(part, File):
        text = _read_document(part)
        return {"type": "text", "text": f"{part.filename}:\n{text}" if part.filename else text}
    return _render_plain(part)


def _render_plain(part: Part) -> dict[str, Any]:
    if isinstance(part, Text | Refusal):
        return {"type": "text", "text": part.text}
    kind = "audio" if isinstance(part, Audio) else "content of this kind"
    raise BadRequest(f"This provider takes no {kind}.", param="input")


def _render_image(image: Image) -> dict[str, Any]:
    if image.url is None:
        raise BadRequest("This provider keeps no files: send the image itself.", param=f"{image.param}.file_id")
    data = read_image(image)
    url = {"url": image.url if data is None else f"data:{data.type};base64,{data.encoded}"}
    return {"type": "image_url", "image_url": url | ({"detail": image.detail} if image.detail in DETAILS else {})}


def _read_document(file: File) -> str:
    if file.file_id is not None:
        raise BadRequest("This provider keeps no files: send the document itself.", param=f"{file.param}.file_id")
    text = read_text(file)
    if text is None:
        raise BadRequest("This provider takes no documents but text.", param=file.param)
    return text

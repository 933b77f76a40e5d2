"""Renders the turns of a dialogue as contents, every signature on the part it came with."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from proxy.dialects.gemini_generate_content.generations import Generation
from proxy.dialects.gemini_generate_content.parts import render_part, render_parts
from proxy.dialects.gemini_generate_content.profile import Profile
from proxy.dialects.gemini_generate_content.state import SIGNATURE, Mark, State, read_state, sign_text
from proxy.dialects.items import Call, Output, Part, Refusal, Reply, Said, Text, Thought, Turn, nothing_said
from proxy.errors import BadRequest

UNSIGNED: Final = "skip_thought_signature_validator"
"""The signature Google gives to calls that were not made by the model that is asked."""

_SHOWN_BELOW: Final = "What this call returned is shown below."
_WITHIN_OUTPUTS: Final = frozenset({"application/pdf", "image/jpeg", "image/png", "image/webp", "text/plain"})
"""Types of what a function's response may hold beside its text."""

Rendered = list[dict[str, Any]]


class Dialogue(NamedTuple):
    """The parts of the system instruction, and the contents."""

    system: Rendered
    contents: Rendered


def render_dialogue(turns: Sequence[Said | Turn], profile: Profile, generation: Generation) -> Dialogue:
    """Render the turns in their order; BadRequest for content there is no place for, or none."""
    system: Rendered = []
    contents: Rendered = []
    for turn in turns:
        if isinstance(turn, Turn):
            contents.extend(_render_turn(turn, profile, generation))
            continue
        parts = render_parts(turn.parts, profile)
        # Contents know no such role: an instruction in the midst of the dialogue keeps its place instead.
        if turn.role != "user" and not contents:
            _refuse_media(turn.parts, profile)
            system.extend(parts)
        elif parts or turn.role == "user":
            contents.append({"role": "user", "parts": parts or [{"text": ""}]})
    if not contents and system:
        return Dialogue([], [{"role": "user", "parts": system}])
    if not contents:
        raise nothing_said()
    return Dialogue(system, contents)


def _refuse_media(parts: Iterable[Part], profile: Profile) -> None:
    """Refuse what is not told as text where there is a place for text only."""
    for part in parts:
        if "text" not in render_part(part, profile):
            where = getattr(part, "param", "input")
            raise BadRequest("With this provider a system message holds text only.", param=where)


def _render_turn(turn: Turn, profile: Profile, generation: Generation) -> Iterator[dict[str, Any]]:
    calls = {act.call_id: act.name for act in turn.acts if isinstance(act, Call)}
    parts = _render_acts(turn.acts, generation)
    if parts:
        yield {"role": "model", "parts": parts}
    outputs = [_Returned(output, calls[output.call_id], profile, generation) for output in turn.outputs]
    if outputs:
        yield {"role": "user", "parts": [output.render() for output in outputs]}
    # Responses have to stand alone and together: what else was returned is shown behind all of them.
    for output in outputs:
        if output.behind:
            note = {"text": f"This is what the tool call {output.call_id} returned beside text:"}
            yield {"role": "user", "parts": [note, *output.behind]}


def _render_acts(acts: Sequence[Reply | Thought | Call], generation: Generation) -> Rendered:
    states = {at: read_state(act.state) for at, act in enumerate(acts) if isinstance(act, Thought)}
    signatures = {call_id: signature for state in states.values() for call_id, signature in state.calls.items()}
    marks, astray = _place_marks(acts, states)
    parts: Rendered = []
    signed = not generation.signs
    for at, act in enumerate(acts):
        if isinstance(act, Reply):
            parts.extend(sign_text(_plain(act.parts), marks.get(at, [])))
        elif isinstance(act, Thought):
            parts.extend(sign_text("", astray.get(at, [])))
            parts.extend(states[at].parts)
        else:
            part = _render_call(act)
            # Of calls made at once the first has the signature.
            signature = signatures.get(act.call_id) or ("" if signed else UNSIGNED)
            parts.append({**part, SIGNATURE: signature} if signature else part)
            signed = True
    return parts


def _place_marks(
    acts: Sequence[Reply | Thought | Call], states: dict[int, State]
) -> tuple[dict[int, list[Mark]], dict[int, list[Mark]]]:
    """Return the marks of each message, and of each thought those whose message is not there."""
    marks: dict[int, list[Mark]] = {}
    astray: dict[int, list[Mark]] = {}
    replies = [at for at, act in enumerate(acts) if isinstance(act, Reply)]
    for at, state in states.items():
        before = [reply for reply in replies if reply < at]
        after = [reply for reply in replies if reply > at]
        for found, own in ((before[-1:], state.last), (after[:1], state.next)):
            if own:
                place = marks.setdefault(found[0], []) if found else astray.setdefault(at, [])
                place.extend(own)
    return marks, astray


def _render_call(call: Call) -> dict[str, Any]:
    return {"functionCall": {"id": call.call_id, "name": call.name, "args": _read_arguments(call.arguments)}}


def _read_arguments(arguments: str) -> Any:
    """Return arguments as the object they have to be; those that are none are said within one."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    return orjson.Fragment(arguments or "{}") if isinstance(value, dict) else {"arguments": arguments}


class _Returned:
    """What one call returned: within its response as far as that may hold it, the rest `behind`."""

    def __init__(self, output: Output, name: str, profile: Profile, generation: Generation) -> None:
        self.call_id = output.call_id
        self._name = name
        self._text = _plain(output.parts, "\n")
        shown = render_parts((part for part in output.parts if not isinstance(part, Text | Refusal)), profile)
        self._within = [part for part in shown if generation.shown_outputs and _fits(part)]
        self.behind = [part for part in shown if part not in self._within]

    def render(self) -> dict[str, Any]:
        """Render the response; text stays text, as numbers in an object would lose what a double cannot hold."""
        text = self._text or (_SHOWN_BELOW if self.behind else "")
        response = {"id": self.call_id, "name": self._name, "response": {"output": text}}
        return {"functionResponse": response | ({"parts": self._within} if self._within else {})}


def _fits(part: dict[str, Any]) -> bool:
    data = part.get("inlineData") or part.get("fileData") or {}
    return data.get("mimeType") in _WITHIN_OUTPUTS


def _plain(parts: Iterable[Part], joint: str = "") -> str:
    return joint.join(part.text for part in parts if isinstance(part, Text | Refusal))

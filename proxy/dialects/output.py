"""The output items a translated provider can produce, each writing its events as its content arrives."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from proxy.dialects.events import EventWriter, ItemStatus, OutputItem
from proxy.dialects.tools import CUSTOM_INPUT, Tool


class PartKind(NamedTuple):
    """How a kind of content is streamed: as what it opens, where it counts its parts, by which events."""

    opened: Mapping[str, Any]
    member: str
    position: str
    events: tuple[str, str]
    stem: str


OUTPUT_TEXT: Final = PartKind(
    {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "text",
    "content_index",
    ("response.content_part.added", "response.content_part.done"),
    "response.output_text",
)
REFUSAL: Final = PartKind(
    {"type": "refusal", "refusal": ""}, "refusal", OUTPUT_TEXT.position, OUTPUT_TEXT.events, "response.refusal"
)
REASONING_TEXT: Final = PartKind(
    {"type": "reasoning_text", "text": ""},
    "text",
    OUTPUT_TEXT.position,
    OUTPUT_TEXT.events,
    "response.reasoning_text",
)
SUMMARY_TEXT: Final = PartKind(
    {"type": "summary_text", "text": ""},
    "text",
    "summary_index",
    ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
    "response.reasoning_summary_text",
)

_MAX_HELD: Final = 16


def delta_template(name: str, place: Mapping[str, Any]) -> bytes:
    """Return the frame of a delta, with holes for sequence number, delta and further members."""
    where = orjson.dumps(place)[1:-1].replace(b"%", b"%%")
    event = name.encode()
    return b'event: %b\ndata: {"type":"%b","sequence_number":%%d,%b,"delta":%%b%%b}\n\n' % (event, event, where)


class _Part:
    """A run of text within an item; making it writes the event that adds it."""

    __slots__ = ("_pieces", "_place", "_plain", "_template", "_writer", "annotations", "kind", "logprobs")

    def __init__(self, writer: EventWriter, kind: PartKind, item: OutputItem, at: int) -> None:
        self.kind = kind
        self.annotations: list[Mapping[str, Any]] = []
        self.logprobs: list[Mapping[str, Any]] = []
        self._writer = writer
        self._pieces: list[str] = []
        self._place = {"item_id": item.id, "output_index": item.index, kind.position: at}
        self._template = delta_template(f"{kind.stem}.delta", self._place)
        self._plain = b',"logprobs":[]' if kind is OUTPUT_TEXT else b""
        writer.emit(kind.events[0], **self._place, part=kind.opened)

    def add(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> None:
        rest = self._plain
        if logprobs:
            self.logprobs.extend(logprobs)
            encoded = orjson.dumps(logprobs)
            self._writer.spend(len(encoded))
            rest = b',"logprobs":' + encoded
        self._writer.emit_delta(self._template, text, rest)
        self._pieces.append(text)

    def annotate(self, annotation: Mapping[str, Any]) -> None:
        self._writer.spend(len(orjson.dumps(annotation)))
        at = len(self.annotations)
        self.annotations.append(annotation)
        name = f"{self.kind.stem}.annotation.added"
        self._writer.emit(name, **self._place, annotation_index=at, annotation=annotation)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def render(self) -> dict[str, Any]:
        text = {self.kind.member: self.text}
        more = {"annotations": self.annotations, "logprobs": self.logprobs} if self.kind is OUTPUT_TEXT else {}
        return {**self.kind.opened, **text, **more}

    def close(self) -> dict[str, Any]:
        part = self.render()
        done = {self.kind.member: part[self.kind.member]}
        if self.kind is OUTPUT_TEXT:
            done["logprobs"] = self.logprobs
        self._writer.emit(f"{self.kind.stem}.done", **self._place, **done)
        self._writer.emit(self.kind.events[1], **self._place, part=part)
        return part


class _PartedItem(OutputItem):
    """An item made of parts, one of them open at a time."""

    __slots__ = ("_done", "_part")

    def __init__(self, writer: EventWriter, prefix: str) -> None:
        super().__init__(writer, prefix)
        self._part: _Part | None = None
        self._done: list[tuple[PartKind, Mapping[str, Any]]] = []
        self._announce()

    def _open(self, kind: PartKind) -> _Part:
        """Return the open part, which is of this kind."""
        part = self._part
        if part is None or part.kind is not kind:
            self.end_part()
            at = sum(done.position == kind.position for done, _ in self._done)
            self._part = part = _Part(self._writer, kind, self, at)
        return part

    def end_part(self) -> None:
        """End the open part, if there is one: what comes next is another."""
        if self._part is not None:
            self._done.append((self._part.kind, self._part.close()))
            self._part = None

    def _settle(self, _status: ItemStatus) -> None:
        self.end_part()

    def _parts(self, position: str) -> list[Mapping[str, Any]]:
        current = [] if self._part is None else [(self._part.kind, self._part.render())]
        return [part for kind, part in [*self._done, *current] if kind.position == position]


class Message(_PartedItem):
    """A message of the model: text, with log probabilities and annotations, or a refusal."""

    __slots__ = ()

    def __init__(self, writer: EventWriter) -> None:
        super().__init__(writer, "msg")

    @property
    def text(self) -> str:
        """The text of the open part, which is what indices of an annotation count in."""
        part = self._part
        return "" if part is None or part.kind is not OUTPUT_TEXT else part.text

    def add_text(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> None:
        """Go on with the text."""
        part = self._part
        if part is None or part.kind is not OUTPUT_TEXT:
            part = self._open(OUTPUT_TEXT)
        part.add(text, logprobs)

    def add_refusal(self, text: str) -> None:
        """Go on with the refusal."""
        self._open(REFUSAL).add(text)

    def annotate(self, annotation: Mapping[str, Any]) -> None:
        """Add an annotation to the text."""
        self._open(OUTPUT_TEXT).annotate(annotation)

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""
        content = self._parts(OUTPUT_TEXT.position)
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class Reasoning(_PartedItem):
    """The model's reasoning; `encrypted_content` may be set at any time before it is closed."""

    __slots__ = ("encrypted_content",)

    def __init__(self, writer: EventWriter) -> None:
        self.encrypted_content: str | None = None
        super().__init__(writer, "rs")

    def add_summary(self, text: str) -> None:
        """Go on with the summary."""
        part = self._part
        if part is None or part.kind is not SUMMARY_TEXT:
            part = self._open(SUMMARY_TEXT)
        part.add(text)

    def add_text(self, text: str) -> None:
        """Go on with the reasoning itself."""
        self._open(REASONING_TEXT).add(text)

    def _settle(self, status: ItemStatus) -> None:
        super()._settle(status)
        self._writer.spend(len(self.encrypted_content or ""))

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""
        item = {
            "id": self.id,
            "type": "reasoning",
            "status": status,
            "summary": self._parts(SUMMARY_TEXT.position),
            "encrypted_content": self.encrypted_content,
        }
        content = self._parts(REASONING_TEXT.position)
        return {**item, "content": content} if content else item


class Call(OutputItem):
    """A call of a tool, under the client's own name for it.

    An id that is `taken` is one the writer has given out already, for something that had to come before.
    """

    __slots__ = ("_known", "_pieces", "_sent", "_template", "call_id", "name")

    def __init__(self, writer: EventWriter, tool: Tool | None, name: str, call_id: str, *, taken: bool = False) -> None:
        self._known = tool
        self.name = name if tool is None else tool.own_name
        self.call_id = call_id if taken else writer.call_id(call_id)
        self._pieces: list[str] = []
        self._sent = False
        self._writer = writer
        super().__init__(writer, "tsc" if self._searches else "ctc" if self._custom else "fc")
        place = {"item_id": self.id, "output_index": self.index}
        self._template = delta_template(f"{self._stem}.delta", place)
        writer.spend(len(self.name) + len(self.call_id))
        self._announce()

    @property
    def _custom(self) -> bool:
        return self._known is not None and self._known.custom

    @property
    def _searches(self) -> bool:
        return self._known is not None and self._known.searches

    @property
    def _stem(self) -> str:
        return "response.custom_tool_call_input" if self._custom else "response.function_call_arguments"

    def add(self, arguments: str) -> None:
        """Go on with the arguments, as JSON text."""
        if self._sent:
            self._send(arguments)
            return
        self._pieces.append(arguments)
        self._writer.spend(len(arguments))
        if not self._custom and not self._searches and not _says_nothing("".join(self._pieces)):
            self._release()

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON value."""
        try:
            orjson.loads("".join(self._pieces))
        except orjson.JSONDecodeError:
            return False
        return True

    def repeats(self, arguments: str) -> bool:
        """Tell whether this adds nothing to the arguments there are."""
        return not arguments.strip() or arguments in ("".join(self._pieces), "null")

    def _release(self) -> None:
        held, self._pieces = "".join(self._pieces), []
        self._sent = True
        self._send(held)

    def _send(self, piece: str) -> None:
        self._writer.emit_delta(self._template, piece, b"")
        self._pieces.append(piece)

    def _settle(self, status: ItemStatus) -> None:
        if self._searches:
            # Its arguments are told whole, by the item itself.
            self._sent = True
            return
        if not self._sent:
            held = "".join(self._pieces)
            if self._custom:
                held = _unwrap(held)
            elif status == "completed":
                held = "{}"
            self._pieces = [held]
            if held:
                self._release()
        text = "".join(self._pieces)
        place = {"item_id": self.id, "output_index": self.index}
        done = {"input": text} if self._custom else {"name": self.name, "arguments": text}
        self._writer.emit(f"{self._stem}.done", **place, **done)

    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""
        text = "".join(self._pieces) if self._sent else ""
        if self._searches:
            return self._render_search(text, status)
        item = {
            "id": self.id,
            "type": "custom_tool_call" if self._custom else "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "input" if self._custom else "arguments": text,
        }
        namespace = None if self._known is None else self._known.namespace
        return item if namespace is None else {**item, "namespace": namespace}

    def _render_search(self, text: str, status: ItemStatus) -> Mapping[str, Any]:
        return {
            "id": self.id,
            "type": "tool_search_call",
            "status": status,
            "call_id": self.call_id,
            "execution": "client",
            "arguments": _as_object(text),
        }


def _says_nothing(arguments: str) -> bool:
    """Tell whether this can still become what some providers write for no arguments; clients expect an object."""
    return len(arguments) <= _MAX_HELD and "null".startswith(arguments.strip())


def _as_object(arguments: str) -> Mapping[str, Any]:
    """Return arguments as an object, empty where they are none."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _unwrap(arguments: str) -> str:
    """Return a custom tool's input from the arguments of the function that stands for it, as far as it is one."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    held = value.get(CUSTOM_INPUT) if isinstance(value, dict) else None
    return held if isinstance(held, str) else arguments

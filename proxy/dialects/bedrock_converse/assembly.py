"""Puts the output items together from content blocks, whole or in deltas, through one event writer."""

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Context
from proxy.dialects.bedrock_converse.citations import parse_citation
from proxy.dialects.bedrock_converse.toolconfig import CODE_INTERPRETER, PLACEHOLDER
from proxy.dialects.events import EventWriter, Reason
from proxy.dialects.hosted import CodeInterpreterCall
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.reasoning import seal
from proxy.dialects.translator import Malformed

_BLOCK_COST: Final = 64
"""Bytes an open block counts for, so that empty ones are bounded too."""


class Assembly:
    """Takes the content blocks of one message, each by its index: its start where it has one, deltas, its stop.

    Consecutive blocks of text are one message. OutputTooLong and Malformed mean that the response can only fail.
    """

    __slots__ = ("_blocks", "_codes", "_context", "_message", "said", "writer")

    def __init__(self, context: Context) -> None:
        self.writer = EventWriter(context)
        self._context = context
        self._blocks: dict[int, _Block] = {}
        self._codes: dict[str, CodeInterpreterCall] = {}
        self._message: Message | None = None
        self.said = 0
        """Characters of the open message."""

    def start(self, index: Any, start: Any) -> None:
        """Begin a block that announces itself; one of text or reasoning has no start, or an empty one."""
        if not isinstance(start, dict):
            return
        use, result = start.get("toolUse"), start.get("toolResult")
        if isinstance(use, dict):
            self._open(index, self._use(use))
        elif isinstance(result, dict):
            self._open(index, _Result(self._codes.pop(_string(result, "toolUseId"), None)))

    def delta(self, index: Any, delta: Any) -> None:
        """Go on with a block; the first delta of one without a start begins it."""
        if not isinstance(delta, dict):
            return
        block = self._blocks.get(index) if type(index) is int else None
        if block is None:
            begin = next((_FOR_DELTA[member] for member in delta if member in _FOR_DELTA), None)
            if begin is None:
                return
            block = self._open(index, begin(self))
        block.take(delta)

    def stop(self, index: Any) -> None:
        """End a block."""
        block = self._blocks.pop(index, None) if type(index) is int else None
        if block is not None:
            block.end()

    def settle(self, reason: Reason | None) -> None:
        """Close what is open, as the message has ended."""
        for index in list(self._blocks):
            self.stop(index)
        self.writer.settle(reason)
        self._message = None

    def speaking(self) -> Message:
        """Return the open message."""
        if self._message is None:
            self._message, self.said = Message(self.writer), 0
        return self._message

    def annotate(self, citation: Any, start: int) -> None:
        """Add an annotation to the message that is open, for its text from `start` on."""
        annotation = parse_citation(citation, start, self.said)
        if annotation is not None and self._message is not None:
            self._message.annotate(annotation)

    def reflecting(self) -> Reasoning:
        """Begin reasoning."""
        self._end_message()
        return Reasoning(self.writer)

    def seal(self, state: Any) -> str:
        """Wrap the state of reasoning for its way back."""
        create = self._context.create
        return seal(create.provider, create.model, state)

    def _open(self, index: Any, block: "_Block") -> "_Block":
        if type(index) is not int or index in self._blocks:
            raise Malformed("A content block has no index of its own.")
        self.writer.spend(_BLOCK_COST)
        self._blocks[index] = block
        return block

    def _use(self, use: Mapping[str, Any]) -> "_Block":
        name, call_id = _string(use, "name"), _string(use, "toolUseId")
        if use.get("type") == "server_tool_use":
            return self._run(call_id) if name == CODE_INTERPRETER else _Unasked()
        if name == PLACEHOLDER:
            return _Unasked()
        if not name:
            raise Malformed("A tool call has no name.")
        self._end_message()
        return _Use(Call(self.writer, self._context.create.tools.find(name), name, call_id))

    def _run(self, call_id: str) -> "_Block":
        self._end_message()
        self._codes[call_id] = code = CodeInterpreterCall(self.writer)
        return _Code(self.writer, code)

    def _end_message(self) -> None:
        if self._message is not None:
            self._message.close()
            self._message = None


class _Block(ABC):
    """A content block that is open."""

    __slots__ = ()

    @abstractmethod
    def take(self, delta: Mapping[str, Any]) -> None:
        """Go on by a delta."""

    @abstractmethod
    def end(self) -> None:
        """End the block."""


class _Unasked(_Block):
    """A call of a tool the client neither has nor asked for."""

    __slots__ = ()

    def take(self, delta: Mapping[str, Any]) -> None:
        """Leave it out."""

    def end(self) -> None:
        """Leave it out."""


class _Text(_Block):
    """Text; what it cites is told once it is there."""

    __slots__ = ("_assembly", "_citations", "_start")

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._citations: list[Any] = []
        self._start: int | None = None

    def take(self, delta: Mapping[str, Any]) -> None:
        text = _string(delta, "text")
        if text:
            message = self._assembly.speaking()
            if self._start is None:
                self._start = self._assembly.said
            message.add_text(text)
            self._assembly.said += len(text)
        if "citation" in delta:
            citation = delta["citation"]
            self._assembly.writer.spend(len(_encode(citation)))
            self._citations.append(citation)

    def end(self) -> None:
        for citation in self._citations:
            self._assembly.annotate(citation, self._start or 0)


class _Thought(_Block):
    """Reasoning: its text is told, its signature or what is encrypted of it kept for the way back."""

    __slots__ = ("_assembly", "_reasoning", "_redacted", "_signature", "_text")

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reasoning = assembly.reflecting()
        self._text: list[str] = []
        self._signature: list[str] = []
        self._redacted: list[str] = []

    def take(self, delta: Mapping[str, Any]) -> None:
        thought = delta.get("reasoningContent")
        if not isinstance(thought, dict):
            return
        text = _string(thought, "text")
        if text:
            self._reasoning.add_summary(text)
            self._text.append(text)
        for member, pieces in (("signature", self._signature), ("redactedContent", self._redacted)):
            piece = _string(thought, member)
            if piece:
                self._assembly.writer.spend(len(piece))
                pieces.append(piece)

    def end(self) -> None:
        state: dict[str, str] = {}
        if self._redacted:
            state = {"redacted": _join_base64(self._redacted)}
        elif self._signature:
            state = {"text": "".join(self._text), "signature": "".join(self._signature)}
        # Without a signature it is not wanted back: some models then take it for what they said.
        if state:
            self._reasoning.encrypted_content = self._assembly.seal(state)
        self._reasoning.close()


class _Use(_Block):
    """A call of one of the client's tools."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def take(self, delta: Mapping[str, Any]) -> None:
        piece = _string(delta.get("toolUse"), "input")
        if piece:
            self._call.add(piece)

    def end(self) -> None:
        # What is not whole was cut short, or is nothing at all: the stop reason, which comes later, decides.
        if self._call.complete:
            self._call.close()


class _Code(_Block):
    """A run of code on the provider's side; its result is a block of its own."""

    __slots__ = ("_code", "_pieces", "_writer")

    def __init__(self, writer: EventWriter, code: CodeInterpreterCall) -> None:
        self._writer = writer
        self._code = code
        self._pieces: list[str] = []

    def take(self, delta: Mapping[str, Any]) -> None:
        piece = _string(delta.get("toolUse"), "input")
        if piece:
            self._writer.spend(len(piece))
            self._pieces.append(piece)

    def end(self) -> None:
        snippet = _snippet("".join(self._pieces))
        if snippet:
            self._code.add_code(snippet)
        self._code.begin()


class _Result(_Block):
    """What a run of code returned."""

    __slots__ = ("_code",)

    def __init__(self, code: CodeInterpreterCall | None) -> None:
        self._code = code

    def take(self, delta: Mapping[str, Any]) -> None:
        parts = delta.get("toolResult")
        for part in parts if isinstance(parts, list) else ():
            if self._code is not None and isinstance(part, dict):
                self._log(self._code, part)

    def _log(self, code: CodeInterpreterCall, part: Mapping[str, Any]) -> None:
        ran = part.get("json")
        if not isinstance(ran, dict):
            code.log(_string(part, "text"))
            return
        code.log(_string(ran, "stdOut") + _string(ran, "stdErr"))
        code.failed = ran.get("isError") is True

    def end(self) -> None:
        if self._code is not None:
            self._code.close()


def _refuse(_assembly: Assembly) -> _Block:
    raise Malformed("A tool call goes on that never began.")


_FOR_DELTA: Final[Mapping[str, Callable[[Assembly], _Block]]] = {
    "text": _Text,
    "citation": _Text,
    "reasoningContent": _Thought,
    "toolUse": _refuse,
}
"""What a delta begins that no start came before, by the member it has."""


def _string(value: Any, member: str) -> str:
    found = value.get(member) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _snippet(arguments: str) -> str:
    try:
        return _string(orjson.loads(arguments), "snippet")
    except orjson.JSONDecodeError:
        return arguments


def _join_base64(pieces: list[str]) -> str:
    if len(pieces) == 1:
        return pieces[0]
    try:
        content = b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except binascii.Error as error:
        raise Malformed("Encrypted reasoning is not base64.") from error
    return base64.b64encode(content).decode()


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Malformed("A value is nested too deeply.") from error

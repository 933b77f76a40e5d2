"""Puts the output items together from content blocks, whole or in deltas, through one event writer."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.anthropic_messages.carried import (
    REDACTED,
    RESULTS,
    THINKING,
    USE,
    encode,
    keep_block,
    pack_blocks,
)
from proxy.dialects.anthropic_messages.citations import render_citation
from proxy.dialects.anthropic_messages.outcome import CUT_SHORT, REFUSED, parse_refusal
from proxy.dialects.anthropic_messages.served import Served
from proxy.dialects.base import Context
from proxy.dialects.events import EventWriter, OutputItem, TokenCounts
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.reasoning import seal
from proxy.dialects.translator import Malformed


class Assembly:
    """Takes content blocks: each is started, may grow by deltas, and is stopped; a whole one is complete at its start.

    An item stays open until the next begins, as only the end of all tells whether it was cut short. OutputTooLong
    and Malformed mean that the response can only fail.
    """

    __slots__ = ("_blocks", "_context", "_item", "_served", "said", "writer")

    def __init__(self, context: Context) -> None:
        self.writer = EventWriter(context)
        self.said = 0
        """Characters of the open message's text."""
        self._context = context
        self._blocks: dict[int, _Block] = {}
        self._item: OutputItem | None = None
        self._served = Served(self.writer)

    def start(self, index: int, block: Any) -> None:
        """Begin a block."""
        if not isinstance(block, dict):
            raise Malformed("A content block has to be an object.")
        self.stop(index)
        kind = block.get("type")
        self._blocks[index] = (_BLOCKS.get(kind, _Block) if isinstance(kind, str) else _Block)(self, block)

    def take(self, index: int, delta: Mapping[str, Any]) -> None:
        """Go on with a block."""
        block = self._blocks.get(index)
        if block is None:
            raise Malformed("A delta belongs to no content block.")
        block.take(delta)

    def stop(self, index: int) -> None:
        """End a block, if it is open."""
        block = self._blocks.pop(index, None)
        if block is not None:
            block.stop()

    def finish(self, stop_reason: Any, details: Any, usage: TokenCounts | None) -> None:
        """End the response."""
        for index in list(self._blocks):
            self.stop(index)
        reason = CUT_SHORT.get(stop_reason) if isinstance(stop_reason, str) else None
        if stop_reason == REFUSED:
            self.speaking().add_refusal(parse_refusal(details))
        elif reason is None:
            # Otherwise the last item is the one that was cut short.
            self._carry()
        self.writer.finish(reason, usage)

    def speaking(self) -> Message:
        """Return the open message."""
        if isinstance(self._item, Message):
            return self._item
        self._end_item()
        self._carry()
        self.said = 0
        self._item = message = Message(self.writer)
        return message

    def reflecting(self) -> Reasoning:
        """Open a reasoning item."""
        self._end_item()
        self._carry()
        self._item = reasoning = Reasoning(self.writer)
        return reasoning

    def calling(self, name: str, call_id: str) -> Call:
        """Open a call."""
        self._end_item()
        self._carry()
        self._item = call = Call(self.writer, self._context.create.tools.find(name), name, call_id)
        return call

    def serving(self) -> Served:
        """Return what follows the provider's own tools, as the next block is about one."""
        self._end_item()
        return self._served

    def seal(self, *blocks: Mapping[str, Any]) -> str:
        """Wrap blocks that return to the provider."""
        create = self._context.create
        return seal(create.provider, create.model, pack_blocks(blocks))

    def _end_item(self) -> None:
        if self._item is not None:
            self._item.close()
            self._item = None

    def _carry(self) -> None:
        """Put what has to be given back of the provider's tools into a reasoning item behind their own items."""
        blocks = self._served.take()
        if blocks:
            reasoning = Reasoning(self.writer)
            reasoning.encrypted_content = self.seal(*blocks)
            reasoning.close()


class _Block:
    """An open content block; one of a type that is not known says nothing to a client."""

    __slots__ = ("_assembly",)

    def __init__(self, assembly: Assembly, _block: Mapping[str, Any]) -> None:
        self._assembly = assembly

    def take(self, delta: Mapping[str, Any]) -> None:
        """Go on."""

    def stop(self) -> None:
        """Take the end."""


class _Text(_Block):
    """Text; its citations come before it or behind, and are about all of it."""

    __slots__ = ("_citations", "_from")

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        self._from: int | None = None
        self._citations: list[Mapping[str, Any]] = []
        citations = block.get("citations")
        for citation in citations if isinstance(citations, list) else ():
            self._cite(citation)
        self._add(block.get("text"))

    def take(self, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "citations_delta":
            self._cite(delta.get("citation"))
        else:
            self._add(delta.get("text"))

    def _add(self, text: Any) -> None:
        if not text or not isinstance(text, str):
            return
        assembly = self._assembly
        assembly.speaking().add_text(text)
        if self._from is None:
            self._from = assembly.said
        assembly.said += len(text)

    def _cite(self, citation: Any) -> None:
        annotation = render_citation(citation)
        if annotation is not None:
            self._assembly.writer.spend(len(encode(annotation)))
            self._citations.append(annotation)

    def stop(self) -> None:
        if self._from is None:
            return
        span = {"start_index": self._from, "end_index": self._assembly.said}
        for annotation in self._citations:
            spanned = {**annotation, **span} if annotation["type"] == "url_citation" else annotation
            self._assembly.speaking().annotate(spanned)


class _Thinking(_Block):
    """A thought, of which there may be no more to see than its signature; without one it cannot be given back."""

    __slots__ = ("_reasoning", "_signature", "_text")

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        self._reasoning = assembly.reflecting()
        self._text: list[str] = []
        self._signature: list[str] = []
        self.take(block)

    def take(self, delta: Mapping[str, Any]) -> None:
        text, signature = delta.get("thinking"), delta.get("signature")
        if text and isinstance(text, str):
            self._reasoning.add_summary(text)
            self._text.append(text)
        if signature and isinstance(signature, str):
            self._assembly.writer.spend(len(signature))
            self._signature.append(signature)

    def stop(self) -> None:
        signature = "".join(self._signature)
        if signature and not self._reasoning.closed:
            block = {"type": THINKING, "thinking": "".join(self._text), "signature": signature}
            self._reasoning.encrypted_content = self._assembly.seal(block)
            self._reasoning.close()


class _Redacted(_Block):
    """A thought that is hidden from everybody but the provider."""

    __slots__ = ()

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        reasoning = assembly.reflecting()
        if isinstance(block.get("data"), str):
            reasoning.encrypted_content = assembly.seal(keep_block(block))
        reasoning.close()


class _ToolUse(_Block):
    """A call of a tool of the client's."""

    __slots__ = ("_call", "_given", "_grew")

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        self._call = assembly.calling(str(block.get("name") or ""), str(block.get("id") or ""))
        self._given = block.get("input")
        self._grew = False

    def take(self, delta: Mapping[str, Any]) -> None:
        piece = delta.get("partial_json")
        if piece and isinstance(piece, str):
            if self._call.closed:
                raise Malformed("A tool call goes on after it was over.")
            self._grew = True
            self._call.add(piece)

    def stop(self) -> None:
        call = self._call
        if call.closed:
            return
        if self._given and not self._grew:
            call.add(encode(self._given).decode())
        if call.complete:
            call.close()


class _ServerToolUse(_Block):
    """A use of a tool that the provider runs."""

    __slots__ = ("_block", "_item", "_pieces", "_served")

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        self._served = assembly.serving()
        self._block = block
        self._pieces: list[str] = []
        name = block.get("name")
        self._item = self._served.begin(name) if isinstance(name, str) else None

    def take(self, delta: Mapping[str, Any]) -> None:
        piece = delta.get("partial_json")
        if piece and isinstance(piece, str):
            self._assembly.writer.spend(len(piece))
            self._pieces.append(piece)

    def stop(self) -> None:
        given = self._block.get("input")
        if self._pieces:
            try:
                given = orjson.loads("".join(self._pieces))
            except orjson.JSONDecodeError:
                # Cut short: there will be no result, and nothing to give back.
                return
        self._served.use(self._item, {**self._block, "input": given if isinstance(given, dict) else {}})


class _Result(_Block):
    """What a tool that the provider runs returned."""

    __slots__ = ()

    def __init__(self, assembly: Assembly, block: Mapping[str, Any]) -> None:
        super().__init__(assembly, block)
        assembly.serving().result(block)


_BLOCKS: Final[Mapping[str, Callable[[Assembly, Mapping[str, Any]], _Block]]] = {
    "text": _Text,
    THINKING: _Thinking,
    REDACTED: _Redacted,
    "tool_use": _ToolUse,
    USE: _ServerToolUse,
    **dict.fromkeys(RESULTS, _Result),
}

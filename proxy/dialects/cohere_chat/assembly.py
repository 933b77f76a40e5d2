"""Puts the output items together from messages of Cohere's chat, whole or in deltas, through one event writer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from proxy.dialects.base import Context
from proxy.dialects.events import EventWriter, ItemStatus, Reason
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.reasoning import seal
from proxy.dialects.translator import Malformed

PLAN: Final = "tool_plan"
"""The state of reasoning that was a plan for the calls behind it, and returns as such."""
THINKING: Final = "thinking"
"""The state of reasoning that was a part of the content, and returns as such."""

_OF_REASONING: Final = ("PLAN", "THINKING_CONTENT")
"""Types of citations that have no place, as reasoning has no annotations."""


class Assembly:
    """Takes the parts of one message in their order; an item is closed when the next one begins.

    OutputTooLong and Malformed mean that the response can only fail.
    """

    __slots__ = ("_calls", "_context", "_kind", "_latest", "_message", "_pieces", "_reasoning", "writer")

    def __init__(self, context: Context) -> None:
        self.writer = EventWriter(context)
        self._context = context
        self._message: Message | None = None
        self._reasoning: Reasoning | None = None
        self._kind = ""
        self._pieces: list[str] = []
        self._calls: dict[int, Call] = {}
        self._latest = -1

    def begin_part(self) -> None:
        """Take the beginning of a part of the content: what is open is another."""
        self._end_reasoning()
        if self._message is not None:
            self._message.end_part()

    def reflect(self, kind: str, text: str) -> None:
        """Go on with the reasoning of a kind."""
        if self._reasoning is None or kind != self._kind:
            self._end_all()
            self._reasoning, self._kind = Reasoning(self.writer), kind
        self._reasoning.add_summary(text)
        self._pieces.append(text)

    def say(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> None:
        """Go on with the text."""
        message = self._message
        if message is None:
            self._end_all()
            self._message = message = Message(self.writer)
        message.add_text(text, logprobs)

    def cite(self, citation: Mapping[str, Any]) -> None:
        """Annotate the text by each source of a citation."""
        sources = citation.get("sources")
        if self._message is None or citation.get("type") in _OF_REASONING or not isinstance(sources, list):
            return
        for source in sources:
            if isinstance(source, dict):
                self._message.annotate(_read_source(source, citation))

    def call(self, key: int | None, call: Mapping[str, Any]) -> None:
        """Begin a call, which later pieces may name by the key."""
        function = _function(call)
        name = text_in(function.get("name"))
        if not name:
            raise Malformed("A tool call has no name.")
        self._end_all()
        self._latest = self._latest + 1 if key is None else key
        tool = self._context.create.tools.find(name)
        self._calls[self._latest] = Call(self.writer, tool, name, text_in(call.get("id")))
        self.go_on(self._latest, call)

    def go_on(self, key: int | None, call: Mapping[str, Any]) -> None:
        """Go on with the arguments of a call, the latest where there is no key."""
        arguments = _arguments(_function(call))
        if not arguments:
            return
        known = self._calls.get(self._latest if key is None else key)
        if known is None:
            raise Malformed("A tool call goes on that never began.")
        if not known.closed:
            known.add(arguments)
        elif not known.repeats(arguments):
            raise Malformed("A tool call goes on after its end.")

    def end_call(self, key: int | None) -> None:
        """Take the end of a call; one whose arguments are cut short stays open, as the end may tell why."""
        known = self._calls.get(self._latest if key is None else key)
        if known is not None and not known.closed and known.complete:
            known.close()

    def settle(self, reason: Reason | None) -> None:
        """Close what is open, as the message has ended."""
        # What is cut short is the last item.
        self._end_reasoning("completed" if reason is None else "incomplete")
        self.writer.settle(reason)

    def _end_all(self) -> None:
        """Close what is open, as another item begins."""
        self._end_reasoning()
        self.end_call(None)
        if self._message is not None:
            self._message.close()
            self._message = None

    def _end_reasoning(self, status: ItemStatus = "completed") -> None:
        reasoning = self._reasoning
        if reasoning is None:
            return
        create = self._context.create
        reasoning.encrypted_content = seal(create.provider, create.model, {self._kind: "".join(self._pieces)})
        reasoning.close(status)
        self._reasoning, self._pieces = None, []


def text_in(value: Any) -> str:
    """Return text, empty where it is none."""
    return value if isinstance(value, str) else ""


def read_logprobs(value: Any) -> list[Mapping[str, Any]]:
    """Read log probabilities, each of a chunk of text: that of all its tokens at once is their sum."""
    items = value if isinstance(value, list) else [value]
    return [_read_logprob(item) for item in items if isinstance(item, dict) and isinstance(item.get("logprobs"), list)]


def _read_logprob(item: Mapping[str, Any]) -> Mapping[str, Any]:
    text = text_in(item.get("text"))
    known = [one for one in item["logprobs"] if type(one) in (int, float)]
    return {"token": text, "bytes": list(text.encode()), "logprob": float(sum(known)), "top_logprobs": []}


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def _arguments(function: Mapping[str, Any]) -> str:
    """Return the arguments as JSON text; there may be none, or null."""
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError as error:
        raise Malformed("Arguments are nested too deeply.") from error


def _read_source(source: Mapping[str, Any], citation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read the source of a citation: a page where it has a URL, otherwise a file, be it what a tool returned."""
    held = next((value for value in map(source.get, ("document", "tool_output")) if isinstance(value, dict)), {})
    start, end = _index(citation.get("start")), _index(citation.get("end"))
    url, title, id_ = text_in(held.get("url")), text_in(held.get("title")), text_in(source.get("id"))
    if url:
        return {"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end}
    return {"type": "file_citation", "file_id": id_, "filename": title or id_, "index": end}


def _index(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0

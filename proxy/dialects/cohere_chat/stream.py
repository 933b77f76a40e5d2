"""Translates a stream of Cohere's chat into the Responses event stream."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Context
from proxy.dialects.cohere_chat.assembly import PLAN, THINKING, Assembly, read_logprobs, text_in
from proxy.dialects.cohere_chat.outcome import parse_usage, read_end, read_failure, read_reason
from proxy.dialects.translator import Malformed, SseTranslator

_Event = Mapping[str, Any]


class CohereTranslator(SseTranslator):
    """Reads events up to `message-end`, which has everything; the `[DONE]` behind it is not waited for."""

    dialect = "a message of Cohere's chat"

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        super().__init__(context, self._assembly.writer)

    def _finish(self) -> None:
        """Finish nothing: a body without `message-end` was cut."""

    def _read_data(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            raise Malformed("The stream is done without an end of its message.")
        event = orjson.loads(data)
        kind = event.get("type") if isinstance(event, dict) else None
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is not None:
            reader(self._assembly, event)
        elif kind == "message-end":
            self._read_end(event.get("delta"))
        elif kind in (None, "error") or event.get("error"):
            failure = read_failure(event)
            if failure is not None:
                self.writer.fail(failure, announce=True)

    def _read_end(self, delta: Any) -> None:
        end = delta if isinstance(delta, dict) else {}
        usage, failure = parse_usage(end.get("usage")), read_end(end)
        if failure is not None:
            self.writer.fail(failure, usage, announce=True)
            return
        reason = read_reason(end)
        self._assembly.settle(reason)
        self.writer.finish(reason, usage)


def _begin_part(assembly: Assembly, event: _Event) -> None:
    assembly.begin_part()
    _read_content(assembly, event)


def _read_content(assembly: Assembly, event: _Event) -> None:
    for content in _objects(event, "content"):
        text, thinking = text_in(content.get("text")), text_in(content.get("thinking"))
        if text:
            logprobs = event.get("logprobs")
            assembly.say(text, read_logprobs(logprobs) if logprobs else ())
        if thinking:
            assembly.reflect(THINKING, thinking)


def _read_plan(assembly: Assembly, event: _Event) -> None:
    plan = text_in(_member(event, PLAN))
    if plan:
        assembly.reflect(PLAN, plan)


def _begin_call(assembly: Assembly, event: _Event) -> None:
    for call in _objects(event, "tool_calls"):
        assembly.call(_index(event), call)


def _go_on(assembly: Assembly, event: _Event) -> None:
    for call in _objects(event, "tool_calls"):
        assembly.go_on(_index(event), call)


def _end_call(assembly: Assembly, event: _Event) -> None:
    assembly.end_call(_index(event))


def _cite(assembly: Assembly, event: _Event) -> None:
    for citation in _objects(event, "citations"):
        assembly.cite(citation)


_READERS: Final[Mapping[str, Callable[[Assembly, _Event], None]]] = {
    "content-start": _begin_part,
    "content-delta": _read_content,
    "tool-plan-delta": _read_plan,
    "tool-call-start": _begin_call,
    "tool-call-delta": _go_on,
    "tool-call-end": _end_call,
    "citation-start": _cite,
}
"""The events that add to the output. The ends of content and citations add nothing: citations may come later."""


def _member(event: _Event, name: str) -> Any:
    """Return a member of the message in a delta."""
    delta = event.get("delta")
    message = delta.get("message") if isinstance(delta, dict) else None
    return message.get(name) if isinstance(message, dict) else None


def _objects(event: _Event, name: str) -> Iterable[Mapping[str, Any]]:
    """Return what a delta has of a member: one object, where a whole message has a list of them."""
    held = _member(event, name)
    if isinstance(held, dict):
        return (held,)
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else ()


def _index(event: _Event) -> int | None:
    index = event.get("index")
    return index if type(index) is int else None

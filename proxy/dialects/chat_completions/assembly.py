"""Puts the output items together from messages in chat completions, whole or in deltas, through one event writer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from proxy.dialects.base import Context
from proxy.dialects.chat_completions.citations import Source, marks_in, render_citation
from proxy.dialects.events import EventWriter, ItemStatus, Reason
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.reasoning import seal
from proxy.dialects.translator import Malformed

THINKING: Final = "thinking"
"""The state of reasoning that came as parts of the content, and returns as such."""
SIGNATURE: Final = "signature"
TEXT_FIELDS: Final = ("reasoning", "reasoning_content")
DETAILS: Final = "reasoning_details"

_DETAIL_TEXTS = ("text", "summary", "data")


class Assembly:
    """Takes deltas of one choice; a whole message is one delta. Items are closed when the next one begins.

    OutputTooLong and Malformed mean that the response can only fail.
    """

    __slots__ = ("_calls", "_context", "_details", "_latest", "_message", "_reasoning", "_sources", "_state", "writer")

    def __init__(self, context: Context) -> None:
        self.writer = EventWriter(context)
        self._context = context
        self._message: Message | None = None
        self._reasoning: Reasoning | None = None
        self._state: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] = []
        self._calls: dict[Any, tuple[str, Call]] = {}
        self._latest: Any = None
        self._sources: Sequence[Source] = ()

    def found(self, sources: Sequence[Source]) -> None:
        """Take the numbered sources the text refers to; each list replaces the one before."""
        self._sources = sources

    def take(self, delta: Mapping[str, Any], logprobs: Any = None) -> None:
        """Take what a chunk or a body has under `delta` or `message`, and the log probabilities beside it."""
        get = delta.get
        if get("reasoning_content") or get("reasoning") or get(DETAILS):
            self._think(delta)
        content = get("content")
        if content:
            self._say(content, logprobs)
        refusal = get("refusal")
        if refusal and isinstance(refusal, str):
            self._speaking().add_refusal(refusal)
        annotations = get("annotations")
        if annotations:
            self._annotate(annotations)
        calls = get("tool_calls")
        if calls:
            self._call(calls)
        elif get("function_call"):
            self._call([{"index": 0, "function": get("function_call")}])

    def settle(self, reason: Reason | None) -> None:
        """Close what is open, as the choice has ended."""
        if self._details:
            self._reflecting()
        # What is cut short is the last item.
        self._end_reasoning("completed" if reason is None else "incomplete")
        self._cite()
        self.writer.settle(reason)
        self._message = None

    def _say(self, content: Any, logprobs: Any) -> None:
        if isinstance(content, str):
            message = self._message or self._speaking()
            message.add_text(content, _read_logprobs(logprobs) if logprobs else ())
        elif isinstance(content, list):
            for part in content:
                self._say_part(part)

    def _say_part(self, part: Any) -> None:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "thinking":
            said = part.get("thinking")
            pieces = said if isinstance(said, list) else [{"text": said}]
            for piece in pieces:
                text = piece.get("text") if isinstance(piece, dict) else piece
                self._reflect(THINKING, text)
            self._sign(part.get(SIGNATURE))
        elif kind == "text" and part.get("text"):
            self._say(str(part["text"]), None)

    def _speaking(self) -> Message:
        """Return the open message."""
        if self._message is None:
            self._end_reasoning()
            self._end_complete_calls()
            self._message = Message(self.writer)
        return self._message

    def _think(self, delta: Mapping[str, Any]) -> None:
        details = delta.get(DETAILS)
        known = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
        for detail in known:
            self._merge_detail(detail)
        for field in TEXT_FIELDS:
            text = delta.get(field)
            if text and isinstance(text, str):
                self._reflect(field, text)
                return
        for detail in known:
            self._reflect("", detail.get("text") or detail.get("summary"))
        if known and self._message is None and not self._calls:
            self._reflecting()

    def _reflect(self, field: str, text: Any) -> None:
        """Go on with the reasoning by text that came in a field."""
        if not text or not isinstance(text, str):
            return
        self._reflecting().add_summary(text)
        if field:
            self._state.setdefault(field, []).append(text)

    def _sign(self, signature: Any) -> None:
        if isinstance(signature, str) and signature:
            self._reflecting()
            self.writer.spend(len(signature))
            self._state[SIGNATURE] = [signature]

    def _reflecting(self) -> Reasoning:
        """Return the open reasoning."""
        if self._reasoning is None:
            self._end_message()
            self._end_complete_calls()
            self._reasoning = Reasoning(self.writer)
        return self._reasoning

    def _merge_detail(self, detail: Mapping[str, Any]) -> None:
        """Put the pieces of a detail together: they share their type and index, and follow each other."""
        self.writer.spend(len(_encode([[[detail]]])))
        last = self._details[-1] if self._details else None
        if last is None or any(last.get(name) != detail.get(name) for name in ("type", "index")):
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _DETAIL_TEXTS and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value

    def _end_reasoning(self, status: ItemStatus = "completed") -> None:
        reasoning = self._reasoning
        if reasoning is None:
            return
        create = self._context.create
        state: dict[str, Any] = {field: "".join(pieces) for field, pieces in self._state.items()}
        if self._details:
            state = {DETAILS: self._details}
        if state:
            reasoning.encrypted_content = seal(create.provider, create.model, state)
        reasoning.close(status)
        self._reasoning, self._state, self._details = None, {}, []

    def _end_message(self) -> None:
        if self._message is not None:
            self._cite()
            self._message.close()
            self._message = None

    def _end_complete_calls(self) -> None:
        """Close the calls that have all their arguments: pieces of several calls can come interleaved."""
        for _, call in self._calls.values():
            if not call.closed and call.complete:
                call.close()

    def _cite(self) -> None:
        """Annotate the marks in the text, such as `[1]`, by the sources they stand for."""
        if self._message is None or not self._sources:
            return
        for mark, source in marks_in(self._message.text, self._sources):
            self._message.annotate(render_citation(source, mark))

    def _annotate(self, annotations: Any) -> None:
        for annotation in annotations if isinstance(annotations, list) else ():
            cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
            if isinstance(cited, dict):
                source = Source(str(cited.get("url") or ""), str(cited.get("title") or ""))
                place = _index(cited.get("start_index")), _index(cited.get("end_index"))
                self._speaking().annotate(render_citation(source, place))

    def _call(self, calls: Any) -> None:
        for part in calls if isinstance(calls, list) else ():
            if not isinstance(part, dict):
                continue
            custom = part.get("custom")
            function = custom if isinstance(custom, dict) else part.get("function")
            if isinstance(function, dict):
                self._call_part(part, function)

    def _call_part(self, part: Mapping[str, Any], function: Mapping[str, Any]) -> None:
        name, call_id = str(function.get("name") or ""), str(part.get("id") or "")
        given = part.get("index")
        key = given if isinstance(given, int | str) else None
        known = self._calls.get(self._latest if key is None else key)
        if name and (known is None or (call_id and call_id != known[0]) or key is None):
            self._end_reasoning()
            self._end_message()
            self._end_complete_calls()
            tool = self._context.create.tools.find(name)
            known = (call_id, Call(self.writer, tool, name, call_id))
            self._latest = len(self._calls) if key is None else key
            self._calls[self._latest] = known
        arguments = _arguments(function)
        if known is None:
            if arguments:
                raise Malformed("A tool call has no name.")
        elif not known[1].closed:
            known[1].add(arguments)
        elif not known[1].repeats(arguments):
            raise Malformed("A tool call goes on after its arguments were complete.")


def _arguments(function: Mapping[str, Any]) -> str:
    """Return the arguments as JSON text; that of a custom tool as the function's that stands for it."""
    if "input" in function:
        return _encode({"input": function["input"]}).decode()
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return _encode(arguments).decode()


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Malformed("A value is nested too deeply.") from error


def _index(value: Any) -> int:
    return value if type(value) is int else 0


def _read_logprobs(value: Any) -> Sequence[Mapping[str, Any]]:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ()
    return [{**_token(entry), "top_logprobs": _top(entry.get("top_logprobs"))} for entry in content if _is_token(entry)]


def _top(value: Any) -> list[Mapping[str, Any]]:
    return [_token(top) for top in value if _is_token(top)] if isinstance(value, list) else []


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("logprob"), int | float)


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    token = str(entry.get("token") or "")
    given = entry.get("bytes")
    return {
        "token": token,
        "bytes": [byte for byte in given if type(byte) is int] if isinstance(given, list) else list(token.encode()),
        "logprob": entry["logprob"],
    }

"""Puts the output items together from the parts of Gemini's answers, through one event writer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from proxy.dialects.base import Context
from proxy.dialects.events import EventWriter, ItemStatus, Reason
from proxy.dialects.gemini_generate_content.arguments import PartialArguments
from proxy.dialects.gemini_generate_content.grounding import Grounding
from proxy.dialects.gemini_generate_content.state import SIGNATURE, Mark, State
from proxy.dialects.hosted import CodeInterpreterCall, ImageGenerationCall, WebSearchCall
from proxy.dialects.output import Call, Message, Reasoning
from proxy.dialects.reasoning import seal
from proxy.dialects.translator import Malformed

Part = Mapping[str, Any]

_WEB_SEARCH: Final = "GOOGLE_SEARCH_WEB"
_TIMED_OUT: Final = "OUTCOME_DEADLINE_EXCEEDED"


class _Streamed:
    """A call whose arguments come in pieces."""

    def __init__(self, name: Any, call_id: Any) -> None:
        self.name = name
        self.call_id = call_id
        self.signature = ""
        self.arguments = PartialArguments()


class Assembly:
    """Takes the parts of one candidate, whole or in pieces. Items are closed when the next one begins.

    What has to come back to Gemini waits in a state for the next reasoning item there is, which is made for
    it where there is none. OutputTooLong and Malformed mean that the response can only fail.
    """

    def __init__(self, context: Context) -> None:
        self.writer = EventWriter(context)
        self._context = context
        self._message: Message | None = None
        self._said: list[str] = []
        self._length = 0
        self._marks: list[Mark] = []
        self._reasoning: Reasoning | None = None
        self._state = State()
        self._streamed: _Streamed | None = None
        self._code: CodeInterpreterCall | None = None
        self._search: WebSearchCall | None = None
        self._grounding = Grounding(self.writer.spend)

    def take(self, part: Part, logprobs: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Take one part; tell whether it was text, which is what the log probabilities are of."""
        text = part.get("text")
        if isinstance(text, str):
            if part.get("thought"):
                self._think(part, text)
                return False
            self._say(text, logprobs, _signature(part))
            return True
        for member, read in _READERS.items():
            value = part.get(member)
            if isinstance(value, dict):
                read(self, part, value)
        return False

    def ground(self, candidate: Mapping[str, Any]) -> None:
        """Take what a candidate says about its sources."""
        self._grounding.take(candidate)

    def refuse(self, message: str) -> None:
        """Say why there is nothing more."""
        self._speaking().add_refusal(message)

    def settle(self, reason: Reason | None) -> None:
        """Close what is open, as the candidate has ended."""
        if self._streamed is not None:
            self._end_streamed(self._streamed)
        if self._message is not None:
            for annotation in self._grounding.annotations("".join(self._said)):
                self._message.annotate(annotation)
        queries = self._grounding.queries
        searching = bool(queries) and self._search is None
        # What is cut short is the last item, which the writer is left to say.
        if reason is None or searching or self._marks or self._state.render():
            self._end_message()
        if self._message is None:
            self._end_reasoning("completed" if reason is None or searching else "incomplete")
        if queries:
            self._search = self._search or WebSearchCall(self.writer)
            self._search.search(queries, self._grounding.sources)
        self.writer.settle(reason)

    def _say(self, text: str, logprobs: Sequence[Mapping[str, Any]], signature: str) -> None:
        if text:
            if self._message is None:
                if signature:
                    self._sign(self._state.next, Mark(0, len(text), signature))
                self._speaking()
            elif signature:
                self._sign(self._marks, Mark(self._length, len(text), signature))
            self._speaking().add_text(text, logprobs)
            self._said.append(text)
            self._length += len(text)
        elif signature and self._message is not None:
            self._sign(self._marks, Mark(self._length, 0, signature))
        elif signature:
            self._keep({"text": "", SIGNATURE: signature})

    def _sign(self, marks: list[Mark], mark: Mark) -> None:
        self.writer.spend(len(mark.signature))
        marks.append(mark)

    def _keep(self, part: Part) -> None:
        """Keep a part as it is, to be shown to the model again."""
        self.writer.spend(len(_encode([[[[[[part]]]]]])))
        self._state.parts.append(part)

    def _speaking(self) -> Message:
        """Return the open message."""
        if self._message is None:
            self._end_reasoning()
            self._message = Message(self.writer)
        return self._message

    def _think(self, part: Part, text: str) -> None:
        if text:
            if self._reasoning is None:
                self._end_message()
                self._reasoning = Reasoning(self.writer)
            self._reasoning.add_summary(text)
        if _signature(part):
            self._keep({"text": text, "thought": True, SIGNATURE: part[SIGNATURE]})

    def _end_message(self) -> None:
        """Close the message; the signatures within it are carried by the reasoning behind it."""
        if self._message is not None:
            self._message.close()
            self._message = None
            self._state.last += self._marks
            self._said, self._length, self._marks = [], 0, []

    def _end_reasoning(self, status: ItemStatus = "completed") -> None:
        """Close the reasoning, the state with it; without either there is nothing to do."""
        state = self._state.render()
        if self._reasoning is None:
            if state is None:
                return
            self._reasoning = Reasoning(self.writer)
        if state is not None:
            create = self._context.create
            self._reasoning.encrypted_content = seal(create.provider, create.model, state)
        self._reasoning.close(status)
        self._reasoning, self._state = None, State()

    def add_call(self, part: Part, function: Mapping[str, Any]) -> None:
        """Take a call, or a piece of one."""
        streamed = self._streamed
        if streamed is None and not function.get("willContinue") and "partialArgs" not in function:
            self._emit_call(function.get("name"), function.get("id"), function.get("args"), _signature(part))
            return
        if streamed is None:
            streamed = self._streamed = _Streamed(function.get("name"), function.get("id"))
        streamed.signature = streamed.signature or _signature(part)
        pieces = function.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            self.writer.spend(len(_encode([[[piece]]])))
            streamed.arguments.add(piece)
        if not function.get("willContinue"):
            self._end_streamed(streamed)

    def _end_streamed(self, streamed: _Streamed) -> None:
        self._streamed = None
        self._emit_call(streamed.name, streamed.call_id, streamed.arguments.value, streamed.signature)

    def _emit_call(self, name: Any, given: Any, arguments: Any, signature: str) -> None:
        """Write a call, which is whole, behind the reasoning that carries its signature."""
        if not isinstance(name, str) or not name or not isinstance(arguments, dict | None):
            raise Malformed("A call has no name, or arguments that are none.")
        self._end_message()
        call_id = self.writer.call_id(given if isinstance(given, str) else "")
        if signature:
            self._state.calls[call_id] = signature
        self._end_reasoning()
        call = Call(self.writer, self._context.create.tools.find(name), name, call_id, taken=True)
        call.add(_encode(arguments or {}).decode())
        call.close()

    def add_code(self, part: Part, code: Mapping[str, Any]) -> None:
        """Take code that is run."""
        self._end_message()
        if self._reasoning is not None:
            self._end_reasoning()
        self._keep(part)
        self._code = CodeInterpreterCall(self.writer)
        self._code.add_code(str(code.get("code") or ""))
        self._code.begin()

    def add_result(self, part: Part, result: Mapping[str, Any]) -> None:
        """Take how it went."""
        self._keep(part)
        if self._code is None:
            return
        self._code.log(str(result.get("output") or ""))
        # Code that ended in an error was run all the same: the log says how it went.
        self._code.failed = result.get("outcome") == _TIMED_OUT
        self._code.close()
        self._code = None

    def add_tool_call(self, part: Part, call: Mapping[str, Any]) -> None:
        """Show a hosted tool's call; a search stays open for what is told of it at the end."""
        self._end_message()
        if self._reasoning is not None:
            self._end_reasoning()
        self._keep(part)
        if call.get("toolType") == _WEB_SEARCH:
            arguments = call.get("args")
            queries = arguments.get("queries") if isinstance(arguments, dict) else None
            self._search = WebSearchCall(self.writer)
            self._search.search([str(query) for query in queries] if isinstance(queries, list) else [])
            self._search.begin()

    def add_data(self, _part: Part, data: Mapping[str, Any]) -> None:
        """Take an image, be it the model's own or of code it ran; other data has no place in the API."""
        encoded, type_ = data.get("data"), data.get("mimeType")
        if isinstance(encoded, str) and isinstance(type_, str) and type_.startswith("image/"):
            self._end_message()
            self._end_reasoning()
            image = ImageGenerationCall(self.writer)
            image.show(encoded)
            image.close()

    def add_tool_response(self, part: Part, _response: Mapping[str, Any]) -> None:
        """Take what a hosted tool found, which only the model can read."""
        self._keep(part)


_READERS: Final[Mapping[str, Callable[[Assembly, Part, Mapping[str, Any]], None]]] = {
    "functionCall": Assembly.add_call,
    "executableCode": Assembly.add_code,
    "codeExecutionResult": Assembly.add_result,
    "inlineData": Assembly.add_data,
    "toolCall": Assembly.add_tool_call,
    "toolResponse": Assembly.add_tool_response,
}


def _signature(part: Part) -> str:
    signature = part.get(SIGNATURE)
    return signature if isinstance(signature, str) else ""


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Malformed("A value is nested too deeply.") from error

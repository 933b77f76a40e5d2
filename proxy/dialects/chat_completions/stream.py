"""Translates a stream in chat completions into the Responses event stream."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.chat_completions.assembly import Assembly, Malformed
from proxy.dialects.chat_completions.outcome import CUT_SHORT, FAILED, parse_tier, parse_usage, read_failure
from proxy.dialects.events import OutputTooLong, Reason, TokenCounts
from proxy.sse import Framer, data_of, split

_END: Final = b"data: [DONE]\n\n"


class ChatTranslator:
    """Reads chunks up to `[DONE]` or, where the provider sends none, the end of the body behind a finish reason."""

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        self._writer = self._assembly.writer
        self._framer = Framer(context.limit)
        self._opened = False
        self._ended = False
        self._reason: Reason | None = None
        self._usage: TokenCounts | None = None
        self._model = ""
        self._tier: Any = None

    @property
    def finished(self) -> bool:
        """Whether the terminal event has been returned."""
        return self._writer.response is not None

    @property
    def response(self) -> bytes | None:
        """The response as the terminal event carries it; None before."""
        return self._writer.response

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes of the body; the first open the response, whatever they are."""
        if self.finished:
            return b""
        self._open()
        block = self._framer.feed(chunk)
        if self._framer.oversized:
            self._read(block[: len(block) - self._framer.opened])
            self._fail("upstream_bad_answer", "The provider sent an event that is too long.")
        elif block:
            self._read(block)
        return self._writer.take()

    def close(self) -> bytes:
        """Take the end of the body, which may lack the blank line behind its last event."""
        if self.finished:
            return b""
        self._open()
        rest = self._framer.close()
        if _is_whole(rest):
            self._read(rest)
        if self._ended and not self.finished:
            self._read(_END)
        self._fail("upstream_disconnected", "The provider closed the connection in the middle of its answer.")
        return self._writer.take()

    def fail(self, code: str, message: str) -> bytes:
        """End the response as failed."""
        if self.finished:
            return b""
        self._open()
        self._fail(code, message)
        return self._writer.take()

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self._writer.open()

    def _fail(self, code: str, message: str) -> None:
        if not self.finished:
            failure = Failure(502, "upstream_error", code, message)
            self._writer.fail(failure, self._usage, announce=False)

    def _read(self, block: bytes) -> None:
        """Read whole events until the response ends."""
        try:
            # Nearly every block is one event of one line.
            if block.startswith(b"data: {") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
                self._read_data(block[6:-2])
                return
            for event in split(block):
                data = data_of(event)
                if data and not self.finished:
                    self._read_data(data)
        except OutputTooLong:
            self._fail("response_too_large", "The provider's answer is larger than the gateway keeps.")
        except (Malformed, orjson.JSONDecodeError):
            self._fail("upstream_bad_answer", "The provider sent something that is not a chat completion.")

    def _read_data(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._assembly.settle(self._reason)
            self._writer.finish(self._reason, self._usage)
            return
        chunk = orjson.loads(data)
        if not isinstance(chunk, dict):
            return
        choices = chunk.get("choices")
        self._read_members(chunk)
        if chunk.get("error") or chunk.get("object") == "error" or chunk.get("type") == "error":
            self._writer.fail(read_failure(chunk), self._usage, announce=True)
        elif isinstance(choices, list):
            for choice in choices:
                # Further choices are alternatives; a response has one output.
                if isinstance(choice, dict) and not choice.get("index"):
                    self._read_choice(choice)

    def _read_members(self, chunk: Mapping[str, Any]) -> None:
        usage = chunk.get("usage")
        if usage is not None:
            self._usage = parse_usage(usage) or self._usage
        if not self._model:
            model = chunk.get("model")
            if isinstance(model, str) and model:
                self._model = model
                self._writer.report(model=model)
        tier = chunk.get("service_tier")
        if tier is not None and tier != self._tier:
            self._tier = tier
            known = parse_tier(tier)
            if known is not None:
                self._writer.report(service_tier=known)
        if "x_groq" in chunk:
            self._read_groq(chunk["x_groq"])

    def _read_groq(self, extra: Any) -> None:
        if not isinstance(extra, dict):
            return
        self._usage = self._usage or parse_usage(extra.get("usage"))
        if extra.get("error"):
            self._writer.fail(read_failure(extra), self._usage, announce=True)

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        if self.finished:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta:
            self._assembly.take(delta, choice.get("logprobs"))
        reason = choice.get("finish_reason")
        if reason:
            self._finish(str(reason), choice)

    def _finish(self, reason: str, choice: Mapping[str, Any]) -> None:
        """Close the items; the end waits for the usage, which may come in a chunk of its own."""
        if reason in FAILED or choice.get("error"):
            self._writer.fail(read_failure(choice), self._usage, announce=True)
            return
        self._ended = True
        self._reason = CUT_SHORT.get(reason, self._reason)
        self._assembly.settle(self._reason)


def _is_whole(event: bytes) -> bool:
    """Tell whether an event without its blank line is there to its end."""
    data = data_of(event)
    if data.startswith(b"[DONE]"):
        return True
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True

"""Translates a stream in chat completions into the Responses event stream."""

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.dialects.base import Context
from proxy.dialects.chat_completions.assembly import Assembly
from proxy.dialects.chat_completions.citations import read_sources
from proxy.dialects.chat_completions.outcome import CUT_SHORT, FAILED, parse_tier, parse_usage
from proxy.dialects.events import Reason
from proxy.dialects.failures import read_failure
from proxy.dialects.translator import SseTranslator


class ChatTranslator(SseTranslator):
    """Reads chunks up to `[DONE]` or, where the provider sends none, the end of the body behind a finish reason."""

    dialect = "a chat completion"

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        super().__init__(context, self._assembly.writer)
        self._ended = False
        self._reason: Reason | None = None
        self._model = ""
        self._tier: Any = None

    def _finish(self) -> None:
        if self._ended:
            self._done()

    def _done(self) -> None:
        self._assembly.settle(self._reason)
        self.writer.finish(self._reason, self.usage)

    def _read_data(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._done()
            return
        chunk = orjson.loads(data)
        if not isinstance(chunk, dict):
            return
        choices = chunk.get("choices")
        self._read_members(chunk)
        if chunk.get("error") or chunk.get("object") == "error" or chunk.get("type") == "error":
            self.writer.fail(read_failure(chunk), self.usage, announce=True)
        elif isinstance(choices, list):
            for choice in choices:
                # Further choices are alternatives; a response has one output.
                if isinstance(choice, dict) and not choice.get("index"):
                    self._read_choice(choice)

    def _read_members(self, chunk: Mapping[str, Any]) -> None:
        usage = chunk.get("usage")
        if usage is not None:
            self.usage = parse_usage(usage) or self.usage
        if not self._model:
            model = chunk.get("model")
            if isinstance(model, str) and model:
                self._model = model
                self.writer.report(model=model)
        tier = chunk.get("service_tier")
        if tier is not None and tier != self._tier:
            self._tier = tier
            known = parse_tier(tier)
            if known is not None:
                self.writer.report(service_tier=known)
        if "x_groq" in chunk:
            self._read_groq(chunk["x_groq"])
        if chunk.get("citations") or chunk.get("search_results"):
            self._assembly.found(read_sources(chunk))

    def _read_groq(self, extra: Any) -> None:
        if not isinstance(extra, dict):
            return
        self.usage = self.usage or parse_usage(extra.get("usage"))
        if extra.get("error"):
            self.writer.fail(read_failure(extra), self.usage, announce=True)

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        if self.finished:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta:
            self._assembly.take(delta, choice.get("logprobs"))
        reason = choice.get("finish_reason")
        if reason:
            self._close(str(reason), choice)

    def _close(self, reason: str, choice: Mapping[str, Any]) -> None:
        """Close the items; the end waits for the usage, which may come in a chunk of its own."""
        if reason in FAILED or choice.get("error"):
            self.writer.fail(read_failure(choice), self.usage, announce=True)
            return
        self._ended = True
        self._reason = CUT_SHORT.get(reason, self._reason)
        self._assembly.settle(self._reason)

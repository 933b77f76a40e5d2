"""Reads the objects an answer of Gemini consists of, one where it is whole, many where it is streamed."""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.dialects.base import Context, Failure
from proxy.dialects.events import Reason, TokenCounts
from proxy.dialects.gemini_generate_content.assembly import Assembly
from proxy.dialects.gemini_generate_content.outcome import (
    COMPLETE,
    CUT_SHORT,
    finish_failure,
    parse_finish,
    parse_tier,
    parse_usage,
    read_error,
)


class Answer:
    """One answer. `failure`, once set, is what it ends in; `ended` tells that it may end as it is.

    A finish reason can come more than once, and text behind it: only the end of the body is the end.
    """

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        self.writer = self._assembly.writer
        self.failure: Failure | None = None
        self.ended = False
        self._reason: Reason | None = None
        self._model = ""
        self._tier: Any = None
        self._usage: Any = None

    @property
    def usage(self) -> TokenCounts | None:
        """What it has cost so far: every object of a stream tells it anew, and only the last counts."""
        return parse_usage(self._usage)

    def take(self, value: Any) -> None:
        """Read one object. Raises what is UNREADABLE."""
        if not isinstance(value, dict):
            return
        if value.get("error"):
            self.failure = read_error(value)
            return
        self._read_members(value)
        candidates = value.get("candidates")
        if isinstance(candidates, list) and candidates:
            # Further candidates are alternatives; a response has one output.
            for candidate in candidates:
                if isinstance(candidate, dict) and not candidate.get("index"):
                    self._read_candidate(candidate)
        else:
            feedback = value.get("promptFeedback")
            if isinstance(feedback, dict) and feedback.get("blockReason"):
                self._cut("content_filter", feedback.get("blockReasonMessage"))

    def finish(self) -> None:
        """Write the end."""
        self._assembly.settle(self._reason)
        self.writer.finish(self._reason, self.usage)

    def _read_members(self, value: Mapping[str, Any]) -> None:
        usage = value.get("usageMetadata")
        if isinstance(usage, dict):
            if "promptTokenCount" in usage:
                self._usage = usage
            tier = usage.get("serviceTier") or usage.get("trafficType")
            if tier is not None and tier != self._tier:
                self._tier = tier
                known = parse_tier(tier)
                if known is not None:
                    self.writer.report(service_tier=known)
        model = value.get("modelVersion")
        if model and model != self._model and isinstance(model, str):
            self._model = model
            self.writer.report(model=model)

    def _read_candidate(self, candidate: Mapping[str, Any]) -> None:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            logprobs = candidate.get("logprobsResult")
            told = list(_read_logprobs(logprobs)) if isinstance(logprobs, dict) else []
            for part in parts:
                if isinstance(part, dict) and self._assembly.take(part, told):
                    told = []
        if "groundingMetadata" in candidate or "citationMetadata" in candidate:
            self._assembly.ground(candidate)
        finish = candidate.get("finishReason")
        if finish:
            self._close(parse_finish(finish), candidate.get("finishMessage"))

    def _close(self, reason: str, message: Any) -> None:
        if reason in COMPLETE:
            self.ended = True
        elif reason in CUT_SHORT:
            self._cut(CUT_SHORT[reason], message)
        elif reason:
            self.failure = finish_failure(reason, message)

    def _cut(self, reason: Reason, message: Any) -> None:
        """End for a reason; what the provider says about what it held back is said as a refusal."""
        if reason == "content_filter" and isinstance(message, str) and message and self._reason is None:
            self._assembly.refuse(message)
        self.ended = True
        self._reason = reason


def _read_logprobs(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    chosen, tops = result.get("chosenCandidates"), result.get("topCandidates")
    beside = tops if isinstance(tops, list) else []
    for at, token in enumerate(chosen if isinstance(chosen, list) else ()):
        if _is_token(token):
            group = beside[at].get("candidates") if at < len(beside) and isinstance(beside[at], dict) else None
            others = group if isinstance(group, list) else ()
            yield {**_token(token), "top_logprobs": [_token(other) for other in others if _is_token(other)]}


def _is_token(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("logProbability")) in (int, float)


def _token(value: Mapping[str, Any]) -> dict[str, Any]:
    token = str(value.get("token") or "")
    encoded = token.encode("utf-8", "replace")
    return {"token": token, "bytes": list(encoded), "logprob": value["logProbability"]}

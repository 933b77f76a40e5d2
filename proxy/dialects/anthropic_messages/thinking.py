"""Renders how much a model is to think, in the way its family is told."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from proxy.dialects.anthropic_messages.models import EFFORTS, Model

_BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 10_000,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 60_000,
}
"""Tokens to think, by effort, for models that are told a budget."""
_LEAST_BUDGET: Final = 1024
_LEAST_ANSWER: Final = 1024
"""Tokens left for the answer behind the thoughts, where there are so many."""
_NONE: Final = "none"


class Thinking(NamedTuple):
    """What is sent of it: `config` as `thinking`, `effort` in `output_config`; `honoured` is False for another."""

    config: dict[str, Any] | None = None
    effort: str | None = None
    honoured: bool = True

    @property
    def active(self) -> bool:
        """Whether it is asked for."""
        return self.config is not None and self.config["type"] in ("adaptive", "enabled")

    @property
    def off(self) -> bool:
        """Whether it is asked for none, as far as that goes."""
        return self.config is not None and not self.active


def decide_thinking(effort: str | None, model: Model, max_tokens: int, *, summary: bool, hindered: bool) -> Thinking:
    """Decide by the API's effort; where something else in the request hinders it, a budget is not given."""
    # Where thoughts are not told unless asked for, a summary is what asks for them.
    shown = {"display": "summarized"} if summary and model.quiet else {}
    if effort is None:
        return Thinking({"type": "adaptive", **shown} if shown else None)
    if effort == _NONE:
        return _turn_off(model)
    level = _nearest(effort, model.efforts)
    if model.thinking == "adaptive":
        return Thinking({"type": "adaptive", **shown}, level)
    if model.thinking == "none":
        return Thinking(honoured=False)
    if hindered or max_tokens <= _LEAST_BUDGET:
        return Thinking(None, level, honoured=False)
    budget = min(_BUDGETS[effort], max(_LEAST_BUDGET, max_tokens - _LEAST_ANSWER))
    return Thinking({"type": "enabled", "budget_tokens": budget}, level)


def _turn_off(model: Model) -> Thinking:
    if model.off:
        return Thinking({"type": model.off})
    if model.thinking == "none":
        return Thinking()
    return Thinking(None, model.efforts[0], honoured=False)


def _nearest(effort: str, known: tuple[str, ...]) -> str | None:
    """Return the least effort of those known that is no less than this, or the greatest."""
    rank = EFFORTS.index(effort) if effort in EFFORTS else 0
    return next((level for level in known if EFFORTS.index(level) >= rank), known[-1] if known else None)

"""Renders reasoning effort as the fields that each family of models has for it."""

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any, Final

from proxy.dialects.create import Create
from proxy.dialects.items import Said, Thought, Turn

Effort = Callable[[str, Create], Mapping[str, Any] | None]
"""Renders an effort as additional fields of the request; None where the models do not have it."""

_LOW_TO_HIGH: Final = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_LOW_TO_MAX: Final = {**_LOW_TO_HIGH, "xhigh": "max", "max": "max"}
_UP_TO_XHIGH: Final = {**_LOW_TO_MAX, "xhigh": "xhigh"}
_BUDGETS: Final = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 30_720,
}
"""Tokens to think with; the model with the smallest output has 32,000 in all."""
_LEAST_BUDGET: Final = 1_024
_SHOWN: Final = {"display": "summarized"}


def no_effort(_effort: str, _create: Create) -> None:
    """Render nothing: the models reason as they do, or not at all."""


def gpt_oss_effort(effort: str, _create: Create) -> Mapping[str, Any] | None:
    """Render effort as gpt-oss has it, which cannot be told not to reason."""
    level = _LOW_TO_HIGH.get(effort)
    return None if level is None else {"reasoning_effort": level}


def qwen_effort(effort: str, _create: Create) -> Mapping[str, Any] | None:
    """Render effort as Qwen 3 has it, which does not reason unless told to."""
    if effort == "none":
        return {}
    level = _LOW_TO_HIGH.get(effort)
    return None if level is None else {"reasoning_config": level}


def nova_effort(effort: str, create: Create) -> Mapping[str, Any] | None:
    """Render effort as Nova 2 has it; the highest it takes only where neither length nor sampling is set."""
    if effort == "none":
        return {}
    level = _LOW_TO_HIGH.get(effort)
    if level is None:
        return None
    if level == "high" and not create.settings.keys().isdisjoint({"max_output_tokens", "temperature", "top_p"}):
        level = "medium"
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}


def claude_budget(effort: str, create: Create) -> Mapping[str, Any] | None:
    """Render effort as tokens to think with, at most half of all there may be; None where Claude must not think."""
    if effort == "none":
        return {}
    budget, limit = _BUDGETS.get(effort), create.settings.get("max_output_tokens")
    if budget is None or _is_forced(create) or _goes_on_unthought(create.turns):
        return None
    if limit is not None:
        if limit <= _LEAST_BUDGET:
            return None
        budget = max(_LEAST_BUDGET, min(budget, limit // 2))
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def first_adaptive_effort(effort: str, create: Create) -> Mapping[str, Any] | None:
    """Render effort as the first of Claude that decides itself how much to think has it."""
    return _adapt(effort, create, _LOW_TO_MAX, {})


def adaptive_effort(effort: str, create: Create) -> Mapping[str, Any] | None:
    """Render effort as newer Claude has it, which tells what it thought only if asked to."""
    shown = _SHOWN if create.settings.get("reasoning.summary") else {}
    return _adapt(effort, create, _UP_TO_XHIGH, shown)


def no_summary(_create: Create) -> Mapping[str, Any]:
    """Render nothing: what the models think is told anyway, or never."""
    return {}


def adaptive_summary(create: Create) -> Mapping[str, Any]:
    """Render a summary without an effort, which newer Claude has to be asked for."""
    if not create.settings.get("reasoning.summary") or _is_forced(create):
        return {}
    return {"thinking": {"type": "adaptive", **_SHOWN}}


def _adapt(
    effort: str, create: Create, levels: Mapping[str, str], shown: Mapping[str, str]
) -> Mapping[str, Any] | None:
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    level = levels.get(effort)
    if level is None or _is_forced(create):
        return None
    return {"thinking": {"type": "adaptive", **shown}, "output_config": {"effort": level}}


def _is_forced(create: Create) -> bool:
    """Tell whether a tool has to be called, which Claude does not do once it has begun to think."""
    return create.tools.choice.mode == "required"


def _goes_on_unthought(turns: Iterable[Said | Turn]) -> bool:
    """Tell whether calls are being answered that began without reasoning Claude knows for its own."""
    dialogue = [turn for turn in turns if isinstance(turn, Turn) or turn.role == "user"]
    run = list(takewhile(lambda turn: isinstance(turn, Turn), reversed(dialogue)))
    first = run[-1] if run else None
    if not isinstance(first, Turn) or not first.outputs:
        return False
    began = first.acts[0]
    return not isinstance(began, Thought) or began.state is None

"""Tells generations of Gemini models apart, and renders what differs between them: how much they think."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Generation(NamedTuple):
    """Version of a model; zeros for one whose name does not tell."""

    major: int
    minor: int

    @property
    def thinks(self) -> bool:
        """Whether it can reason before it answers, and be told how much."""
        return self >= _FIRST_THINKING

    @property
    def validates(self) -> bool:
        """Whether it can be held to the schemas of its functions without being made to call one."""
        return self >= _FIRST_THINKING

    @property
    def signs(self) -> bool:
        """Whether it refuses a call of its own that comes back without its signature."""
        return self >= _THIRD

    @property
    def combines(self) -> bool:
        """Whether it can have hosted tools and functions in one request."""
        return self >= _THIRD

    @property
    def shown_outputs(self) -> bool:
        """Whether what a function returned may hold images and documents."""
        return self >= _THIRD


_FIRST_THINKING: Final = Generation(2, 5)
_THIRD: Final = Generation(3, 0)
_NAME: Final = re.compile(r"^gemini-(\d{1,2})(?:\.(\d{1,2}))?(?:-|$)")
_LATEST: Final = re.compile(r"^gemini-(?:pro|flash|flash-lite)-latest$")

_LEVELS: Final[Mapping[str, str]] = {
    "none": "LOW",
    "minimal": "LOW",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_BELOW_LOW: Final = ("gemini-3-flash", "gemini-3.1-flash-lite", "gemini-3.5-flash")
"""Models with a level below `LOW`; the others refuse it, and none can be kept from thinking at all."""
_WITHOUT_MEDIUM: Final = "gemini-3-pro"
_BUDGETS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Tokens, as Google's own OpenAI-compatible endpoint has them; every model that thinks accepts these."""
_BUDGETS_OF_PRO: Final = {**_BUDGETS, "none": 128, "xhigh": 32_768, "max": 32_768}
"""The large models cannot be kept from thinking."""


def generation_of(model: str) -> Generation:
    """Read the generation from a model's name."""
    name = _base_name(model)
    found = _NAME.match(name)
    if found is not None:
        return Generation(int(found[1]), int(found[2] or 0))
    return _THIRD if _LATEST.match(name) else Generation(0, 0)


def render_effort(model: str, effort: str) -> Mapping[str, Any] | None:
    """Render reasoning effort as members of `thinkingConfig`; None where the model has nothing like it."""
    generation, name = generation_of(model), _base_name(model)
    if not generation.thinks:
        return {} if effort == "none" else None
    if generation < _THIRD:
        budgets = _BUDGETS_OF_PRO if "-pro" in name else _BUDGETS
        return {"thinkingBudget": budgets[effort]} if effort in budgets else None
    if effort not in _LEVELS:
        return None
    if effort in ("none", "minimal") and name.startswith(_BELOW_LOW):
        return {"thinkingLevel": "MINIMAL"}
    if effort == "medium" and name.startswith(_WITHOUT_MEDIUM):
        return {"thinkingLevel": "HIGH"}
    return {"thinkingLevel": _LEVELS[effort]}


def _base_name(model: str) -> str:
    return model.rpartition("/")[2]

"""What the families of models have of the format, found by the model's name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.dialects.bedrock_converse.effort import (
    Effort,
    adaptive_effort,
    adaptive_summary,
    claude_budget,
    first_adaptive_effort,
    gpt_oss_effort,
    no_effort,
    no_summary,
    nova_effort,
    qwen_effort,
)
from proxy.dialects.create import Create


@dataclass(frozen=True, slots=True)
class Profile:
    """What the models of a family have of the format, beyond what all have."""

    effort: Effort = no_effort
    summary: Callable[[Create], Mapping[str, Any]] = no_summary
    """Renders a summary where no effort is asked for."""
    sampling: bool = True
    """Whether temperature and top_p are accepted."""
    samples_both: bool = True
    """Whether they are so at once."""
    named: bool = False
    """Whether one tool can be forced by its name; otherwise it is the only one offered."""
    strict: bool = False
    """Whether tools can be strict."""
    serial: bool = False
    """Whether parallel calls can be forbidden."""
    hosted: frozenset[str] = frozenset()
    """Hosted tools that have a counterpart."""
    in_results: frozenset[str] = frozenset({"image"})
    """Content beside text that a tool's result may hold."""
    beside_results: frozenset[str] = frozenset({"text", "image", "audio", "document"})
    """Content that may follow tool results in one message."""
    short_ids: bool = False
    """Whether ids of calls have to be nine letters and digits."""
    opens: bool = False
    """Whether the model may be the first to have spoken."""


_OTHER: Final = Profile()
_CLAUDE: Final = Profile(
    named=True,
    in_results=frozenset({"image", "document"}),
    beside_results=frozenset({"text", "image"}),
    opens=True,
)
_CLAUDE_4_5: Final = replace(_CLAUDE, effort=claude_budget, strict=True, serial=True, samples_both=False)
_ALONE: Final[frozenset[str]] = frozenset()

_FAMILIES: Final[tuple[tuple[tuple[str, ...], Profile], ...]] = (
    (("claude-v", "claude-instant", "claude-3-5", "claude-3-haiku", "claude-3-opus", "claude-3-sonnet"), _CLAUDE),
    (
        ("claude-3-7", "claude-opus-4-2", "claude-sonnet-4-2"),
        replace(_CLAUDE, effort=claude_budget),
    ),
    (("claude-opus-4-1",), replace(_CLAUDE, effort=claude_budget, samples_both=False)),
    (("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5"), _CLAUDE_4_5),
    (("claude-opus-4-6", "claude-sonnet-4-6"), replace(_CLAUDE_4_5, effort=first_adaptive_effort)),
    (("claude-",), replace(_CLAUDE_4_5, effort=adaptive_effort, summary=adaptive_summary, sampling=False)),
    (("nova-2-",), Profile(effort=nova_effort, named=True, hosted=frozenset({"code_interpreter"}))),
    (("amazon.nova-",), Profile(named=True)),
    (("openai.gpt-oss",), Profile(effort=gpt_oss_effort)),
    (("qwen.qwen3",), Profile(effort=qwen_effort)),
    (("mistral.",), Profile(in_results=frozenset({"document"}), beside_results=_ALONE, short_ids=True)),
    (("meta.llama",), Profile(in_results=_CLAUDE.in_results, beside_results=_ALONE)),
    (("writer.",), Profile(beside_results=_ALONE)),
)
"""Parts of names, the first that fits counting. A name may have a region before it, or be an ARN that holds it."""


def profile_of(model: str) -> Profile:
    """Return what a model has; of one that does not tell its family, what all have."""
    return next((profile for parts, profile in _FAMILIES if any(part in model for part in parts)), _OTHER)

"""What the families of models take of the format: how they think, how much they say, what they refuse.

From the vendor's model pages, migration guides and thinking support table as of 2026-11.
"""

from typing import Final, Literal, NamedTuple

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


class Model(NamedTuple):
    """What a model takes.

    `thinking` is by a budget of tokens, adaptive, or none; `off` is the type of thinking that is the least there
    is, empty where it cannot be turned off; `efforts` are those of `output_config`, in rising order.
    """

    max_tokens: int
    thinking: Literal["none", "budget", "adaptive"] = "none"
    off: str = ""
    efforts: tuple[str, ...] = ()
    quiet: bool = False
    """Whether it tells its thoughts only when asked to."""
    samples: bool = True
    """Whether it takes temperature and top_p."""
    prefill: bool = True
    """Whether it goes on with an assistant message that comes last."""
    forced: bool = True
    """Whether it can be made to call a tool."""
    system_turns: bool = False
    """Whether it takes system messages in the middle of a dialogue."""
    bound: bool = False
    """Whether its thoughts are good only behind the very dialogue that led to them."""
    structured: bool = False
    """Whether it can be held to a JSON schema, in text and in the input of tools."""


_CLAUDE_3: Final = Model(4096)
_CLAUDE_3_5: Final = Model(8192)
_CLAUDE_3_7: Final = Model(64_000, "budget", "disabled")
_OPUS_4: Final = _CLAUDE_3_7._replace(max_tokens=32_000)
_OPUS_4_1: Final = _OPUS_4._replace(structured=True)
_CLAUDE_4_5: Final = _CLAUDE_3_7._replace(structured=True)
_OPUS_4_5: Final = _CLAUDE_4_5._replace(efforts=("low", "medium", "high"))
_CLAUDE_4_6: Final = _OPUS_4_5._replace(
    max_tokens=128_000, thinking="adaptive", efforts=("low", "medium", "high", "max"), prefill=False
)
_CLAUDE_4_7: Final = _CLAUDE_4_6._replace(efforts=EFFORTS, quiet=True, samples=False)
_CLAUDE_4_8: Final = _CLAUDE_4_7._replace(system_turns=True)
_FABLE_5: Final = _CLAUDE_4_8._replace(off="")
_CLAUDE_5_5: Final = _FABLE_5._replace(forced=False, bound=True)
_UNKNOWN: Final = _CLAUDE_5_5._replace(forced=True)
"""Of a Claude that came later: what the latest refuse is not sent, what they all take is."""
_FOREIGN: Final = _CLAUDE_3_7._replace(max_tokens=8192)
"""Of a model of somebody else's behind the same format, which is known as it was before 2026."""

_FAMILIES: Final = {
    "claude-instant": _CLAUDE_3,
    "claude-2": _CLAUDE_3,
    "claude-3": _CLAUDE_3,
    "claude-3-5": _CLAUDE_3_5,
    "claude-3-7": _CLAUDE_3_7,
    "claude-4-opus": _OPUS_4,
    "claude-opus-4-0": _OPUS_4,
    "claude-opus-4-2": _OPUS_4,
    "claude-opus-4@": _OPUS_4,
    "claude-opus-4-1": _OPUS_4_1,
    "claude-4-sonnet": _CLAUDE_3_7,
    "claude-sonnet-4-0": _CLAUDE_3_7,
    "claude-sonnet-4-2": _CLAUDE_3_7,
    "claude-sonnet-4@": _CLAUDE_3_7,
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-opus-4-5": _OPUS_4_5,
    "claude-sonnet-4-6": _CLAUDE_4_6,
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _CLAUDE_4_7,
    "claude-opus-4-8": _CLAUDE_4_8,
    "claude-sonnet-5": _CLAUDE_4_7,
    "claude-opus-5": _CLAUDE_4_8,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-mythos-preview": _FABLE_5._replace(forced=False, system_turns=False),
    "claude-fable-5-1": _CLAUDE_5_5,
    "claude-fable-5-2": _CLAUDE_5_5,
    "claude-mythos-5-1": _CLAUDE_5_5,
    "claude-mythos-5-2": _CLAUDE_5_5,
    "claude-opus-5-5": _CLAUDE_5_5,
    "claude-sonnet-5-5": _CLAUDE_5_5._replace(off="between_tools"),
    "claude-haiku-5-5": _CLAUDE_5_5._replace(off="disabled", forced=True),
}
"""By the beginning of the name, the longest that fits."""


def find_model(name: str) -> Model:
    """Return what a model takes, by its name at any of the clouds: `us.anthropic.claude-…`, `anthropic/claude-…`."""
    # A name may end where a date would follow.
    own = plain_name(name) + "@"
    fitting = max((family for family in _FAMILIES if own.startswith(family)), key=len, default=None)
    if fitting is not None:
        return _FAMILIES[fitting]
    return _UNKNOWN if own.startswith("claude") else _FOREIGN


def plain_name(name: str) -> str:
    """Return the vendor's own name of a model, without what a cloud puts before it."""
    at = name.find("claude")
    return name[max(at, 0) :].replace(".", "-")

import pytest

from proxy.dialects.anthropic_messages.models import find_model
from proxy.dialects.anthropic_messages.thinking import Thinking, decide_thinking

OLD, OPUS_4_5, MIDDLE, NEW, FABLE, HIDDEN = map(
    find_model,
    (
        "claude-sonnet-4-5",
        "claude-opus-4-5",
        "claude-opus-4-6",
        "claude-opus-4-8",
        "claude-fable-5-1",
        "claude-3-haiku",
    ),
)


def decide(effort, model, max_tokens=64_000, *, summary=False, hindered=False):
    return decide_thinking(effort, model, max_tokens, summary=summary, hindered=hindered)


def budget(tokens):
    return {"type": "enabled", "budget_tokens": tokens}


ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("effort", "model", "config", "level"),
    [
        ("minimal", OLD, budget(1024), None),
        ("low", OLD, budget(2048), None),
        ("medium", OLD, budget(10_000), None),
        ("max", OLD, budget(60_000), None),
        ("xhigh", OPUS_4_5, budget(32_768), "high"),
        ("minimal", MIDDLE, ADAPTIVE, "low"),
        ("high", MIDDLE, ADAPTIVE, "high"),
        ("xhigh", MIDDLE, ADAPTIVE, "max"),
        ("xhigh", NEW, ADAPTIVE, "xhigh"),
        (None, NEW, None, None),
        (None, OLD, None, None),
    ],
)
def test_effort_is_told_in_the_way_of_the_family(effort, model, config, level):
    assert decide(effort, model) == Thinking(config, level)


@pytest.mark.parametrize(
    ("max_tokens", "tokens"), [(64_000, 16_384), (4000, 2976), (2000, 1024), (1025, 1024), (1024, None), (16, None)]
)
def test_budget_stays_below_the_limit_on_the_answer(max_tokens, tokens):
    decided = decide("high", OLD, max_tokens)
    assert decided.config == (None if tokens is None else budget(tokens))
    assert decided.honoured is (tokens is not None)


def test_budget_is_not_given_where_something_hinders_it():
    assert decide("high", OLD, hindered=True) == Thinking(honoured=False)
    assert decide("high", OPUS_4_5, hindered=True) == Thinking(None, "high", honoured=False)
    assert decide("high", NEW, hindered=True).honoured


@pytest.mark.parametrize(
    ("name", "decided"),
    [
        ("claude-sonnet-4-5", Thinking({"type": "disabled"})),
        ("claude-opus-5", Thinking({"type": "disabled"})),
        ("claude-haiku-5-5", Thinking({"type": "disabled"})),
        ("claude-sonnet-5-5", Thinking({"type": "between_tools"})),
        ("claude-opus-5-5", Thinking(None, "low", honoured=False)),
        ("claude-3-5-haiku", Thinking()),
    ],
)
def test_none_turns_it_off_as_far_as_that_goes(name, decided):
    assert decide("none", find_model(name)) == decided
    assert decided.off is (decided.config is not None)
    assert not decided.active


def test_summary_is_asked_for_where_it_is_not_told_anyway():
    shown = {"type": "adaptive", "display": "summarized"}
    assert decide("low", NEW, summary=True).config == shown
    assert decide(None, FABLE, summary=True).config == shown
    assert decide("low", MIDDLE, summary=True).config == ADAPTIVE
    assert decide(None, OLD, summary=True).config is None


def test_model_that_does_not_think_is_not_made_to():
    assert decide("high", HIDDEN) == Thinking(honoured=False)

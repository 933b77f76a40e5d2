import pytest

from proxy.dialects.bedrock_converse.effort import (
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
from proxy.dialects.create import read_create
from proxy.dialects.reasoning import seal

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
ALL = (adaptive_effort, claude_budget, first_adaptive_effort, gpt_oss_effort, no_effort, nova_effort, qwen_effort)
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "a", "output": "x"}
OWN = {"type": "reasoning", "summary": [], "encrypted_content": seal("p", "m", {"redacted": "AA=="})}
FOREIGN = {"type": "reasoning", "summary": [], "encrypted_content": seal("other", "m", {"redacted": "AA=="})}
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "name": "f"}


def create_of(**body):
    return read_create({"input": "Hi", **body}, "p", "m")


def each(effort, levels=LEVELS, **body):
    return [effort(level, create_of(**body)) for level in levels]


@pytest.mark.parametrize("effort", ALL)
def test_effort_nobody_has_heard_of_is_not_rendered(effort):
    assert effort("enormous", create_of()) is None


def test_models_without_effort_are_told_none():
    assert set(each(no_effort)) == {None}


def test_gpt_oss_has_three_levels_and_cannot_do_without():
    levels = [None, "low", "low", "medium", "high", "high", "high"]
    assert each(gpt_oss_effort) == [level and {"reasoning_effort": level} for level in levels]


def test_qwen_does_not_reason_unless_told_to():
    assert each(qwen_effort, ("none", "high")) == [{}, {"reasoning_config": "high"}]


def test_nova_has_three_levels():
    levels = ["low", "low", "medium", "high", "high", "high"]
    enabled = [{"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}} for level in levels]
    assert each(nova_effort) == [{}, *enabled]


@pytest.mark.parametrize("setting", [{"max_output_tokens": 9}, {"temperature": 0}, {"top_p": 1}])
def test_nova_reasons_less_where_its_highest_level_would_be_refused(setting):
    (fields,) = each(nova_effort, ("high",), **setting)
    assert fields["reasoningConfig"]["maxReasoningEffort"] == "medium"


def test_claude_has_a_budget_that_grows_and_fits_the_smallest_output():
    none, *rest = each(claude_budget)
    budgets = [fields["thinking"]["budget_tokens"] for fields in rest]
    assert none == {}
    assert budgets == sorted(set(budgets))
    assert (budgets[0], budgets[-1] < 32_000) == (1024, True)


@pytest.mark.parametrize(("limit", "budget"), [(1024, None), (1025, 1024), (4000, 2000), (100_000, 16_384)])
def test_budget_leaves_room_for_the_answer(limit, budget):
    (fields,) = each(claude_budget, ("high",), max_output_tokens=limit)
    assert fields == (budget and {"thinking": {"type": "enabled", "budget_tokens": budget}})


@pytest.mark.parametrize(
    ("items", "thinks"),
    [
        ([USER, OWN, CALL, OUTPUT], True),
        ([USER, OWN, CALL, OUTPUT, {**CALL, "call_id": "b"}, {**OUTPUT, "call_id": "b"}], True),
        ([USER, OWN, CALL, {"role": "developer", "content": "x"}, OUTPUT], True),
        ([USER, CALL, OUTPUT, USER], True),
        ([USER, {"role": "assistant", "content": "x"}, USER], True),
        ([USER, CALL, OUTPUT], False),
        ([USER, CALL, OUTPUT, {"role": "developer", "content": "x"}], False),
        ([USER, FOREIGN, CALL, OUTPUT], False),
        ([USER, CALL, OUTPUT, OWN, {**CALL, "call_id": "b"}, {**OUTPUT, "call_id": "b"}], False),
    ],
)
def test_claude_does_not_begin_to_think_amid_calls(items, thinks):
    (fields,) = each(claude_budget, ("low",), input=items)
    assert (fields is not None) is thinks


@pytest.mark.parametrize("effort", [claude_budget, adaptive_effort, first_adaptive_effort])
@pytest.mark.parametrize("choice", ["required", TOOL])
def test_claude_does_not_think_when_it_has_to_call(effort, choice):
    assert each(effort, ("low",), tools=[TOOL], tool_choice=choice) == [None]
    assert each(effort, ("low",), tools=[TOOL], tool_choice="auto") != [None]


def test_adaptive_claude_is_told_the_level():
    none, *rest = each(adaptive_effort)
    assert none == {"thinking": {"type": "disabled"}}
    assert {fields["thinking"]["type"] for fields in rest} == {"adaptive"}
    levels = [fields["output_config"]["effort"] for fields in rest]
    assert levels == ["low", "low", "medium", "high", "xhigh", "max"]
    first = [fields["output_config"]["effort"] for fields in each(first_adaptive_effort)[1:]]
    assert first == ["low", "low", "medium", "high", "max", "max"]


def test_newer_claude_shows_its_thoughts_where_a_summary_is_asked_for():
    shown = {"type": "adaptive", "display": "summarized"}
    asked = {"reasoning": {"effort": "low", "summary": "auto"}}
    assert each(adaptive_effort, ("low",), **asked)[0]["thinking"] == shown
    assert each(first_adaptive_effort, ("low",), **asked)[0]["thinking"] == {"type": "adaptive"}


def test_newer_claude_is_asked_for_a_summary_where_no_effort_is():
    asked = {"reasoning": {"summary": "auto"}, "tools": [TOOL]}
    assert adaptive_summary(create_of(**asked)) == {"thinking": {"type": "adaptive", "display": "summarized"}}
    assert adaptive_summary(create_of(**asked, tool_choice="required")) == {}
    assert adaptive_summary(create_of()) == no_summary(create_of(**asked)) == {}

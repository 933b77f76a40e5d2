import pytest

from proxy.dialects.bedrock_converse.effort import (
    adaptive_effort,
    claude_budget,
    first_adaptive_effort,
    gpt_oss_effort,
    no_effort,
    nova_effort,
    qwen_effort,
)
from proxy.dialects.bedrock_converse.families import Profile, profile_of

EFFORTS = {
    "anthropic.claude-v2:1": no_effort,
    "anthropic.claude-3-haiku-20240307-v1:0": no_effort,
    "us.anthropic.claude-3-5-sonnet-20241022-v2:0": no_effort,
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0": claude_budget,
    "us.anthropic.claude-sonnet-4-20250514-v1:0": claude_budget,
    "us.anthropic.claude-opus-4-20250514-v1:0": claude_budget,
    "us.anthropic.claude-opus-4-1-20250805-v1:0": claude_budget,
    "global.anthropic.claude-sonnet-4-5-20250929-v1:0": claude_budget,
    "anthropic.claude-haiku-4-5-20251001-v1:0": claude_budget,
    "us.anthropic.claude-sonnet-4-6": first_adaptive_effort,
    "us.anthropic.claude-opus-4-6-v1": first_adaptive_effort,
    "us.anthropic.claude-opus-4-7": adaptive_effort,
    "us.anthropic.claude-sonnet-5": adaptive_effort,
    "us.amazon.nova-micro-v1:0": no_effort,
    "us.amazon.nova-2-lite-v1:0": nova_effort,
    "openai.gpt-oss-120b-1:0": gpt_oss_effort,
    "qwen.qwen3-32b-v1:0": qwen_effort,
    "us.deepseek.r1-v1:0": no_effort,
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6": first_adaptive_effort,
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefghijkl": no_effort,
}


@pytest.mark.parametrize(("model", "effort"), EFFORTS.items())
def test_family_is_told_by_the_name(model, effort):
    assert profile_of(model).effort is effort


def test_tools_are_strict_and_serial_from_claude_4_5_on():
    able = {model for model in EFFORTS if profile_of(model).strict}
    assert able == {model for model in EFFORTS if any(part in model for part in ("-4-5", "-4-6", "-4-7", "sonnet-5"))}
    assert able == {model for model in EFFORTS if profile_of(model).serial}


def test_newest_claude_takes_no_sampling():
    assert {model for model in EFFORTS if not profile_of(model).sampling} == {
        "us.anthropic.claude-opus-4-7",
        "us.anthropic.claude-sonnet-5",
    }


def test_code_is_run_by_nova_2_alone():
    assert [model for model in EFFORTS if profile_of(model).hosted] == ["us.amazon.nova-2-lite-v1:0"]


def test_tool_results_stand_alone_where_they_have_to():
    for model in ("us.mistral.pixtral-large-2502-v1:0", "us.meta.llama4-maverick-17b-instruct-v1:0"):
        assert not profile_of(model).beside_results
    assert profile_of("us.mistral.pixtral-large-2502-v1:0").short_ids


def test_model_of_no_known_family_has_what_all_have():
    assert profile_of("cohere.command-r-v1:0") == Profile()

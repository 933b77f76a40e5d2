from openai.types.responses import Response

from proxy.dialects.opened import open_response
from tests.dialects.oracle import RESPONSE_ID, context_of

REQUIRED = """
id object created_at completed_at status incomplete_details model previous_response_id instructions output error tools
tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs temperature
reasoning usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier
prompt_cache_key
"""


def test_opened_response_has_every_member_the_specification_requires():
    opened = open_response(context_of())
    assert set(REQUIRED.split()) <= set(opened)
    assert (opened["id"], opened["status"], opened["created_at"], opened["model"]) == (
        RESPONSE_ID,
        "in_progress",
        1_700_000_000,
        "large",
    )
    Response.model_validate(opened)


def test_request_is_said_back():
    asked = {"temperature": 0.5, "metadata": {"a": "b"}, "store": False, "instructions": "x", "top_p": None}
    tools = [{"type": "function", "name": "f"}, {"type": "web_search"}]
    body = {"input": "Hi", **asked, "tools": tools, "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}
    opened = open_response(context_of(body))
    assert {name: opened[name] for name in asked} == {**asked, "top_p": 1.0}
    assert open_response(context_of({**body, "service_tier": "flex"}))["service_tier"] == "default"
    assert opened["reasoning"] == {"effort": "low", "summary": None}
    assert opened["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert opened["tools"][0] == {**tools[0], "description": None, "parameters": None, "strict": None}
    Response.model_validate(opened)

import orjson
import pytest

from proxy.dialects.bedrock_converse import bedrock_converse, profile_of
from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from tests.dialects.bedrock_converse.service import check_request

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEWEST = "anthropic.claude-opus-4-7"
NOVA = "us.amazon.nova-2-lite-v1:0"
OTHER = "cohere.command-r-v1:0"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
ARN = "arn:aws:bedrock:us-east-1:123456789012"


def render(model=OTHER, **body):
    """Render, hold the body to the service's model, and return it with what was rendered."""
    dialect = bedrock_converse(profile_of(model))
    rendered = dialect.render_request(read_create({"input": "Hi", **body}, "primary", model, hosted=dialect.hosted))
    check_request("ConverseStream" if body.get("stream") else "Converse", rendered.body)
    return orjson.loads(rendered.body), rendered


def count(model=OTHER, **body):
    rendered = bedrock_converse(profile_of(model)).render_count(read_create({"input": "Hi", **body}, "primary", model))
    check_request("CountTokens", rendered.body, "anthropic.claude-v2")
    return orjson.loads(rendered.body), rendered


def test_smallest_request():
    body, rendered = render()
    assert body == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert (rendered.path, rendered.dropped) == ("/model/cohere.command-r-v1%3A0/converse", ())
    assert rendered.headers == (("Content-Type", "application/json"),)


def test_stream_has_a_path_of_its_own():
    assert render(stream=True)[1].path == "/model/cohere.command-r-v1%3A0/converse-stream"


def test_arn_is_one_segment_of_the_path():
    path = render(f"{ARN}:application-inference-profile/abc")[1].path
    assert (
        path == "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse"
    )


@pytest.mark.parametrize("model", [".", "..", ""])
def test_model_that_would_lead_elsewhere_is_refused(model):
    with pytest.raises(BadRequest) as refused:
        render(model)
    assert refused.value.param == "model"


def test_instructions_are_the_system():
    assert render(instructions="Be brief.")[0]["system"] == [{"text": "Be brief."}]


def test_settings_have_their_places():
    body, rendered = render(
        max_output_tokens=10,
        temperature=0.5,
        top_p=1,
        service_tier="flex",
        metadata={"team": "a b"},
        user="u",
        text={"verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        prompt_cache_key="k",
    )
    assert body["inferenceConfig"] == {"maxTokens": 10, "temperature": 0.5, "topP": 1}
    assert (body["serviceTier"], body["requestMetadata"]) == ({"type": "flex"}, {"team": "a b"})
    assert set(rendered.dropped) == {"user", "text.verbosity", "reasoning.effort", "prompt_cache_key"}


def test_tier_the_service_does_not_have_is_reported():
    body, rendered = render(service_tier="scale")
    assert ("serviceTier" in body, rendered.dropped) == (False, ("service_tier",))


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        ({"a": "b", "ü": "x"}, {"a": "b"}),
        ({"a": "b" * 257}, None),
        ({"a" * 64: "", "b": 'say "x"'}, {"a" * 64: ""}),
        ({f"k{number}": "v" for number in range(16)}, {f"k{number}": "v" for number in range(16)}),
    ],
)
def test_metadata_beyond_the_limits_is_left_out(metadata, kept):
    """The client has all of it back: nothing of it is lost."""
    body, rendered = render(metadata=metadata)
    assert (body.get("requestMetadata"), rendered.dropped) == (kept, ())


def test_effort_is_rendered_as_the_family_has_it():
    asked = {"reasoning": {"effort": "low"}}
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    assert render(CLAUDE, **asked)[0]["additionalModelRequestFields"] == thinking
    reasoning = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}
    assert render(NOVA, **asked)[0]["additionalModelRequestFields"] == reasoning
    body, rendered = render(NOVA, reasoning={"effort": "none"})
    assert ("additionalModelRequestFields" in body, rendered.dropped) == (False, ())


def test_summary_alone_is_asked_for_where_it_would_not_be_told():
    fields = {"thinking": {"type": "adaptive", "display": "summarized"}}
    body, rendered = render(NEWEST, reasoning={"summary": "auto"})
    assert (body["additionalModelRequestFields"], rendered.dropped) == (fields, ())
    assert "additionalModelRequestFields" not in render(CLAUDE, reasoning={"summary": "auto"})[0]


def test_claude_that_thinks_is_not_steered():
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 9000}
    body, rendered = render(CLAUDE, reasoning={"effort": "low"}, **sampling)
    assert (body["inferenceConfig"], set(rendered.dropped)) == ({"maxTokens": 9000}, {"temperature", "top_p"})
    assert set(render(NEWEST, **sampling)[1].dropped) == {"temperature", "top_p"}
    assert render(NEWEST, temperature=1, top_p=1)[1].dropped == ()


@pytest.mark.parametrize(
    ("model", "asked", "sent", "dropped"),
    [
        (OTHER, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "topP": 0.9}, ()),
        (OTHER, {"temperature": 1.5}, {"temperature": 1}, ("temperature",)),
        (CLAUDE, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ("top_p",)),
        (CLAUDE, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, ()),
        (CLAUDE, {"temperature": 1, "top_p": 0.9}, {"topP": 0.9}, ()),
        (CLAUDE, {"top_p": 0.9}, {"topP": 0.9}, ()),
    ],
)
def test_sampling_is_what_the_service_and_the_model_take(model, asked, sent, dropped):
    """The service takes a temperature of one at most, and Claude since 4.1 refuses both at once."""
    body, rendered = render(model, **asked)
    assert (body["inferenceConfig"], rendered.dropped) == (sent, dropped)


def test_further_fields_stand_together():
    body, _ = render(CLAUDE, tools=[WEATHER], parallel_tool_calls=False, reasoning={"effort": "low"})
    assert set(body["additionalModelRequestFields"]) == {"tool_choice", "thinking"}


def test_schema_is_sent_as_text_in_the_form_that_is_enforced():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    body, _ = render(text={"format": {"type": "json_schema", "name": "n", "schema": schema, "description": "d"}})
    format_ = body["outputConfig"]["textFormat"]
    inner = format_["structure"]["jsonSchema"]
    assert (format_["type"], inner["name"], inner["description"]) == ("json_schema", "n", "d")
    enforced = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    assert orjson.loads(inner["schema"]) == {**schema, **enforced}


def test_json_of_any_form_is_refused():
    with pytest.raises(BadRequest) as refused:
        render(text={"format": {"type": "json_object"}})
    assert refused.value.param == "text.format"


def test_dropped_parts_of_the_input_are_reported_with_the_rest():
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    _, rendered = render(input=[{"role": "user", "content": "Hi"}, searched], stop=["x"], truncation="auto")
    assert rendered.dropped == ("input.web_search_call", "stop", "truncation")


def test_count_is_of_the_same_input():
    asked = {"tools": [WEATHER], "instructions": "Be brief.", "max_output_tokens": 10, "metadata": {"a": "b"}}
    body, rendered = count(**asked)
    whole, _ = render(**asked)
    assert body == {"input": {"converse": {name: whole[name] for name in ("messages", "system", "toolConfig")}}}
    assert rendered.path == "/model/cohere.command-r-v1%3A0/count-tokens"


@pytest.mark.parametrize(
    ("model", "counted"),
    [
        ("us.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("global.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        (f"{ARN}:inference-profile/eu.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("zai.glm-4.7-flash", "zai.glm-4.7-flash"),
        (f"{ARN}:application-inference-profile/abc", None),
    ],
)
def test_count_is_asked_of_the_model_behind_a_profile(model, counted):
    path = count(model)[1].path
    assert (path == f"/model/{counted}/count-tokens") is (counted is not None)

import orjson
import pytest

from proxy.dialects.cohere_chat import Profile, cohere_chat
from proxy.dialects.cohere_chat.request import budget, render_request
from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from tests.dialects.cohere_chat.official import check
from tests.dialects.oracle import context_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}
FITTED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
WEATHER = {"type": "function", "name": "weather", "description": "Now.", "parameters": SCHEMA, "strict": True}
TIME = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}


def render(profile=None, **body):
    create = read_create({"input": "Hi", **body}, "primary", "large")
    rendered = render_request(create, profile or Profile())
    rendered_body = orjson.loads(rendered.body)
    check(rendered_body)
    return rendered_body, rendered


def test_smallest_request():
    body, rendered = render()
    assert body == {"model": "large", "messages": [{"role": "user", "content": "Hi"}]}
    assert (rendered.path, rendered.dropped) == ("/v2/chat", ())
    assert rendered.headers == (("Content-Type", "application/json"),)


def test_stream_is_asked_for():
    assert render(stream=True)[0]["stream"] is True


def test_instructions_come_first_as_the_system():
    body, _ = render(instructions="Be brief.", input=[{"role": "developer", "content": "In French."}])
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "In French."},
    ]


def test_settings_are_rendered_under_their_names():
    body, rendered = render(temperature=0.5, top_p=0.9, max_output_tokens=10, metadata={"a": "b"})
    assert {name: body[name] for name in ("temperature", "p", "max_tokens")} == {
        "temperature": 0.5,
        "p": 0.9,
        "max_tokens": 10,
    }
    assert rendered.dropped == ()


@pytest.mark.parametrize(("asked", "told"), [(0, 0.01), (0.01, 0.01), (0.5, 0.5), (0.99, 0.99), (1, 0.99), (1.0, 0.99)])
def test_nucleus_stays_within_its_range(asked, told):
    assert render(top_p=asked)[0]["p"] == told


def test_settings_without_a_place_are_reported():
    asked = {
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "service_tier": "flex",
        "text": {"verbosity": "low"},
        "truncation": "auto",
        "user": "u",
    }
    _, rendered = render(tools=[TIME], **asked)
    assert set(rendered.dropped) == {*asked.keys() - {"text"}, "text.verbosity"}


def test_parallel_calls_are_as_they_are():
    assert render(tools=[TIME], parallel_tool_calls=True)[1].dropped == ()
    assert render(parallel_tool_calls=False)[1].dropped == ()


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", {"type": "disabled"}),
        ("minimal", {"type": "enabled", "token_budget": 512}),
        ("low", {"type": "enabled", "token_budget": 2048}),
        ("medium", {"type": "enabled", "token_budget": 8192}),
        ("high", {"type": "enabled", "token_budget": 16384}),
        ("xhigh", {"type": "enabled", "token_budget": 31000}),
        ("max", {"type": "enabled", "token_budget": 31000}),
    ],
)
def test_effort_is_a_budget(effort, thinking):
    body, rendered = render(reasoning={"effort": effort, "summary": "auto"})
    assert (body["thinking"], rendered.dropped) == (thinking, ())


def test_effort_a_provider_does_not_have_is_reported():
    body, rendered = render(Profile(effort=lambda _: None), reasoning={"effort": "max"})
    assert ("thinking" in body, rendered.dropped) == (False, ("reasoning.effort",))
    assert "thinking" not in render()[0]
    assert budget("heroic") is None


def test_profile_says_how_effort_is_told():
    body, _ = render(Profile(path="/chat", effort=lambda _: {"type": "enabled"}), reasoning={"effort": "low"})
    assert body["thinking"] == {"type": "enabled"}


def test_logprobs_are_asked_for_and_alternatives_reported():
    body, rendered = render(include=["message.output_text.logprobs"])
    assert (body["logprobs"], rendered.dropped) == (True, ())
    body, rendered = render(top_logprobs=2)
    assert (body["logprobs"], rendered.dropped) == (True, ("top_logprobs",))


def test_tools_are_functions():
    body, rendered = render(tools=[TIME, {"type": "custom", "name": "exec"}, {"type": "web_search"}])
    assert [tool["function"]["name"] for tool in body["tools"]] == ["time", "exec"]
    assert rendered.dropped == ("tools.web_search",)
    assert "strict_tools" not in body


def test_tools_are_strict_together():
    body, rendered = render(tools=[WEATHER])
    assert (body["strict_tools"], rendered.dropped) == (True, ())
    assert body["tools"][0]["function"] == {"name": "weather", "description": "Now.", "parameters": FITTED}
    body, rendered = render(tools=[WEATHER, TIME])
    assert ("strict_tools" in body, rendered.dropped) == (False, ("tools.strict",))
    assert body["tools"][0]["function"]["parameters"] == SCHEMA
    body, rendered = render(tools=[{**WEATHER, "strict": False}, TIME])
    assert ("strict_tools" in body, rendered.dropped) == (False, ())


def test_only_tools_that_are_offered_have_to_agree():
    body, rendered = render(tools=[WEATHER, TIME], tool_choice={"type": "function", "name": "weather"})
    assert (body["strict_tools"], rendered.dropped) == (True, ())


NAMED = {"type": "function", "name": "time"}


@pytest.mark.parametrize(
    ("choice", "told", "offered"),
    [
        ("auto", None, ["weather", "time"]),
        ("none", "NONE", ["weather", "time"]),
        ("required", "REQUIRED", ["weather", "time"]),
        (NAMED, "REQUIRED", ["time"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}, None, ["time"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [NAMED]}, "REQUIRED", ["time"]),
    ],
)
def test_tool_choice_holds_in_every_form(choice, told, offered):
    body, _ = render(tools=[WEATHER, TIME], tool_choice=choice)
    assert body.get("tool_choice") == told
    assert [tool["function"]["name"] for tool in body["tools"]] == offered


def test_schema_is_the_response_format():
    body, rendered = render(text={"format": FORMAT})
    assert body["response_format"] == {"type": "json_object", "json_schema": FITTED}
    assert rendered.dropped == ()
    body, _ = render(text={"format": {**FORMAT, "description": "d"}})
    assert body["response_format"]["json_schema"] == {"description": "d", **FITTED}
    assert render(text={"format": {"type": "json_object"}})[0]["response_format"] == {"type": "json_object"}
    assert "response_format" not in render(text={"format": {"type": "text"}})[0]


@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
def test_format_and_tools_to_call_are_refused(choice):
    with pytest.raises(BadRequest) as refused:
        render(tools=[WEATHER, TIME], tool_choice=choice, text={"format": FORMAT})
    assert refused.value.param == "text.format"


def test_format_goes_before_tools_that_may_not_be_called():
    body, _ = render(tools=[WEATHER], tool_choice="none", text={"format": FORMAT})
    assert "response_format" in body
    assert not {"tools", "tool_choice", "strict_tools"} & body.keys()
    assert "response_format" in render(tools=[{"type": "web_search"}], text={"format": FORMAT})[0]


def test_dialect_is_all_a_provider_needs():
    dialect = cohere_chat(Profile(path="/chat"))
    context = context_of()
    assert (dialect.name, dialect.hosted, dialect.render_count) == ("cohere_chat", frozenset(), None)
    assert dialect.render_request(context.create).path == "/chat"
    answer = b'{"message":{"content":[{"type":"text","text":"Hi"}]},"finish_reason":"COMPLETE"}'
    assert dialect.parse_response(answer, context)["status"] == "completed"
    assert dialect.parse_error(498, b"").status == 401
    assert dialect.parse_stream(context).feed(b": x").startswith(b"event: response.created\n")

import orjson
import pytest
from openai.types.chat import ChatCompletionToolUnionParam
from openai.types.chat.completion_create_params import ResponseFormat
from pydantic import TypeAdapter

from proxy.dialects.chat_completions.request import Media, Profile, render_request
from proxy.dialects.create import read_create
from proxy.errors import BadRequest

PLAIN = Profile()
FULL = Profile(
    settings=PLAIN.settings | {"metadata", "service_tier", "prompt_cache_key", "text.verbosity"},
    media=Media(developer=True, audio=True, files=True, file_urls=True),
)
BARE = Profile(
    max_tokens="max_tokens",
    settings=frozenset(),
    choices=frozenset({"none"}),
    formats=frozenset({"json_object"}),
    effort=lambda effort: None if effort == "max" else {"reasoning": {"enabled": effort != "none"}},
    strict_tools=False,
    asks_for_usage=False,
    media=Media(images=False),
    fixed=(("reasoning_format", "parsed"),),
)
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
TIME = {"type": "function", "name": "time", "description": "Now.", "parameters": {"type": "object"}}


def render(profile=PLAIN, **body):
    rendered = render_request(read_create({"input": "Hi", **body}, "primary", "large"), profile)
    return orjson.loads(rendered.body), rendered


def test_smallest_request():
    body, rendered = render()
    assert body == {"model": "large", "messages": [{"role": "user", "content": "Hi"}]}
    assert (rendered.path, rendered.dropped) == ("/chat/completions", ())
    assert rendered.headers == (("Content-Type", "application/json"),)


@pytest.mark.parametrize(("profile", "options"), [(PLAIN, {"include_usage": True}), (BARE, None)])
def test_usage_of_a_stream_is_asked_for_where_it_has_to_be(profile, options):
    body, _ = render(profile, stream=True)
    assert body["stream"]
    assert body.get("stream_options") == options


def test_settings_are_rendered_where_there_is_a_place_for_them():
    asked = {
        "temperature": 0.5,
        "top_p": 1,
        "max_output_tokens": 10,
        "top_logprobs": 2,
        "user": "u",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
    }
    body, rendered = render(FULL, **asked)
    same = {
        name: asked[name] for name in ("temperature", "top_p", "user", "service_tier", "prompt_cache_key", "metadata")
    }
    more = {
        "logprobs": True,
        "top_logprobs": 2,
        "max_completion_tokens": 10,
        "verbosity": "low",
        "reasoning_effort": "low",
    }
    assert {name: body[name] for name in same} == same
    assert {name: body[name] for name in more} == more
    assert rendered.dropped == ()
    body, rendered = render(BARE, **asked)
    assert {name: body[name] for name in ("max_tokens", "reasoning", "reasoning_format")} == {
        "max_tokens": 10,
        "reasoning": {"enabled": True},
        "reasoning_format": "parsed",
    }
    lost = {"temperature", "top_p", "top_logprobs", "user", "service_tier", "prompt_cache_key", "text.verbosity"}
    assert set(rendered.dropped) == lost


def test_effort_a_provider_does_not_have_is_reported():
    assert render(BARE, reasoning={"effort": "max"})[1].dropped == ("reasoning.effort",)


def test_logprobs_may_be_asked_for_without_alternatives():
    body, _ = render(include=["message.output_text.logprobs"])
    assert body["logprobs"]
    assert "top_logprobs" not in body


def test_tools_are_those_the_official_types_know():
    body, _ = render(tools=[WEATHER, TIME, {"type": "custom", "name": "exec"}], parallel_tool_calls=False)
    for tool in body["tools"]:
        TypeAdapter(ChatCompletionToolUnionParam).validate_python(tool)
    names = [(tool["function"]["name"], tool["function"].get("strict")) for tool in body["tools"]]
    assert names == [("weather", True), ("time", None), ("exec", None)]
    assert body["parallel_tool_calls"] is False
    assert "strict" not in render(BARE, tools=[WEATHER])[0]["tools"][0]["function"]


def test_parallel_calls_that_cannot_be_forbidden_are_reported():
    assert render(BARE, tools=[WEATHER], parallel_tool_calls=False)[1].dropped == ("parallel_tool_calls",)
    assert render(BARE, tools=[WEATHER], parallel_tool_calls=True)[1].dropped == ()
    assert render(BARE, parallel_tool_calls=False)[1].dropped == ()


NAMED = {"type": "function", "name": "time"}
ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}


@pytest.mark.parametrize(
    ("choices", "choice", "rendered", "offered"),
    [
        ({"none", "required", "named"}, "auto", None, 2),
        ({"none", "required", "named"}, "none", "none", 2),
        ({"none", "required", "named"}, "required", "required", 2),
        ({"none", "required", "named"}, NAMED, {"type": "function", "function": {"name": "time"}}, 2),
        ({"none", "required"}, NAMED, "required", 1),
        ({"none", "required", "named"}, ALLOWED, "required", 1),
        ({"none"}, {**ALLOWED, "mode": "auto"}, None, 1),
    ],
)
def test_tool_choice_holds_in_every_form(choices, choice, rendered, offered):
    body, _ = render(Profile(choices=frozenset(choices)), tools=[WEATHER, TIME], tool_choice=choice)
    assert body.get("tool_choice") == rendered
    assert len(body["tools"]) == offered


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_choice_a_provider_cannot_be_told_is_refused(choice):
    with pytest.raises(BadRequest) as refused:
        render(BARE, tools=[WEATHER, TIME], tool_choice=choice)
    assert refused.value.param == "tool_choice"


def test_hosted_tools_are_reported():
    body, rendered = render(tools=[{"type": "web_search"}, WEATHER], max_tool_calls=3)
    assert rendered.dropped == ("tools.web_search", "max_tool_calls")
    assert len(body["tools"]) == 1


def test_limit_on_calls_of_hosted_tools_says_nothing_without_any():
    assert render(tools=[WEATHER], max_tool_calls=3)[1].dropped == ()


def test_schema_becomes_the_response_format():
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    body, _ = render(text={"format": schema})
    TypeAdapter(ResponseFormat).validate_python(body["response_format"])
    inner = {"name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    assert body["response_format"] == {"type": "json_schema", "json_schema": inner}
    assert render(BARE, text={"format": {"type": "json_object"}})[0]["response_format"] == {"type": "json_object"}
    with pytest.raises(BadRequest) as refused:
        render(BARE, text={"format": schema})
    assert refused.value.param == "text.format"


def test_dropped_parts_of_the_input_are_reported_with_the_rest():
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    _, rendered = render(input=[{"role": "user", "content": "Hi"}, searched], stop=["x"], truncation="auto")
    assert rendered.dropped == ("input.web_search_call", "stop", "truncation")

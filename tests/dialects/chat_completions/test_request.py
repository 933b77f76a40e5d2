import base64
import json

import orjson
import pytest

from proxy.dialects.chat_completions.profile import Media, Profile, same
from proxy.dialects.chat_completions.request import render_request
from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from tests.dialects.chat_completions.official import check_request

PLAIN = Profile()
FULL = Profile(
    settings=PLAIN.settings | {"metadata", "prompt_cache_key", "text.verbosity"},
    tiers=same("auto", "default", "flex"),
    media=Media(developer=True, audio=True, files=True, file_urls=True),
)
BARE = Profile(
    max_tokens="max_tokens",
    settings=frozenset(),
    choices=frozenset({"none"}),
    formats=frozenset({"json_object"}),
    effort={"none": {"reasoning": {"enabled": False}}, "low": {"reasoning": {"enabled": True}}},
    strict_tools=False,
    asks_for_usage=False,
    media=Media(images=False),
    fixed=(("reasoning_format", "parsed"),),
)
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
TIME = {"type": "function", "name": "time", "description": "Now.", "parameters": {"type": "object"}}


def render(profile=PLAIN, **body):
    rendered = render_request(read_create({"input": "Hi", **body}, "primary", "large"), profile)
    sent = orjson.loads(rendered.body)
    check_request(sent)
    return sent, rendered


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


def test_tier_a_provider_does_not_have_is_reported():
    assert render(FULL, service_tier="scale")[1].dropped == ("service_tier",)


def test_logprobs_may_be_asked_for_without_alternatives():
    body, _ = render(include=["message.output_text.logprobs"])
    assert body["logprobs"]
    assert "top_logprobs" not in body


def test_schema_becomes_the_response_format():
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    body, _ = render(text={"format": schema})
    inner = {"name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    assert body["response_format"] == {"type": "json_schema", "json_schema": inner}
    assert render(BARE, text={"format": {"type": "json_object"}})[0]["response_format"] == {"type": "json_object"}
    with pytest.raises(BadRequest) as refused:
        render(BARE, text={"format": schema})
    assert refused.value.param == "text.format"


def test_reasoning_no_encoder_writes_is_refused():
    deep = orjson.loads(b"[" * 500 + b"]" * 500)
    envelope = {"v": 1, "provider": "primary", "model": "large", "state": {"reasoning_details": deep}}
    sealed = base64.urlsafe_b64encode(json.dumps(envelope).encode()).decode()
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    with pytest.raises(BadRequest) as refused:
        render(input=[thought, {"role": "assistant", "content": "Hi"}])
    assert refused.value.code == "too_deep"


def test_dropped_parts_of_the_input_are_reported_with_the_rest():
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    _, rendered = render(input=[{"role": "user", "content": "Hi"}, searched], stop=["x"], truncation="auto")
    assert rendered.dropped == ("input.web_search_call", "stop", "truncation")

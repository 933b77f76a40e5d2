import pytest

from proxy.dialects.anthropic_messages import Profile, anthropic_messages, anthropic_profile, vertex_profile
from proxy.dialects.anthropic_messages.request import render_request
from proxy.dialects.base import takes_urls
from proxy.dialects.items import Image
from proxy.dialects.reasoning import seal
from proxy.errors import BadRequest
from tests.dialects.anthropic_messages.rendering import (
    ANTHROPIC,
    LATEST,
    NEW,
    OLD,
    call,
    carried,
    create,
    headers_of,
    output,
    render,
    said,
    thought,
    user,
)

UNBINDING = "thinking-binding-controls-2026-08-01"
SCHEMA = {"type": "json_schema", "name": "n", "description": "D.", "schema": {"type": "object", "minProperties": 1}}


def test_plain_request_is_rendered():
    body, dropped = render(stream=True)
    assert body == {
        "model": OLD,
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }
    assert dropped == ()


@pytest.mark.parametrize(
    ("name", "limits", "asked", "limit"),
    [
        (OLD, {}, None, 64_000),
        (OLD, {}, 7, 7),
        (OLD, {"claude": 1, "claude-sonnet": 2, "claude-opus": 3}, None, 2),
        ("us.anthropic.claude-sonnet-4-5", {"claude-sonnet": 2}, None, 2),
        ("us.anthropic.claude-sonnet-4-5", {"us.anthropic": 4}, None, 4),
        ("other", {"": 5}, None, 5),
    ],
)
def test_limit_is_the_clients_the_operators_or_the_models(name, limits, asked, limit):
    profile = anthropic_profile("2023-06-01", (), limits)
    assert render(name, profile, max_output_tokens=asked)[0]["max_tokens"] == limit


@pytest.mark.parametrize(
    ("model", "asked", "sent", "dropped"),
    [
        (OLD, {"temperature": 0.5}, {"temperature": 0.5}, ()),
        (OLD, {"top_p": 0.5}, {"top_p": 0.5}, ()),
        (OLD, {"temperature": 0, "top_p": 0.5}, {"temperature": 0}, ("top_p",)),
        (OLD, {"temperature": 1.5}, {"temperature": 1.0}, ("temperature",)),
        (OLD, {"temperature": 1, "top_p": 1.0}, {}, ()),
        (OLD, {"temperature": 0.5, "reasoning": {"effort": "low"}}, {}, ("temperature",)),
        (OLD, {"temperature": 0.5, "reasoning": {"effort": "none"}}, {"temperature": 0.5}, ()),
        (NEW, {"temperature": 0.5, "top_p": 0.5}, {}, ("temperature", "top_p")),
        (NEW, {"temperature": 1.0}, {}, ()),
    ],
)
def test_sampling_is_set_where_the_model_has_it(model, asked, sent, dropped):
    body, left = render(model, **asked)
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    assert left == dropped


def test_version_of_the_api_without_sampling_is_sent_none():
    body, dropped = render(OLD, anthropic_profile("2026-10-21"), temperature=0.5)
    assert ("temperature" in body, dropped) == (False, ("temperature",))


def test_effort_is_rendered_beside_the_format():
    body, dropped = render(NEW, reasoning={"effort": "high", "summary": "auto"}, text={"format": SCHEMA})
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    fitted = {"type": "object", "additionalProperties": False, "description": "D.\n\n{minProperties: 1}"}
    assert body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": fitted}}
    assert dropped == ()


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [{"type": "function", "name": "f"}], "tool_choice": "required"},
        {"input": [user(), call(), output()]},
        {"max_output_tokens": 100},
    ],
)
def test_budget_gives_way_to_what_it_cannot_go_with(asked):
    body, dropped = render(OLD, reasoning={"effort": "high"}, **asked)
    assert ("thinking" in body, dropped) == (False, ("reasoning.effort",))


@pytest.mark.parametrize(("model", "kind"), [(OLD, "json_object"), ("claude-sonnet-4-0", "json_schema")])
def test_format_that_cannot_be_held_to_is_refused(model, kind):
    with pytest.raises(BadRequest) as refused:
        render(model, text={"format": {**SCHEMA, "type": kind}})
    assert refused.value.param == "text.format"


@pytest.mark.parametrize(
    ("asked", "sent", "dropped"),
    [
        ({"safety_identifier": "s"}, {"user_id": "s"}, ()),
        ({"user": "u"}, {"user_id": "u"}, ()),
        ({"user": "s", "safety_identifier": "s"}, {"user_id": "s"}, ()),
        ({"user": "u", "safety_identifier": "s"}, {"user_id": "s"}, ("user",)),
        ({"metadata": {"a": "b"}}, None, ()),
    ],
)
def test_user_is_named(asked, sent, dropped):
    body, left = render(**asked)
    assert (body.get("metadata"), left) == (sent, dropped)


@pytest.mark.parametrize(
    ("tier", "sent", "dropped"),
    [
        ("auto", None, ()),
        ("default", "standard_only", ()),
        ("priority", "auto", ()),
        ("flex", None, ("service_tier",)),
    ],
)
def test_service_tier_has_its_counterpart(tier, sent, dropped):
    body, left = render(service_tier=tier)
    assert (body.get("service_tier"), left) == (sent, dropped)
    assert render(OLD, vertex_profile("p", "l"), service_tier="default")[1] == ("service_tier",)


def test_settings_there_is_no_place_for_are_reported():
    asked = {"top_logprobs": 2, "truncation": "auto", "text": {"verbosity": "low"}, "stop": ["x"]}
    assert set(render(**asked)[1]) == {"top_logprobs", "truncation", "text.verbosity", "stop"}


def test_thoughts_that_may_not_fit_any_more_are_left_to_the_provider_to_drop():
    history = [user(), thought(model=LATEST), said("Hi"), user()]
    body, _ = render(LATEST, input=history)
    assert body["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert headers_of(model=LATEST, input=history)["anthropic-beta"] == UNBINDING
    configured = anthropic_profile("2023-06-01", (UNBINDING, "other"))
    assert headers_of(configured, LATEST, input=history)["anthropic-beta"] == f"{UNBINDING},other"


def test_nothing_is_asked_of_thoughts_that_are_not_bound_or_not_there():
    assert "thinking" not in render(LATEST)[0]
    assert "thinking" not in render(NEW, input=[user(), thought(model=NEW), said("Hi"), user()])[0]
    assert "anthropic-beta" not in headers_of(model=LATEST)
    vertex = vertex_profile("p", "l")
    sent = render_request(create(LATEST, vertex, input=[user(), thought(model=LATEST), said("Hi"), user()]), vertex)
    assert b"block_binding" not in sent.body


def test_items_that_return_as_blocks_are_not_reported():
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    history = [user(), searched, carried(used, found), said("Hi"), user()]
    assert render(input=history, tools=[{"type": "web_search"}])[1] == ()
    assert render(input=[user(), searched, said("Hi"), user()])[1] == ("input.web_search_call",)


def test_state_no_encoder_writes_is_left_out():
    deep = {"blocks": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": "?"}]}
    sealed = seal("primary", OLD, deep)
    assert render(input=[user(), {"type": "reasoning", "summary": [], "encrypted_content": sealed}, user()])[1] == ()


def test_headers_of_a_profile_are_sent():
    assert headers_of(Profile(headers=(("x-a", "b"),)))["x-a"] == "b"


def test_dialect_has_all_its_parts():
    dialect = anthropic_messages(ANTHROPIC)
    assert dialect.name == "anthropic_messages"
    assert dialect.hosted == ANTHROPIC.hosted
    assert dialect.parse_count(b'{"input_tokens":3}') == 3
    assert dialect.render_count is not None
    remote = Image("https://a.example/b.png", None, None, "p")
    assert dialect.fetches(remote) is takes_urls(remote) is False
    assert anthropic_messages(vertex_profile("p", "l")).fetches(remote)
    assert anthropic_messages(Profile(count_path=None)).render_count is None

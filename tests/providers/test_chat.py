"""Which endpoint a provider is asked by, and recorded requests as what the Responses request of each renders to."""

import itertools
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import ProviderConfig
from proxy.dialects.chat_completions import EVERY_EFFORT
from proxy.dialects.create import read_create
from proxy.providers import REGISTRY
from proxy.providers.mistral import fit_call_id
from tests.dialects.chat_completions.recorded_requests import (
    DIALOGUES,
    WITHOUT_EQUIVALENT,
    responses_request,
    shows_images_in_tools,
    simplified,
)
from tests.providers.chat_kinds import CALLED, CHAT, EACH, EITHER, TEXT_ONLY, TOOL, dialect_of, render

OTHERS = "openai-chat-compatible"
"""The kind for providers that have none of their own."""
OF_SOME = {"prompt_cache_key", "prompt_cache_options", "service_tier"}
"""What some of those have."""


# Which of its endpoints a provider is asked


@EACH
def test_chat_is_spoken_where_it_is_all_there_is_or_asked_for(kind):
    assert dialect_of(kind).name == "chat_completions"


@pytest.mark.parametrize("kind", EITHER)
def test_responses_api_is_spoken_where_it_is_asked_for(kind):
    assert dialect_of(kind, api="responses") is None


@pytest.mark.parametrize("kind", ["groq", "mistral", "openrouter"])
def test_provider_with_both_is_asked_the_responses_api(kind):
    assert dialect_of(kind, api=None) is None


def test_together_is_asked_by_the_model():
    speak = REGISTRY["together-ai"].dialect(ProviderConfig(kind="together-ai"))
    assert speak("zai-org/GLM-5.3") is None
    assert speak("openai/gpt-oss-120b").name == "chat_completions"


def test_hugging_face_is_asked_chat():
    assert dialect_of("huggingface", api=None).name == "chat_completions"


@EACH
def test_path_may_be_configured(kind):
    create = read_create({"input": "Hi"}, "primary", "m")
    paths = [dialect_of(kind, **fields).render_request(create).path for fields in ({}, {"path": "/v2/chat?a=b"})]
    assert paths == ["/chat/completions", "/v2/chat?a=b"]
    assert "path" in REGISTRY[kind].settings


# Recorded requests


HOSTS = {"api.deepseek.com": "deepseek"}
"""Kinds of providers whose recordings stand among those of others."""


def kind_of(recording):
    host = urlsplit(recording.exchange["request"]["url"]).hostname
    return recording.provider if recording.provider in CHAT else HOSTS.get(host, OTHERS)


REQUESTS = [
    recording
    for recording in DIALOGUES
    # The kind for all the others shows such an image behind the tool's message, which any server understands.
    if kind_of(recording) != OTHERS or not shows_images_in_tools(recording.request["messages"])
]


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda recording: recording.id)
def test_recorded_request_is_what_its_responses_request_renders_to(recording):
    """Nothing that was asked of a provider, and that the Responses API can ask, is lost or added to."""
    body, kind = recording.request, kind_of(recording)
    model = body.get("model") or "large"
    sent, dropped = render(kind, **responses_request(body, "primary", model))
    wanted = essence({**body, "model": model}, fit_call_id if kind == "mistral" else str)
    if kind == OTHERS:
        assert set(dropped) <= OF_SOME
        wanted = {name: value for name, value in wanted.items() if name not in dropped}
    else:
        assert not dropped
    assert essence(sent, str) == wanted


def essence(body, call_id):
    """Return a request without what says the same in two ways, or has no equivalent."""
    kept = {
        name: value
        for name, value in body.items()
        if value not in (None, False, [])
        and name not in WITHOUT_EQUIVALENT
        and (name, value) != ("tool_choice", "auto")
    }
    limit = kept.pop("max_completion_tokens", None) or kept.pop("max_tokens", None)
    effort = kept.pop("reasoning_effort", None) or (kept.pop("reasoning", None) or {}).get("effort")
    choice = kept.pop("tool_choice", None)
    more = {
        "messages": simplified(kept["messages"], call_id),
        "tools": [function_of(tool) for tool in kept.get("tools", []) if tool],
    }
    return {**kept, **more, "limit": limit, "effort": effort, "choice": chosen(choice)}


def chosen(choice):
    return choice["function"] if isinstance(choice, dict) else {"any": "required", "auto": None}.get(choice, choice)


def function_of(tool):
    if "function" not in tool:
        parameters = tool.get("parameters", {})
        return tool["type"], {name: value for name, value in parameters.items() if name != "max_uses"}
    function = tool["function"]
    given = {name: value for name, value in function.items() if value not in (None, "")}
    return {"parameters": {"type": "object", "properties": {}}, **given}


# Any history

TEXT = st.sampled_from(["user", "developer", "system", "assistant"]).map(lambda role: [{"role": role, "content": role}])
TURNS = st.lists(
    TEXT
    | st.lists(st.sampled_from(["a", "b", "call_c"]), min_size=1, max_size=3, unique=True).map(
        lambda ids: [{**item, "call_id": call_id} for item in CALLED for call_id in ids]
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(TURNS, st.sampled_from([kind for kind in CHAT if kind not in TEXT_ONLY]), st.sampled_from([None, *EVERY_EFFORT]))
def test_any_legal_history_renders_to_a_request_the_official_types_accept(turns, kind, level):
    items = [{"role": "user", "content": "Hi"}, *itertools.chain.from_iterable(turns)]
    body, _ = render(kind, input=items, tools=[TOOL], **({"reasoning": {"effort": level}} if level else {}))
    called = [made["id"] for message in body["messages"] for made in message.get("tool_calls") or []]
    assert called == [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]

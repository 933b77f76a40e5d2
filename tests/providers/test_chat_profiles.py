"""What the table of each kind that speaks chat completions says it has, and what becomes of the rest."""

import pytest

from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from tests.providers.chat_kinds import CALLED, EACH, TEXT_ONLY, TOOL, dialect_of, render

OTHER = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}}
ASKED = {
    "max_output_tokens": 10,
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "temperature": 0.5,
    "top_logprobs": 2,
    "top_p": 0.9,
    "user": "u",
    "text": {"verbosity": "low"},
}
COMMON = {"temperature", "top_p"}
SENT = {
    # kind: the name of the limit, and what it accepts of the settings beside sampling
    "cerebras": ("max_completion_tokens", {"prompt_cache_key", "top_logprobs", "user"}),
    "deepinfra": ("max_tokens", {"prompt_cache_key", "user"}),
    "deepseek": ("max_tokens", {"top_logprobs"}),
    "groq": ("max_completion_tokens", {"user"}),
    "huggingface": ("max_tokens", {"top_logprobs"}),
    "mistral": ("max_tokens", {"metadata", "prompt_cache_key"}),
    "openai-chat-compatible": ("max_tokens", {"top_logprobs", "user"}),
    "openrouter": ("max_completion_tokens", {"metadata", "prompt_cache_key", "top_logprobs", "user"}),
    "together-ai": ("max_tokens", set()),
}


@EACH
def test_settings_are_sent_where_the_provider_has_them_and_reported_where_not(kind):
    limit, own = SENT[kind]
    body, dropped = render(kind, **ASKED)
    assert body[limit] == 10
    assert {name: body[name] for name in COMMON | own} == {name: ASKED[name] for name in COMMON | own}
    # The gateway says metadata back itself.
    lost = ASKED.keys() - COMMON - own - {"max_output_tokens", "metadata", "text"}
    assert set(dropped) == lost | {"text.verbosity"}
    assert not lost & body.keys()


@EACH
def test_usage_of_a_stream_comes_or_is_asked_for(kind):
    asked = render(kind, stream=True)[0].get("stream_options")
    assert asked == (None if kind in {"mistral", "together-ai"} else {"include_usage": True})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
@EACH
def test_call_is_required_where_that_can_be_asked(kind, choice):
    body = {"tools": [TOOL, OTHER], "tool_choice": choice}
    if kind == "deepinfra":
        with pytest.raises(BadRequest):
            render(kind, **body)
        return
    named = {"type": "function", "function": {"name": "weather"}}
    assert render(kind, **body)[0]["tool_choice"] == (named if isinstance(choice, dict) else choice)


@EACH
def test_strictness_of_a_tool_is_sent_or_reported(kind):
    body, dropped = render(kind, tools=[TOOL])
    sent = body["tools"][0]["function"].get("strict")
    assert (sent, dropped) == ((None, ("tools.strict",)) if kind == "deepinfra" else (True, ()))


def effort(level):
    return {"reasoning_effort": level}


EFFORTS = {
    # kind and model: what none, minimal, medium and max are rendered as; None where it is reported
    ("cerebras", "zai-glm-4.7"): [effort("none"), effort("low"), effort("medium"), effort("high")],
    ("cerebras", "gpt-oss-120b"): [None, effort("low"), effort("medium"), effort("high")],
    ("deepinfra", "m"): [effort("none"), effort("low"), effort("medium"), effort("high")],
    ("deepseek", "m"): [{"thinking": {"type": "disabled"}}, effort("low"), effort("medium"), effort("max")],
    ("groq", "openai/gpt-oss-120b"): [None, effort("low"), effort("medium"), effort("high")],
    ("groq", "qwen/qwen3-32b"): [effort("none"), effort("default"), effort("default"), effort("default")],
    ("groq", "qwen/qwen3.8-27b"): [effort("none"), effort("low"), effort("medium"), effort("high")],
    ("groq", "llama-3.3-70b-versatile"): [None] * 4,
    ("huggingface", "m"): [effort("none"), effort("minimal"), effort("medium"), effort("xhigh")],
    ("mistral", "m"): [effort("none"), effort("minimal"), effort("medium"), effort("max")],
    ("openai-chat-compatible", "m"): [effort("none"), effort("minimal"), effort("medium"), effort("max")],
    ("openrouter", "m"): [{"reasoning": {"effort": level}} for level in ("none", "minimal", "medium", "max")],
    ("together-ai", "m"): [{"reasoning": {"enabled": False}}, effort("low"), effort("medium"), effort("high")],
}


@pytest.mark.parametrize(("kind", "model"), EFFORTS)
def test_effort_is_rendered_as_the_model_has_it(kind, model):
    for level, wanted in zip(("none", "minimal", "medium", "max"), EFFORTS[kind, model], strict=True):
        body, dropped = render(kind, model, reasoning={"effort": level})
        sent = {name: body[name] for name in ("reasoning", "reasoning_effort", "thinking") if name in body}
        assert (sent, dropped) == (wanted or {}, () if wanted else ("reasoning.effort",))


@pytest.mark.parametrize(
    ("kind", "model", "parsed"),
    [
        ("groq", "openai/gpt-oss-20b", "parsed"),
        ("groq", "qwen/qwen3-32b", "parsed"),
        ("groq", "llama-3.3-70b-versatile", None),
        ("cerebras", "qwen-3-32b", "parsed"),
        ("cerebras", "llama3.1-8b", None),
    ],
)
def test_reasoning_is_kept_out_of_the_text_of_models_that_reason(kind, model, parsed):
    assert render(kind, model)[0].get("reasoning_format") == parsed


@pytest.mark.parametrize(
    ("kind", "tiers"),
    [
        ("cerebras", {"flex": "flex", "priority": "priority", "scale": None}),
        ("deepinfra", {"flex": "flex", "priority": "priority", "scale": None}),
        ("groq", {"default": "on_demand", "flex": "flex", "priority": "performance", "scale": None}),
        ("openrouter", {"flex": "flex", "scale": "scale"}),
        ("mistral", {"flex": None}),
    ],
)
def test_service_tier_is_asked_for_by_the_providers_name_for_it(kind, tiers):
    for tier, own in tiers.items():
        body, dropped = render(kind, service_tier=tier)
        assert (body.get("service_tier"), dropped) == (own, () if own else ("service_tier",))


BOUNDED = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "minItems": 1}}}


@pytest.mark.parametrize(("kind", "kept"), [("groq", False), ("cerebras", False), ("mistral", True)])
def test_keywords_of_a_schema_that_are_rejected_are_left_out_and_reported(kind, kept):
    format_ = {"type": "json_schema", "name": "n", "schema": BOUNDED, "strict": True}
    body, dropped = render(kind, text={"format": format_}, tools=[{**OTHER, "parameters": BOUNDED}])
    found = [body["response_format"]["json_schema"]["schema"], body["tools"][0]["function"]["parameters"]]
    for schema in found:
        assert ("minItems" in schema["properties"]["a"]) is kept
        assert schema["properties"]["a"]["items"] == {"type": "string"}
    assert dropped == (() if kept else ("tools.parameters.minItems", "text.format.schema.minItems"))


PDF = "data:application/pdf;base64,JVBERi0="


def ask(part):
    return [{"role": "user", "content": [part]}]


@EACH
def test_document_goes_to_who_reads_documents(kind):
    request = {"input": ask({"type": "input_file", "filename": "a.pdf", "file_data": PDF})}
    as_file = {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}
    forms = {
        "mistral": {"type": "document_url", "document_url": PDF, "document_name": "a.pdf"},
        "openai-chat-compatible": as_file,
        "openrouter": as_file,
    }
    if kind in forms:
        assert render(kind, **request)[0]["messages"][0]["content"] == [forms[kind]]
    else:
        with pytest.raises(BadRequest):
            render(kind, **request)


@EACH
def test_document_elsewhere_is_fetched_for_who_does_not_fetch_it(kind):
    part = read_create({"input": ask({"type": "input_file", "file_url": "https://a.example/b.pdf"})}, "p", "m")
    image = read_create({"input": ask({"type": "input_image", "image_url": "https://a.example/b.png"})}, "p", "m")
    fetches = dialect_of(kind).fetches
    assert fetches(part.turns[0].parts[0]) is (kind not in {"mistral", "openrouter"})
    assert not fetches(image.turns[0].parts[0])


@EACH
def test_image_a_tool_returned_is_shown_in_its_message_or_behind(kind):
    if kind in TEXT_ONLY:
        with pytest.raises(BadRequest):
            render(kind, input=CALLED)
        return
    messages = render(kind, input=CALLED)[0]["messages"]
    within = kind in {"mistral", "openrouter"}
    assert [message["role"] for message in messages] == ["assistant", "tool", *([] if within else ["user"])]
    assert messages[-1]["content"][-1]["type"] == "image_url"

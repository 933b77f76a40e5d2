import orjson
import pytest

from proxy.dialects.create import read_create
from tests.dialects.gemini_generate_content.official import GEMINI, VERTEX, check_body, render
from tests.dialects.gemini_generate_content.recorded import COUNTS
from tests.dialects.gemini_generate_content.resent import camel

SCHEMA = {"type": "object", "properties": {"a": {"const": 1}}}
THIRD = "gemini-3-flash-preview"


def config(model="gemini-2.5-flash", **body):
    """Return the generation config, and what was dropped."""
    sent, rendered = render(model=model, **body)
    return sent.get("generationConfig", {}), rendered.dropped


def test_smallest_request():
    body, rendered = render()
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert rendered.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert (rendered.headers, rendered.dropped) == ((("Content-Type", "application/json"),), ())


def test_stream_is_asked_for_as_events():
    assert render(stream=True)[1].path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


def test_settings_have_their_places():
    sent, dropped = config(max_output_tokens=9, temperature=0.5, top_p=1, top_logprobs=3)
    own = {"maxOutputTokens": 9, "temperature": 0.5, "topP": 1, "responseLogprobs": True, "logprobs": 3}
    assert (sent, dropped) == (own, ())
    assert config(include=["message.output_text.logprobs"])[0] == {"responseLogprobs": True}


def test_settings_without_a_place_are_reported():
    lost = {
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "truncation": "auto",
        "service_tier": "scale",
    }
    _, rendered = render(**lost, text={"verbosity": "low"}, odd=1)
    assert set(rendered.dropped) == {*lost, "text.verbosity", "odd"}


@pytest.mark.parametrize(
    ("tier", "own"), [("auto", None), ("default", "standard"), ("flex", "flex"), ("fast", "priority")]
)
def test_tier_is_told_in_their_words(tier, own):
    sent, rendered = render(service_tier=tier)
    assert (sent.get("serviceTier"), rendered.dropped) == (own, ())


def test_metadata_are_labels_on_the_bill_as_far_as_they_may_be():
    metadata = {"team": "search", "Team": "x", "a": "With Blanks", "b": "", "1": "x", "c" * 64: "x"}
    assert render(VERTEX, metadata=metadata)[0]["labels"] == {"team": "search", "b": ""}
    sent, rendered = render(GEMINI, metadata=metadata)
    assert "labels" not in sent
    assert rendered.dropped == ()


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "dropped"),
    [
        ("gemini-2.5-flash", {"effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}, ()),
        ("gemini-2.5-flash", {"effort": "none"}, {"thinkingBudget": 0}, ()),
        ("gemini-2.5-flash", {"effort": "none", "summary": "auto"}, {"thinkingBudget": 0}, ()),
        (THIRD, {"effort": "high", "summary": "auto"}, {"thinkingLevel": "HIGH", "includeThoughts": True}, ()),
        (THIRD, {"summary": "auto"}, {"includeThoughts": True}, ()),
        (THIRD, {}, None, ()),
        ("gemini-2.0-flash", {"effort": "low", "summary": "auto"}, None, ("reasoning.effort",)),
        ("gemini-2.0-flash", {"effort": "none"}, None, ()),
    ],
)
def test_reasoning_is_asked_for(model, reasoning, thinking, dropped):
    sent, lost = config(model, reasoning=reasoning)
    assert (sent.get("thinkingConfig"), lost) == (thinking, dropped)


def test_format_is_a_schema():
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "D."}
    sent, _ = config(text={"format": form})
    fitted = {"type": "object", "properties": {"a": {"enum": [1], "type": "integer"}}, "description": "D."}
    assert sent == {"responseMimeType": "application/json", "responseJsonSchema": fitted}


def test_format_without_a_schema_is_any_object():
    assert config(text={"format": {"type": "json_object"}})[0] == {"responseMimeType": "application/json"}


def test_detail_of_images_is_of_the_request():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    sent, _ = config(input=[{"role": "user", "content": [image]}])
    assert sent == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}


COUNTED = {
    "input": "Hi",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": "required",
    "service_tier": "flex",
    "metadata": {"a": "b"},
    "max_output_tokens": 9,
}


@pytest.mark.parametrize(("dialect", "path"), [(GEMINI, "/v1beta/models/m"), (VERTEX, "/publishers/google/models/m")])
def test_count_is_of_the_whole_request(dialect, path):
    rendered = dialect.render_count(read_create(COUNTED, "primary", "m", hosted=dialect.hosted))
    assert rendered.path.endswith(f"{path}:countTokens")
    body = orjson.loads(rendered.body)
    if dialect is GEMINI:
        body = body["generateContentRequest"]
        assert body.pop("model") == "models/m"
        assert body["toolConfig"]
    else:
        assert body.keys() == {"contents", "generationConfig", "systemInstruction", "tools"}
    check_body(body)


@pytest.mark.parametrize("recording", COUNTS, ids=lambda recording: recording.id)
def test_count_is_asked_for_as_it_was_recorded(recording):
    asked = camel(recording.request)
    members = {"contents", "model", "generationConfig", "systemInstruction", "tools"}
    assert asked.keys() <= members or asked["generateContentRequest"].keys() <= members

"""Google's own types as the judge of what is sent."""

import orjson
from google.genai import types

from proxy.dialects.create import read_create
from proxy.dialects.gemini_generate_content import gemini_generate_content, gemini_profile, vertex_profile

GEMINI = gemini_generate_content(gemini_profile())
VERTEX = gemini_generate_content(vertex_profile("proj", "us-central1"))
DIALECTS = {"gemini": GEMINI, "vertex": VERTEX}
MEMBERS = {
    "contents",
    "generationConfig",
    "labels",
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    "tools",
}


def check_body(body) -> None:
    """Hold a body to the types, which allow no member they do not know."""
    assert body.keys() <= MEMBERS
    assert body["contents"]
    for content in (*body["contents"], body.get("systemInstruction", {"parts": [{"text": "x"}]})):
        assert types.Content.model_validate(content).parts
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    types.ServiceTier(body.get("serviceTier", "standard"))
    check_pairs(body["contents"])


def check_pairs(contents) -> None:
    """Every call is answered by the content behind it, which holds nothing else; the last may be open."""
    for at, content in enumerate(contents):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        if calls and at < len(contents) - 1:
            responses = [part["functionResponse"] for part in contents[at + 1]["parts"]]
            assert [(one["id"], one["name"]) for one in responses] == [(one["id"], one["name"]) for one in calls]


def render(dialect=GEMINI, model="gemini-2.5-flash", **body):
    """Render a request, and return its body, checked, and how it was rendered."""
    create = read_create({"input": "Hi", **body}, "primary", model, hosted=dialect.hosted)
    rendered = dialect.render_request(create)
    sent = orjson.loads(rendered.body)
    check_body(sent)
    return sent, rendered

"""The requests that were recorded come out again, from what a client of the Responses API would have sent."""

import pytest

from proxy.dialects.anthropic_messages import Profile, anthropic_profile
from proxy.dialects.anthropic_messages.request import render_request
from proxy.dialects.anthropic_messages.structured import fit_schema
from proxy.dialects.create import read_create
from tests.dialects.anthropic_messages.official import check_request
from tests.dialects.anthropic_messages.requests import PROVIDER, REQUESTS, messages_of, model_of, to_responses

ANTHROPIC = anthropic_profile("2023-06-01")
# What the clouds' own profiles refuse is in no recording of theirs.
CLOUD = Profile(names_model=False)


def rendered(recording):
    body, profile = to_responses(recording), ANTHROPIC if "model" in recording.request else CLOUD
    create = read_create(body, PROVIDER, model_of(recording), hosted=ANTHROPIC.hosted)
    return check_request(render_request(create, profile))


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda recording: recording.id)
def test_recorded_request_is_reproduced(recording):
    body, wanted = rendered(recording), recording.request
    assert messages_of(body) == messages_of(wanted)
    assert body["max_tokens"] == wanted["max_tokens"]
    assert "".join(block["text"] for block in body.get("system", ())) == system_of(wanted)
    choice = wanted.get("tool_choice") or {"type": "auto"}
    if wanted.get("tools"):
        assert {"disable_parallel_tool_use": False, **body.get("tool_choice", {"type": "auto"})} == {
            "disable_parallel_tool_use": False,
            **choice,
        }
    assert [plain_tool(tool) for tool in body.get("tools", ())] == [
        plain_tool(tool) for tool in wanted.get("tools", ())
    ]


def system_of(request):
    system = request.get("system") or ""
    return system if isinstance(system, str) else "".join(block["text"] for block in system if block["text"].strip())


def plain_tool(tool):
    kept = {name: value for name, value in tool.items() if value and name not in ("cache_control", "max_uses")}
    if tool.get("strict"):
        kept["input_schema"] = fit_schema(tool["input_schema"])
    return kept

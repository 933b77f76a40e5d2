import pytest

from proxy.dialects.anthropic_messages import anthropic_profile, bedrock_profile, vertex_profile
from proxy.dialects.anthropic_messages.request import render_count, render_request
from tests.dialects.anthropic_messages.official import check_count, check_request
from tests.dialects.anthropic_messages.rendering import OLD, create

VERTEX = vertex_profile("my-project", "us-east5", ("a", "b"))
BEDROCK = bedrock_profile(("a", "b"))
MODELS = "/v1/projects/my-project/locations/us-east5/publishers/anthropic/models"


def rendered(profile, model=OLD, **body):
    sent = render_request(create(model, profile, **body), profile)
    return sent, check_request(sent)


@pytest.mark.parametrize("stream", [True, False])
def test_anthropic_is_told_the_model_in_the_body(stream):
    sent, body = rendered(anthropic_profile("2023-06-01"), stream=stream)
    assert sent.path == "/v1/messages"
    assert (body["model"], body.get("stream", False)) == (OLD, stream)
    assert sent.headers == (("Content-Type", "application/json"),)


@pytest.mark.parametrize(("stream", "method"), [(True, "streamRawPredict"), (False, "rawPredict")])
def test_vertex_is_told_the_model_in_the_path(stream, method):
    sent, body = rendered(VERTEX, "claude-3-7-sonnet@20250219", stream=stream)
    assert sent.path == f"{MODELS}/claude-3-7-sonnet@20250219:{method}"
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert ("model" in body, body.get("stream", False)) == (False, stream)
    assert dict(sent.headers)["anthropic-beta"] == "a,b"


@pytest.mark.parametrize(("stream", "method"), [(True, "invoke-with-response-stream"), (False, "invoke")])
def test_bedrock_is_told_the_model_in_the_path_and_beta_features_in_the_body(stream, method):
    sent, body = rendered(BEDROCK, "us.anthropic.claude-sonnet-4-5-v1:0", stream=stream)
    assert sent.path == f"/model/us.anthropic.claude-sonnet-4-5-v1%3A0/{method}"
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert body["anthropic_beta"] == ["a", "b"]
    assert not {"model", "stream"} & body.keys()
    assert "anthropic-beta" not in dict(sent.headers)


@pytest.mark.parametrize("model", ["../../x", "a/b?c", "..", "m#:n"])
def test_model_does_not_lead_the_path_elsewhere(model):
    for profile in (VERTEX, BEDROCK):
        sent, _ = rendered(profile, model)
        name = sent.path.removeprefix(f"{MODELS}/").removeprefix("/model/")
        assert name.count("/") == (profile is BEDROCK)
        assert not set("?#") & set(name)


def test_tokens_are_counted_where_the_provider_does():
    body = {
        "instructions": "Be brief.",
        "stream": True,
        "temperature": 0.5,
        "user": "u",
        "reasoning": {"effort": "low"},
    }
    counted = render_count(create(OLD, **body), anthropic_profile("2023-06-01"))
    assert counted.path == "/v1/messages/count_tokens"
    assert check_count(counted).keys() == {"model", "system", "messages", "thinking"}
    vertex = render_count(create(OLD, VERTEX), VERTEX)
    assert vertex.path == f"{MODELS}/count-tokens:rawPredict"
    assert b'"model":"claude-sonnet-4-5"' in vertex.body
    assert BEDROCK.count_path is None

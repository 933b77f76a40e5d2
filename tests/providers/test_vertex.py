"""Vertex: where a location is, and what is asked there."""

import pytest

from proxy.config import ProviderConfig
from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from proxy.providers import gemini, vertex
from proxy.providers.vertex import KIND
from tests.rig.replay import recordings

KEY = "provider-key-0123456789"


def config(**fields):
    return ProviderConfig(kind="vertex", **fields)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"project": "p", "location": "us-east5"}, "https://us-east5-aiplatform.googleapis.com"),
        ({"project": "p", "location": "global"}, "https://aiplatform.googleapis.com"),
        ({"project": "p"}, "https://aiplatform.googleapis.com"),
        ({"project": "p", "location": "eu"}, "https://aiplatform.eu.rep.googleapis.com"),
        ({"project": "p", "location": "us"}, "https://aiplatform.us.rep.googleapis.com"),
        ({"api_key": KEY}, "https://aiplatform.googleapis.com"),
        ({"api_key": KEY, "location": "us-east5"}, "https://aiplatform.googleapis.com"),
        ({"api_key": KEY, "project": "p", "location": "us-east5"}, "https://us-east5-aiplatform.googleapis.com"),
        ({"project": "p", "location": "eu", "base_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
    ],
)
def test_location_has_its_address(fields, url):
    assert KIND.locate(config(**fields), KIND.base_url) == url


def path(model, **fields):
    return KIND.dialect(config(**fields))(model).render_request(read_create({"input": "Hi"}, "v", model)).path


def test_path_names_project_and_location_where_there_is_a_project():
    end = "publishers/google/models/gemini-3-pro:generateContent"
    assert path("gemini-3-pro", project="p", location="eu") == f"/v1beta1/projects/p/locations/eu/{end}"
    assert path("gemini-3-pro", project="p") == f"/v1beta1/projects/p/locations/global/{end}"
    assert path("gemini-3-pro", api_key=KEY) == f"/v1beta1/{end}"


def test_recorded_paths_are_those_that_are_asked():
    urls = [recording.exchange["request"]["url"] for recording in recordings(api="generateContent", provider="vertex")]
    project = {"project": "pydantic-ai", "location": "global"}
    asked = KIND.locate(config(**project), KIND.base_url) + path("gemini-2.5-flash", **project)
    assert not urls or asked in urls


def test_models_of_partners_are_refused():
    with pytest.raises(BadRequest):
        path("meta/llama-4", project="p")


def test_partner_has_its_own_dialect(monkeypatch):
    own = gemini.KIND.dialect(config())("m")
    monkeypatch.setattr(vertex, "_PARTNERS", {"claude": lambda _config: own})
    choose = KIND.dialect(config(project="p"))
    assert choose("claude-opus") is own
    assert choose("gemini-3-pro") is not own


def test_key_wins_over_a_token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("token-1")
    assert KIND.authenticate(config(api_key=KEY, token_file=str(file)))() == [("x-goog-api-key", KEY)]
    assert KIND.authenticate(config(token_file=str(file)))() == [("Authorization", "Bearer token-1")]


def test_project_is_not_named_in_a_header():
    assert KIND.own_headers(config(project="p", organization="o")) == []


def test_credentials_are_googles():
    assert KIND.credentials == "google"


@pytest.mark.parametrize("model", ["claude-opus-4-8@20260101", "anthropic/claude-opus-4-8@20260101"])
def test_claude_is_asked_at_its_publishers_path(model):
    chosen = KIND.dialect(config(project="p", location="eu"))(model)
    rendered = chosen.render_request(read_create({"input": "Hi"}, "v", model))
    assert rendered.path == (
        "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-opus-4-8@20260101:rawPredict"
    )
    assert b'"model"' not in rendered.body
    counted = chosen.render_count(read_create({"input": "Hi"}, "v", model))
    assert b'"model":"claude-opus-4-8@20260101"' in counted.body

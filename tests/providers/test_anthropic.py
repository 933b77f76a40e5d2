import json

import pytest

from proxy.config import ProviderConfig
from proxy.providers.anthropic import KIND, VERSION
from tests.dialects.anthropic_messages.rendering import create
from tests.rig.replay import recordings

MODEL_LISTS = [recording for recording in recordings(api="models", provider="anthropic") if recording.status == 200]


def config(**fields):
    return ProviderConfig(kind="anthropic", **fields)


def rendered(**fields):
    dialect = KIND.dialect(config(**fields))("claude-sonnet-4-5")
    return dialect.render_request(create(temperature=0.5))


def test_version_is_named_with_every_request():
    assert KIND.own_headers(config()) == [("anthropic-version", VERSION)]
    assert KIND.own_headers(config(version="2026-10-21")) == [("anthropic-version", "2026-10-21")]


def test_version_decides_about_sampling():
    assert b'"temperature":0.5' in rendered().body
    assert rendered(version="2026-10-21").dropped == ("temperature",)


def test_settings_reach_the_request():
    sent = rendered(beta=("a", "b"), max_tokens={"claude": 77})
    assert dict(sent.headers)["anthropic-beta"] == "a,b"
    assert b'"max_tokens":77' in sent.body


def test_token_of_a_file_is_a_bearer_even_beside_a_key(tmp_path):
    file = tmp_path / "token"
    file.write_text("token-1")
    fields = {"token_file": str(file), "api_key": "key-0123456789"}
    assert KIND.authenticate(config(**fields))() == [("Authorization", "Bearer token-1")]
    assert KIND.authenticate(config(api_key="key-0123456789"))() == [("x-api-key", "key-0123456789")]


@pytest.mark.parametrize("recording", MODEL_LISTS, ids=lambda recording: recording.id)
def test_models_are_where_they_are_looked_for(recording):
    listed = json.loads(recording.body)[KIND.models.list]
    assert all(isinstance(model[KIND.models.name], str) for model in listed)

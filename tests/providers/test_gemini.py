"""Gemini's own API: one dialect, one key."""

from proxy.config import ProviderConfig
from proxy.dialects.create import read_create
from proxy.providers.gemini import KIND
from tests.rig.replay import recordings


def config(**fields):
    return ProviderConfig(kind="gemini", **fields)


def test_every_model_is_asked_the_same_way():
    choose = KIND.dialect(config(api_key="key"))
    assert choose("gemini-3-pro") is choose("anything")
    assert choose("gemini-3-pro").name == "gemini_generate_content"


def test_recorded_paths_are_those_that_are_asked():
    spoken = KIND.dialect(config())("gemini-2.5-flash")
    paths = {recording.exchange["request"]["url"].partition(".com")[2] for recording in recordings(provider="gemini")}
    for stream in (False, True):
        create = read_create({"input": "Hi", "stream": stream}, "g", "gemini-2.5-flash")
        assert not paths or spoken.render_request(create).path in paths


def test_settings_of_others_are_not_sent():
    assert KIND.own_headers(config(organization="o", project="p")) == []


def test_models_are_listed_without_what_is_before_their_names():
    assert KIND.models.prefix == "models/"
    assert KIND.locate(config(), KIND.base_url) + KIND.models.path == (
        "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000"
    )

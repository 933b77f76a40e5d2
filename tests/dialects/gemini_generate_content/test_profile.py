import pytest

from proxy.dialects.gemini_generate_content.profile import gemini_profile, media_type, vertex_profile
from proxy.errors import BadRequest

GEMINI = gemini_profile()
VERTEX = vertex_profile("proj", "us-central1")
EXPRESS = vertex_profile(None, "global")
IN_PROJECT = "/v1beta1/projects/proj/locations/us-central1/publishers/google/models/"


@pytest.mark.parametrize(
    ("profile", "model", "path"),
    [
        (GEMINI, "gemini-x", "/v1beta/models/gemini-x"),
        (GEMINI, "models/gemini-x", "/v1beta/models/gemini-x"),
        (VERTEX, "gemini-x", f"{IN_PROJECT}gemini-x"),
        (VERTEX, "google/gemini-x", f"{IN_PROJECT}gemini-x"),
        (VERTEX, "publishers/google/models/gemini-x", f"{IN_PROJECT}gemini-x"),
        (VERTEX, "gemini-x@001", f"{IN_PROJECT}gemini-x%40001"),
        (EXPRESS, "gemini-x", "/v1beta1/publishers/google/models/gemini-x"),
        (vertex_profile("a/b", "c?d"), "m", "/v1beta1/projects/a%2Fb/locations/c%3Fd/publishers/google/models/m"),
    ],
)
def test_model_has_its_place(profile, model, path):
    assert profile.path(model) == path


@pytest.mark.parametrize("model", ["a/../../b", "..", "a?b#c", "a:countTokens", "é x", "tuned%2Fx", "models/a/b"])
def test_no_model_changes_the_path(model):
    path = GEMINI.path(model)
    assert path.startswith("/v1beta/models/")
    assert path.isascii()
    assert not set("/?#: ") & set(path.removeprefix("/v1beta/models/"))


@pytest.mark.parametrize("model", ["meta/llama-4", "publishers/mistralai/models/x", "a/../../b", "/x", "../x"])
def test_models_of_other_publishers_are_not_there(model):
    with pytest.raises(BadRequest) as refused:
        VERTEX.path(model)
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("url", "gemini", "vertex"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/files/abc", True, False),
        ("https://youtu.be/abc", True, True),
        ("https://www.YouTube.com/watch?v=abc", True, True),
        ("https://a.example/b.png", False, True),
        ("https://a.example/b.PDF?x=1", False, True),
        ("https://a.example/b", False, False),
        ("gs://a/b.mp3", False, True),
        ("gs://a/b", False, False),
        ("ftp://a.example/b.png", False, False),
        ("https://generativelanguage.googleapis.com.evil.example/files/abc", False, False),
        ("https://evil.example/?https://youtu.be/", False, False),
        ("https://[", False, False),
    ],
)
def test_urls_the_provider_reads(url, gemini, vertex):
    type_ = media_type(url)
    assert (GEMINI.reads(url, type_), VERTEX.reads(url, type_)) == (gemini, vertex)


def test_type_is_told_by_the_url_or_else_the_name():
    assert media_type("https://a.example/b.png", "c.pdf") == "image/png"
    assert media_type("https://a.example/b", "c.pdf") == "application/pdf"
    assert media_type("https://a.example/b.odd", None) is None

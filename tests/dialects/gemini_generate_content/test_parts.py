import base64

import pytest

from proxy.dialects.gemini_generate_content.parts import fetches, render_parts, render_resolution
from proxy.dialects.gemini_generate_content.profile import gemini_profile, vertex_profile
from proxy.dialects.items import read_input
from proxy.errors import BadRequest

GEMINI, VERTEX = gemini_profile(), vertex_profile("p", "global")
PNG = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


def parts_of(*content):
    (turn,) = read_input([{"role": "user", "content": list(content)}], "primary", "m").turns
    return turn.parts


def render(part, profile=GEMINI):
    (rendered,) = render_parts(parts_of(part), profile)
    return rendered


def data(mime_type, content):
    return {"inlineData": {"mimeType": mime_type, "data": content}}


@pytest.mark.parametrize(
    ("part", "rendered"),
    [
        ({"type": "input_text", "text": "x"}, {"text": "x"}),
        ({"type": "refusal", "refusal": "No."}, {"text": "No."}),
        (PNG, data("image/png", "AAAA")),
        ({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}, data("application/pdf", "AAAA")),
        ({"type": "input_file", "file_data": "AAAA", "filename": "a.pdf"}, data("application/pdf", "AAAA")),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, data("audio/wav", "AAAA")),
        (
            {"type": "input_file", "file_url": "https://youtu.be/abc"},
            {"fileData": {"fileUri": "https://youtu.be/abc", "mimeType": "video/mp4"}},
        ),
    ],
)
def test_content_has_its_place(part, rendered):
    assert render(part) == rendered


def test_document_of_text_is_text():
    encoded = base64.b64encode("Grüße".encode()).decode()
    part = {"type": "input_file", "file_data": f"data:text/plain;base64,{encoded}", "filename": "a.txt"}
    assert render(part) == {"text": "a.txt:\nGrüße"}


def test_own_files_have_a_type_only_where_it_is_known():
    url = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    assert render({"type": "input_file", "file_url": url}) == {"fileData": {"fileUri": url}}
    named = {"type": "input_file", "file_url": url, "filename": "a.pdf"}
    assert render(named) == {"fileData": {"fileUri": url, "mimeType": "application/pdf"}}


def test_empty_text_is_left_out():
    assert render_parts(parts_of({"type": "input_text", "text": ""}, PNG), GEMINI) == [data("image/png", "AAAA")]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_image", "image_url": "https://a.example/b.png"}, "input[0].content[0].image_url"),
        ({"type": "input_file", "file_url": "https://a.example/b.pdf"}, "input[0].content[0].file_url"),
        ({"type": "input_image", "file_id": "f"}, "input[0].content[0].file_id"),
        ({"type": "input_file", "file_id": "f"}, "input[0].content[0].file_id"),
    ],
)
def test_content_without_a_place_is_refused(part, param):
    with pytest.raises(BadRequest) as refused:
        render(part)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("part", "gemini", "vertex"),
    [
        (PNG, False, False),
        ({"type": "input_image", "image_url": "https://a.example/b.png"}, True, False),
        ({"type": "input_image", "image_url": "https://a.example/b"}, True, True),
        ({"type": "input_file", "file_url": "https://a.example/b", "filename": "b.pdf"}, True, False),
        ({"type": "input_file", "file_data": "AAAA"}, False, False),
        ({"type": "input_file", "file_id": "f"}, False, False),
        ({"type": "input_file", "file_url": "https://youtu.be/abc"}, False, False),
    ],
)
def test_what_is_elsewhere_is_fetched_where_the_provider_does_not(part, gemini, vertex):
    (read,) = parts_of(part)
    assert (fetches(read, GEMINI), fetches(read, VERTEX)) == (gemini, vertex)
    if not vertex:
        render_if_there(part)


def render_if_there(part):
    if "file_id" not in part:
        assert render(part, VERTEX)


@pytest.mark.parametrize(
    ("details", "resolution"),
    [
        ([], None),
        ([None], None),
        (["auto"], None),
        (["low"], "MEDIA_RESOLUTION_LOW"),
        (["low", "auto"], None),
        (["low", "high"], "MEDIA_RESOLUTION_HIGH"),
        (["original"], "MEDIA_RESOLUTION_HIGH"),
    ],
)
def test_detail_is_the_highest_that_is_asked_for(details, resolution):
    images = [{**PNG, "detail": detail} for detail in details]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    shown = {"type": "function_call_output", "call_id": "c", "output": images}
    for items in ([{"role": "user", "content": images}], [call, shown]):
        assert render_resolution(read_input(items, "primary", "m").turns) == resolution

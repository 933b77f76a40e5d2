import base64

import pytest

from proxy.dialects.anthropic_messages.content import needs_fetching
from proxy.dialects.items import File, Image
from proxy.errors import BadRequest
from tests.dialects.anthropic_messages.rendering import messages, render, user

PNG = "data:image/png;base64,aaaa"


def block(part, **options):
    return messages(user([part]), **options)[0]["content"][0]


def image(**members):
    return {"type": "input_image", **members}


def file(**members):
    return {"type": "input_file", **members}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (image(image_url=PNG), {"type": "base64", "media_type": "image/png", "data": "aaaa"}),
        (
            image(image_url="data:image/jpg;base64,aaaa"),
            {"type": "base64", "media_type": "image/jpeg", "data": "aaaa"},
        ),
        (image(image_url="https://a.example/b"), {"type": "url", "url": "https://a.example/b"}),
        (image(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_image_is_sent_or_named(part, source):
    assert block(part) == {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("part", "rendered"),
    [
        (
            file(file_data="data:application/pdf;base64,aaaa", filename="a.pdf"),
            {"source": {"type": "base64", "media_type": "application/pdf", "data": "aaaa"}, "title": "a.pdf"},
        ),
        (
            file(file_data=base64.b64encode(b"Hi, there.").decode(), filename="a.md"),
            {"source": {"type": "text", "media_type": "text/plain", "data": "Hi, there."}, "title": "a.md"},
        ),
        (file(file_url="https://a.example/b.pdf"), {"source": {"type": "url", "url": "https://a.example/b.pdf"}}),
        (file(file_id="file_1"), {"source": {"type": "file", "file_id": "file_1"}}),
    ],
)
def test_document_is_sent_or_named(part, rendered):
    assert block(part) == {"type": "document", **rendered}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (image(image_url="data:image/svg+xml;base64,aaaa"), "input[0].content[0]"),
        (file(file_data="data:application/msword;base64,aaaa"), "input[0].content[0]"),
        (file(file_data="data:text/plain;base64,/w=="), "input[0].content[0]"),
        ({"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}}, "input"),
    ],
)
def test_content_there_is_no_place_for_is_refused(part, param):
    with pytest.raises(BadRequest) as refused:
        block(part)
    assert refused.value.param == param


def test_detail_is_reported_where_it_asks_for_something():
    assert render(input=[user([image(image_url=PNG, detail="low")])])[1] == ("input.input_image.detail",)
    assert render(input=[user([image(image_url=PNG, detail="auto")])])[1] == ()


@pytest.mark.parametrize(
    ("part", "urls", "fetched"),
    [
        (Image("https://a.example/b.png", None, None, "p"), True, False),
        (Image("https://a.example/b.png", None, None, "p"), False, True),
        (Image(PNG, None, None, "p"), False, False),
        (Image(None, "file_1", None, "p"), False, False),
        (File(None, "https://a.example/b.pdf?x=1", None, None, "p"), True, False),
        (File(None, "https://a.example/B.TXT?x=1", None, None, "p"), True, True),
        (File(None, "https://a.example/b.pdf", None, None, "p"), False, True),
        (File("aaaa", None, None, None, "p"), False, False),
    ],
)
def test_remote_content_is_fetched_where_its_url_is_not_taken(part, urls, fetched):
    assert needs_fetching(part, urls=urls) is fetched

import base64
import string
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.items import File, Image
from proxy.dialects.media import Data, data_url, is_remote, read_file, read_image, read_text
from proxy.errors import BadRequest

PDF = base64.b64encode(b"%PDF-1.7\n").decode()


def image(url):
    return Image(url, None, None, "input[0]")


def file(data, filename=None):
    return File(data, None, None, filename, "input[0]")


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("https://a.example/b.png", True),
        ("http://a.example/data:", True),
        ("", True),
        ("data", True),
        ("data:,x", False),
        ("DATA:,x", False),
        (None, False),
    ],
)
def test_remote_is_what_leads_elsewhere(url, remote):
    assert is_remote(url) is remote


@pytest.mark.parametrize(
    ("url", "type_", "content"),
    [
        ("data:image/png;base64,AAEC", "image/png", b"\0\1\2"),
        ("data:image/PNG;base64,AAEC", "image/png", b"\0\1\2"),
        ("DATA:image/png;BASE64,AAEC", "image/png", b"\0\1\2"),
        ("data:image/png; base64,AAEC", "image/png", b"\0\1\2"),
        ("data:image/png;name=a.png;base64,AAEC", "image/png", b"\0\1\2"),
        ("data:text/plain;charset=utf-8;base64,w6k=", "text/plain", b"\xc3\xa9"),
        ("data:;base64,AAEC", "text/plain", b"\0\1\2"),
        ("data:base64,AAEC", "text/plain", b"\0\1\2"),
        ("data:image/png;base64,AA\nEC\r\n", "image/png", b"\0\1\2"),
        ("data:image/png;base64,", "image/png", b""),
        ("data:,A%20brief%20note", "text/plain", b"A brief note"),
        ("data:;charset=utf-8,%C3%A9", "text/plain", b"\xc3\xa9"),
        ("data:text/html,<b>a,b</b>", "text/html", b"<b>a,b</b>"),
        ("data:text/plain;charset=utf-8,é", "text/plain", b"\xc3\xa9"),
        ("data:image/svg+xml,%3Csvg/%3E", "image/svg+xml", b"<svg/>"),
        ("data:,100%", "text/plain", b"100%"),
    ],
)
def test_data_url_is_read_in_every_form(url, type_, content):
    found = read_image(image(url))
    assert found == Data(type_, base64.b64encode(content).decode())
    assert read_file(file(url)) == found


@pytest.mark.parametrize("url", [None, "https://a.example/b.png"])
def test_image_elsewhere_is_none(url):
    assert read_image(image(url)) is None


def test_file_elsewhere_is_none():
    assert read_file(File(None, "https://a.example/b.pdf", None, None, "input[0]")) is None
    assert read_text(File(None, None, "file_1", "a.txt", "input[0]")) is None


NOT_BASE64 = ["A", "AAA", "A===", "AA=A", "AA==AAAA", "AAAA=", "====", "-_-_", "AA!A", "é", "AAAÀ", "AA\0A"]


@pytest.mark.parametrize("encoded", NOT_BASE64, ids=ascii)
def test_what_is_not_base64_is_refused_with_its_field(encoded):
    for read, part, field in (
        (read_image, image(f"data:image/png;base64,{encoded}"), "image_url"),
        (read_file, file(f"data:application/pdf;base64,{encoded}"), "file_data"),
        (read_file, file(encoded), "file_data"),
    ):
        with pytest.raises(BadRequest) as refused:
            read(part)
        assert (refused.value.code, refused.value.param) == ("invalid_base64", f"input[0].{field}")


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:image/png;base64;AAEC"])
def test_data_url_without_content_is_refused_with_its_field(url):
    with pytest.raises(BadRequest) as refused:
        read_image(image(url))
    assert refused.value.param == "input[0].image_url"


@pytest.mark.parametrize(
    ("filename", "content", "type_"),
    [
        ("a.pdf", b"", "application/pdf"),
        ("A.PDF", b"x", "application/pdf"),
        ("a.b.csv", b"x", "text/csv"),
        ("notes.md", b"x", "text/markdown"),
        ("a.txt", b"%PDF-1.7", "text/plain"),
        ("a.docx", b"x", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (None, b"%PDF-1.7\n" + b"x" * 100, "application/pdf"),
        ("scan", b"%PDF-", "application/pdf"),
        (None, b"%PDF", "application/octet-stream"),
        ("a.bin", b"x", "application/octet-stream"),
        ("pdf.", b"x", "application/octet-stream"),
        ("", b"", "application/octet-stream"),
    ],
)
def test_type_is_told_by_the_name_or_the_first_bytes(filename, content, type_):
    assert read_file(file(base64.b64encode(content).decode(), filename)).type == type_


@pytest.mark.parametrize(
    ("data", "filename", "text"),
    [
        ("data:text/plain;base64,w6k=", None, "é"),
        ("data:text/csv,a%2Cb", None, "a,b"),
        ("data:application/json;base64,e30=", None, "{}"),
        ("data:application/xml,<a/>", None, "<a/>"),
        ("w6k=", "a.txt", "é"),
        ("w6k=", "a.bin", None),
        ("data:text/plain;base64,/w==", None, None),
        (f"data:application/pdf;base64,{PDF}", None, None),
        (PDF, None, None),
    ],
)
def test_text_is_only_what_is_text_in_all_its_bytes(data, filename, text):
    assert read_text(file(data, filename)) == text


def test_data_that_is_not_base64_is_no_text():
    assert Data("text/plain", "A").text() is None


TYPES = st.sampled_from(["image/png", "text/plain", "application/pdf", "application/vnd.x+json"])


@settings(max_examples=50)
@given(TYPES, st.binary(max_size=60))
def test_content_survives_its_data_url(type_, content):
    encoded = base64.b64encode(content).decode()
    assert read_image(image(data_url(type_, content))) == Data(type_, encoded)
    assert read_image(image(f"data:{type_},{quote_from_bytes(content)}")) == Data(type_, encoded)
    folded = "\r\n".join(encoded[at : at + 7] for at in range(0, len(encoded), 7))
    assert read_file(file(folded)).encoded == encoded


ODD = st.text(st.sampled_from([*string.printable, "é", "🙂", "\0"]), max_size=30)


@settings(max_examples=50)
@given(ODD | ODD.map("data:{}".format) | ODD.map("data:;base64,{}".format), ODD)
def test_any_text_is_read_or_refused(url, filename):
    for read, part in ((read_image, image(url)), (read_file, file(url, filename)), (read_text, file(url, filename))):
        try:
            found = read(part)
        except BadRequest:
            continue
        if isinstance(found, Data):
            assert len(base64.b64decode(found.encoded, validate=True)) == len(
                found.encoded
            ) * 3 // 4 - found.encoded.count("=")
            assert found.type == found.type.lower() != ""

import pytest

from proxy import notation


@pytest.mark.parametrize(
    ("check", "text", "normal"),
    [
        (notation.check_name, "azure-eu", "azure-eu"),
        (notation.check_name, "7.b_c", "7.b_c"),
        (notation.check_name, "a" * 64, "a" * 64),
        (notation.check_header_name, "X-Trace", "X-Trace"),
        (notation.check_header_value, "Bearer a b", "Bearer a b"),
        (notation.check_credential, "sk-~!x", "sk-~!x"),
        (notation.check_digest, "AB" * 32, "ab" * 32),
        (notation.check_prefix, "/", "/"),
        (notation.check_prefix, "/v1", "/v1"),
        (notation.check_prefix, "/api/llm/", "/api/llm"),
        (notation.check_base_url, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (notation.check_base_url, "https://host/openai/v1//", "https://host/openai/v1"),
        (notation.check_base_url, "http://[::1]:9/v1", "http://[::1]:9/v1"),
        (notation.check_host, "Images.Example.org", "images.example.org"),
        (notation.check_host, "cdn_1", "cdn_1"),
        (notation.check_host, ".".join(["a" * 63] * 3), ".".join(["a" * 63] * 3)),
        (notation.check_network, "10.1.0.0/16", "10.1.0.0/16"),
        (notation.check_network, "127.0.0.1", "127.0.0.1/32"),
        (notation.check_network, "FD00::/8", "fd00::/8"),
    ],
)
def test_setting_is_returned_in_its_normal_form(check, text, normal):
    assert check(text) == normal


@pytest.mark.parametrize(
    ("check", "text"),
    [
        *((notation.check_name, text) for text in ("", "-a", "a b", "a/b", "ä", "a\n", "a" * 65)),
        *((notation.check_header_name, text) for text in ("", "a b", "a:", "x\n", "ä", "Host", "CONTENT-LENGTH", "te")),
        *((notation.check_header_value, text) for text in ("", " a", "a ", "a\nb", "a\r", "\x7f", "ä")),
        *((notation.check_credential, text) for text in ("", "a b", "a\n", "ä", "\udc80")),
        *((notation.check_digest, text) for text in ("", "ab", "g" * 64, "a" * 65, "a" * 64 + "\n")),
        *(
            (notation.check_host, text)
            for text in ("", "a..b", ".a", "a.", "-a", "a-", "a:1", "a/b", "ä", "a\n", "a" * 64)
        ),
        (notation.check_host, ".".join(["a" * 63] * 4)),
        *((notation.check_network, text) for text in ("", "10.0.0.1/8", "10.0.0.0/33", "127.1", "host", "::1\n")),
        *((notation.check_prefix, text) for text in ("", "v1", "/v1?", "//", "/a//b", "/{x}", "/a b", "/v1\n")),
    ],
)
def test_setting_is_refused(check, text):
    with pytest.raises(ValueError, match=r"^(must|is)"):
        check(text)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("host/v1", "absolute"),
        ("//host/v1", "absolute"),
        ("ftp://host", "absolute"),
        ("http:/host", "absolute"),
        ("http://", "absolute"),
        ("http://:80", "absolute"),
        ("", "absolute"),
        ("https://canary@host", "must not hold a user"),
        ("https://user:canary@host", "must not hold a user"),
        ("https://host/v1?key=canary", "query or a fragment"),
        ("https://host/v1?", "query or a fragment"),
        ("https://host/v1#canary", "query or a fragment"),
        ("https://host:canary/v1", "cannot be read"),
        ("https://host:99999/v1", "cannot be read"),
        ("https://[canary/v1", "cannot be read"),
        ("https://[canary]/v1", "cannot be read"),
        ("https://ho st/", "white space"),
        ("https://host/\n", "white space"),
    ],
)
def test_base_url_is_refused_without_being_repeated(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        notation.check_base_url(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_is_recognised(host):
    assert notation.is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "255.255.255.255", "::", "10.0.0.1", "example.org", "127.0.0.1.example.org", "localhost.x"]
)
def test_other_addresses_are_not_loopback(host):
    assert not notation.is_loopback(host)

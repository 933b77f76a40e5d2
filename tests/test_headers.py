import pytest

from proxy.headers import find, render, render_down, render_up

NONE = frozenset()

SENT_AND_NEEDED = [
    # OpenAI's SDKs, and what they document
    *("Accept", "Content-Type", "User-Agent", "OpenAI-Beta", "Idempotency-Key", "X-Client-Request-Id"),
    *("X-Stainless-Lang", "X-Stainless-Package-Version", "X-Stainless-Async", "x-stainless-retry-count"),
    *("x-stainless-read-timeout", "X-Stainless-Helper-Method", "x-stainless-raw-response"),
    # Codex CLI
    *("originator", "session-id", "thread-id", "version", "x-codex-window-id", "x-codex-beta-features"),
    *("x-codex-turn-metadata", "x-codex-turn-state", "x-codex-routing-hint"),
    # Azure, OpenRouter, tracing
    *("x-ms-client-request-id", "HTTP-Referer", "X-Title", "traceparent", "tracestate"),
]

NEVER_UP = [
    # credentials, of the gateway or of anybody
    *("Authorization", "api-key", "x-api-key", "Cookie", "Proxy-Authorization", "x-goog-api-key"),
    # accounts: the configured provider's count
    *("OpenAI-Organization", "OpenAI-Project", "chatgpt-account-id"),
    # where the client is, and what stands before the gateway
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via", "CF-Connecting-IP"),
    # the connection's own, and what describes the body as it came
    *("Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    *("Content-Length", "Content-Encoding", "Accept-Encoding", "Origin", "Referer", "Range"),
    # the gateway's own, and what nobody thought of
    *("x-tfy-provider-name", "x-gateway-provider", "x-gateway-request-id", "x-internal-secret"),
]

READ_AND_NEEDED = [
    *("Content-Type", "Date", "x-request-id", "x-should-retry"),
    *("openai-processing-ms", "openai-version", "openai-model", "x-oai-request-id", "cf-ray"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"),
    *("x-codex-turn-state", "x-codex-primary-used-percent", "x-models-etag", "x-reasoning-included"),
    *("apim-request-id", "x-ms-region", "x-ms-client-request-id", "azureml-model-session"),
]

NEVER_DOWN = [
    *("Set-Cookie", "Authorization", "WWW-Authenticate", "Proxy-Authenticate", "api-key"),
    *("openai-organization", "openai-project", "Location", "Server", "Via", "Alt-Svc", "Strict-Transport-Security"),
    *("Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", "Content-Length", "Content-Encoding"),
    *("x-tfy-provider-name", "x-gateway-provider", "x-gateway-request-id", "Access-Control-Allow-Origin"),
]


def raw(*names, value=b"v"):
    return [(name.encode(), value) for name in names]


def lines(*names):
    return b"".join(b"%b: v\r\n" % name.encode() for name in names)


def cases(names):
    """Spell each name as it is, in lower case and in capitals."""
    return [spelled for name in names for spelled in (name, name.lower(), name.upper())]


@pytest.mark.parametrize("name", cases(SENT_AND_NEEDED))
def test_header_crosses_to_the_provider(name):
    assert render_up(raw(name), NONE) == lines(name)


@pytest.mark.parametrize("name", cases(NEVER_UP))
def test_header_never_reaches_the_provider(name):
    assert render_up(raw("Accept", name, "Version"), NONE) == lines("Accept", "Version")


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("name", cases(READ_AND_NEEDED))
def test_header_crosses_to_the_client(name, status):
    assert render_down(raw(name), status) == lines(name)


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("name", cases(NEVER_DOWN))
def test_header_never_reaches_the_client(name, status):
    assert render_down(raw("Date", name, "cf-ray"), status) == lines("Date", "cf-ray")


@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms"])
@pytest.mark.parametrize(("status", "crosses"), [(200, False), (201, False), (399, False), (400, True), (503, True)])
def test_retry_advice_crosses_on_errors_only(name, status, crosses):
    assert render_down(raw(name), status) == (lines(name) if crosses else b"")


def test_headers_keep_their_order_spelling_and_repetition():
    sent = [(b"X-STAINLESS-Os", b" a"), (b"accept", b""), (b"Accept", b"*/*"), (b"Version", b"caf\xe9")]
    assert render_up(sent, NONE) == b"X-STAINLESS-Os:  a\r\naccept: \r\nAccept: */*\r\nVersion: caf\xe9\r\n"


def test_headers_the_provider_has_itself_win_over_the_clients():
    own = frozenset({b"openai-beta", b"user-agent"})
    assert render_up(raw("OpenAI-Beta", "Accept", "USER-AGENT"), own) == lines("Accept")


@pytest.mark.parametrize(
    ("connection", "crossing"),
    [
        (b"keep-alive", ("Accept", "x-codex-a", "x-request-id", "Date")),
        (b"close, Keep-Alive,", ("Accept", "x-codex-a", "x-request-id", "Date")),
        (b"X-Codex-A", ("Accept", "x-request-id", "Date")),
        (b"close ,x-codex-a,\tACCEPT , x-request-id", ("Date",)),
    ],
)
def test_headers_named_by_the_connection_header_stay_behind(connection, crossing):
    """They are meant for this hop, says RFC 9110, 7.6.1, whatever they are called."""
    everything = raw("Accept", "x-codex-a", "x-request-id", "Date")
    for headers in ([(b"Connection", connection), *everything], [*everything, (b"connection", connection)]):
        up = [name for name in crossing if name in {"Accept", "x-codex-a"}]
        assert render_up(headers, NONE) == lines(*up)
        down = [name for name in crossing if name != "Accept"]
        assert render_down(headers, 200) == lines(*down)


def test_headers_named_by_two_connection_headers_stay_behind():
    sent = [(b"Connection", b"accept"), *raw("Accept", "Version", "x-codex-a"), (b"Connection", b"version")]
    assert render_up(sent, frozenset({b"x-codex-a"})) == b""


def test_render_writes_the_gateways_own_lines():
    assert render([]) == b""
    assert render([("A", "1"), ("b", "caf\u00e9")]) == b"A: 1\r\nb: caf\xe9\r\n"


def test_find_returns_the_first_value():
    headers = [(b"A", b"1"), (b"X-Request-Id", b"2"), (b"x-request-id", b"3"), (b"B", b"")]
    assert find(headers, b"x-request-id") == b"2"
    assert find(headers, b"b") == b""
    assert find(headers, b"c") is None

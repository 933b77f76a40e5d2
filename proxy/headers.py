"""Which headers cross the gateway, in which direction: allow-lists, so that what nobody thought of stays behind.

Names are what clients send and read according to their own source (OpenAI SDKs, Codex CLI, Azure, AI SDK).
Credentials, cookies, hop-by-hop headers and anything about the operator's account are not on the lists.
"""

import re
from collections.abc import Iterable

RawHeaders = Iterable[tuple[bytes, bytes]]

MAX_NAMES, MAX_NAME = 32, 64
"""Names in a list that a client may make grow, and characters of each."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\[\]-]")

UP = frozenset(
    {
        b"accept",
        b"content-type",
        b"http-referer",
        b"idempotency-key",
        b"openai-beta",
        b"originator",
        b"session-id",
        b"thread-id",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"version",
        b"x-client-request-id",
        b"x-ms-client-request-id",
        b"x-title",
    }
)
UP_PREFIXES = (b"x-stainless-", b"x-codex-")

DOWN = frozenset(
    {
        b"apim-request-id",
        b"azureml-model-session",
        b"cf-ray",
        b"content-type",
        b"date",
        b"openai-model",
        b"openai-processing-ms",
        b"openai-version",
        b"x-models-etag",
        b"x-ms-client-request-id",
        b"x-ms-region",
        b"x-oai-request-id",
        b"x-reasoning-included",
        b"x-request-id",
        b"x-should-retry",
    }
)
DOWN_PREFIXES = (b"x-ratelimit-", b"x-codex-")
RETRY = frozenset({b"retry-after", b"retry-after-ms"})
"""Some providers send these on success, where they mean nothing: they cross on errors only."""


def render_up(raw: RawHeaders, own: frozenset[bytes]) -> bytes:
    """Render the request headers that reach the provider, as header lines; the provider's `own` go first."""
    lines: list[bytes] = []
    nominated = own
    for name, value in raw:
        lowered = name.lower()
        if lowered in UP or lowered.startswith(UP_PREFIXES):
            if lowered not in own:
                lines += (name, b": ", value, b"\r\n")
        elif lowered == b"connection":
            nominated |= _nominated(value)
    return b"".join(lines) if nominated == own else render_up(raw, nominated)


def render_down(raw: RawHeaders, status: int, dropped: frozenset[bytes] = frozenset()) -> bytes:
    """Render the response headers that reach the client, as header lines, without those `dropped`."""
    lines: list[bytes] = []
    nominated = dropped
    for name, value in raw:
        lowered = name.lower()
        if lowered in DOWN or lowered.startswith(DOWN_PREFIXES) or (status >= 400 and lowered in RETRY):  # noqa: PLR2004
            if lowered not in dropped:
                lines += (name, b": ", value, b"\r\n")
        elif lowered == b"connection":
            nominated |= _nominated(value)
    return b"".join(lines) if nominated == dropped else render_down(raw, status, nominated)


def _nominated(connection: bytes) -> frozenset[bytes]:
    """Return what a Connection header says is meant for this hop only."""
    return frozenset(token.strip().lower() for token in connection.split(b",")) - {b"", b"close", b"keep-alive"}


def render(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Render the gateway's own headers as header lines."""
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)


def render_names(names: Iterable[str]) -> bytes:
    """Render names that a client made up as a header's list, without what a header cannot hold, and not too long."""
    safe = [_UNSAFE.sub("", name)[:MAX_NAME] for name in names]
    shown = [name for name in safe if name]
    more = [f"and {len(shown) - MAX_NAMES} more"] if len(shown) > MAX_NAMES else []
    return ", ".join(shown[:MAX_NAMES] + more).encode()


def find(raw: RawHeaders, wanted: bytes) -> bytes | None:
    """Return the first value of the header named `wanted` (lower case), or None."""
    for name, value in raw:
        if name.lower() == wanted:
            return value
    return None

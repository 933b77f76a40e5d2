"""How single settings must be written: names, URLs, headers, path prefixes.

Each function returns the setting in its one normal form, or raises ValueError with a message that
does not repeat the value, which may be a credential.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

MAX_NAME = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")
_CREDENTIAL = re.compile(r"[\x21-\x7e]+")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_PREFIX = re.compile(r"/|(/[A-Za-z0-9._~-]+)+/?")
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")

_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Hop by hop, or set from the message itself."""


def check_name(text: str) -> str:
    """Accept what can stand in a header, a label and a file without quotes."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise ValueError(
            f"must be letters, digits, `.`, `_` and `-`, at most {MAX_NAME}, and begin with a letter or digit"
        )
    return text


def check_header_name(text: str) -> str:
    """Accept the name of an end-to-end header that is not derived from the message."""
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError("is not the name of a header")
    if text.lower() in _OWN_HEADERS:
        raise ValueError("is a header that each connection sets for itself")
    return text


def check_header_value(text: str) -> str:
    """Accept printable ASCII without white space at its ends."""
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("must be printable ASCII on one line, without white space at its ends, and not empty")
    return text


def check_credential(text: str) -> str:
    """Accept what can follow `Bearer` in a header."""
    if not _CREDENTIAL.fullmatch(text):
        raise ValueError("must be printable ASCII on one line, without white space, and not empty")
    return text


def check_digest(text: str) -> str:
    """Accept a SHA-256 in hex; it is returned in lower case."""
    if not _DIGEST.fullmatch(text):
        raise ValueError("must be the 64 hexadecimal digits of a SHA-256")
    return text.lower()


def check_prefix(text: str) -> str:
    """Accept a path; the slash at its end is removed."""
    if not text.startswith("/"):
        raise ValueError('must begin with "/"')
    if not _PREFIX.fullmatch(text):
        raise ValueError("must be a plain path, such as /v1 or /openai/v1")
    return text.rstrip("/") or "/"


def check_base_url(text: str) -> str:
    """Accept an absolute http or https URL of scheme, host, port and path; slashes at its end are removed."""
    parts = _split(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an absolute http:// or https:// URL")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password: use api_key or headers")
    if "?" in text or "#" in text:
        raise ValueError("must not hold a query or a fragment")
    return text.rstrip("/")


def check_host(text: str) -> str:
    """Accept the name of a host, without scheme and port; it is returned in lower case."""
    if not _HOST.fullmatch(text.lower()):
        raise ValueError("must be the name of a host alone, such as images.example.org")
    return text.lower()


def check_network(text: str) -> str:
    """Accept a network or an address of either version."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be a network, such as 10.1.0.0/16 or fd00::/8, without bits behind its prefix") from None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(text: str) -> SplitResult:
    if _UNPRINTABLE.search(text):
        raise ValueError("must not hold white space or control characters")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port cannot be read") from None
    return parts

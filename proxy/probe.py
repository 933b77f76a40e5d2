"""Asks every configured provider whether it is there and takes the gateway's credential, with what costs nothing.

A probe is the gateway's own request for the provider's list of models, or for what else is free and proves a
credential, over the same connector. What a provider says is never repeated: it may quote the credential.
"""

import asyncio
import os
import re
import ssl
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final, NamedTuple

import aiohttp

from proxy.catalogue import get
from proxy.config import Config, Limits, ProviderConfig
from proxy.errors import ConnectTimeout, GatewayError, InternalError, UpstreamError
from proxy.providers import REGISTRY
from proxy.upstream import Upstream

PATIENCE: Final = 10.0
"""Seconds for a provider to answer, everything included."""
CONNECT_PATIENCE: Final = 5.0
"""Seconds for a connection, or the provider's own `timeouts.connect` where that is less."""

OK, WARN, FAIL = "ok", "WARN", "FAIL"

_BAD_KEY: Final = re.compile(rb"api[ _-]?key", re.IGNORECASE)
"""What a provider that answers a bad key with 400 speaks of; a GET without a body has nothing else to be bad."""


class Finding(NamedTuple):
    """What became of one probe; `result` is `OK`, `WARN` or `FAIL`."""

    subject: str
    result: str
    detail: str


async def probe_providers(config: Config, *, patience: float = PATIENCE) -> list[Finding]:
    """Probe all providers at once, each for `patience` seconds at most; in the configuration's order."""
    return await asyncio.gather(*(_bounded(name, one, patience) for name, one in config.providers.items()))


async def _bounded(name: str, config: ProviderConfig, patience: float) -> Finding:
    if config.kind == "sandbox" and config.base_url is None:
        return Finding(name, OK, "built in")
    reported: list[str] = []
    connect = min(config.timeouts.connect, patience, CONNECT_PATIENCE)
    hurried = config.model_copy(update={"timeouts": config.timeouts.model_copy(update={"connect": connect})})
    upstream = Upstream(name, REGISTRY[config.kind], hurried, Limits(), report=reported.append)
    try:
        async with asyncio.timeout(patience):
            return Finding(name, *await _probe(upstream, has_credential=_has_credential(config)))
    except TimeoutError:
        return Finding(name, FAIL, f"no answer within {patience:g} s")
    except InternalError as error:
        return Finding(name, FAIL, f"no credential: {reported[-1] if reported else error.message}")
    except GatewayError as error:
        return Finding(name, FAIL, error.message)
    finally:
        await upstream.close()


def _has_credential(config: ProviderConfig) -> bool:
    fixed = config.api_key is not None or config.token_file is not None
    return fixed or REGISTRY[config.kind].credentials != "fixed"


async def _probe(upstream: Upstream, *, has_credential: bool) -> tuple[str, str]:
    models = upstream.kind.models
    path = upstream.kind.proof or (models.path if models is not None else None)
    signed = await upstream.sign("GET", path or "/") if upstream.signs else None
    began = perf_counter()
    try:
        line = await upstream.connect()
    except ConnectTimeout:
        return FAIL, f"unreachable: no connection within {upstream.timeouts.connect:g} s"
    except UpstreamError as error:
        return FAIL, f"unreachable: {_why(error.__cause__)}"
    connected = perf_counter() - began
    if path is None:
        line.close()
        obtained = "; credentials obtained" if upstream.signs else ""
        return OK, f"connected in {_ms(connected)}{obtained}; nothing to ask that is free"
    status, body = await get(upstream, line, path, signed)
    took = f"{_ms(perf_counter() - began)}, connected in {_ms(connected)}"
    result, detail = _judge(status, body)
    if result == OK and status < 300 and has_credential and await _opens_to_anyone(upstream, path):  # noqa: PLR2004
        detail = "; it lists its models to anyone, so the credential is not proved"
    return result, f"{took}{detail}" if result == OK else f"{detail}; {took}"


async def _opens_to_anyone(upstream: Upstream, path: str) -> bool:
    """Tell whether the list of models comes without a credential, and so says nothing of it."""
    status, _ = await get(upstream, await upstream.connect(), path, b"")
    return status < 300  # noqa: PLR2004


def _judge(status: int, body: bytes) -> tuple[str, str]:
    """Say what the answer to a request for the list of models means."""
    if status < 300:  # noqa: PLR2004
        return OK, ""
    if status == 401 or (status == 400 and _BAD_KEY.search(body)):  # noqa: PLR2004
        return FAIL, f"credential refused ({status})"
    if status in {404, 405, 501}:
        return OK, f"; it lists no models ({status}), so the credential is not proved"
    meanings = {403: "the credential may not list models (403)", 429: "rate limited or out of quota (429)"}
    if status in meanings:
        return WARN, meanings[status]
    return FAIL, f"it answers with status {status}" + (": look at base_url" if status < 500 else "")  # noqa: PLR2004


def _reason(error: BaseException) -> str:
    """Name what the system or the TLS library says, without the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "failed").lower().replace("_", " ")
    known = isinstance(error, OSError) and error.errno
    return os.strerror(known).lower() if known else type(error).__name__


_UNREACHABLE: Final[tuple[tuple[type[BaseException], Callable[[Any], str]], ...]] = (
    (aiohttp.ClientConnectorDNSError, lambda _error: "its name cannot be resolved"),
    (
        aiohttp.ClientConnectorCertificateError,
        lambda error: f"TLS: its certificate is not trusted ({_reason(error.certificate_error)})",
    ),
    (aiohttp.ClientConnectorSSLError, lambda error: f"TLS: {_reason(error.os_error)}"),
    (aiohttp.ClientConnectorError, lambda error: _reason(error.os_error)),
    (OSError, _reason),
)
"""What made a connection fail, in an operator's words; the first that fits."""


def _why(cause: BaseException | None) -> str:
    return next((explain(cause) for kind, explain in _UNREACHABLE if isinstance(cause, kind)), type(cause).__name__)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"

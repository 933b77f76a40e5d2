"""Is a gateway there at all, and over what: reached before everything else is tried."""

import asyncio
import ipaddress
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from proxy.doctor.base import Row, Verdict, Visit, server_of
from proxy.doctor.client import CONNECT, Answer, Unreachable

NAME, CERTIFICATE = "gateway", "certificate"
DAY = 86_400.0
RENEWAL = 21.0
"""Days before its end by which a certificate should have been renewed."""
OLD = "HTTP/1.0"
REFUSALS = frozenset({401, 403, 407})


async def probe(visit: Visit) -> list[Row]:
    """Ask for the models: whoever answers says by a header of the answer whether it is a gateway."""
    certificate = await _certificate(visit)
    try:
        answer = await visit.client.call("GET", "/models")
    except Unreachable as error:
        found = f"no answer from {visit.client.url}: {error}"
        return [Row(NAME, Verdict.FAIL, found, visit.advise("unreachable")), certificate]
    visit.look(answer)
    return [_judge(visit, answer), certificate]


def _judge(visit: Visit, answer: Answer) -> Row:
    figures = {"status": answer.status, "version": answer.version, "seconds": answer.took, "hop": visit.hop}
    if not answer.from_gateway and answer.status in REFUSALS:
        found = f"{server_of(answer)} refuses the request itself, before it reaches a gateway: {answer.told()}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("refused_in_front"), figures)
    if not answer.from_gateway:
        found = f"no gateway: {server_of(answer)} answers GET /models with status {answer.status}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("no_gateway"), figures)
    front = answer.headers.get("Server") or visit.hop
    found = f"answers over {answer.version} in {answer.took * 1000:.0f} ms" + (f", {front} in front" if front else "")
    if answer.version == OLD:
        return Row(NAME, Verdict.WARN, found, visit.advise("old_version"), figures)
    return Row(NAME, Verdict.OK, found, figures=figures)


async def _certificate(visit: Visit) -> Row:
    parts = urlsplit(visit.client.url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        if is_local(host):
            return Row(CERTIFICATE, Verdict.SKIP, "http to this machine: there is none")
        return Row(CERTIFICATE, Verdict.WARN, "http: there is none", visit.advise("clear_text"))
    try:
        details = await _peer_certificate(visit, host, parts.port or 443)
    except ssl.SSLCertVerificationError as error:
        return Row(CERTIFICATE, Verdict.FAIL, str(error), visit.advise("certificate_refused"))
    except ssl.SSLError as error:
        return Row(CERTIFICATE, Verdict.FAIL, str(error), visit.advise("no_tls"))
    except (OSError, TimeoutError) as error:
        return Row(CERTIFICATE, Verdict.FAIL, str(error) or "nothing came in time", visit.advise("unreachable"))
    return judge_certificate(visit, ssl.cert_time_to_seconds(details["notAfter"]), time.time())


async def _peer_certificate(visit: Visit, host: str, port: int) -> dict[str, Any]:
    tls = visit.client.tls or ssl.create_default_context()
    async with asyncio.timeout(CONNECT):
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
    details: dict[str, Any] = writer.get_extra_info("peercert")
    writer.transport.abort()
    return details


def judge_certificate(visit: Visit, ends: float, now: float) -> Row:
    """Judge by the time a certificate has left."""
    days = (ends - now) / DAY
    found, figures = f"valid for {days:.1f} more days", {"days": days}
    if days < RENEWAL:
        return Row(CERTIFICATE, Verdict.WARN, found, visit.advise("certificate"), figures)
    return Row(CERTIFICATE, Verdict.OK, found, figures=figures)


def is_local(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host == socket.gethostname()

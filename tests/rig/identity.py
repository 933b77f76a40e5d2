"""Endpoints that hand out credentials as Google, Amazon and Microsoft do, and what a client needs to find them."""

import asyncio
import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.rig import scripts
from tests.rig.upstream import Exchange

Render = Callable[[str, float], bytes]
"""Renders a token and the seconds it lives as one endpoint's answer."""


class Clock:
    """A clock that the test puts forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Issuer:
    """A script that issues `token-1`, `token-2` and so on, none of them while `gate` is closed."""

    def __init__(self, render: Render, refusal: bytes, lifetime: float = 3600) -> None:
        self.asked = 0
        self.lifetime = lifetime
        self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._render = render
        self._refusal = refusal

    async def __call__(self, exchange: Exchange) -> None:
        self.asked += 1
        token = f"token-{self.asked}"
        await exchange.body()
        await self.gate.wait()
        body, status = (self._refusal, 400) if self.refuses else (self._render(token, self.lifetime), 200)
        await scripts.answer(body, status)(exchange)


def oauth(token: str, lifetime: float) -> bytes:
    """Render the answer of an OAuth token endpoint."""
    return orjson.dumps({"access_token": token, "expires_in": int(lifetime), "token_type": "Bearer"})


def federated(token: str, lifetime: float) -> bytes:
    """Render the answer of Google's token exchange."""
    kind = "urn:ietf:params:oauth:token-type:access_token"
    return orjson.dumps({**orjson.loads(oauth(token, lifetime)), "issued_token_type": kind})


def managed(token: str, lifetime: float) -> bytes:
    """Render the answer of Azure's App Service to a managed identity."""
    return orjson.dumps(
        {"access_token": token, "expires_on": str(int(time.time() + lifetime)), "resource": "x", "token_type": "Bearer"}
    )


def container(token: str, lifetime: float) -> bytes:
    """Render the answer of the endpoint that AWS containers ask."""
    keys = {"AccessKeyId": "AKIDCONTAINER", "SecretAccessKey": "secret-of-the-container", "Token": token}
    return orjson.dumps({**keys, "Expiration": _moment(lifetime)})


def assumed(token: str, lifetime: float) -> bytes:
    """Render the answer of Amazon's STS to AssumeRole."""
    return (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        "<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>secret-of-the-role</SecretAccessKey>"
        f"<SessionToken>{token}</SessionToken><Expiration>{_moment(lifetime)}</Expiration>"
        "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    ).encode()


OAUTH_REFUSAL = b'{"error": "invalid_grant", "error_description": "canary-in-the-answer"}'
STS_REFUSAL = (
    b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    b"<Code>AccessDenied</Code><Message>canary-in-the-answer</Message></Error></ErrorResponse>"
)


def _moment(lifetime: float) -> str:
    return datetime.fromtimestamp(time.time() + lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_service_account(path: Path, token_uri: str, **fields: Any) -> Path:
    """Write the key file of a service account whose tokens come from `token_uri`."""
    account = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": "1",
        "private_key": _private_key(),
        "client_email": "gateway@project-1.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_bytes(orjson.dumps(account | fields))
    return path


@functools.cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*pem).decode()

"""Access tokens of Google Cloud: from a credentials file, or from where Google's own tools look for them."""

import calendar
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import google.auth
import google.oauth2.credentials
from google.auth import aws, identity_pool, impersonated_credentials, pluggable
from google.auth.credentials import CredentialsWithQuotaProject, with_scopes_if_required
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from proxy.config import ProviderConfig
from proxy.credentials.base import Clock, Held, Lease, Report
from proxy.providers.base import Headers

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
TIMEOUT = 10.0
"""Seconds that a token endpoint may stay silent."""


class GoogleToken:
    """A bearer token, and the project that pays for its use where that is not the token's own."""

    def __init__(self, config: ProviderConfig, clock: Clock, report: Report) -> None:
        self._lease = Lease(GoogleSource(config.credentials_file), clock, report)

    async def headers(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:  # noqa: ARG002
        """Return the token that is valid now."""
        return await self._lease.get()

    async def close(self) -> None:
        """Give up a renewal under way."""
        await self._lease.close()


class GoogleSource:
    """Google's library, which knows how each kind of credentials is exchanged for a token."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._credentials: Any = None
        self._transport = Request()
        self._request: Any = functools.partial(self._transport, timeout=TIMEOUT)

    def obtain(self) -> Held[Headers]:
        """Exchange the credentials, found first where they were not yet, for a new token."""
        if self._credentials is None:
            self._credentials = with_scopes_if_required(self._find(), SCOPES)
        self._credentials.refresh(self._request)
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        expiry = self._credentials.expiry
        return Held(list(headers.items()), calendar.timegm(expiry.utctimetuple()) if expiry else math.inf)

    def _find(self) -> Any:
        if self._file is None:
            return google.auth.default(request=self._request)[0]
        found = read_credentials(self._file)
        return found.with_quota_project_from_environment() if isinstance(found, CredentialsWithQuotaProject) else found

    def close(self) -> None:
        """Close the connections to the token endpoint."""
        self._transport.session.close()


def read_credentials(path: str) -> Any:
    """Read the file that Google's tools write for a service account, a federated identity or a user.

    Raises ValueError, KeyError or OSError. `google.auth.load_credentials_from_file` does the same, and is deprecated.
    """
    info = json.loads(Path(path).read_text(encoding="utf-8"))
    return _READERS[info["type"]](info)


def _read_federated(info: Mapping[str, Any]) -> Any:
    """Read the configuration of workload identity federation: where a foreign token comes from."""
    if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        return aws.Credentials.from_info(info)
    if "executable" in info.get("credential_source", {}):
        return pluggable.Credentials.from_info(info)
    return identity_pool.Credentials.from_info(info)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "service_account": service_account.Credentials.from_service_account_info,
    "external_account": _read_federated,
    "impersonated_service_account": impersonated_credentials.Credentials.from_impersonated_service_account_info,
    "authorized_user": google.oauth2.credentials.Credentials.from_authorized_user_info,
}

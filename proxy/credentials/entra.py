"""Access tokens of Microsoft Entra ID, by whichever identity the environment has: managed, workload, service, user."""

import logging
from urllib.parse import urlsplit

from azure.identity import DefaultAzureCredential

from proxy.config import ProviderConfig
from proxy.credentials.base import Clock, Held, Lease, Report
from proxy.providers.base import Headers

# Why there is no token is reported; the library would tell it beside the gateway's own log too, with what servers said.
for library in ("azure", "msal"):
    logging.getLogger(library).addHandler(logging.NullHandler())

SCOPE = "https://cognitiveservices.azure.com/.default"
"""Of the resources at `openai.azure.com` and `cognitiveservices.azure.com`, with a name of one's own too."""
SCOPES = {
    # The projects of a Foundry resource take no other.
    ".services.ai.azure.com": "https://ai.azure.com/.default",
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
"""Of the others, by the end of their host's name."""


class EntraToken:
    """A bearer token for one resource."""

    def __init__(self, config: ProviderConfig, clock: Clock, report: Report) -> None:
        self._lease = Lease(EntraSource(scope_of(config.base_url or "")), clock, report)

    async def headers(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:  # noqa: ARG002
        """Return the token that is valid now."""
        return await self._lease.get()

    async def close(self) -> None:
        """Give up a renewal under way."""
        await self._lease.close()


class EntraSource:
    """Microsoft's library, which tries one kind of identity after the other."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._credential: DefaultAzureCredential | None = None

    def obtain(self) -> Held[Headers]:
        """Ask for a token; the library keeps one for as long as it serves."""
        if self._credential is None:
            self._credential = DefaultAzureCredential()
        token = self._credential.get_token(self._scope)
        return Held([("Authorization", f"Bearer {token.token}")], token.expires_on)

    def close(self) -> None:
        """Close the connections to the token endpoint."""
        if self._credential is not None:
            self._credential.close()


def scope_of(base_url: str) -> str:
    """Return the scope that the resource at a base URL takes tokens of."""
    host = urlsplit(base_url).hostname or ""
    return next((scope for end, scope in SCOPES.items() if host.endswith(end)), SCOPE)

"""Providers whose credentials come from endpoints of the test's own, one for each scheme."""

from dataclasses import dataclass, replace

import pytest

from proxy.config import ProviderConfig
from proxy.credentials import Credentials, open_credentials
from proxy.providers import REGISTRY
from tests.rig import identity
from tests.rig.identity import Clock, Issuer

SCHEMES = ("google", "aws", "entra")


@dataclass
class Tested:
    """One scheme under test: `token()` makes a request's headers and returns the token in them."""

    credentials: Credentials
    issuer: Issuer
    clock: Clock
    reports: list[str]

    async def headers(self):
        sent = await self.credentials.headers("POST", "https://provider.test/v1/x", [], b"{}")
        return {name.lower(): value for name, value in sent}

    async def token(self):
        headers = await self.headers()
        return headers.get("x-amz-security-token") or headers["authorization"].removeprefix("Bearer ")


def kind(scheme):
    """Make a kind of that scheme."""
    return replace(REGISTRY["openai"], name=scheme, credentials=scheme, required=())


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """Hide what this machine knows: nothing but the test's own endpoints is asked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")


@pytest.fixture
async def opened():
    """Open credentials, closed with the test: `opened(scheme, issuer, **settings)`."""
    made = []

    def open_(scheme, issuer=None, **settings):
        clock, reports = Clock(), []
        config = ProviderConfig(kind=scheme, **settings)
        credentials = open_credentials(kind(scheme), config, clock=clock, report=reports.append)
        made.append(credentials)
        return Tested(credentials, issuer, clock, reports)

    yield open_
    for credentials in made:
        await credentials.close()


@pytest.fixture
def google(opened, upstream, tmp_path):
    """Give a service account named in the configuration."""
    issuer = Issuer(identity.oauth, identity.OAUTH_REFUSAL)
    upstream.on("POST", "/token", issuer)
    file = identity.write_service_account(tmp_path / "account.json", f"{upstream.url}/token")
    return opened("google", issuer, credentials_file=str(file))


@pytest.fixture
def aws(opened, upstream, monkeypatch):
    """Give a role, assumed by keys in the environment."""
    issuer = Issuer(identity.assumed, identity.STS_REFUSAL)
    upstream.on("POST", "/", issuer)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", upstream.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-our-own")
    return opened("aws", issuer, region="eu-central-1", role_arn="arn:aws:iam::123456789012:role/gateway")


@pytest.fixture
def entra(opened, upstream, monkeypatch):
    """Give a managed identity of App Service."""
    issuer = Issuer(identity.managed, identity.OAUTH_REFUSAL)
    upstream.on("GET", "/msi", issuer)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{upstream.url}/msi")
    monkeypatch.setenv("IDENTITY_HEADER", "secret-of-the-host")
    return opened("entra", issuer, base_url="https://res.openai.azure.com/openai/v1")


@pytest.fixture
def scheme(request):
    """Give the scheme a test is parametrised with."""
    return request.getfixturevalue(request.param)

"""Which scheme a provider's credentials are of, and what it takes to have them."""

import sys

import pytest

from proxy.config import ProviderConfig
from proxy.credentials import missing_extra, open_credentials
from proxy.credentials.base import Credentials
from proxy.providers import REGISTRY
from tests.credentials.conftest import SCHEMES, kind

KEY = "provider-key-0123456789"
INSTALLS = {
    "google": ("google.auth", "kind google needs google-auth: pip install 'responses-proxy[vertex]'"),
    "aws": ("botocore", "kind aws needs botocore: pip install 'responses-proxy[bedrock]'"),
    "entra": ("azure.identity", "kind entra needs azure-identity: pip install 'responses-proxy[azure]'"),
}


async def sent(credentials: Credentials):
    return await credentials.headers("POST", "https://provider.test/", [], b"")


@pytest.mark.parametrize("name", REGISTRY)
async def test_key_is_sent_as_the_kind_sends_it(name):
    config = ProviderConfig(kind=name, api_key=KEY)
    credentials = open_credentials(REGISTRY[name], config)
    assert await sent(credentials) == REGISTRY[name].authenticate(config)()
    assert missing_extra(REGISTRY[name], config) is None
    await credentials.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_key_or_token_goes_before_the_scheme(scheme, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, INSTALLS[scheme][0], None)
    token_file = tmp_path / "token"
    token_file.write_text("token-of-the-file")
    for settings, token in (({"api_key": KEY}, KEY), ({"token_file": str(token_file)}, "token-of-the-file")):
        config = ProviderConfig(kind=scheme, **settings)
        assert await sent(open_credentials(kind(scheme), config)) == [("Authorization", f"Bearer {token}")]
        assert missing_extra(kind(scheme), config) is None


async def test_provider_that_needs_none_sends_none():
    assert await sent(open_credentials(REGISTRY["sandbox"], ProviderConfig(kind="sandbox"))) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_missing_extra_names_the_command_that_installs_it(scheme, monkeypatch):
    module, message = INSTALLS[scheme]
    config = ProviderConfig(kind=scheme)
    assert missing_extra(kind(scheme), config) is None
    monkeypatch.setitem(sys.modules, module, None)
    assert missing_extra(kind(scheme), config) == message


def test_missing_extra_names_every_library_there_is_not(monkeypatch):
    for module in ("google.auth", "requests"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "google-auth and requests" in missing_extra(kind("google"), ProviderConfig(kind="google"))


def test_missing_extra_names_the_settings_that_do_instead(monkeypatch):
    azure = ProviderConfig(kind="azure-openai", base_url="https://res.openai.azure.com/openai/v1")
    assert missing_extra(REGISTRY["azure-openai"], azure) is None
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    assert missing_extra(REGISTRY["azure-openai"], azure) == (
        "kind azure-openai needs azure-identity where it has no api_key and no token_file: "
        "pip install 'responses-proxy[azure]'"
    )

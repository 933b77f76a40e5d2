"""Entra tokens: which scope a resource takes, and the identity that asks."""

import logging
from urllib.parse import parse_qs

import pytest

from proxy.credentials.entra import scope_of
from proxy.errors import InternalError

COGNITIVE = "https://cognitiveservices.azure.com/.default"


@pytest.mark.parametrize(
    ("base_url", "scope"),
    [
        ("https://res.openai.azure.com/openai/v1", COGNITIVE),
        ("https://res.cognitiveservices.azure.com/openai/v1", COGNITIVE),
        ("https://models.example.org/openai/v1", COGNITIVE),
        ("https://services.ai.azure.com.example.org/openai/v1", COGNITIVE),
        ("https://Res.Services.ai.azure.com/api/projects/p/openai/v1", "https://ai.azure.com/.default"),
        ("https://res.openai.azure.us/openai/v1", "https://cognitiveservices.azure.us/.default"),
        ("https://res.openai.azure.cn/openai/v1", "https://cognitiveservices.azure.cn/.default"),
        ("", COGNITIVE),
    ],
)
def test_scope_is_the_one_the_resource_takes(base_url, scope):
    assert scope_of(base_url) == scope


async def test_failure_is_reported_and_told_nowhere_else(entra):
    """Without a handler the logging module would write it to the standard error stream."""
    entra.issuer.refuses = True
    with pytest.raises(InternalError):
        await entra.token()
    assert entra.reports == ["ClientAuthenticationError"]
    assert logging.getLogger("azure").handlers


async def test_token_is_asked_for_in_the_name_of_the_host(entra, upstream):
    assert await entra.headers() == {"authorization": "Bearer token-1"}
    (request,) = upstream.requests
    assert request.header("X-IDENTITY-HEADER") == "secret-of-the-host"
    assert parse_qs(request.query)["resource"] == ["https://cognitiveservices.azure.com"]

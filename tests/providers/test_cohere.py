"""Cohere as it is: its own chat for every model, its list of models, its environment."""

import pytest

from proxy.config import ProviderConfig
from proxy.providers.cohere import KIND


@pytest.mark.parametrize("model", ["command-a-03-2025", "command-a-reasoning-08-2025", "anything"])
def test_every_model_speaks_the_chat(model):
    dialect = KIND.dialect(ProviderConfig(kind="cohere", api_key="provider-key-0123456789"))(model)
    assert dialect is not None
    assert dialect.name == "cohere_chat"


def test_models_are_those_that_chat():
    assert KIND.models is not None
    assert KIND.models == ("/v1/models?page_size=1000&endpoint=chat", "models", "name", "")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.cohere.com", "https://api.cohere.com"),
        ("https://api.cohere.com/", "https://api.cohere.com"),
        ("https://api.cohere.com/v1", "https://api.cohere.com"),
        ("https://api.cohere.com/v2/", "https://api.cohere.com"),
        ("http://127.0.0.1:9100/~cohere", "http://127.0.0.1:9100/~cohere"),
    ],
)
def test_url_of_the_environment_is_that_of_the_sdk(url, base):
    found = KIND.find({"CO_API_KEY": "k", "CO_API_URL": url})
    assert found == {"api_key": "k", "base_url": base}

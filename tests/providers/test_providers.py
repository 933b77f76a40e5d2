"""Every kind of provider: where it lives, who it says it is, what it offers, how its errors read."""

import os

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import ProviderConfig
from proxy.configload import default_config
from proxy.errors import InternalError
from proxy.notation import check_base_url, check_name
from proxy.providers import REGISTRY
from proxy.providers.base import FULL, parse_error
from tests.rig.replay import recordings

KEY = "provider-key-0123456789"

URLS = {
    "openai": "https://api.openai.com/v1",
    "azure-openai": None,
    "xai": "https://api.x.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "together-ai": "https://api.together.ai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "mistral": "https://api.mistral.ai/v1",
    "bedrock-openai": None,
    "cerebras": "https://api.cerebras.ai/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "deepseek": "https://api.deepseek.com",
    "huggingface": "https://router.huggingface.co/v1",
    "openai-chat-compatible": None,
    "bedrock": "https://bedrock-runtime.{region}.amazonaws.com",
    "cohere": "https://api.cohere.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "vertex": "https://{location}-aiplatform.googleapis.com",
    "anthropic": "https://api.anthropic.com",
    "openai-compatible": None,
    "sandbox": "http://127.0.0.1",
}
OPERATIONS = {
    "openai": "create retrieve delete cancel input_items compact input_tokens conversations",
    "azure-openai": "create retrieve delete cancel input_items compact input_tokens conversations",
    "xai": "create retrieve delete cancel input_items",
    "groq": "create",
    "together-ai": "create",
    "openrouter": "create",
    "mistral": "create input_tokens",
    "bedrock-openai": "create retrieve delete cancel input_items input_tokens",
    "anthropic": "create input_tokens",
    "cerebras": "create",
    "deepinfra": "create",
    "deepseek": "create",
    "huggingface": "create",
    "openai-chat-compatible": "create",
    "bedrock": "create input_tokens",
    "cohere": "create",
    "gemini": "create input_tokens",
    "vertex": "create input_tokens",
    "openai-compatible": "create retrieve delete cancel input_items compact input_tokens conversations",
    "sandbox": "create retrieve delete cancel input_items compact input_tokens conversations",
}
KEY_HEADERS = {
    "anthropic": ("x-api-key", KEY),
    "azure-openai": ("api-key", KEY),
    "gemini": ("x-goog-api-key", KEY),
    "vertex": ("x-goog-api-key", KEY),
}
KINDS = pytest.mark.parametrize("kind", REGISTRY.values(), ids=lambda kind: kind.name)


def headers(kind, **fields):
    """Make a kind's credentials for one request."""
    return REGISTRY[kind].authenticate(ProviderConfig(kind=kind, **fields))()


# What a kind is


def test_registry_has_each_kind_under_its_own_name():
    assert {name: kind.base_url for name, kind in REGISTRY.items()} == URLS
    assert {name: kind.name for name, kind in REGISTRY.items()} == {name: name for name in URLS}


@KINDS
def test_kind_offers_what_its_provider_does(kind):
    assert kind.operations == set(OPERATIONS[kind.name].split())
    assert kind.operations <= FULL
    assert kind.keeps_state is ("retrieve" in OPERATIONS[kind.name])


@KINDS
def test_kind_is_fit_for_headers_labels_and_people(kind):
    assert check_name(kind.name) == kind.name
    assert kind.otel_name.replace(".", "").replace("_", "").isalnum()
    assert kind.title
    address = kind.base_url and kind.base_url.format_map(dict.fromkeys(kind.settings, "place"))
    assert address is None or check_base_url(address) == address
    assert set(kind.required) <= {"api_key", "base_url", *kind.settings}
    assert set(kind.needs) <= kind.settings <= ProviderConfig.model_fields.keys()
    assert kind.environment.keys() <= ProviderConfig.model_fields.keys()


# Credentials


@KINDS
def test_key_is_sent_the_way_the_provider_wants_it(kind):
    expected = KEY_HEADERS.get(kind.name, ("Authorization", f"Bearer {KEY}"))
    assert headers(kind.name, api_key=KEY) == [expected]


@KINDS
def test_provider_without_a_key_is_sent_none(kind):
    assert headers(kind.name) == []


@KINDS
def test_token_file_is_sent_as_a_bearer(kind, tmp_path):
    file = tmp_path / "token"
    file.write_text("token-1\n")
    assert headers(kind.name, token_file=str(file)) == [("Authorization", "Bearer token-1")]


# The token file (Entra workload identity, projected by Kubernetes)


@pytest.fixture
def token(tmp_path):
    """Give a token file, and what is sent of it."""
    file = tmp_path / "token"
    file.write_text("token-1\n")
    authenticate = REGISTRY["azure-openai"].authenticate(ProviderConfig(kind="azure-openai", token_file=str(file)))

    def sent():
        ((name, value),) = authenticate()
        assert name == "Authorization"
        return value

    return file, sent


def test_token_is_read_again_when_its_file_was_replaced(token):
    file, sent = token
    assert sent() == "Bearer token-1"
    successor = file.with_name("new")
    for number in (2, 3):
        successor.write_text(f"token-{number}")
        successor.replace(file)
        assert [sent(), sent()] == [f"Bearer token-{number}"] * 2


def test_token_is_read_again_when_its_file_was_written_over(token):
    file, sent = token
    sent()
    file.write_text(" token-2 \n\n")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert sent() == "Bearer token-2"


def test_token_is_read_again_when_the_file_that_replaces_it_is_as_old(token):
    """A copied volume keeps the times."""
    file, sent = token
    sent()
    known = file.stat()
    successor = file.with_name("new")
    successor.write_text("token-2")
    os.utime(successor, ns=(known.st_atime_ns, known.st_mtime_ns))
    successor.replace(file)
    assert sent() == "Bearer token-2"


def test_token_is_read_again_when_the_link_to_its_folder_was_turned(tmp_path):
    """So Kubernetes replaces what it projects."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"token-{name}")
    link = tmp_path / "data"
    link.symlink_to("one")
    authenticate = REGISTRY["openai"].authenticate(
        ProviderConfig(kind="openai", token_file=str(tmp_path / "data" / "token"))
    )
    assert authenticate() == [("Authorization", "Bearer token-one")]
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)
    assert authenticate() == [("Authorization", "Bearer token-two")]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two words", b"a\r\nHost: b", b"\xff\xfe"])
def test_token_goes_on_while_its_file_is_away_or_half_written(token, content):
    file, sent = token
    sent()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert [sent(), sent()] == ["Bearer token-1"] * 2
    file.unlink(missing_ok=True)
    file.write_text("token-2")
    assert sent() == "Bearer token-2"


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe"])
def test_token_that_was_never_there_is_an_error_that_names_no_path(token, content):
    file, sent = token
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InternalError) as raised:
        sent()
    assert (raised.value.status, raised.value.code) == (500, "no_credentials")
    assert str(file.parent) not in raised.value.message


# The environment


ENVIRONMENT = {
    "OPENAI_API_KEY": "openai-key",
    "AZURE_OPENAI_API_KEY": "azure-key",
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/",
    "XAI_API_KEY": "xai-key",
    "GROQ_API_KEY": "groq-key",
    "TOGETHER_API_KEY": "together-key",
    "OPENROUTER_API_KEY": "openrouter-key",
    "MISTRAL_API_KEY": "mistral-key",
    "ANTHROPIC_API_KEY": "anthropic-key",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock-key",
    "AWS_REGION": "eu-central-1",
    "CEREBRAS_API_KEY": "cerebras-key",
    "DEEPINFRA_API_KEY": "deepinfra-key",
    "DEEPSEEK_API_KEY": "deepseek-key",
    "HF_TOKEN": "hf-token",
    "CO_API_KEY": "cohere-key",
    "GEMINI_API_KEY": "gemini-key",
    "GOOGLE_CLOUD_PROJECT": "google-project",
    "GOOGLE_CLOUD_LOCATION": "europe-west4",
}


def test_every_kind_with_credentials_is_found_in_the_environment():
    found = {name: settings for name, kind in REGISTRY.items() if (settings := kind.find(ENVIRONMENT)) is not None}
    assert found == {
        "openai": {"api_key": "openai-key"},
        "azure-openai": {"api_key": "azure-key", "base_url": "https://res.openai.azure.com/openai/v1"},
        "xai": {"api_key": "xai-key"},
        "groq": {"api_key": "groq-key"},
        "together-ai": {"api_key": "together-key"},
        "openrouter": {"api_key": "openrouter-key"},
        "mistral": {"api_key": "mistral-key"},
        "bedrock-openai": {
            "api_key": "bedrock-key",
            "base_url": "https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1",
        },
        "cerebras": {"api_key": "cerebras-key"},
        "deepinfra": {"api_key": "deepinfra-key"},
        "deepseek": {"api_key": "deepseek-key"},
        "huggingface": {"api_key": "hf-token"},
        "bedrock": {"api_key": "bedrock-key", "region": "eu-central-1"},
        "cohere": {"api_key": "cohere-key"},
        "gemini": {"api_key": "gemini-key"},
        "vertex": {"project": "google-project", "location": "europe-west4"},
        "anthropic": {"api_key": "anthropic-key"},
    }
    assert default_config(ENVIRONMENT, REGISTRY).providers.keys() == found.keys()


@KINDS
def test_kind_is_not_found_where_a_setting_it_needs_is_missing_or_empty(kind):
    assert kind.find({}) is None
    for field in kind.required:
        name = kind.environment[field]
        for without in ({**ENVIRONMENT, name: ""}, {key: value for key, value in ENVIRONMENT.items() if key != name}):
            assert kind.find(without) is None


def test_openai_is_found_with_all_its_settings():
    extra = {
        "OPENAI_BASE_URL": "https://eu.api.openai.com/v1",
        "OPENAI_ORG_ID": "org-1",
        "OPENAI_PROJECT_ID": "proj-1",
    }
    assert REGISTRY["openai"].find({**ENVIRONMENT, **extra}) == {
        "api_key": "openai-key",
        "base_url": "https://eu.api.openai.com/v1",
        "organization": "org-1",
        "project": "proj-1",
    }


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://res.openai.azure.com",
        "https://res.openai.azure.com/",
        "https://res.openai.azure.com/openai",
        "https://res.openai.azure.com/openai/",
        "https://res.openai.azure.com/openai/v1",
        "https://res.openai.azure.com/openai/v1/",
    ],
)
def test_azure_endpoint_of_any_form_leads_to_the_v1_surface(endpoint):
    derived = REGISTRY["azure-openai"].derive_base_url(endpoint)
    assert derived == "https://res.openai.azure.com/openai/v1"
    assert check_base_url(derived) == derived


# Errors


@KINDS
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        # OpenAI's shape, and what providers make of it
        (b'{"error":{"message":"m","type":"t","param":null,"code":"c"}}', "c", "m"),
        (b'{"error":{"message":"m","type":"t","param":null,"code":null}}', "t", "m"),
        (b'{"error":{"code":429,"message":"m"},"metadata":null}', "429", "m"),
        (b'{"error":{}}', "", ""),
        # xAI's other one
        (b'{"code":"Some requested entity was not found","error":"m"}', "Some requested entity was not found", "m"),
        # Mistral's, Bedrock's
        (b'{"object":"error","message":"m","type":"t","param":null,"code":"3051"}', "3051", "m"),
        (b'{"message":"m"}', "", "m"),
        (b'{"error":null,"detail":"m"}', "", "m"),
        # none at all
        (b"", "", ""),
        (b"<html>Bad Gateway</html>", "", ""),
        (b'[{"error":{"code":"c"}}]', "", ""),
        (b"null", "", ""),
        (b'{"error":{"code":"c","message":"cut', "", ""),
        (b'{"error":{"code":{"a":1},"message":["m"]}}', "{'a': 1}", "['m']"),
    ],
)
def test_error_is_read_in_every_shape(kind, body, code, message):
    assert kind.parse_error(body) == (code, message)


@settings(max_examples=100)
@given(st.binary(max_size=40) | st.dictionaries(st.sampled_from(["error", "code", "message", "type"]), st.text()))
def test_error_is_two_texts_whatever_came(body):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    assert [type(part) for part in parse_error(raw)] == [str, str]


ERRORS = [recording for recording in recordings() if recording.status >= 400 and recording.provider in REGISTRY]


@pytest.mark.skipif(not ERRORS, reason="recorded traffic is not here")
def test_error_of_every_recorded_failure_has_words():
    assert {recording.provider for recording in ERRORS} >= {"openai", "xai"}
    for recording in ERRORS:
        if recording.body.lstrip().startswith(b"{"):
            code, message = REGISTRY[recording.provider].parse_error(recording.body)
            assert message, recording.id
            assert code or recording.provider not in {"openai", "azure-openai", "xai"}, recording.id

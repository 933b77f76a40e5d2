import copy
import json
import pickle
import re
from pathlib import Path

import pytest

from proxy.config import (
    ArchiveConfig,
    BindingsConfig,
    Config,
    FetchConfig,
    KeyConfig,
    Limits,
    ProviderConfig,
    Secret,
    ServerConfig,
    Timeouts,
    digest_key,
    new_key,
    with_ephemeral_key,
)
from proxy.providers import REGISTRY
from tests.rig.configuration import PROVIDER, SECTIONS, parse

EXAMPLE = Path(__file__).parents[1] / "deploy" / "gateway.example.yaml"
EXAMPLE_ENVIRONMENT = {
    "ALICE_KEY": "sk-gw-alice-0123456789",
    "BOB_KEY_SHA256": "AB" * 32,
    "OPENAI_API_KEY": "sk-canary",
    "AZURE_KEY": "canary",
    "ANTHROPIC_API_KEY": "canary",
    "GROQ_API_KEY": "canary",
}


def test_example_is_accepted_and_names_every_setting():
    text = EXAMPLE.read_text()
    assert isinstance(parse(text, **EXAMPLE_ENVIRONMENT), Config)
    for section in SECTIONS:
        for name in section.model_fields:
            assert re.search(rf"\b{name}:( |$)", text, re.MULTILINE), f"{section}: {name}"
    for kind in REGISTRY:
        assert kind in text


def test_example_shows_the_defaults():
    config = parse(EXAMPLE.read_text(), **EXAMPLE_ENVIRONMENT)
    assert config.server == ServerConfig()
    assert config.limits == Limits()
    assert config.archive == ArchiveConfig()
    assert config.bindings == BindingsConfig(unknown="refuse")
    assert config.fetch == FetchConfig(ca_file=config.fetch.ca_file)
    assert config.providers["my-openai-provider"].timeouts == Timeouts()
    assert config.providers["my-openai-provider"].base_url == REGISTRY["openai"].base_url


def test_example_means_what_it_says():
    config = parse(EXAMPLE.read_text(), **EXAMPLE_ENVIRONMENT)
    alice, bob = config.keys
    assert alice == KeyConfig(name="alice", tenant="team-a", key=Secret("sk-gw-alice-0123456789"))
    assert (bob.key_sha256, bob.providers) == ("ab" * 32, ("my-openai-provider",))
    assert config.providers["azure-eu"].api_key == Secret("canary")
    assert config.redis.url == Secret("redis://127.0.0.1:6379/0")


def test_settings_are_typed_and_normalised():
    config = parse(
        "{server: {port: ${PORT}, prefixes: [/v1/, /]}, providers: {p: {kind: sandbox, base_url: http://h/v1/, "
        "events_per_second: 2.5, headers: {x-a: 'Bearer ${TOKEN}'}}}}",
        PORT="9000",
        TOKEN="t",
    )
    assert (config.server.port, config.server.prefixes) == (9000, ("/v1", "/"))
    provider = config.providers["p"]
    assert (provider.base_url, provider.events_per_second) == ("http://h/v1", 2.5)
    assert provider.headers == {"x-a": Secret("Bearer t")}


def test_empty_sections_have_their_defaults():
    config = parse(f"{PROVIDER}server:\nredis:\nkeys:\nmodels:\nbindings:\narchive:\nlimits:\n")
    assert config == parse(PROVIDER)


@pytest.mark.parametrize(
    ("unknown", "tenants", "forwards"),
    [(None, 0, True), (None, 1, True), (None, 2, False), ("refuse", 1, False), ("forward", 1, True)],
)
def test_unknown_ids_are_forwarded_only_for_a_sole_tenant_unless_set(unknown, tenants, forwards):
    keys = tuple(KeyConfig(name=f"k{n}", tenant=f"t{n}", key=Secret("x" * 16)) for n in range(tenants))
    assert Config(keys=keys, bindings=BindingsConfig(unknown=unknown)).forwards_unknown is forwards


def test_ephemeral_key_is_made_for_a_sole_tenant():
    config, key = with_ephemeral_key(parse(PROVIDER))
    assert config.keys == (KeyConfig(name="default", tenant="default", key=Secret(key)),)
    assert re.fullmatch(r"sk-gw-[A-Za-z0-9_-]{43}", key)
    assert with_ephemeral_key(parse(PROVIDER), key) == (config, key)
    assert key not in repr(config)


def test_keys_differ_and_are_digested():
    assert new_key() != new_key()
    assert digest_key("test") == "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_secret_never_prints():
    secret = Secret("canary")
    assert (str(secret), repr(secret), f"{secret}", f"{secret!r:>4}") == ("***", "***", "***", " ***")
    assert pickle.loads(pickle.dumps(secret)) == secret == copy.deepcopy(secret)  # noqa: S301
    assert secret.reveal() == "canary"


def test_configuration_never_prints_its_secrets():
    config = parse(EXAMPLE.read_text().replace("research", "canary"), **EXAMPLE_ENVIRONMENT)
    for text in (str(config), repr(config), str(config.model_dump()), config.model_dump_json()):
        assert "canary" not in text
        assert "sk-gw" not in text
    assert json.loads(config.model_dump_json())["providers"]["azure-eu"]["api_key"] == "***"
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301


def test_direct_construction_does_not_repeat_what_is_wrong():
    with pytest.raises(ValueError, match="base_url") as caught:
        ProviderConfig(kind="openai", base_url="https://user:canary@host", api_key="canary canary")
    assert "canary" not in str(caught.value)

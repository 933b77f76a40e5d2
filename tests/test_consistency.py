import hashlib

import pytest

from proxy.configfile import ConfigError
from proxy.configload import parse_config
from proxy.providers import REGISTRY

KEY = "sk-gw-0123456789abcdef"
OTHER_KEY = "sk-gw-fedcba9876543210"
GOOD = f"""
keys:
  - {{name: alice, tenant: team-a, key: {KEY}}}
  - {{name: bob, tenant: team-b, key: {OTHER_KEY}}}
providers:
  main: {{kind: openai, api_key: sk-1}}
  other: {{kind: groq, api_key: gsk-1}}
"""
PROVIDER = "providers: {main: {kind: openai, api_key: sk-1}}"


def mistakes(text, environment=None):
    try:
        parse_config(text, environment=environment or {}, kinds=REGISTRY)
    except ConfigError as error:
        return dict(error.mistakes)
    return {}


def keys(*entries):
    listed = "\n".join(f"  - {{{entry}}}" for entry in entries)
    return (
        f"keys:\n{listed}\nproviders:\n  main: {{kind: openai, api_key: sk-1}}\n  other: {{kind: groq, api_key: x}}\n"
    )


ALICE = f"name: alice, tenant: team-a, key: {KEY}"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            "providers: {p: {kind: openia, api_key: x}}",
            "providers.p.kind",
            'unknown kind "openia"; known: openai, azure-',
        ),
        ("providers: {p: {kind: openia, api_key: x}}", "providers.p.kind", 'did you mean "openai"?'),
        ("providers: {p: {kind: openai}}", "providers.p.api_key", "is missing: kind openai needs it, or a token_file"),
        ("providers: {p: {kind: openai, api_key: }}", "providers.p.api_key", "is missing"),
        (
            "providers: {p: {kind: openai, api_key: x, token_file: /t}}",
            "providers.p",
            "has both api_key and token_file",
        ),
        (
            "providers: {p: {kind: vertex, project: q, token_file: /t, credentials_file: /c}}",
            "providers.p",
            "has both token_file and credentials_file: leave one out",
        ),
        (
            "providers: {p: {kind: groq, api_key: x, organization: o}}",
            "providers.p.organization",
            "means nothing to kind groq: leave it out",
        ),
        ("providers: {p: {kind: vertex}}", "providers.p.project", "is missing: kind vertex needs it"),
        ("providers: {p: {kind: bedrock, api_key: x}}", "providers.p.region", "is missing: kind bedrock needs it"),
        (
            "providers: {p: {kind: azure-openai, api_key: x}}",
            "providers.p.base_url",
            "kind azure-openai has no address",
        ),
        ("providers: {p: {kind: openai-compatible}}", "providers.p.base_url", "is missing"),
        ("providers: {}", "providers", "OPENAI_API_KEY, AZURE_OPENAI_API_KEY with AZURE_OPENAI_ENDPOINT, XAI_API_KEY"),
        ("server: {port: 1}", "providers", "`responses-proxy demo` needs neither"),
        (
            keys("name: a, tenant: t"),
            "keys[0]",
            "needs key or key_sha256; `responses-proxy keys new --tenant T` makes one",
        ),
        (keys(f"{ALICE}, key_sha256: {'0' * 64}"), "keys[0]", "has both key and key_sha256"),
        (keys("name: a, tenant: t, key: fifteen-charact"), "keys[0].key", "is shorter than 16 characters"),
        (keys(ALICE, f"name: alice, tenant: t, key: {OTHER_KEY}"), "keys[1].name", "is the name of keys[0] already"),
        (keys(ALICE, f"name: b, tenant: t, key: {KEY}"), "keys[1]", "has the same key as keys[0]"),
        (
            keys(ALICE, f"name: b, tenant: t, key_sha256: {hashlib.sha256(KEY.encode()).hexdigest().upper()}"),
            "keys[1]",
            "has the same key as keys[0]",
        ),
        (keys(f"{ALICE}, providers: [x]"), "keys[0].providers[0]", 'unknown provider "x"; configured: main, other'),
        (keys(f"{ALICE}, providers: [main, mian]"), "keys[0].providers[1]", 'did you mean "main"?'),
        (
            keys(f"{ALICE}, default_provider: x"),
            "keys[0].default_provider",
            'unknown provider "x"; configured: main, other',
        ),
        (
            keys(f"{ALICE}, providers: [main], default_provider: other"),
            "keys[0].default_provider",
            "is not among the key's own providers",
        ),
        (f"{GOOD}default_provider: mani", "default_provider", 'unknown provider "mani"; configured: main, other'),
        (f"{GOOD}models: {{fast: gpt-4o}}", "models.fast", "must be provider/model"),
        (f"{GOOD}models: {{fast: main}}", "models.fast", "must be provider/model"),
        (f"{GOOD}models: {{fast: main/}}", "models.fast", "must be provider/model"),
        (f"{GOOD}models: {{fast: nope/gpt-4o}}", "models.fast", "with one of the configured providers: main, other"),
        (f"{GOOD}models: {{main/x: other/y}}", 'models["main/x"]', "could be a model of provider main"),
        (f"{GOOD}bindings: {{unknown: forward}}", "bindings.unknown", "cannot be forward with more than one tenant"),
        (
            f"server: {{host: 0.0.0.0}}\n{PROVIDER}",
            "server.host",
            "without keys the gateway listens on this machine only",
        ),
        (f"server: {{host: '::'}}\nkeys: []\n{PROVIDER}", "server.host", "without keys"),
        (f"server: {{host: example.org}}\nkeys:\n{PROVIDER}", "server.host", "without keys"),
    ],
)
def test_settings_that_do_not_fit_together_are_a_mistake(text, key, message):
    found = mistakes(text)
    assert list(found) == [key]
    assert message in found[key]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "providers: {p: {kind: azure-openai, base_url: https://x, token_file: /t}}",
        "providers: {p: {kind: azure-openai, base_url: https://x}}",
        "providers: {p: {kind: openai, token_file: /t}}",
        "providers: {p: {kind: openai-compatible, base_url: http://127.0.0.1:1}}",
        "providers: {p: {kind: sandbox}}",
        keys(f"{ALICE}, providers: [main], default_provider: main"),
        keys(f"{ALICE}, default_provider: other"),
        keys(ALICE, f"name: b, tenant: team-a, key: {OTHER_KEY}") + "bindings: {unknown: forward}",
        f"{GOOD}bindings: {{unknown: refuse}}",
        f"{GOOD}models: {{meta/llama: main/meta/llama, 'llama3:8b': other/x}}",
        f"{GOOD}server: {{host: 0.0.0.0}}",
        f"server: {{host: localhost}}\n{PROVIDER}",
        f"server: {{host: '::1'}}\n{PROVIDER}",
    ],
)
def test_settings_that_fit_together_are_accepted(text):
    assert mistakes(text) == {}


def test_rules_find_their_mistakes_beside_mistakes_of_type():
    found = mistakes(
        "keys: [{name: a b, tenant: t}]\nproviders: {p: {kind: openai, timeouts: {idle: x}}}\ndefault_provider: q"
    )
    assert set(found) == {
        "keys[0]",
        "keys[0].name",
        "providers.p.api_key",
        "providers.p.timeouts.idle",
        "default_provider",
    }


def test_value_that_came_from_elsewhere_is_not_shown_where_a_name_is_unknown():
    text = (
        "{default_provider: ${CANARY}, keys: [{name: a, tenant: t, key: ${LONG}, providers: [${CANARY}], "
        "default_provider: ${CANARY}}], models: {fast: ${CANARY}}, providers: {p: {kind: ${CANARY}}}}"
    )
    found = mistakes(text, {"CANARY": "canary", "LONG": "canary-canary-canary"})
    assert set(found) == {
        "default_provider",
        "keys[0].providers[0]",
        "keys[0].default_provider",
        "models.fast",
        "providers.p.kind",
    }
    assert "canary" not in str(found)


def test_reference_that_is_not_set_is_one_mistake_only():
    text = "{providers: {p: {kind: ${A}, api_key: ${B}, base_url: ${C}}}, default_provider: ${D}, models: {m: ${E}}}"
    assert set(mistakes(text)) == {
        "providers.p.kind",
        "providers.p.api_key",
        "providers.p.base_url",
        "default_provider",
        "models.m",
    }
    assert all("is not set" in message for message in mistakes(text).values())

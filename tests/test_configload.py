import pickle

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import (
    Config,
    ProviderConfig,
    RedisConfig,
    Secret,
)
from proxy.configfile import ConfigError
from proxy.configload import default_config, load_config, parse_config
from proxy.providers import REGISTRY
from tests.rig.configuration import PROVIDER, SECTIONS, mistakes, parse


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (f"{PROVIDER}sever: {{}}", "sever", 'unknown setting; did you mean "server"?'),
        (f"{PROVIDER}server: {{prot: 1}}", "server.prot", 'unknown setting; did you mean "port"?'),
        (f"{PROVIDER}limits: {{zzz: 1}}", "limits.zzz", "unknown setting"),
        (f"{PROVIDER}redis: {{uri: redis://h}}", "redis.uri", 'unknown setting; did you mean "url"?'),
        ("providers: {p: {kind: openai, apikey: x, api_key: y}}", "providers.p.apikey", 'did you mean "api_key"?'),
        (
            "providers: {p: {kind: sandbox, timeouts: {firstbyte: 1}}}",
            "providers.p.timeouts.firstbyte",
            '"first_byte"?',
        ),
        (f"{PROVIDER}server: {{port: http}}", "server.port", "must be a whole number"),
        (f"{PROVIDER}server: {{port: 1.5}}", "server.port", "must be a whole number"),
        (f"{PROVIDER}server: {{port: yes}}", "server.port", "must be a whole number"),
        (f"{PROVIDER}server: {{port: }}", "server.port", "must be a whole number"),
        (f"{PROVIDER}server: {{port: 65536}}", "server.port", "should be less than or equal to 65535"),
        (f"{PROVIDER}server: {{workers: 0}}", "server.workers", "should be greater than or equal to 1"),
        (f"{PROVIDER}server: {{host: [a]}}", "server.host", "must be text"),
        (f"{PROVIDER}server: 8080", "server", "must be a mapping"),
        (f"{PROVIDER}server: {{drain_timeout: soon}}", "server.drain_timeout", "must be a number"),
        (f"{PROVIDER}server: {{drain_timeout: .inf}}", "server.drain_timeout", "must be a number"),
        (f"{PROVIDER}server: {{drain_timeout: inf}}", "server.drain_timeout", "should be a finite number"),
        (f"{PROVIDER}server: {{drain_timeout: nan}}", "server.drain_timeout", "should be a finite number"),
        (f"{PROVIDER}fetch: {{enabled: maybe}}", "fetch.enabled", "must be true or false"),
        (f"{PROVIDER}fetch: {{enabled: [no]}}", "fetch.enabled", "must be true or false"),
        (f"{PROVIDER}fetch: {{max_byte: 1}}", "fetch.max_byte", 'did you mean "max_bytes"?'),
        (f"{PROVIDER}fetch: {{allow_networks: [10.0.0.1/8]}}", "fetch.allow_networks[0]", "must be a network"),
        (f"{PROVIDER}fetch: {{allow_hosts: ['a:1']}}", "fetch.allow_hosts[0]", "must be the name of a host alone"),
        (f"{PROVIDER}server: {{prefixes: /v1}}", "server.prefixes", "must be a list"),
        (f"{PROVIDER}server: {{prefixes: []}}", "server.prefixes", "must not be empty"),
        (f"{PROVIDER}server: {{prefixes: [/v1, v2]}}", "server.prefixes[1]", 'must begin with "/"'),
        (f"{PROVIDER}server: {{prefixes: [/v1, /v1/]}}", "server.prefixes", "lists the same value twice"),
        (
            f"{PROVIDER}redis: {{url: 'redis+sentinel://h'}}",
            "redis.url",
            "must name the master that the Sentinels watch",
        ),
        (f"{PROVIDER}redis: {{url: http://h}}", "redis.url", "must be a redis://, rediss:// or unix:// URL"),
        (f"{PROVIDER}redis: {{url: 'redis+cluster://h?x=1'}}", "redis.url", "has an unknown option"),
        (f"{PROVIDER}bindings: {{unknown: maybe}}", "bindings.unknown", "should be 'refuse' or 'forward'"),
        (f"{PROVIDER}bindings: {{ttl_days: 0}}", "bindings.ttl_days", "should be greater than 0"),
        (f"{PROVIDER}models: [a]", "models", "must be a mapping"),
        (f"{PROVIDER}models: {{a: [p/x]}}", "models.a", "must be text"),
        (f"{PROVIDER}keys: {{a: b}}", "keys", "must be a list"),
        (f"{PROVIDER}keys: [text]", "keys[0]", "must be a mapping"),
        (f"{PROVIDER}keys: [{{name: a, key: 0123456789abcdef}}]", "keys[0].tenant", "is missing"),
        (f"{PROVIDER}keys: [{{name: a, tenant: a b, key: 0123456789abcdef}}]", "keys[0].tenant", "must be letters"),
        (
            f"{PROVIDER}keys: [{{name: a, tenant: t, key_sha256: 9f86}}]",
            "keys[0].key_sha256",
            "the 64 hexadecimal digits",
        ),
        (f"{PROVIDER}keys: [{{name: a, tenant: t, key: 0123456789 abcdef}}]", "keys[0].key", "without white space"),
        (f"{PROVIDER}keys: [{{name: a, tenant: t, key: [x]}}]", "keys[0].key", "must be text"),
        (
            f"{PROVIDER}keys: [{{name: a, tenant: t, key: 0123456789abcdef, providers: []}}]",
            "keys[0].providers",
            "empty",
        ),
        (f"{PROVIDER}keys: [{{name: a, tenant: t, key: 0123456789abcdef, models: [a, a]}}]", "keys[0].models", "twice"),
        ("providers: [p]", "providers", "must be a mapping"),
        ("providers: {p: }", "providers.p", "must be a mapping"),
        ("providers: {p: {api_key: x}}", "providers.p.kind", "is missing"),
        ("providers: {a b: {kind: sandbox}}", 'providers["a b"]', "must be letters"),
        ("providers: {p: {kind: openai, api_key: ''}}", "providers.p.api_key", "not empty"),
        ("providers: {p: {kind: openai, api_key: 'x y'}}", "providers.p.api_key", "without white space"),
        ("providers: {p: {kind: openai, token_file: ''}}", "providers.p.token_file", "must not be empty"),
        ("providers: {p: {kind: sandbox, base_url: host/v1}}", "providers.p.base_url", "must be an absolute http"),
        ("providers: {p: {kind: sandbox, base_url: 'http://h?a=b'}}", "providers.p.base_url", "must not hold a query"),
        ("providers: {p: {kind: sandbox, base_url: 'http://u:p@h'}}", "providers.p.base_url", "must not hold a user"),
        ("providers: {p: {kind: sandbox, organization: 'ä'}}", "providers.p.organization", "must be printable ASCII"),
        (
            "providers: {p: {kind: sandbox, headers: {a b: x}}}",
            'providers.p.headers["a b"]',
            "is not the name of a header",
        ),
        ("providers: {p: {kind: sandbox, headers: {Host: x}}}", "providers.p.headers.Host", "each connection sets"),
        (
            "providers: {p: {kind: sandbox, headers: {connection: x}}}",
            "providers.p.headers.connection",
            "each connection",
        ),
        ('providers: {p: {kind: sandbox, headers: {x-a: "a\\nb"}}}', "providers.p.headers.x-a", "printable ASCII"),
        ("providers: {p: {kind: sandbox, headers: {x-a: 1, X-A: 2}}}", "providers.p.headers", "same header twice"),
        (
            "providers: {p: {kind: sandbox, timeouts: {idle: -1}}}",
            "providers.p.timeouts.idle",
            "should be greater than 0",
        ),
        ("providers: {p: {kind: openai, api_key: ${NOPE}}}", "providers.p.api_key", "variable NOPE is not set"),
        ("providers: {p: {kind: openai, api_key: '${file:/no}'}}", "providers.p.api_key", 'file "/no" cannot be read'),
        (f"{PROVIDER}server: {{port: 1, port: 2}}", "server.port", "is given twice"),
    ],
)
def test_mistake_is_named_by_its_key(text, key, message):
    found = mistakes(text)
    assert list(found) == [key]
    assert message in found[key]


def test_all_mistakes_are_reported_at_once():
    found = mistakes(
        """
        server: {host: 0.0.0.0, port: x, prot: 1, port: 2}
        redis: {url: sentinel://h}
        providers:
          a: {kind: nope}
          b: {kind: azure-openai, api_key: ${UNSET}, headers: {te: x}}
        models: {m: c/d}
        default_provider: e
        limits: {max_json_depth: 1}
        """
    )
    assert set(found) == {
        "server.host",
        "server.port",
        "server.prot",
        "redis.url",
        "providers.a.kind",
        "providers.b.base_url",
        "providers.b.api_key",
        "providers.b.headers.te",
        "models.m",
        "default_provider",
        "limits.max_json_depth",
    }


def test_error_prints_a_line_per_mistake():
    with pytest.raises(ConfigError) as caught:
        parse("providers: {b: {kind: openai}, a: {kind: sandbox, base_url: x}}")
    assert str(caught.value).splitlines() == [
        "providers.a.base_url: must be an absolute http:// or https:// URL",
        "providers.b.api_key: is missing: kind openai needs it, or a token_file",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_flags_win_over_the_file_and_are_checked_with_it():
    config = parse_config(
        f"{PROVIDER}server: {{port: 1, workers: 2}}",
        environment={},
        kinds=REGISTRY,
        server={"port": "3", "host": "::1"},
    )
    assert (config.server.host, config.server.port, config.server.workers) == ("::1", 3, 2)
    for text in (PROVIDER, f"{PROVIDER}server: {{port: 1}}"):
        with pytest.raises(ConfigError, match=r"^server\.host: without keys"):
            parse_config(text, environment={}, kinds=REGISTRY, server={"host": "0.0.0.0"})  # noqa: S104


def test_environment_configures_each_kind_it_has_settings_for():
    config = default_config(
        {
            "OPENAI_API_KEY": "sk-canary",
            "OPENAI_ORG_ID": "org-1",
            "AZURE_OPENAI_API_KEY": "canary",
            "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/",
            "AWS_REGION": "eu-west-1",
            "REDIS_URL": "redis://h:1",
        },
        REGISTRY,
    )
    assert config == Config(
        providers={
            "openai": ProviderConfig(kind="openai", api_key=Secret("sk-canary"), organization="org-1"),
            "azure-openai": ProviderConfig(
                kind="azure-openai", api_key=Secret("canary"), base_url="https://res.openai.azure.com/openai/v1"
            ),
        },
        redis=RedisConfig(url=Secret("redis://h:1")),
    )


def test_environment_mistakes_name_the_variables():
    environment = {"OPENAI_API_KEY": "has canary", "OPENAI_BASE_URL": "canary", "REDIS_URL": "canary"}
    with pytest.raises(ConfigError) as caught:
        default_config(environment, REGISTRY)
    assert {key for key, _ in caught.value.mistakes} == {"OPENAI_API_KEY", "OPENAI_BASE_URL", "REDIS_URL"}
    assert "canary" not in str(caught.value)


def test_environment_without_a_provider_names_the_ways_out():
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY.*GROQ_API_KEY.*responses-proxy demo"):
        default_config({"AZURE_OPENAI_API_KEY": "x", "AWS_REGION": "y"}, REGISTRY)


def test_load_reads_the_file_or_the_environment(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(f"\ufeff{PROVIDER}", encoding="utf-8")
    environment = {"GROQ_API_KEY": "x"}
    assert list(load_config(path, environment=environment, kinds=REGISTRY).providers) == ["p"]
    assert list(load_config(None, environment=environment, kinds=REGISTRY).providers) == ["groq"]


def test_load_names_the_file_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, message in [
        (tmp_path / "absent", "no such file"),
        (tmp_path, "is a directory"),
        (binary, "is not UTF-8 text"),
        (binary / "below", "cannot be read"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load_config(path, environment={}, kinds=REGISTRY)
        (mistake,) = caught.value.mistakes
        assert mistake.key == str(path)
        assert message in mistake.message


names = st.sampled_from([name for section in SECTIONS for name in section.model_fields] + ["p", "a b", "x.y", ""])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
words = st.sampled_from(
    ["canary", "canary/canary", "http://canary@h", "redis://:canary@h:x", "openai", "p", "p/x", "forward"]
)
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
trees = st.dictionaries(st.sampled_from(list(Config.model_fields)), values, max_size=6)


def outcome(text, **environment):
    try:
        return parse(text, **environment), ()
    except ConfigError as error:
        return None, error.mistakes


@given(trees)
@settings(max_examples=200)
def test_any_tree_is_accepted_or_refused_with_config_error(tree):
    config, found = outcome(yaml.safe_dump(tree, allow_unicode=True))
    assert (config is None) == bool(found)
    assert all(key and message for key, message in found)


@given(trees)
@settings(max_examples=100)
def test_no_mistake_repeats_a_value_from_the_environment(tree):
    _, found = outcome(yaml.safe_dump(tree).replace("canary", "${CANARY}"), CANARY="sk-3b1f9c")
    assert "sk-3b1f9c" not in str(found)

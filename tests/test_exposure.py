import pytest

from proxy.configfile import read_document
from proxy.configload import parse_config
from proxy.exposure import find_exposed, readable_by_all
from proxy.providers import REGISTRY

KEY = "sk-gw-canary-0123456789"
LITERAL = f"""
redis: {{url: 'redis://:canary@h'}}
keys: [{{name: a, tenant: t, key: {KEY}}}, {{name: b, tenant: t, key_sha256: {"0" * 64}}}]
providers:
  p: {{kind: openai, api_key: sk-canary, headers: {{Authorization: canary, x-team: t}}}}
  q: {{kind: openai, api_key: '${{SECRET}}'}}
"""


@pytest.fixture
def exposed(public_path):
    """Write a configuration and return what is said of it: `exposed(text, mode)`."""

    def find(text, mode=0o600):
        path = public_path / "gateway.yaml"
        path.write_text(text)
        path.chmod(mode)
        environment = {"SECRET": "canary", "DIR": str(public_path)}
        config = parse_config(text, environment=environment, kinds=REGISTRY)
        found = list(find_exposed(path, read_document(text, environment), config))
        assert "canary" not in str(found)
        return found

    return find


@pytest.fixture
def place(public_path):
    """Write a file with a credential: `place(name, mode)`."""

    def write(name, mode=0o644):
        path = public_path / name
        path.write_text("canary-credential-of-sixteen")
        path.chmod(mode)
        return path

    return write


def test_credentials_written_in_a_file_everyone_can_read_are_named(exposed, public_path):
    (warning,) = exposed(LITERAL, 0o644)
    assert warning.startswith(f"{public_path / 'gateway.yaml'} can be read by every user of this machine and holds ")
    assert "redis.url, keys[0].key, providers.p.api_key, providers.p.headers.Authorization: write" in warning


def test_redis_url_without_a_password_is_no_credential(exposed):
    (warning,) = exposed(LITERAL.replace(":canary@", ""), 0o644)
    assert "redis.url" not in warning


def test_credentials_in_a_file_of_the_owner_are_no_warning(exposed):
    assert exposed(LITERAL, 0o600) == []
    assert exposed(LITERAL, 0o640) == []


def test_file_that_a_credential_is_read_from_is_named_where_everyone_can_read_it(exposed, place):
    key, hidden = place("key"), place("hidden", 0o600)
    text = f"""
    keys: [{{name: a, tenant: t, key: '${{file:{key}}}'}}, {{name: ${{file:{place("name")}}}, tenant: t, key: {KEY}}}]
    providers:
      p: {{kind: openai, api_key: '${{file:{key}}}'}}
      q: {{kind: openai, api_key: '${{file:{hidden}}}'}}
    """
    assert exposed(text) == [
        f"{setting}: {key} can be read by every user of this machine: chmod 600"
        for setting in ("keys[0].key", "providers.p.api_key")
    ]


def test_files_that_providers_and_redis_read_themselves_are_named_too(exposed, place):
    token, account, private = place("token"), place("account.json"), place("redis.key")
    text = f"""
    redis: {{url: 'rediss://h:6380/0?ssl_keyfile={private}'}}
    providers:
      p: {{kind: openai, token_file: {token}}}
      g: {{kind: vertex, project: p, credentials_file: {account}}}
      absent: {{kind: openai, token_file: {token}.later}}
    """
    assert [warning.split(" can ")[0] for warning in exposed(text)] == [
        f"providers.p.token_file: {token}",
        f"providers.g.credentials_file: {account}",
        f"redis.url: {private}",
    ]


def test_configuration_from_the_environment_may_name_files_too(place):
    token = place("token")
    text = f"providers: {{p: {{kind: openai, token_file: {token}}}}}"
    config = parse_config(text, environment={}, kinds=REGISTRY)
    (warning,) = find_exposed(None, None, config)
    assert warning.startswith(f"providers.p.token_file: {token} can be read")


def test_file_is_as_private_as_the_way_to_it(place, public_path):
    path = place("key")
    link = public_path / "link"
    link.symlink_to(path)
    assert readable_by_all(path)
    assert readable_by_all(link)
    public_path.chmod(0o750)
    assert not readable_by_all(path)
    assert not readable_by_all(link)


def test_file_that_is_not_there_is_readable_by_nobody(public_path):
    assert not readable_by_all(public_path / "absent")

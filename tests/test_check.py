import pytest

from proxy.check import check

KEY = "sk-gw-canary-0123456789"
FILE = """
server: {workers: 2}
redis: {url: 'rediss://user:${SECRET}@redis.internal:6380/3?ssl_ca_certs=x'}
keys:
  - {name: alice, tenant: team-a, key: ${ALICE}}
  - {name: bob, tenant: team-b, key_sha256: ${BOB}, providers: [main], models: [small]}
providers:
  main: {kind: openai, api_key: ${SECRET}, headers: {x-secret: ${SECRET}}}
  azure-eu: {kind: azure-openai, base_url: https://res.openai.azure.com/openai/v1, token_file: ${TOKEN_FILE}}
models: {small: main/gpt-4o-mini, fast: azure-eu/deployment/x}
default_provider: azure-eu
"""
EXPECTED = """\
{path}: good

listen       http://127.0.0.1:8080, 2 workers
prefixes     /v1 / /openai/v1 /openai /api/llm
metrics      http://127.0.0.1:9091
bindings     rediss://redis.internal:6380/3, kept 30 days
responses    of providers that keep none: 30 days
unknown ids  refuse

PROVIDER  KIND          BASE URL                                CREDENTIAL
main      openai        https://api.openai.com/v1               api_key
azure-eu  azure-openai  https://res.openai.azure.com/openai/v1  token_file {token_file}

MODEL  PROVIDER  UPSTREAM MODEL
small  main      gpt-4o-mini
fast   azure-eu  deployment/x

KEY    TENANT  PROVIDERS  MODELS  DEFAULT
alice  team-a  all        all     azure-eu
bob    team-b  main       small   main

"""


@pytest.fixture
def environment(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("canary")
    return {"ALICE": KEY, "BOB": "ab" * 32, "SECRET": "canary-secret", "TOKEN_FILE": str(token_file)}


@pytest.fixture
def run(tmp_path, environment):
    path = tmp_path / "gateway.yaml"

    def run(text, mode=0o644, **extra):
        path.write_text(text)
        path.chmod(mode)
        report = check(path, environment | extra)
        assert "canary" not in str(report)
        return report

    return run


def warnings(report):
    assert (report.status, report.errors) == (0, "")
    return [line.removeprefix("warning: ") for line in report.output.splitlines() if line.startswith("warning: ")]


def test_check_prints_the_routes_without_a_credential(run, tmp_path, environment):
    report = run(FILE)
    assert report.output == EXPECTED.format(path=tmp_path / "gateway.yaml", token_file=environment["TOKEN_FILE"])
    assert (report.status, report.errors) == (0, "")


def test_check_says_where_credentials_come_from_that_are_not_configured(run, tmp_path):
    report = run(
        "providers:\n"
        "  main: {kind: sandbox}\n"
        "  azure: {kind: azure-openai, base_url: https://res.openai.azure.com/openai/v1}\n"
        f"  google: {{kind: vertex, project: p, credentials_file: {tmp_path}/account.json}}\n"
    )
    lines = report.output.splitlines()
    assert next(line for line in lines if line.startswith("main ")).endswith("-")
    assert next(line for line in lines if line.startswith("azure ")).endswith("Entra identity of the environment")
    assert next(line for line in lines if line.startswith("google ")).endswith(
        f"credentials_file {tmp_path}/account.json"
    )
    assert warnings(report) == ["providers.google.credentials_file: there is no such file yet"]


def test_check_warns_of_authorities_that_are_not_there(run, tmp_path):
    report = run(f"{{providers: {{p: {{kind: sandbox}}}}, fetch: {{ca_file: {tmp_path}/ca.pem}}}}")
    assert warnings(report) == ["fetch.ca_file: there is no such file yet"]


def test_check_describes_a_gateway_without_keys_or_redis(run):
    report = run("server: {host: '::1'}\nproviders: {p: {kind: sandbox}}")
    lines = [line.split() for line in report.output.splitlines()]
    assert ["bindings", "embedded", "server,", "kept", "30", "days"] in lines
    assert ["listen", "http://[::1]:8080,", "1", "worker"] in lines
    assert ["unknown", "ids", "forward"] in lines
    assert ["default", "default", "all", "all", "p"] in lines
    assert "UPSTREAM MODEL" not in report.output


def test_check_reports_every_mistake_with_status_2(run, tmp_path):
    report = run("providers: {p: {kind: openai, api_key: ${NOPE}}}\nserver: {port: ${SECRET}}\nmodels: {a: b/c}")
    assert (report.status, report.output) == (2, "")
    assert report.errors.splitlines() == [
        f"{tmp_path / 'gateway.yaml'}: 3 mistakes",
        "models.a: must be provider/model, with one of the configured providers: p",
        "providers.p.api_key: environment variable NOPE is not set",
        "server.port: must be a whole number",
    ]


def test_check_reads_the_environment_without_a_file():
    report = check(None, {"GROQ_API_KEY": "canary"})
    assert report.output.startswith("the environment: good\n")
    assert "https://api.groq.com/openai/v1" in report.output
    assert "canary" not in report.output


def test_check_of_an_empty_environment_names_the_next_step():
    report = check(None, {})
    assert report.status == 2
    assert report.errors.startswith("the environment: 1 mistake\nproviders: none is configured")
    assert "OPENAI_API_KEY" in report.errors
    assert "responses-proxy demo" in report.errors


def test_check_warns_of_a_model_whose_provider_the_key_may_not_use(run):
    text = FILE.replace("models: [small]", "models: [small, fast, azure-eu/x, other/y]")
    assert warnings(run(text)) == [
        "keys[1].models: bob may use fast, but not its provider azure-eu",
        "keys[1].models: bob may use azure-eu/x, but not its provider azure-eu",
    ]


def test_check_warns_of_an_alias_that_no_key_may_use(run):
    text = FILE.replace("key: ${ALICE}", "key: ${ALICE}, providers: [main]")
    assert warnings(run(text)) == ["models.fast: no key may use its provider azure-eu"]


def test_check_warns_of_a_token_file_that_is_not_there(run, tmp_path):
    assert warnings(run(FILE, TOKEN_FILE=str(tmp_path / "later"))) == [
        "providers.azure-eu.token_file: there is no such file yet"
    ]


LITERAL = f"""
redis: {{url: 'redis://:canary@h'}}
keys: [{{name: a, tenant: t, key: {KEY}}}, {{name: b, tenant: t, key_sha256: {"0" * 64}}}]
providers:
  p: {{kind: openai, api_key: sk-canary, headers: {{Authorization: canary, x-team: t}}}}
  q: {{kind: openai, api_key: '${{SECRET}}'}}
"""


def test_check_warns_of_credentials_written_in_a_file_everyone_can_read(run, tmp_path):
    (warning,) = warnings(run(LITERAL))
    assert warning.startswith(f"{tmp_path / 'gateway.yaml'} can be read by every user of this machine and holds ")
    assert "redis.url, keys[0].key, providers.p.api_key, providers.p.headers.Authorization: write" in warning


def test_check_does_not_warn_of_a_redis_url_without_a_password(run):
    (warning,) = warnings(run(LITERAL.replace(":canary@", "")))
    assert "redis.url" not in warning


def test_check_does_not_warn_of_credentials_in_a_file_of_the_owner(run):
    assert warnings(run(LITERAL, mode=0o600)) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://u:canary@a:1,b/main?sentinel_password=canary", "redis+sentinel://a:1,b:26379/main"),
        ("rediss+cluster://:canary@a,b:7?ssl_ca_certs=canary", "rediss+cluster://a:6379,b:7"),
        ("unix://:canary@/run/valkey.sock?db=1", "unix:///run/valkey.sock"),
    ],
)
def test_check_shows_where_redis_is_and_no_password(run, url, shown):
    report = run(f"providers: {{p: {{kind: openai, api_key: k}}}}\nredis: {{url: '{url}'}}\n", 0o600)
    assert f"bindings     {shown}, kept" in report.output

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

ALIAS  PROVIDER  UPSTREAM MODEL  KEYS
small  main      gpt-4o-mini     all
fast   azure-eu  deployment/x    alice

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

    def run(text, *, probe=False, strict=False, **extra):
        path.write_text(text)
        report = check(path, environment | extra, probe=probe, strict=strict)
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


def test_check_says_whose_keys_may_ask_for_an_alias(run):
    keys = ", ".join(f"{{name: k{n}, tenant: t, key_sha256: {n:064x}, providers: [main]}}" for n in range(6))
    text = FILE.replace("keys:", f"keys: [{keys}]\nx:").split("x:")
    lines = run(text[0] + text[1][text[1].index("providers:\n") :]).output.splitlines()
    assert "small  main      gpt-4o-mini     all" in lines
    assert "fast   azure-eu  deployment/x    none" in lines
    few = run(FILE.replace("providers: [main], models: [small]", "models: [x]")).output.splitlines()
    assert "small  main      gpt-4o-mini     alice" in few


def test_check_does_not_list_every_key_that_may_ask_for_an_alias(run):
    keys = "".join(f"  - {{name: k{n}, tenant: t, key_sha256: {n:064x}, providers: [main]}}\n" for n in range(6))
    lines = run(FILE.replace("providers:\n", f"{keys}providers:\n", 1).replace("models: [small]", "models: [x]")).output
    assert "gpt-4o-mini     alice, k0, k1, k2, 3 more\n" in lines


def test_check_prints_what_is_doubtful_as_warnings(run):
    text = FILE.replace("key: ${ALICE}", "key: ${ALICE}, providers: [main]")
    assert warnings(run(text)) == [
        "providers.azure-eu: no key can reach it",
        "models.fast: no key may use its provider azure-eu",
    ]


def test_strict_check_fails_where_something_is_doubtful(run, tmp_path):
    assert run(FILE, strict=True).status == 0
    doubtful = run(FILE, strict=True, TOKEN_FILE=str(tmp_path / "later"))
    assert doubtful.status == 1
    assert "warning: providers.azure-eu.token_file: there is no such file yet\n" in doubtful.output
    assert run("providers: {}", strict=True).status == 2


def test_check_warns_of_a_token_file_that_is_not_there(run, tmp_path):
    assert warnings(run(FILE, TOKEN_FILE=str(tmp_path / "later"))) == [
        "providers.azure-eu.token_file: there is no such file yet"
    ]


def test_check_warns_of_a_file_everyone_can_read(public_path):
    path = public_path / "gateway.yaml"
    path.write_text("providers: {p: {kind: openai, api_key: sk-canary}}")
    path.chmod(0o644)
    (warning,) = warnings(check(path, {}))
    assert warning.startswith(f"{path} can be read by every user of this machine and holds providers.p.api_key: ")
    assert "canary" not in warning


def test_check_probes_where_it_is_asked_to(run, valkey):
    text = f"redis: {{url: '{valkey.url}'}}\nproviders: {{p: {{kind: sandbox}}}}"
    assert "PROBE" not in run(text).output
    report = run(text, probe=True, strict=True)
    table = report.output[report.output.index("PROBE") :].splitlines()
    assert [line.split()[:2] for line in table[:3]] == [["PROBE", "RESULT"], ["p", "ok"], ["redis", "ok"]]
    assert report.status == 0


def test_check_fails_for_what_cannot_be_reached_only_where_it_is_strict(run):
    text = "redis: {url: 'redis://:${SECRET}@127.0.0.1:1'}\nproviders: {p: {kind: sandbox}}"
    assert "redis  FAIL" in run(text, probe=True).output
    assert [run(text, probe=True, strict=strict).status for strict in (False, True)] == [0, 1]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://u:canary@a:1,b/main?sentinel_password=canary", "redis+sentinel://a:1,b:26379/main"),
        ("rediss+cluster://:canary@a,b:7?ssl_ca_certs=canary", "rediss+cluster://a:6379,b:7"),
        ("unix://:canary@/run/valkey.sock?db=1", "unix:///run/valkey.sock"),
    ],
)
def test_check_shows_where_redis_is_and_no_password(run, url, shown):
    report = run(f"providers: {{p: {{kind: openai, api_key: k}}}}\nredis: {{url: '{url}'}}\n")
    assert f"bindings     {shown}, kept" in report.output

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from proxy import __version__
from proxy.__main__ import default_data_dir, main
from proxy.config import digest_key
from proxy.configload import parse_config
from proxy.providers import REGISTRY

PROVIDER = "providers: {p: {kind: sandbox}}\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gateway.yaml"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for kind in REGISTRY.values():
        for variable in kind.environment.values():
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: [", "line 1, column 13: not valid YAML: "),
        ("", "providers: none is configured; "),
        ("providers: {p: {kind: openai}}", "providers.p.api_key: is missing: "),
        (f"{PROVIDER}server: {{host: 0.0.0.0}}", "server.host: without keys "),
    ],
)
def test_mistakes_in_the_file_end_the_command_with_status_2(command, text, message, file, capsys):
    assert main([command, "--config", file(text)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[1].startswith(message)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_file_that_is_not_there_is_named_with_the_next_step(command, tmp_path, capsys):
    for path, message in [
        (tmp_path / "absent.yaml", "no such file; leave"),
        (tmp_path, "is a directory: name the file"),
    ]:
        assert main([command, "--config", str(path)]) == 2
        assert f"{path}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "check"])
def test_environment_without_a_provider_is_told_the_next_step(command, capsys):
    assert main([command]) == 2
    error = capsys.readouterr().err
    assert "OPENAI_API_KEY" in error
    assert "responses-proxy demo" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--host", "0.0.0.0"], "server.host: without keys"),  # noqa: S104
        (["--port", "http"], "server.port: must be a whole number"),
        (["--workers", "0"], "server.workers: should be greater than or equal to 1"),
    ],
)
def test_serve_checks_its_flags_like_the_file(flags, message, file, capsys):
    assert main(["serve", "--config", file(PROVIDER), *flags]) == 2
    assert message in capsys.readouterr().err


def test_check_prints_the_routes(file, capsys):
    path = file(PROVIDER)
    assert main(["check", "--config", path]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{path}: good\n")
    assert printed.err == ""


def test_check_fails_for_a_doubt_where_it_is_strict(file, tmp_path):
    path = file(f"{PROVIDER}fetch: {{ca_file: {tmp_path}/absent.pem}}")
    assert [main(["check", "--config", path, *strict]) for strict in ([], ["--strict"])] == [0, 1]


def test_mistakes_in_the_file_end_a_look_at_the_bindings_with_status_2(file, capsys):
    assert main(["bindings", "stats", "--config", file("providers: [")]) == 2
    assert "line 1, column 13: not valid YAML: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"), [(["--tenant", "no"], "no"), (["--tenant", "team-a", "--name", "1"], "1")]
)
def test_new_key_comes_with_the_line_that_admits_it(arguments, name, capsys):
    assert main(["keys", "new", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    key = lines[0]
    assert re.fullmatch(r"sk-gw-[A-Za-z0-9_-]{43}", key)
    assert key not in "".join(lines[1:])
    config = parse_config(f"{PROVIDER}keys:\n{lines[-1]}\n", environment={}, kinds=REGISTRY)
    (entry,) = config.keys
    assert (entry.name, entry.tenant, entry.key_sha256) == (name, arguments[1], digest_key(key))


def test_new_key_is_refused_for_a_tenant_that_is_not_a_name(capsys):
    assert main(["keys", "new", "--tenant", "team a", "--name", "-"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.partition(":")[0] for line in printed.err.splitlines()[1:]] == ["--tenant", "--name"]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["sevre"],
        ["keys"],
        ["keys", "new"],
        ["bindings"],
        ["bindings", "show"],
        ["bindings", "forget", "--json"],
        ["serve", "--prot", "1"],
    ],
)
def test_misused_command_line_shows_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: responses-proxy")


def test_help_lists_what_a_user_runs_and_nothing_else(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    commands = re.findall(r"^    (\w+)", capsys.readouterr().out, re.MULTILINE)
    assert commands == ["serve", "check", "bindings", "keys", "doctor", "demo"]


def test_data_directory_follows_the_xdg_specification(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_data_dir({"XDG_STATE_HOME": "/state"}) == Path("/state/responses-proxy")
    assert default_data_dir({"XDG_STATE_HOME": "relative"}) == Path("/home/someone/.local/state/responses-proxy")
    assert default_data_dir({}) == Path("/home/someone/.local/state/responses-proxy")


def test_module_runs_as_a_program():
    run = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"responses-proxy {__version__}\n", "")


def test_program_reports_a_mistake_without_a_traceback(tmp_path):
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "proxy", "serve", "--config", str(tmp_path / "absent.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert run.returncode == 2
    assert "no such file" in run.stderr
    assert "Traceback" not in run.stderr


def status_of(url, key):
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {key}"}), timeout=30) as answer:  # noqa: S310
            return answer.status
    except HTTPError as error:
        with error:
            return error.code


def test_serve_without_keys_prints_one_key_that_opens_the_gateway(tmp_path, file):
    config = file(f"{PROVIDER}server: {{admin_port: 0}}")
    command = ["-m", "proxy", "serve", "--config", config, "--port", "0", "--data-dir", str(tmp_path / "data")]
    printed = []
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.PIPE, text=True) as gateway,  # noqa: S603
    ):
        try:
            for line in gateway.stderr:
                printed.append(line)
                if '"listening"' in line:
                    break
            (key,) = re.findall(r"sk-gw-[\w-]{43}", "".join(printed))
            started = json.loads(printed[-1])
            assert started["version"] == __version__
            url = started["url"]
            assert (status_of(f"{url}/v1/models", key), status_of(f"{url}/v1/models", "sk-gw-other")) == (200, 401)
        finally:
            gateway.send_signal(signal.SIGTERM)
            rest = gateway.stderr.read()
    assert gateway.returncode == 0
    assert key not in rest + (tmp_path / "log").read_text()

"""What the command line takes, and what it refuses with status 2."""

import asyncio
import io
import sys

import orjson
import pytest

from proxy.__main__ import main
from tests.rig.certificates import Authority
from tests.rig.gateway import free_port

KEY = "sk-gw-canary-0123456789"
URL = "http://127.0.0.1:1/v1"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], ["--url: is missing", "OPENAI_API_KEY: is not set"]),
        (["--url", "gateway:8080", "--key", KEY], ["--url: must begin with"]),
        (["--url", "http://", "--key", KEY], ["--url: must begin with"]),
        (["--url", "http://h:99999", "--key", KEY], ["--url: must begin with"]),
        (["--url", URL, "--key", "canary two"], ["--key: holds what cannot be a key"]),
        (["--url", URL, "--key-file", "/dev/null"], ["--key-file: holds no key"]),
        (["--url", URL, "--key-file", "absent"], ["--key-file: absent cannot be read: No such file"]),
        (["--url", URL, "--key", KEY, "--connections", "0"], ["--connections: must be at least 1"]),
        (["--url", URL, "--key", KEY, "--silence", "nan"], ["--silence: must be at least 0"]),
        (["--url", URL, "--key", KEY, "--body", "-1"], ["--body: must be at least 0"]),
        (["--url", URL, "--key", KEY, "--direct", "h"], ["--direct: must begin with"]),
        (["--url", URL, "--key", KEY, "--ca-file", "/dev/null"], ["--ca-file: holds no certificates"]),
    ],
)
def test_misuse_is_named_with_status_2(arguments, wrong, capsys):
    assert main(["doctor", *arguments]) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()[1:]
    assert len(lines) == len(wrong)
    assert all(line.startswith(begin) for line, begin in zip(lines, wrong, strict=True))
    assert "canary" not in printed.err + printed.out


@pytest.mark.parametrize("way", ["argument", "file", "standard input", "environment"])
def test_key_is_taken_from_where_it_is_given_and_never_shown(way, monkeypatch, tmp_path, capsys):
    """Nobody listens where this asks, which is told in a row and by the status."""
    arguments = {"argument": ["--key", KEY], "file": ["--key-file", str(tmp_path / "key")]}.get(way, [])
    (tmp_path / "key").write_text(f"{KEY}\n")
    if way == "standard input":
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
        arguments = ["--key-file", "-"]
    if way == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{free_port()}/v1")
    assert main(["doctor", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("FAIL  gateway         no answer from http://127.0.0.1:")
    assert "canary" not in printed.err + printed.out


def test_authorities_of_ones_own_are_trusted(tmp_path, capsys):
    authority = Authority(tmp_path)
    arguments = ["--url", f"https://127.0.0.1:{free_port()}/v1", "--key", KEY, "--ca-file", str(authority.ca_file)]
    assert main(["doctor", *arguments]) == 1
    assert "FAIL  certificate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("speaks", "change"),
    [
        ("nothing", "the address, the firewall, the listener, the certificate"),
        ("plain HTTP", "http://, or the port at which TLS ends"),
        ("TLS of an unknown authority", "where TLS ends: a certificate in force, for this name, with its chain"),
    ],
)
async def test_certificate_that_cannot_be_seen_is_told_by_its_reason(speaks, change, tmp_path, capsys):
    """To renew a certificate helps against none of these."""

    async def answer(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    tls = Authority(tmp_path).vouch_for("127.0.0.1") if speaks.startswith("TLS") else None
    server = await asyncio.start_server(answer, "127.0.0.1", ssl=tls)
    port = server.sockets[0].getsockname()[1] if speaks != "nothing" else free_port()
    async with server:
        arguments = ["doctor", "--url", f"https://127.0.0.1:{port}/v1", "--key", KEY, "--json"]
        assert await asyncio.to_thread(main, arguments) == 1
    (row,) = [row for row in orjson.loads(capsys.readouterr().out)["rows"] if row["probe"] == "certificate"]
    assert row["verdict"] == "FAIL"
    assert row["change"][0].startswith(change)

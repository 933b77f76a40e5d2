"""The doctor at a gateway without anything in front, and where there is none."""

import asyncio
import contextlib

import orjson
import pytest

from proxy.__main__ import main
from proxy.doctor.base import Options, Visit
from proxy.doctor.client import Client
from proxy.doctor.probes import replicas, retries, streaming, uploads
from tests.rig.gateway import gateway
from tests.rig.sandbox import serving
from tests.rig.settings import ALICE, ALICE_KEY, config

QUICK = ("--silence", "0.5", "--body", "1", "--connections", "4")
TIMEOUTS = {"keep_alive_comment": 0.1}
ROWS = [
    *("gateway", "certificate", "authentication", "provider", "headers", "keep-alive", "first event", "clumping"),
    *("body size", "upload", "abort", "replicas", "clock", "retries", "silence"),
]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Send events ten times as fast, and forgive this machine what it makes of that."""
    monkeypatch.setattr(streaming, "RATE", 250)
    monkeypatch.setattr(streaming, "INTERVAL", 1 / 250)
    for name, most in (("LATE", 5.0), ("HELD", 5.0), ("SOME", 0.95), ("MOST", 0.95)):
        monkeypatch.setattr(streaming, name, most)
    monkeypatch.setattr(retries, "DELAY", 0.5)
    monkeypatch.setenv("OPENAI_API_KEY", ALICE_KEY)


@contextlib.asynccontextmanager
async def standing(valkey, **extra):
    """Run a gateway in front of a sandbox, which is also there as a provider nobody can steer."""
    async with serving() as sandbox:
        url = f"http://127.0.0.1:{sandbox.port}/v1"
        providers = {
            "sandbox": {"kind": "sandbox", "base_url": url, "timeouts": TIMEOUTS},
            "local": {"kind": "openai-compatible", "base_url": url},
        }
        async with gateway(config(providers=providers, **extra), redis_url=valkey.url) as gw:
            yield gw


async def examine(gw, capsys, *arguments):
    """Run the command; return its exit status and its rows by name."""
    status = await asyncio.to_thread(main, ["doctor", "--url", f"{gw.url}/v1", *QUICK, "--json", *arguments])
    printed = capsys.readouterr()
    assert ALICE_KEY not in printed.out + printed.err
    return status, {row["probe"]: row for row in orjson.loads(printed.out)["rows"]}


def verdicts(rows):
    return {name: row["verdict"] for name, row in rows.items()}


async def test_doctor_finds_nothing_wrong_with_a_gateway_alone(valkey, capsys):
    """There is no certificate to look at; everything else is good, and the comments keep the silence alive."""
    async with standing(valkey) as gw:
        status, rows = await examine(gw, capsys)
    assert list(rows) == ROWS
    assert verdicts(rows) == {**dict.fromkeys(ROWS, "OK"), "certificate": "SKIP"}
    assert status == 0
    assert rows["silence"]["figures"]["comments"] >= 2
    assert (rows["replicas"]["figures"]["processes"], rows["replicas"]["figures"]["connections"]) == (1, 4)


async def test_doctor_prints_a_table_as_it_goes(valkey, capsys):
    async with standing(valkey) as gw:
        line = ["doctor", "--url", f"{gw.url}/v1", *QUICK, "--silence", "0", "--body", "0"]
        assert await asyncio.to_thread(main, line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:22].strip() for line in lines[:-2]] == ROWS
    assert lines[-2:] == ["", "12 OK, 0 WARN, 0 FAIL, 3 SKIP"]


async def test_doctor_leaves_out_what_only_a_sandbox_does(valkey, capsys):
    """With another provider it says what was skipped and why, and judges what is plain."""
    async with standing(valkey) as gw:
        status, rows = await examine(gw, capsys, "--provider", "local")
    skipped = {name for name, verdict in verdicts(rows).items() if verdict == "SKIP"}
    assert skipped == {"certificate", "abort", "retries", "silence"}
    assert "sandbox" in rows["abort"]["found"]
    assert {verdict for name, verdict in verdicts(rows).items() if name not in skipped} == {"OK"}
    assert status == 0


async def test_doctor_says_which_provider_is_missing(valkey, capsys):
    async with standing(valkey) as gw:
        status, rows = await examine(gw, capsys, "--provider", "absent")
    assert (status, rows["provider"]["verdict"]) == (1, "FAIL")
    good = {name for name, verdict in verdicts(rows).items() if verdict == "OK"}
    assert good == {"gateway", "authentication", "keep-alive", "upload"}
    assert rows["silence"]["found"] == "no provider answers"


async def test_doctor_stops_where_the_key_is_refused(valkey, capsys):
    async with standing(valkey) as gw:
        status, rows = await examine(gw, capsys, "--key", "sk-gw-of-somebody-else")
    assert status == 1
    assert verdicts(rows) == {
        "gateway": "OK",
        "certificate": "SKIP",
        "authentication": "FAIL",
        "everything else": "SKIP",
    }
    assert rows["authentication"]["change"][0].startswith("gateway: keys:")


async def test_doctor_points_at_the_path_where_the_gateway_does_not_know_it(valkey, capsys):
    async with standing(valkey) as gw:
        _, rows = await examine(gw, capsys, "--url", f"{gw.url}/elsewhere")
    assert rows["authentication"]["found"].startswith("GET /models: status 404: Unknown request URL")
    assert rows["authentication"]["change"][0].startswith("--url is what clients use as base_url, /v1 included")


async def test_doctor_tells_in_one_row_that_there_is_no_gateway(capsys):
    """Fifteen failures would not say more."""
    async with serving() as sandbox:
        status = await asyncio.to_thread(main, ["doctor", "--url", f"http://127.0.0.1:{sandbox.port}/v1"])
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[0].startswith("FAIL  gateway         no gateway: Python/")
    assert [line[:22].split() for line in lines[2:4]] == [["SKIP", "certificate"], ["SKIP", "everything", "else"]]


async def test_doctor_finds_the_limit_of_the_gateway_itself(valkey):
    async with standing(valkey, limits={"max_body_bytes": 200_000}) as gw, Client(f"{gw.url}/v1", ALICE_KEY) as client:
        (row,) = await uploads.probe_size(Visit(client, Options(body_bytes=1_048_576)))
    assert (row.verdict, row.figures) == ("WARN", {"accepted": 131_072, "refused": 262_144})
    assert row.change[0].startswith("gateway: limits.max_body_bytes")


async def test_doctor_tells_that_the_store_is_away(private_valkey):
    """Creates go on without it; that ids cannot be looked up is one row's matter."""
    without_memory = {"cache": 0, "ack_timeout": 0.05}
    async with (
        standing(private_valkey, bindings=without_memory) as gw,
        Client(f"{gw.url}/v1", ALICE_KEY) as client,
    ):
        private_valkey.stop()
        (row,) = await replicas.probe(Visit(client, Options(connections=2)))
    assert row.verdict == "FAIL"
    assert row.change[0].startswith("gateway: the Redis of redis.url")


async def test_lost_binding_shows_where_unknown_ids_are_forwarded(valkey):
    """With one tenant they are, to the default; another provider is named, which only a binding goes before."""
    async with (
        standing(valkey, keys=[ALICE], default_provider="sandbox", bindings={"cache": 0}) as gw,
        Client(f"{gw.url}/v1", ALICE_KEY) as client,
    ):
        visit = Visit(client, Options(), others=frozenset({"local"}))
        created = await client.call("POST", "/responses", body=visit.body())
        seen = []
        for forget in (lambda: None, valkey.flush):
            forget()
            seen.append(replicas.outcome_of(await replicas._retrieve(visit, created.json()["id"]), "sandbox"))
    assert seen == ["found", "lost"]

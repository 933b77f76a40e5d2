"""The command as an operator runs it, on what gateways have written."""

import asyncio
import json
from math import inf

import pytest
import yaml

from proxy import archive
from proxy.__main__ import main
from proxy.bindings import BACKGROUND, CONVERSATION, KEPT, Binding, key_of
from proxy.inventory import _span
from tests.rig import scripts, wire
from tests.rig.gateway import free_port, gateway
from tests.rig.settings import ALICE, BOB, config

DAY = 86_400
PROVIDERS = {"main": {"kind": "sandbox"}, "claude": {"kind": "sandbox"}}
KNOWN = (
    "note: a running worker that bound or looked up this id may still let team-a use it; "
    "reload the gateways (SIGHUP) and none does"
)
FORWARDED = "note: calls on ids that nobody bound are forwarded here (bindings.unknown), so a provider may still answer"


@pytest.fixture
def run(tmp_path, capsys):
    """Run an action on a Redis and return its status and what it prints: lines, or an object with `--json`."""

    def run(url, *arguments, keys=(ALICE, BOB), **sections):
        path = tmp_path / "gateway.yaml"
        content = {"redis": {"url": url}, "keys": list(keys), "providers": PROVIDERS, **sections}
        path.write_text(yaml.safe_dump(content))
        status = main(["bindings", *arguments, "--config", str(path)])
        printed = capsys.readouterr()
        if status == 2:
            return status, printed.err
        return status, json.loads(printed.out) if "--json" in arguments else printed.out.splitlines()

    return run


@pytest.fixture
def store(valkey):
    """Store a binding with so many seconds to live: `store(rid, provider, tenant, flags, seconds)`."""

    def put(rid, provider="main", tenant="team-a", flags=0, seconds=29 * DAY):
        valkey.run("SET", key_of(rid), Binding(provider, tenant, flags).pack(), "EX", str(seconds))

    return put


@pytest.fixture
def keep(valkey, store):
    """Store a binding and what the gateway keeps of it, 30 bytes."""

    def put(rid, tenant="team-a", *, bound=True):
        if bound:
            store(rid, "claude", tenant, KEPT)
        key = archive.key_of(rid, tenant)
        valkey.run("HSET", key, archive.HEAD, "canary-789", archive.RESPONSE, "canary-789", archive.INPUT, "canary-789")
        valkey.run("EXPIRE", key, str(10 * DAY))

    return put


# stats


def test_stats_say_how_many_ids_depend_on_each_provider(run, valkey, store):
    store("resp_1", flags=BACKGROUND)
    store("resp_2", seconds=3 * DAY)
    store("conv_1", tenant="team-b", flags=CONVERSATION)
    store("resp_3", "claude", flags=KEPT)
    status, lines = run(valkey.url, "stats")
    assert status == 0
    assert [" ".join(line.split()) for line in lines[:4]] == [
        "PROVIDER TENANT IDS DEPEND KEPT BACKGROUND CONVERSATIONS FIRST EXPIRES LAST EXPIRES",
        "claude team-a 1 0 1 0 0 29 days 29 days",
        "main team-a 2 2 0 1 0 3 days 29 days",
        "main team-b 1 1 0 0 1 29 days 29 days",
    ]
    assert lines[4:7] == [
        "",
        "no id depends on claude (1 more is kept by the gateway, which needs no key for it)",
        "3 ids of 2 tenants still depend on main; the last expires in 29 days",
    ]
    assert lines[7].startswith("4 bindings read in ")
    assert len(lines) == 8


def test_stats_of_one_provider_say_whether_its_key_can_be_retired(run, valkey, store):
    assert run(valkey.url, "stats", "--provider", "main")[1][0] == "no id depends on main"
    store("resp_1", seconds=60)
    store("resp_2", "claude")
    status, lines = run(valkey.url, "stats", "--provider", "main")
    assert status == 0
    assert lines[0] in {
        f"1 id of 1 tenant still depends on main; it expires in {time}" for time in ("60 seconds", "59 seconds")
    }
    assert "claude" not in "".join(lines)


def test_stats_of_a_provider_nobody_knows_are_not_found(run, valkey):
    """A misspelt name must not pass for a provider that nothing depends on."""
    assert run(valkey.url, "stats", "--provider", "mian") == (
        1,
        ["no provider mian is configured, and no id is bound to one of that name"],
    )
    assert run(valkey.url, "stats", "--provider", "mian", "--json") == (1, {"found": False, "provider": "mian"})


@pytest.mark.parametrize("arguments", [["stats"], ["stats", "--provider", "old"]])
def test_stats_show_a_provider_that_is_no_longer_configured(arguments, run, valkey, store):
    store("resp_1", "old")
    lines = run(valkey.url, *arguments)[1]
    assert "1 id of 1 tenant still depends on old; it expires in 29 days" in lines
    assert "warning: old is no longer configured: calls on the ids that depend on it are answered with 404" in lines


def test_stats_count_what_they_cannot_read(run, valkey):
    valkey.run("SET", key_of("resp_1"), b"\x02" + Binding("main", "t").pack()[1:])
    assert "warning: 1 key of the same form cannot be read as a binding" in run(valkey.url, "stats")[1]


def test_stats_are_there_for_programs(run, valkey, store):
    store("resp_1", flags=BACKGROUND)
    store("resp_2", "old", flags=KEPT)
    status, found = run(valkey.url, "stats", "--json")
    assert (status, found["found"], found["unreadable"]) == (0, True, 0)
    claude, main_, old = found["providers"]
    assert claude == {
        "provider": "claude",
        "configured": True,
        "ids": 0,
        "dependent": 0,
        "last_dependent_expires_in": None,
        "tenants": [],
    }
    assert (main_["dependent"], old["configured"], old["dependent"]) == (1, False, 0)
    assert 28 * DAY < main_["last_dependent_expires_in"] <= 29 * DAY
    (share,) = main_["tenants"]
    assert (share["tenant"], share["background"], share["kept"], share["conversations"]) == ("team-a", 1, 0, 0)


# show


def test_show_tells_what_an_id_is_bound_to(run, valkey, store):
    store("resp_1", "old", flags=BACKGROUND)
    assert run(valkey.url, "show", "resp_1") == (
        0,
        [
            "id        resp_1",
            "provider  old (no longer configured)",
            "tenant    team-a",
            "flags     background",
            "binding   expires in 29 days",
            "kept      no",
        ],
    )


def test_show_tells_the_size_of_what_is_kept_and_never_what_it_says(run, valkey, keep):
    keep("resp_1")
    status, lines = run(valkey.url, "show", "resp_1")
    assert status == 0
    assert "flags     kept by the gateway" in lines
    assert lines[-1] == "kept      for team-a: 30 bytes compressed; expires in 10 days"
    assert "canary" not in str(lines) + str(run(valkey.url, "show", "resp_1", "--json"))


def test_show_tells_what_is_left_without_the_other_half(run, valkey, store, keep):
    store("resp_1", "claude", flags=KEPT)
    assert run(valkey.url, "show", "resp_1")[1][-1] == "kept      it should be, and is not there"
    keep("resp_2", bound=False)
    assert run(valkey.url, "show", "resp_2")[1] == [
        "id       resp_2",
        "binding  none: only what is kept is left, and no call finds it",
        "kept     for team-a: 30 bytes compressed; expires in 10 days",
    ]


def test_show_is_there_for_programs(run, valkey, keep):
    keep("resp_1")
    status, found = run(valkey.url, "show", "resp_1", "--json")
    assert (status, found["found"], found["id"]) == (0, True, "resp_1")
    expires = found["binding"].pop("expires_in"), found["kept"][0].pop("expires_in")
    assert [28 * DAY < expires[0] <= 29 * DAY, 9 * DAY < expires[1] <= 10 * DAY] == [True, True]
    assert found["kept"] == [{"tenant": "team-a", "bytes": 30}]
    assert found["binding"] == {
        "provider": "claude",
        "configured": True,
        "tenant": "team-a",
        "background": False,
        "conversation": False,
        "kept": True,
    }


@pytest.mark.parametrize("action", ["show", "forget"])
def test_id_that_is_not_there_is_not_found(action, run, valkey):
    assert run(valkey.url, action, "resp_1") == (1, ["resp_1: no binding, and nothing is kept of it"])
    assert run(valkey.url, action, "resp_1", "--json") == (1, {"found": False, "id": "resp_1"})


# forget


def test_forget_removes_the_binding_and_says_what_it_does_not_reach(run, valkey, store):
    store("resp_1")
    store("resp_2")
    assert run(valkey.url, "forget", "resp_1") == (
        0,
        [
            "removed: the binding to main of team-a",
            "note: main was not asked: it still has what it keeps of this id",
            KNOWN,
        ],
    )
    assert valkey.keys() == [key_of("resp_2")]
    assert run(valkey.url, "forget", "resp_1")[0] == 1


def test_forget_removes_what_the_gateway_keeps(run, valkey, keep):
    keep("resp_1")
    keep("resp_1", "team-b", bound=False)
    status, lines = run(valkey.url, "forget", "resp_1")
    assert (status, lines[:2]) == (
        0,
        ["removed: the binding to claude of team-a", "removed: the response kept for team-a, 30 bytes"],
    )
    assert valkey.keys() == [archive.key_of("resp_1", "team-b")]
    status, done = run(valkey.url, "forget", "resp_1", "--json")
    assert (status, done["removed"]["binding"], done["removed"]["kept"][0]["tenant"]) == (0, None, "team-b")
    assert valkey.keys() == []


def test_forget_tells_of_what_the_configuration_lets_through(run, valkey, store):
    store("resp_1")
    lines = run(valkey.url, "forget", "resp_1", keys=[ALICE], bindings={"cache": 0})[1]
    assert lines[-1] == FORWARDED
    assert "SIGHUP" not in "".join(lines)


async def test_forgotten_id_is_unknown_but_to_workers_that_knew_it(run, valkey, upstream):
    """Because that is what the command says; `tests/operations` reloads such a gateway."""
    rid = wire.new_id()
    for method, path in (("POST", "/v1/responses"), ("GET", f"/v1/responses/{rid}")):
        upstream.on(method, path, scripts.json_answer(wire.response_object(rid)))
    served = config(upstream)
    async with gateway(served, redis_url=valkey.url) as one, gateway(served, redis_url=valkey.url) as other:
        assert (await one.fetch("POST", "/v1/responses", json={"model": "m", "input": "x"})).status == 200
        assert (await asyncio.to_thread(run, valkey.url, "forget", rid))[0] == 0
        assert [(await each.fetch("GET", f"/v1/responses/{rid}")).status for each in (one, other)] == [200, 404]


# Where Redis cannot say


@pytest.mark.parametrize("arguments", [["stats"], ["show", "resp_1"], ["forget", "resp_1"]])
def test_redis_that_cannot_be_asked_is_told_apart_from_an_id_that_is_not_there(arguments, run):
    status, message = run(f"redis://user:canary@127.0.0.1:{free_port()}", *arguments)
    assert status == 2
    assert message.startswith("Redis cannot be asked: ")
    assert "canary" not in message


def test_user_who_may_not_scan_is_told(run, private_valkey):
    private_valkey.run("ACL", "SETUSER", "gateway", "on", ">secret", "~*", "-@all", "+get")
    status, message = run(private_valkey.url.replace("unix://", "unix://gateway:secret@"), "stats")
    assert status == 2
    assert "'scan'" in message


def test_embedded_store_is_asked_only_while_its_gateway_runs(tmp_path, capsys):
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({"providers": PROVIDERS}))
    assert main(["bindings", "stats", "--config", str(path), "--data-dir", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert f"no gateway runs on the data directory {tmp_path / 'data'}: " in error
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (60, "60 seconds"),
        (61, "2 minutes"),
        (3601, "2 hours"),
        (86_400, "24 hours"),
        (86_401, "2 days"),
        (29.2 * DAY, "30 days"),
        (1e9, "11,575 days"),
        (inf, "never"),
    ],
)
def test_time_is_rounded_up(seconds, words):
    """What is said to last a day does not last longer."""
    assert _span(seconds) == words

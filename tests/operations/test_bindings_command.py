"""`bindings` and `check --probe` on several servers, and on a gateway's own store while the gateway runs."""

import asyncio
import json
import signal

import pytest
import yaml

from proxy.__main__ import main
from proxy.bindings import KEPT, Binding, key_of
from proxy.masters import ask, open_masters
from tests.operations.tools import tool
from tests.rig.client import fetch
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, command
from tests.rig.redisserver import cluster, watched
from tests.rig.settings import ALICE, ALICE_KEY, BOB

NUMBER = 1000
PROVIDERS = {"main": {"kind": "sandbox"}}


@pytest.fixture(scope="module")
def stores():
    """Run a cluster, and a master that Sentinels watch; give the URL of each, filled with bindings."""
    binary = tool("redis-server")
    with cluster(binary, replicas=False) as several, watched(binary) as one:
        urls = {"cluster": several.url, "sentinel": one.url}
        for url in urls.values():
            asyncio.run(_fill(url))
        yield urls


async def _fill(url):
    packed = [Binding("main", f"team-{index % 2}", KEPT if index % 4 == 0 else 0).pack() for index in range(NUMBER)]
    commands = [("SET", key_of(f"resp_{index}"), value, "EX", 3600) for index, value in enumerate(packed)]
    async with open_masters(url) as masters:
        await ask(masters.link, commands)


@pytest.fixture(params=["cluster", "sentinel"])
def url(request, stores):
    return stores[request.param]


@pytest.fixture
def run(tmp_path, capsys):
    """Run a command on a Redis; return its status and what it printed."""

    def run(url, *arguments):
        path = tmp_path / "gateway.yaml"
        path.write_text(yaml.safe_dump({"redis": {"url": url}, "keys": [ALICE, BOB], "providers": PROVIDERS}))
        status = main([*arguments, "--config", str(path)])
        return status, capsys.readouterr().out

    return run


def test_every_server_s_bindings_are_counted_once(url, run):
    status, printed = run(url, "bindings", "stats", "--json")
    (provider,) = json.loads(printed)["providers"]
    assert (status, provider["ids"], provider["dependent"]) == (0, NUMBER, NUMBER * 3 // 4)
    assert [share["ids"] for share in provider["tenants"]] == [NUMBER // 2, NUMBER // 2]


def test_id_is_shown_and_forgotten_wherever_it_lives(url, run):
    for rid in ("resp_1", "resp_2", "resp_3", "resp_4"):
        assert "provider  main" in run(url, "bindings", "show", rid)[1]
        assert run(url, "bindings", "forget", rid)[0] == 0
        assert run(url, "bindings", "show", rid)[0] == 1
    asyncio.run(_fill(url))


@pytest.mark.parametrize(("form", "servers"), [("cluster", 3), ("sentinel", 1)])
def test_every_server_that_has_keys_is_probed(form, servers, stores, run):
    status, printed = run(stores[form], "check", "--probe")
    found = [line for line in printed.splitlines() if line.startswith("redis ")]
    assert (status, len(found)) == (0, servers)
    assert all("nothing is persisted: a restart forgets every binding" in line for line in found)


async def _retrieve(gateway, rid, key=ALICE_KEY):
    return (await fetch(gateway.port, "GET", f"/v1/responses/{rid}", headers=bearer(key))).status


async def test_own_store_is_asked_while_its_gateway_runs_and_a_reload_makes_workers_forget(capsys):
    """Of a response that its provider keeps, what a worker knows outlives the binding; a reload ends that."""
    async with command({"keys": [ALICE, BOB], "providers": PROVIDERS}) as gateway:
        body = {"model": "m", "input": "x"}
        made = await fetch(gateway.port, "POST", "/v1/responses", headers=bearer(ALICE_KEY), json=body)
        rid = made.json()["id"]

        def bindings(*arguments):
            place = ["--config", str(gateway.config_file), "--data-dir", str(gateway.data_dir)]
            return main(["bindings", *arguments, *place])

        assert await asyncio.to_thread(bindings, "stats", "--provider", "main") == 0
        assert capsys.readouterr().out.startswith("1 id of 1 tenant still depends on main; it expires in ")
        assert await asyncio.to_thread(bindings, "forget", rid) == 0
        assert "reload the gateways (SIGHUP) and none does" in capsys.readouterr().out
        assert await _retrieve(gateway, rid) == 200
        gateway.signal(signal.SIGHUP)
        await eventually(lambda: '"reloaded"' in gateway.output())
        await eventually(lambda: _is(404, gateway, rid))
        assert await asyncio.to_thread(bindings, "show", rid) == 1


async def _is(status, gateway, rid):
    return await _retrieve(gateway, rid) == status

import pytest

from proxy.probe import FAIL, OK, WARN
from proxy.redisprobe import _eviction, _version, probe_redis
from tests.rig.gateway import free_port


async def probe(valkey):
    (finding,) = await probe_redis(valkey.url)
    assert finding.subject == "redis"
    return finding.result, finding.detail


async def test_server_that_is_fit_is_described(private_valkey):
    result, detail = await probe(private_valkey)
    assert result == OK
    assert "noeviction; append-only file; " in detail
    assert detail.endswith(" ms")


async def test_server_that_is_not_fit_is_told_why(private_valkey):
    """Each of these loses bindings, and nothing else says so before it happens."""
    private_valkey.run("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    assert await probe(private_valkey) == (
        WARN,
        "maxmemory-policy allkeys-lru drops bindings where memory runs out: set noeviction",
    )
    private_valkey.run("CONFIG", "SET", "maxmemory", "0", "appendonly", "no")
    assert await probe(private_valkey) == (WARN, "nothing is persisted: a restart forgets every binding")
    private_valkey.run("CONFIG", "SET", "save", "60 1000")
    result, detail = await probe(private_valkey)
    assert result == OK
    assert "allkeys-lru, without a maxmemory that it could apply to; snapshots; " in detail
    private_valkey.read_only()
    assert await probe(private_valkey) == (FAIL, "it is a replica and takes no writes")


async def test_server_that_does_not_tell_is_reachable(private_valkey):
    private_valkey.run("ACL", "SETUSER", "gateway", "on", ">secret", "~*", "-@all", "+ping", "+info")
    url = private_valkey.url.replace("unix://", "unix://gateway:secret@")
    private_valkey.run("CONFIG", "SET", "appendonly", "no")
    (finding,) = await probe_redis(url)
    assert finding.result == OK
    assert "whether it persists it does not tell" in finding.detail
    private_valkey.run("ACL", "SETUSER", "gateway", "-info")
    (finding,) = await probe_redis(url)
    assert finding.result == WARN
    assert finding.detail.startswith("it does not tell about itself: NOPERM ")


async def test_server_that_cannot_be_reached_is_told_without_its_password():
    port = free_port()
    (finding,) = await probe_redis(f"redis://user:canary@127.0.0.1:{port}")
    assert finding.result == FAIL
    assert finding.detail.startswith("unreachable: ")
    assert "canary" not in finding.detail


async def test_password_that_is_wrong_is_told(private_valkey):
    private_valkey.run("ACL", "SETUSER", "gateway", "on", ">secret", "~*", "+@all")
    (finding,) = await probe_redis(private_valkey.url.replace("unix://", "unix://gateway:canary@"))
    assert (finding.result, "canary" in finding.detail) == (FAIL, False)
    assert finding.detail.startswith("refused: invalid username-password")


async def test_password_that_is_missing_is_asked_for(private_valkey):
    """The server speaks of a HELLO that nobody wrote."""
    private_valkey.run("CONFIG", "SET", "requirepass", "canary")
    (finding,) = await probe_redis(private_valkey.url)
    assert (finding.result, finding.detail) == (FAIL, "refused: it asks for a password, and the URL has none")


@pytest.mark.parametrize(
    ("info", "result"),
    [
        ({"redis_version": "6.2.14"}, FAIL),
        ({"redis_version": "7.0.0"}, OK),
        ({"redis_version": "8.2.1"}, OK),
        ({"redis_version": "10.0"}, OK),
        ({"redis_version": "6.2", "valkey_version": "7.2.5"}, OK),
        ({"redis_version": "6.0-managed"}, FAIL),
    ],
)
def test_version_is_the_first_with_the_command_that_binds(info, result):
    assert _version(info)[0] == result


@pytest.mark.parametrize(
    ("info", "result"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": "1000"}, OK),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": "0"}, OK),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": "1000"}, WARN),
    ],
)
def test_eviction_matters_where_there_is_a_limit(info, result):
    assert _eviction(info)[0] == result

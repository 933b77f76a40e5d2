"""URLs of Redis: every form reads to what redis-py makes of it, mistakes are told, passwords do not print."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio.connection import parse_url

from proxy.redisurl import Address, RedisURL, parse_redis_url

HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,8}){0,3}", fullmatch=True) | st.sampled_from(
    ["127.0.0.1", "[::1]", "[fd00::17:1]"]
)
SECRETS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
PORTS = st.integers(1, 65_535)


def quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://h", RedisURL("server", tls=False, addresses=(Address("h", 6379),))),
        ("redis://h:1/2", RedisURL("server", tls=False, addresses=(Address("h", 1),), db=2)),
        ("redis://h/?db=2", RedisURL("server", tls=False, addresses=(Address("h", 6379),), db=2)),
        ("unix:///run/a%20b.sock?db=1", RedisURL("server", tls=False, path="/run/a b.sock", db=1)),
        (
            "rediss://ann:p%40ss@[::1]:6380",
            RedisURL("server", tls=True, addresses=(Address("::1", 6380),), username="ann", password="p@ss"),
        ),
        ("redis://:a/b@h", RedisURL("server", tls=False, addresses=(Address("h", 6379),), password="a/b")),
        ("redis://:a@b:c@h", RedisURL("server", tls=False, addresses=(Address("h", 6379),), password="a@b:c")),
        (
            "redis+sentinel://a,b:1,[::1]:2/my-master/3",
            RedisURL(
                "sentinel",
                tls=False,
                addresses=(Address("a", 26379), Address("b", 1), Address("::1", 2)),
                master="my-master",
                db=3,
            ),
        ),
        (
            "rediss+sentinel://u:p@a/m?sentinel_username=s&sentinel_password=t%26&ssl_ca_certs=/etc/ca.pem",
            RedisURL(
                "sentinel",
                tls=True,
                addresses=(Address("a", 26379),),
                master="m",
                username="u",
                password="p",
                options=(("ssl_ca_certs", "/etc/ca.pem"),),
                sentinel_tls=True,
                sentinel_username="s",
                sentinel_password="t&",
            ),
        ),
        (
            "rediss+sentinel://a/m?sentinel_ssl=no",
            RedisURL("sentinel", tls=True, addresses=(Address("a", 26379),), master="m"),
        ),
        ("redis+cluster://a,b:1", RedisURL("cluster", tls=False, addresses=(Address("a", 6379), Address("b", 1)))),
        ("rediss+cluster://a/0", RedisURL("cluster", tls=True, addresses=(Address("a", 6379),))),
    ],
)
def test_url_is_read(text, url):
    assert parse_redis_url(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a redis"),
        ("h:6379", "must be a redis"),
        ("http://h", "must be a redis"),
        ("redis:/h", "must be a redis"),
        ("sentinel://h/m", r"redis\+sentinel://"),
        ("redis-cluster://h", r"redis\+cluster://"),
        ("redis://", "must name a host"),
        ("redis://:6379", "must name a host"),
        ("redis+cluster://a,,b", "must name a host"),
        ("redis://h:x", "cannot be read"),
        ("redis://h:0", "cannot be read"),
        ("redis://h:65536", "cannot be read"),
        ("redis://::1", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://[canary]", "cannot be read"),
        ("redis://-h", "cannot be read"),
        ("redis://:can#ary@h", "%23"),
        ("redis://a,b", "must name one host"),
        ("redis+cluster://a,a:6379", "twice"),
        ("redis://h/canary", "number of a database"),
        ("redis://h/1?db=2", "two databases"),
        ("redis+cluster://h/1", "must not name a database"),
        ("redis+cluster://h?db=1", "must not name a database"),
        ("redis+sentinel://h", "must name the master"),
        ("redis+sentinel://h/", "must name the master"),
        ("redis+sentinel://h/m/canary", "number of a database"),
        ("unix://relative.sock", "absolute path"),
        ("redis://h ", "white space"),
        ("redis://h?canary=1", "has an unknown option"),
        ("rediss://h?ssl_ca_cert=canary", "did you mean ssl_ca_certs"),
        ("redis://h?sentinel_password=canary", "has an unknown option"),
        ("redis://h?socket_timeout=9", "has an unknown option"),
        ("rediss://h?ssl_cert_reqs=canary", "none, optional, required"),
        ("rediss://h?ssl_ca_certs=", "ssl_ca_certs that cannot be meant"),
        ("redis://h?protocol=4", "protocol that cannot be meant"),
        ("redis://h?protocol=3&protocol=3", "has protocol twice"),
        ("redis://h?ssl_ca_certs=canary", "no TLS"),
    ],
)
def test_mistake_is_told_without_repeating_the_url(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_redis_url(text)
    assert "canary" not in str(caught.value)


@settings(max_examples=40)
@given(HOSTS, PORTS, SECRETS, SECRETS, st.integers(0, 99), st.booleans())
def test_server_is_what_redis_py_reads_from_the_same_url(host, port, username, password, db, tls):
    scheme = "rediss" if tls else "redis"
    text = f"{scheme}://{quoted(username)}:{quoted(password)}@{host}:{port}/{db}"
    url = parse_redis_url(text)
    assert (url.username, url.password, url.db) == (username, password, db)
    ours, theirs = parse_url(url.server_url()), parse_url(text)
    assert {"db": 0} | ours == {"db": 0} | theirs


@settings(max_examples=40)
@given(st.lists(st.tuples(HOSTS, PORTS), min_size=1, max_size=4, unique=True), SECRETS, SECRETS)
def test_passwords_reach_each_server_and_print_nowhere(places, password, other):
    hosts = ",".join(f"{host}:{port}" for host, port in places)
    # Marked, so that chance cannot find them in what prints.
    password, other = f"~{password}~canary", f"~{other}~canary"
    url = parse_redis_url(
        f"rediss+sentinel://:{quoted(password)}@{hosts}/m?sentinel_password={quoted(other)}&ssl_cert_reqs=none"
    )
    assert "canary" not in f"{url} {url!r}"
    assert str(url) == f"rediss+sentinel://{hosts}/m"
    for address in url.addresses:
        server, sentinel = parse_url(url.server_url(address)), parse_url(url.sentinel_url(address))
        assert (server["password"], sentinel["password"]) == (password, other)
        assert server["host"] == sentinel["host"] == address.host
        assert server["port"] == sentinel["port"] == address.port
        assert server["ssl_cert_reqs"] == sentinel["ssl_cert_reqs"] == "none"


@settings(max_examples=40)
@given(st.text(max_size=40) | st.text(max_size=40).map("redis+sentinel://".__add__))
def test_any_text_is_a_url_or_a_mistake(text):
    url = None
    with contextlib.suppress(ValueError):
        url = parse_redis_url(text)
    assert url is None or parse_redis_url(str(url)).addresses == url.addresses


def test_socket_and_options_reach_redis_py():
    connection = parse_url(parse_redis_url("unix://:pw@/run/a%20b.sock?db=2&client_name=x").server_url())
    del connection["connection_class"]
    assert connection == {"path": "/run/a b.sock", "db": 2, "password": "pw", "client_name": "x"}


def test_urls_in_the_instructions_can_be_read():
    deploy = Path(__file__).parents[1] / "deploy"
    found = []
    for name in ("README.md", "gateway.example.yaml"):
        text = re.sub(r"<[a-z ]+>", "host", (deploy / name).read_text(encoding="utf-8"))
        found += re.findall(
            r"(?<!\w)(?:rediss?(?:\+\w+)?|unix)://[^\s`|,]+(?:,[^\s`|]+)*", re.sub(r"\$\{\w+\}", "x", text)
        )
    whole = [each for each in found if not each.endswith("://")]
    assert {parse_redis_url(each).form for each in whole} == {"server", "sentinel", "cluster"}

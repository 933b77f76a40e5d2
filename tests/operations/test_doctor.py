"""The doctor in front of balancers that are broken in one way each: exactly the rows that are about it turn."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from proxy.doctor.base import Options, Verdict, Visit
from proxy.doctor.checkup import examine
from proxy.doctor.client import Client
from tests.operations.tools import tool
from tests.rig.certificates import Authority
from tests.rig.eventually import eventually
from tests.rig.gateway import command, free_port
from tests.rig.settings import ALICE_KEY, settings
from tests.rig.valkey import Valkey

OK, WARN, FAIL, SKIP = Verdict
AT_A_TIME = 7
"""Doctors on this machine at once: more of them would be what makes streams come late."""
OPTIONS = Options(silence=3.5, body_bytes=1_048_576, connections=32, patience=2.5)
"""So many connections that, with all visits at once, nginx's turns leave no gateway out of one."""
READ_TIMEOUT = 2

GOOD = {
    "proxy_pass": "http://shared",
    "proxy_http_version": "1.1",
    "proxy_set_header": 'Connection ""',
    "proxy_buffering": "off",
    "proxy_request_buffering": "off",
    "client_max_body_size": "64m",
    "proxy_next_upstream": "off",
}
BREAKS = {
    "nothing": ({}, {"certificate": SKIP}),
    "buffering": (
        {"proxy_buffering": "on", "proxy_http_version": "1.0", "proxy_ignore_headers": "X-Accel-Buffering"},
        {"first event": WARN, "clumping": FAIL, "abort": SKIP},
    ),
    "small bodies": ({"client_max_body_size": "100k"}, {"body size": FAIL}),
    "held uploads": ({"proxy_request_buffering": "on"}, {"upload": WARN}),
    "read timeout": ({"proxy_read_timeout": f"{READ_TIMEOUT}s"}, {"silence": FAIL}),
    "no provider header": (
        {"proxy_set_header": 'x-tfy-provider-name ""', "proxy_set_header ": 'Connection ""'},
        {"headers": FAIL},
    ),
    "no authorization": (
        {"proxy_set_header": 'Authorization ""', "proxy_set_header ": 'Connection ""'},
        {"authentication": FAIL},
    ),
    "a key of its own": (
        {"proxy_set_header": f'Authorization "Bearer {ALICE_KEY}"', "proxy_set_header ": 'Connection ""'},
        {"authentication": FAIL},
    ),
    "hidden answer headers": (
        {"proxy_hide_header": "x-gateway-provider", "proxy_hide_header ": "x-gateway-request-id"},
        {"headers": WARN, "replicas": SKIP},
    ),
    "gzip": ({"gzip": "on", "gzip_types": "text/event-stream"}, {"headers": WARN}),
    "no keep-alive": ({"keepalive_timeout": "0"}, {"keep-alive": WARN}),
    "ignored abort": ({"proxy_ignore_client_abort": "on"}, {"abort": FAIL}),
    "retries": ({"proxy_next_upstream": "error timeout http_503 non_idempotent"}, {"retries": FAIL}),
    "replaced errors": ({"proxy_intercept_errors": "on", "error_page": "503 /503.html"}, {"retries": WARN}),
    "separate stores": ({"proxy_pass": "http://apart"}, {"replicas": FAIL}),
    "wrong clock": (
        {"sub_filter": """'"created_at":1' '"created_at":2'""", "sub_filter_types": "application/json"},
        {"clock": FAIL},
    ),
    "a certificate that ends soon": ({"tls": True}, {"certificate": WARN}),
    "a login of its own": ({"auth_basic": "staff", "auth_basic_user_file": "/dev/null"}, {"gateway": FAIL}),
    "haproxy": (None, {"first event": WARN, "clumping": FAIL}),
}
"""What is broken, by nginx's directives against the good ones, and the rows that are not OK then."""


def server_block(port, changed, certificate):
    """Render one nginx server; a directive given twice has a space behind its name once."""
    directives = {**GOOD, **changed}
    tls = directives.pop("tls", False)
    lines = [f"listen 127.0.0.1:{port}{' ssl' if tls else ''};"]
    if tls:
        lines += [f"ssl_certificate {certificate};", f"ssl_certificate_key {certificate};"]
    lines += [f"location / {{ {' '.join(f'{name} {value};' for name, value in directives.items())} }}"]
    return f"server {{ {' '.join(lines)} }}\n"


def nginx_configuration(place, ports, upstreams, certificate):
    """Render one nginx with a server for each break, and upstreams that never give a gateway up."""
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    groups = [
        f"upstream {name} {{ {' '.join(f'server 127.0.0.1:{port} max_fails=0;' for port in members)} keepalive 16; }}"
        for name, members in upstreams.items()
    ]
    servers = [
        server_block(ports[name], changed, certificate) for name, (changed, _) in BREAKS.items() if changed is not None
    ]
    return "\n".join(
        [
            f"daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;",
            "events { worker_connections 512; }",
            "http { access_log off;",
            *(f"{name}_temp_path {place}/{name};" for name in paths),
            *groups,
            *servers,
            "}",
        ]
    )


def haproxy_configuration(port, gateway):
    """Render an HAProxy as it is by default, which corks what it passes on."""
    return (
        "defaults\n mode http\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n option abortonclose\n"
        f"listen all\n bind 127.0.0.1:{port}\n server one 127.0.0.1:{gateway}\n"
    )


@contextlib.contextmanager
def running(*line):
    """Run a server until the block ends."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def listening(port):
    """Tell whether somebody accepts connections on a port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


async def examined(port, gateway, *, tls=None, direct=()):
    """Run the doctor at a port; return its rows by name."""
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    options = Options(**{**OPTIONS.__dict__, "direct": tuple(f"http://127.0.0.1:{gateway}/v1" for _ in direct)})
    async with Client(url, ALICE_KEY, tls=tls) as client:
        rows = await examine(Visit(client, options), lambda _: None)
    return {row.probe: row for row in rows}


async def examine_all(place, redis_url):
    """Start everything, and let the doctor look at each of the ways in; return the rows by what is broken."""
    authority = Authority(place)
    authority.vouch_for("127.0.0.1")
    shared = {**settings(providers={"sandbox": {"kind": "sandbox"}}), "redis": {"url": redis_url}}
    apart = settings(providers={"sandbox": {"kind": "sandbox"}})
    async with contextlib.AsyncExitStack() as stack:
        started = (stack.enter_async_context(command(content)) for content in (shared, shared, apart))
        one, two, three = await asyncio.gather(*started)
        upstreams = {"shared": (one.port, two.port), "apart": (one.port, three.port)}
        ports = {name: free_port() for name in BREAKS}
        nginx, haproxy = place / "nginx.conf", place / "haproxy.cfg"
        nginx.write_text(nginx_configuration(place, ports, upstreams, place / "127.0.0.1.pem"))
        haproxy.write_text(haproxy_configuration(ports["haproxy"], one.port))
        tls = ssl.create_default_context(cafile=str(authority.ca_file))
        few = asyncio.Semaphore(AT_A_TIME)

        async def look(name):
            async with few:
                secured = tls if "certificate" in name else None
                return name, await examined(
                    ports[name], one.port, tls=secured, direct=["haproxy"] * (name == "haproxy")
                )

        with running(tool("nginx"), "-c", str(nginx), "-p", str(place)), running(tool("haproxy"), "-f", str(haproxy)):
            await eventually(lambda: all(map(listening, ports.values())))
            return dict(await asyncio.gather(*map(look, BREAKS)))


@pytest.fixture(scope="module")
def reports(valkey_binary, tmp_path_factory):
    with Valkey(valkey_binary) as store:
        return asyncio.run(examine_all(Path(tmp_path_factory.mktemp("doctor")), store.url))


@pytest.mark.parametrize("name", BREAKS)
def test_break_turns_exactly_its_rows(name, reports):
    """Because a row that turns for everything says nothing."""
    rows = reports[name]
    turned = {row.probe: row.verdict for row in rows.values() if row.verdict is not OK}
    turned.pop("everything else", None)
    expected = {"certificate": SKIP, **BREAKS[name][1]}
    assert turned == expected, "\n".join(f"{row.probe}: {row.found}" for row in rows.values())


SETTINGS = {
    "buffering": ("clumping", "nginx: proxy_buffering off"),
    "small bodies": ("body size", "nginx: client_max_body_size"),
    "held uploads": ("upload", "nginx: proxy_request_buffering off"),
    "read timeout": ("silence", "nginx: proxy_read_timeout"),
    "no provider header": ("headers", "nginx: no proxy_set_header x-tfy-provider-name"),
    "no authorization": ("authentication", "nginx: no proxy_set_header Authorization"),
    "hidden answer headers": ("headers", "nginx: no proxy_hide_header"),
    "gzip": ("headers", "nginx: gzip off"),
    "no keep-alive": ("keep-alive", "nginx: keepalive_timeout"),
    "ignored abort": ("abort", "nginx: proxy_ignore_client_abort off"),
    "retries": ("retries", "nginx: proxy_next_upstream off"),
    "replaced errors": ("retries", "nginx: proxy_intercept_errors off"),
    "separate stores": ("replicas", "gateway: redis.url"),
    "haproxy": ("first event", "HAProxy: option http-no-delay"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_row_names_the_setting_to_change(name, reports):
    """Of the balancer in front where it says who it is; HAProxy does not, and is among all that may be."""
    probe, setting = SETTINGS[name]
    assert any(line.startswith(setting) for line in reports[name][probe].change)


def test_row_has_the_figures_of_what_it_found(reports):
    """As the balancers were told: their limits show in seconds, bytes, attempts and pieces."""
    silence = reports["read timeout"]["silence"].figures
    assert READ_TIMEOUT - 0.5 < silence["lasted"] < OPTIONS.silence
    assert reports["small bodies"]["body size"].figures == {"accepted": 65_536, "refused": 131_072}
    assert reports["retries"]["retries"].figures["attempts"] == 2
    assert reports["buffering"]["clumping"].figures["pieces"] < 8
    assert reports["nothing"]["replicas"].figures["processes"] == 2
    assert reports["separate stores"]["replicas"].figures["lost"] == 1


def test_address_behind_what_clumps_is_compared_with(reports):
    """The same stream without HAProxy comes as it is sent, and so HAProxy it is."""
    assert "/v1: OK, " in reports["haproxy"]["clumping"].found

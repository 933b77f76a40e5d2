"""What a fetch returns, and how many there are at a time."""

import asyncio

import pytest

from proxy.config import FetchConfig
from proxy.configfile import ConfigError
from proxy.errors import BadRequest, InternalError
from proxy.fetching import Fetched, Fetcher, declared_type
from tests.fetching.conftest import NO_ADDRESS, PARAM, PNG, refused
from tests.rig import scripts
from tests.rig.eventually import eventually
from tests.rig.origin import Names


async def test_image_is_fetched_with_nothing_of_the_clients_or_the_gateways(fetcher, origin, url):
    origin.on("GET", "/a%2Fb/*", scripts.answer(PNG, content_type="image/png", headers=[("Set-Cookie", "a=b")]))
    one = fetcher()
    for _ in range(2):
        assert await one.fetch(url("/a%2Fb/%7Ec?sig=a%2Bb%3D"), PARAM) == Fetched("image/png", PNG)
    request, again = origin.requests
    assert request.target == "/a%2Fb/%7Ec?sig=a%2Bb%3D"
    assert again.headers == request.headers
    assert {name.lower() for name, _ in request.headers} == {
        *("host", "accept", "accept-encoding", "connection", "user-agent")
    }
    assert request.header("Accept-Encoding") == "identity"
    assert (request.connection, again.connection) == (1, 2)


async def test_literal_address_is_fetched_where_it_may_be(fetcher, origin, url):
    origin.on("GET", "/x", scripts.answer(PNG, content_type="image/png", framing="chunked"))
    names = Names()
    assert (await fetcher(names).fetch(url(host="127.0.0.1"), PARAM)).content == PNG
    assert not names.asked


async def test_url_in_other_letters_is_escaped(fetcher, origin, url):
    origin.on("GET", "/*", scripts.answer(PNG, content_type="image/png", framing="close"))
    await fetcher().fetch(url("/é?q=ü"), PARAM)
    assert origin.requests[0].target == "/%C3%A9?q=%C3%BC"


async def test_host_may_be_private_where_it_is_allowed_by_name(fetcher, origin, url):
    origin.on("GET", "/x", scripts.answer(PNG, content_type="image/png"))
    names = Names(images=["127.0.0.1"], other=["127.0.0.1"])
    one = fetcher(names, allow_networks=(), allow_hosts=("Images.test",))
    assert (await one.fetch(url(host="IMAGES.test"), PARAM)).content == PNG
    assert await refused(one.fetch(url(host="other.test"), PARAM)) == ("failed_to_download_image", NO_ADDRESS)
    assert origin.connections == 1


async def test_proxy_of_the_environment_is_not_used(fetcher, origin, url, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    origin.on("GET", "/x", scripts.answer(PNG, content_type="image/png"))
    assert (await fetcher().fetch(url(), PARAM)).content == PNG


@pytest.mark.parametrize(
    ("declared", "content", "type_"),
    [
        ("image/jpeg", PNG, "image/png"),
        ("application/octet-stream", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("binary/octet-stream", b"GIF89a", "image/gif"),
        ("IMAGE/WEBP; a=b", b"RIFF\n\0\0\0WEBPVP8 ", "image/webp"),
        ("text/plain", b"%PDF-1.7", "application/pdf"),
        ("application/pdf", b"%PDF-1.7", "application/pdf"),
        ("text/markdown; charset=utf-8", b"# a", "text/markdown"),
        ("image/svg+xml", b"<svg/>", "image/svg+xml"),
        ("application/octet-stream", b"RIFF\n\0\0\0WAVE", "application/octet-stream"),
        ("image/png", b"", "image/png"),
    ],
)
async def test_type_is_told_by_the_content_or_else_by_the_host(fetcher, origin, url, declared, content, type_):
    origin.on("GET", "/x", scripts.answer(content, content_type=declared))
    assert await fetcher().fetch(url(), PARAM) == Fetched(type_, content)


@pytest.mark.parametrize(("header", "type_"), [("", "application/octet-stream"), (" Text/HTML ;x", "text/html")])
def test_declared_type_is_normal_and_never_empty(header, type_):
    assert declared_type(header) == type_


# The fetcher


async def test_nothing_is_fetched_where_that_is_off(fetcher, origin, url):
    with pytest.raises(BadRequest) as raised:
        await fetcher(enabled=False).fetch(url(), PARAM)
    assert raised.value.message == "This provider takes no URLs here; send the content itself."
    assert raised.value.param == PARAM
    assert not origin.connections


async def test_fetches_at_a_time_are_bounded(fetcher, origin, url):
    gate = asyncio.Event()

    async def wait(exchange):
        await gate.wait()
        await scripts.answer(PNG, content_type="image/png")(exchange)

    origin.on("GET", "/x", wait)
    one = fetcher(concurrency=2)
    fetching = [asyncio.create_task(one.fetch(url(), PARAM)) for _ in range(5)]
    await origin.received(2)
    for _ in range(100):
        await asyncio.sleep(0)
    assert origin.connections == 2
    gate.set()
    assert {result.content for result in await asyncio.gather(*fetching)} == {PNG}


async def test_client_that_leaves_ends_its_fetch_and_makes_room(fetcher, origin, url):
    async def hang(exchange):
        await exchange.closed.wait()

    origin.on("GET", "/x", hang)
    one = fetcher(concurrency=1, timeout=20)
    leaving = asyncio.create_task(one.fetch(url(), PARAM))
    await origin.received()
    leaving.cancel()
    await asyncio.wait({leaving})
    await origin.requests[0].finished.wait()
    origin.on("GET", "/x", scripts.answer(PNG, content_type="image/png"))
    assert (await one.fetch(url(), PARAM)).content == PNG


async def test_fetch_that_finds_no_room_is_not_the_clients_fault(fetcher, origin, url):
    async def hang(exchange):
        await exchange.closed.wait()

    origin.on("GET", "/x", hang)
    one = fetcher(concurrency=1, timeout=20)
    first = asyncio.create_task(one.fetch(url(), PARAM))
    await origin.received()
    one._config = one._config.model_copy(update={"timeout": 0.01})
    with pytest.raises(InternalError) as raised:
        await one.fetch(url(), PARAM)
    assert (raised.value.code, raised.value.retry_after) == ("too_many_fetches", 1)
    first.cancel()
    await asyncio.wait({first})


async def test_file_of_authorities_that_is_none_is_a_mistake_of_the_configuration(tmp_path):
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match=r"fetch\.ca_file"):
            Fetcher(FetchConfig(ca_file=str(file)))


async def test_system_resolves_names_where_nobody_else_does():
    one = Fetcher(FetchConfig())
    assert await refused(one.fetch("https://localhost/", PARAM)) == ("failed_to_download_image", NO_ADDRESS)
    await one.close()
    await eventually(lambda: one._session.closed)

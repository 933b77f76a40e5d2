"""Hosts of every temper: what they answer instead, how much of it, how slowly, and where they send one."""

import asyncio
import contextlib
import gzip

import pytest

from proxy.errors import BadRequest
from tests.fetching.conftest import NO_ADDRESS, PARAM, PNG, refused
from tests.rig import scripts
from tests.rig.origin import Names

FILE_PARAM = "input[0].content[1].file_url"


async def refusal(fetcher, origin, url, script):
    """Return why an answer was refused."""
    origin.on("GET", "/x", script)
    return await refused(fetcher().fetch(url(), PARAM))


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (scripts.json_answer({}), "unsupported_image_media_type", "it is no image, PDF or text"),
        (scripts.answer(PNG, 404), "failed_to_download_image", "its host answered with status 404"),
        (scripts.answer(PNG, 206), "failed_to_download_image", "its host answered with status 206"),
        (
            scripts.answer(gzip.compress(PNG), content_type="image/png", headers=[("Content-Encoding", "gzip")]),
            "failed_to_download_image",
            "its host sent it compressed, without being asked to",
        ),
        *(
            (scripts.raw_answer(*pieces, close=True), "failed_to_download_image", "its host sent no complete answer")
            for pieces in (
                (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n", b"12345678"),
                (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\n123"),
                (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",),
                (b"SSH-2.0-OpenSSH\r\n",),
                (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,),
                (),
            )
        ),
    ],
)
async def test_answer_that_is_none_is_refused(fetcher, origin, url, script, code, reason):
    assert await refusal(fetcher, origin, url, script) == (code, reason)


@pytest.mark.parametrize(("param", "code"), [(PARAM, "failed_to_download_image"), (FILE_PARAM, "invalid_value")])
async def test_refusal_has_the_code_of_what_was_asked_for(fetcher, origin, url, param, code):
    origin.on("GET", "/x", scripts.answer(b"", 500))
    with pytest.raises(BadRequest) as raised:
        await fetcher().fetch(url(), param)
    assert (raised.value.code, raised.value.param, raised.value.status) == (code, param, 400)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_content_may_be_as_large_as_the_limit_and_no_larger(fetcher, origin, url, framing):
    large = ("image_file_too_large", "it is larger than 1000 bytes")
    for size in (1000, 1001):
        origin.on("GET", "/x", scripts.answer(b"x" * size, content_type="image/png", framing=framing))
        fetching = fetcher(max_bytes=1000).fetch(url(), PARAM)
        if size > 1000:
            assert await refused(fetching) == large
        else:
            assert len((await fetching).content) == size


async def test_announced_size_is_refused_before_the_content_comes(fetcher, origin, url):
    async def announce(exchange):
        await exchange.start(200, [("Content-Type", "image/png"), ("Content-Length", str(10**15))])
        await exchange.closed.wait()

    assert (await refusal(fetcher, origin, url, announce))[0] == "image_file_too_large"
    await origin.requests[0].finished.wait()


async def test_endless_content_is_broken_off(fetcher, origin, url):
    async def flood(exchange):
        await exchange.start(200, [("Content-Type", "image/png"), ("Transfer-Encoding", "chunked")])
        while True:
            await exchange.chunk(b"x" * 65_536)

    assert (await refusal(fetcher, origin, url, flood))[0] == "image_file_too_large"
    await origin.requests[0].finished.wait()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"])
async def test_host_that_drips_or_keeps_silent_is_left(fetcher, origin, url, head):
    async def drip(exchange):
        await exchange.send(head)
        while head and not exchange.closed.is_set():
            await exchange.send(b"x")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(exchange.closed.wait(), 0.01)
        await exchange.closed.wait()

    origin.on("GET", "/x", drip)
    reason = "its host did not send it within 1 s"
    assert await refused(fetcher(timeout=1).fetch(url(), PARAM)) == ("failed_to_download_image", reason)
    await origin.requests[0].finished.wait()


async def test_host_without_a_trusted_certificate_is_asked_nothing(fetcher, origin, url):
    untrusted = ("failed_to_download_image", "its host has no certificate that can be trusted")
    assert await refused(fetcher(ca_file=None).fetch(url(), PARAM)) == untrusted
    names = Names(**{"images.example": ["127.0.0.1"]})
    assert await refused(fetcher(names).fetch(url(host="images.example"), PARAM)) == untrusted
    assert not origin.requests


async def test_host_that_refuses_connections_is_said_to(fetcher, origin, url):
    await origin.refuse()
    refusing = ("failed_to_download_image", "its host accepts no connection")
    assert await refused(fetcher().fetch(url(), PARAM)) == refusing


# Redirects


def redirect(location, status=302):
    return scripts.answer(b"moved", status, headers=[("Location", location)] if location else [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(fetcher, origin, url, status):
    origin.on("GET", "/dir/x", redirect("y?a=%2F", status))
    origin.on("GET", "/dir/y", redirect(url("/z", host="127.0.0.1"), status))
    origin.on("GET", "/z", scripts.answer(PNG, content_type="image/png"))
    assert (await fetcher().fetch(url("/dir/x"), PARAM)).content == PNG
    assert [request.target for request in origin.requests] == ["/dir/x", "/dir/y?a=%2F", "/z"]


@pytest.mark.parametrize(("limit", "asked"), [(0, 1), (3, 4)])
async def test_redirects_end(fetcher, origin, url, limit, asked):
    origin.on("GET", "/x", redirect("/x"))
    reason = f"it redirects more than {limit} times"
    assert await refused(fetcher(max_redirects=limit).fetch(url(), PARAM)) == ("failed_to_download_image", reason)
    assert len(origin.requests) == asked


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://images.test/", "it is not an https:// URL"),
        ("file:///etc/passwd", "it is not an https:// URL"),
        ("https://images.test/", "its port is not one that may be asked"),
        ("https://user@images.test:{port}/", "it holds a user or a password"),
        ("https://127.0.0.2:{port}/", NO_ADDRESS),
        ("//169.254.169.254:{port}/latest/meta-data/", NO_ADDRESS),
        ("https://[::ffff:169.254.169.254]:{port}/", NO_ADDRESS),
        ("https://inside.test:{port}/", NO_ADDRESS),
        ("https://nowhere.test:{port}/", NO_ADDRESS),
        ("https://[::1", "it is not a URL"),
        ("", "it is not a URL of at most 8192 characters"),
    ],
)
async def test_redirect_is_judged_like_the_url_itself(fetcher, origin, url, location, reason):
    origin.on("GET", "/x", redirect(location.format(port=origin.port)))
    one = fetcher(Names(images=["127.0.0.1"], inside=["127.0.0.2"]))
    assert (await refused(one.fetch(url(), PARAM)))[1] == reason
    assert origin.connections == 1

"""The yardstick: a pass-through in plain aiohttp, one application, one route, a header filter and a copy loop."""

import sys

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)


def pass_headers(headers):
    """Return the headers that cross, in either direction."""
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


async def relay(request: web.Request) -> web.StreamResponse:
    """Send the request on and copy the answer back as it comes."""
    async with request.app[SESSION].request(
        request.method,
        request.app[UPSTREAM] + request.raw_path,
        headers=pass_headers(request.headers),
        data=request.content,
        allow_redirects=False,
    ) as answer:
        response = web.StreamResponse(status=answer.status, headers=pass_headers(answer.headers))
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def open_session(app: web.Application):
    """Keep one client session for the life of the application."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=65_536,
    ) as app[SESSION]:
        yield


def main(port: int, upstream: str) -> None:
    """Serve on loopback until the process is ended."""
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(open_session)
    app.router.add_post("/v1/responses", relay)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        handler_cancellation=True,
        backlog=1024,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

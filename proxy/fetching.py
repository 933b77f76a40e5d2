"""Fetches the images and documents that requests name by URL, for providers that take content only.

Whoever holds a gateway key chooses the URL: it must not reach what is not public, nor tell what is there. So an address
is judged where it is connected to, and a host that has none is answered like one whose addresses are private.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any, Final, Literal, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from proxy import __version__
from proxy.addresses import is_public, parse_address
from proxy.config import FetchConfig
from proxy.configfile import ConfigError, Mistake
from proxy.errors import BadRequest, InternalError
from proxy.notation import check_host

MAX_URL: Final = 8192
READ_BUFFER: Final = 65_536
OK: Final = 200
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
HEADERS: Final = {
    "Accept": "image/*, application/pdf, text/*, application/octet-stream;q=0.5",
    # Nothing is decompressed: a small body could become a large one.
    "Accept-Encoding": "identity",
    "User-Agent": f"responses-proxy/{__version__}",
}
OCTETS: Final = "application/octet-stream"
_TYPES: Final = re.compile(rf"(image|text)/[a-z0-9.+-]+|application/pdf|{OCTETS}")
_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)
_NUMBER: Final = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")
"""A host that system libraries may take for an IPv4 address in one of its other spellings."""
_PRINTABLE: Final = re.compile(r"[\x21-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")

Fault = Literal["url", "download", "type", "size"]
IMAGE_CODES: Final[dict[Fault, str]] = {
    "url": "invalid_image_url",
    "download": "failed_to_download_image",
    "type": "unsupported_image_media_type",
    "size": "image_file_too_large",
}
FILE_CODE: Final = "invalid_value"
"""What the API says of a document it cannot download."""

FOREIGN: Final = (aiohttp.ClientError, HttpProcessingError, OSError)
MEANINGS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "its host has no public address"),
    (aiohttp.ClientSSLError, "its host has no certificate that can be trusted"),
    (aiohttp.ClientConnectorError, "its host accepts no connection"),
    (Exception, "its host sent no complete answer"),
)
"""What the `FOREIGN` exceptions mean; the first that fits."""

Lookup = Callable[..., Sequence[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or what a test has in its place; called in a thread."""


class Fetched(NamedTuple):
    """What a URL led to, and its media type: by the content where that tells, or else as the host says."""

    type: str
    content: bytes


class Unfetchable(Exception):
    """Why nothing was fetched: `fault` says what is wrong, the message what is to be told."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Rules:
    """Which URLs may be asked for, and which addresses connected to."""

    def __init__(self, config: FetchConfig) -> None:
        self._ports = config.ports
        self._hosts = config.allow_hosts
        self._networks = tuple(map(ip_network, config.allow_networks))

    def accept(self, url: URL) -> URL:
        """Return a URL that may be asked for; a host's name is judged by its addresses, later.

        Raises Unfetchable.
        """
        host = (url.raw_host or "").lower()
        if url.scheme != "https" or not host:
            raise Unfetchable("url", "it is not an https:// URL")
        if url.raw_user is not None or url.raw_password is not None:
            raise Unfetchable("url", "it holds a user or a password")
        if url.port not in self._ports:
            raise Unfetchable("url", "its port is not one that may be asked")
        if parse_address(host) is not None:
            if not self.may_connect(host, host):
                raise Unfetchable("download", MEANINGS[0][1])
        elif not _is_name(host):
            raise Unfetchable("url", "its host is neither a name nor an address in its usual form")
        return url

    def may_connect(self, host: str, address: str) -> bool:
        """Tell whether an address of a host is one to connect to."""
        parsed = parse_address(address)
        return parsed is not None and (host in self._hosts or is_public(parsed, self._networks))


class Fetcher:
    """Fetches by URL; each fetch on a connection of its own."""

    def __init__(self, config: FetchConfig, *, lookup: Lookup = socket.getaddrinfo) -> None:
        self._config = config
        self._rules = Rules(config)
        self._slots = asyncio.Semaphore(config.concurrency)
        connector = aiohttp.TCPConnector(
            ssl=_trust(config.ca_file),
            resolver=PublicResolver(self._rules.may_connect, config.concurrency, lookup),
            use_dns_cache=False,
            force_close=True,
            limit=0,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=HEADERS,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
        )

    async def fetch(self, url: str, param: str) -> Fetched:
        """Return what is at a URL, the value of the request's field `param`.

        Raises BadRequest for whatever is wrong with the URL or its host, InternalError where too many are under way.
        """
        if not self._config.enabled:
            raise BadRequest("This provider takes no URLs here; send the content itself.", param=param)
        await self._enter()
        try:
            async with asyncio.timeout(self._config.timeout):
                return await self._follow(url)
        except Unfetchable as error:
            raise _refused(error.fault, str(error), param) from None
        except TimeoutError:
            message = f"its host did not send it within {self._config.timeout:g} s"
            raise _refused("download", message, param) from None
        except FOREIGN as error:
            message = next(message for type_, message in MEANINGS if isinstance(error, type_))
            raise _refused("download", message, param) from error
        finally:
            self._slots.release()

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(self._config.timeout):
                await self._slots.acquire()
        except TimeoutError:
            message = "The gateway is fetching too many URLs already; try again."
            raise InternalError(message, code="too_many_fetches", retry_after=1) from None

    async def _follow(self, url: str) -> Fetched:
        target = self._rules.accept(parse_url(url))
        for _ in range(self._config.max_redirects + 1):
            async with self._session.get(target, allow_redirects=False) as answer:
                if answer.status not in REDIRECTS:
                    return await self._read(answer)
                target = self._rules.accept(target.join(parse_url(answer.headers.get("Location", ""))))
        raise Unfetchable("download", f"it redirects more than {self._config.max_redirects} times")

    async def _read(self, answer: aiohttp.ClientResponse) -> Fetched:
        if answer.status != OK:
            raise Unfetchable("download", f"its host answered with status {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unfetchable("download", "its host sent it compressed, without being asked to")
        type_ = declared_type(answer.headers.get("Content-Type", ""))
        if not _TYPES.fullmatch(type_):
            raise Unfetchable("type", "it is no image, PDF or text")
        content = await self._read_body(answer)
        return Fetched(next((known for magic, known in _MAGIC if magic.match(content)), type_), content)

    async def _read_body(self, answer: aiohttp.ClientResponse) -> bytes:
        """Read no more than may be kept."""
        limit = self._config.max_bytes
        content = bytearray()
        size = answer.content_length or 0
        while size <= limit:
            piece = await answer.content.readany()
            if not piece:
                return bytes(content)
            size = len(content) + len(piece)
            content += piece
        raise Unfetchable("size", f"it is larger than {limit} bytes")

    async def close(self) -> None:
        """Break off what is being fetched."""
        await self._session.close()


class PublicResolver(AbstractResolver):
    """Resolves names to the very addresses that are connected to, all of which must be ones that may be."""

    def __init__(self, may_connect: Callable[[str, str], bool], threads: int, lookup: Lookup) -> None:
        self._may_connect = may_connect
        self._lookup = lookup
        # Threads apart: a name server that does not answer must not hold up those of the providers' names.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="fetching")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of a host.

        Raises OSError where there is none, and in the same way where one of them may not be connected to.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._lookup, host, port, family, socket.SOCK_STREAM)
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not all(self._may_connect(host.lower(), address) for address in addresses):
            raise OSError("an address is not public")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
            for (kind, _, proto, *_), address in zip(found, addresses, strict=True)
        ]

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def declared_type(header: str) -> str:
    """Return the media type a Content-Type names, in lower case; without one, and by S3's word for it, any bytes."""
    type_ = header.partition(";")[0].strip().lower()
    return OCTETS if type_ in {"", "binary/octet-stream"} else type_


def parse_url(url: str) -> URL:
    """Read a URL; one that is written in ASCII is asked for as it is written, for it may be signed.

    Raises Unfetchable.
    """
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        raise Unfetchable("url", f"it is not a URL of at most {MAX_URL} characters")
    try:
        parsed = URL(url, encoded=url.isascii())
        _ = parsed.port  # read late, and so refused late
    except ValueError:
        raise Unfetchable("url", "it is not a URL") from None
    return parsed


def _is_name(host: str) -> bool:
    try:
        return check_host(host) == host and not _NUMBER.fullmatch(host)
    except ValueError:
        return False


def _refused(fault: Fault, reason: str, param: str) -> BadRequest:
    image = param.endswith("image_url")
    noun = "image" if image else "file"
    return BadRequest(
        f"The {noun}'s URL cannot be fetched: {reason}.", code=IMAGE_CODES[fault] if image else FILE_CODE, param=param
    )


def _trust(ca_file: str | None) -> ssl.SSLContext | bool:
    """Return what a connector verifies certificates by; True is aiohttp's own context of the system's authorities."""
    if ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise ConfigError([Mistake("fetch.ca_file", "holds no certificates that can be read")]) from error
    return context

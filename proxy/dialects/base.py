"""What a dialect is: one wire format, rendered from a Responses request and parsed back into Responses answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from proxy.dialects.create import Create
from proxy.dialects.items import File, Image
from proxy.errors import printable


class Rendered(NamedTuple):
    """A request as the provider wants it; `path` is relative to the provider's base URL.

    `dropped` names the fields of the client's request, such as `text.verbosity`, that the provider has no place for.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What the reading of an answer is told: the request it answers, and what the gateway decides.

    `response_id` is `resp_` and hexadecimal digits, the stem of all item ids. `created_at` and `clock` are in
    seconds since the epoch. `limit` bounds the bytes of output that are accumulated.
    """

    create: Create
    response_id: str
    created_at: int
    clock: Callable[[], float]
    limit: int


class Failure(NamedTuple):
    """An error of the provider in the API's terms; `status` is what it is worth before a stream has begun."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None

    def body(self) -> bytes:
        """Render the JSON body the client receives."""
        detail = {"message": printable(self.message), "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": detail})


class Translator(Protocol):
    """Turns a provider's stream into the Responses event stream: every output is a run of whole frames.

    The first `feed` opens the response. `close` tells that the provider's body has ended, `fail` that it will
    not: both return the terminal event, or nothing where it was sent already.
    """

    @property
    def finished(self) -> bool:
        """Whether the terminal event has been returned; nothing comes after it."""

    @property
    def response(self) -> bytes | None:
        """The response object as the terminal event carries it, in JSON; None before."""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes of the provider's body as they come."""

    def close(self) -> bytes:
        """Take the end of the body; one without the format's own end fails the response."""

    def fail(self, code: str, message: str) -> bytes:
        """End the response as failed, for a reason the provider did not give."""


def parse_no_count(_body: bytes) -> int | None:
    """Read nothing: the format has no counting."""
    return None


def takes_urls(_part: Image | File) -> bool:
    """Tell that no remote part has to be fetched."""
    return False


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format other than the Responses API itself, as one kind of provider speaks it.

    `render_request` raises BadRequest for what the format cannot express. `parse_response` reads the whole body
    of a successful answer, which can hold a Failure all the same; `parse_error` reads any other.
    """

    name: str
    render_request: Callable[[Create], Rendered]
    parse_response: Callable[[bytes, Context], dict[str, Any] | Failure]
    parse_error: Callable[[int, bytes], Failure]
    parse_stream: Callable[[Context], Translator]
    hosted: frozenset[str] = frozenset()
    """Types of hosted tools the format has a counterpart for; `read_create` is told."""
    fetches: Callable[[Image | File], bool] = takes_urls
    """Whether a remote image or document has to be fetched, because the format takes its bytes only."""
    render_count: Callable[[Create], Rendered] | None = None
    """Renders the request that counts a request's input tokens, where the provider has one."""
    parse_count: Callable[[bytes], int | None] = parse_no_count
    """Reads the number of input tokens from the answer to that; None where it is none."""

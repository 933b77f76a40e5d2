"""The error tree: whose fault it is, what the client is told, whether another try is safe.

    GatewayError
    ├── DownstreamError            the client's request cannot be served as it stands
    │   ├── BadRequest             400
    │   ├── Unauthenticated        401
    │   ├── Forbidden              403
    │   ├── NotFound               404
    │   ├── MethodNotAllowed       405
    │   ├── RequestTimeout         408
    │   ├── PayloadTooLarge        413
    │   ├── UnsupportedCoding      415
    │   ├── UpgradeRequired        426
    │   └── HeadersTooLarge        431
    ├── UpstreamError              the provider did not answer as it should
    │   ├── ConnectFailed          502   nothing was sent: another try is safe
    │   ├── Disconnected           502   the connection died before a response byte
    │   ├── BadAnswer              502   what came back is not an answer
    │   ├── ConnectTimeout         504   nothing was sent: another try is safe
    │   └── FirstByteTimeout       504
    └── InternalError              the gateway itself cannot
        ├── BindingsUnavailable    503   asked again later it can
        ├── StoreUnavailable       503
        └── Draining               503

Every error renders itself in OpenAI's error shape, the one every SDK parses:
`{"error": {"message", "type", "param", "code"}}`.
"""

from collections.abc import Iterable
from typing import ClassVar

import orjson


class GatewayError(Exception):
    """An error with an answer for the client.

    `retry_after` is in seconds. `retry_safe` tells SDKs, through `x-should-retry`, that the
    provider cannot have acted on the request.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    fault: ClassVar[str] = "internal"
    code: str | None = None
    retry_safe: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code

    def body(self) -> bytes:
        """Render the error as the JSON body the client receives."""
        return orjson.dumps(
            {
                "error": {
                    "message": printable(self.message),
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that tell an SDK whether and when to try again."""
        headers = []
        if self.retry_after is not None:
            headers.append(("Retry-After", str(self.retry_after)))
        if self.retry_safe is not None:
            headers.append(("x-should-retry", "true" if self.retry_safe else "false"))
        return headers


def printable(text: str) -> str:
    """Replace what stands for bytes that were no UTF-8, as in the text of a foreign header."""
    return text.encode("utf-8", "replace").decode()


class DownstreamError(GatewayError):
    """The client's request cannot be served as it stands."""

    status = 400
    type = "invalid_request_error"
    fault = "downstream"


class BadRequest(DownstreamError):
    """The request is malformed, ambiguous or names something that is not there."""


class Unauthenticated(DownstreamError):
    """No gateway key, or one the gateway does not know."""

    status = 401
    code = "invalid_api_key"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the error, the scheme a key is sent by among them."""
        return [*super().headers(), ("WWW-Authenticate", "Bearer")]


class Forbidden(DownstreamError):
    """The key is known but may not do this."""

    status = 403
    type = "permission_error"
    code = "not_allowed"


class NotFound(DownstreamError):
    """Not there, or not the caller's: the answer is the same."""

    status = 404


class MethodNotAllowed(DownstreamError):
    """The path exists, the method on it does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.allowed = ", ".join(allowed)

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the error, the allowed methods among them."""
        return [*super().headers(), ("Allow", self.allowed)]


class RequestTimeout(DownstreamError):
    """The client stopped sending in the middle of its request."""

    status = 408
    code = "request_timeout"


class PayloadTooLarge(DownstreamError):
    """The body is over a limit, as sent or once decompressed."""

    status = 413
    code = "request_too_large"


class UnsupportedCoding(DownstreamError):
    """The body's content coding is not one the gateway reads."""

    status = 415
    code = "unsupported_content_encoding"


class UpgradeRequired(DownstreamError):
    """A WebSocket was asked for; clients fall back to HTTP on this status at once."""

    status = 426
    code = "websocket_not_supported"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the error, the protocol to use instead among them."""
        return [*super().headers(), ("Upgrade", "HTTP/1.1"), ("Connection", "Upgrade")]


class HeadersTooLarge(DownstreamError):
    """The request's head is over the limit."""

    status = 431
    code = "headers_too_large"


class UpstreamError(GatewayError):
    """The provider did not answer as it should."""

    status = 502
    type = "upstream_error"
    fault = "upstream"
    retry_safe = False


class ConnectFailed(UpstreamError):
    """No connection to the provider could be made; nothing was sent."""

    code = "upstream_connect_failed"
    retry_safe = True


class Disconnected(UpstreamError):
    """The provider closed the connection before the first byte of its answer."""

    code = "upstream_disconnected"


class BadAnswer(UpstreamError):
    """The provider's answer is not HTTP, not complete or not an answer."""

    code = "upstream_bad_answer"


class ConnectTimeout(UpstreamError):
    """The provider did not accept a connection in time; nothing was sent."""

    status = 504
    code = "upstream_connect_timeout"
    retry_safe = True


class FirstByteTimeout(UpstreamError):
    """The provider accepted the request and sent no byte in time."""

    status = 504
    code = "upstream_first_byte_timeout"


class InternalError(GatewayError):
    """The gateway itself cannot serve the request."""


class BindingsUnavailable(InternalError):
    """Who owns the id cannot be established while Redis is away."""

    status = 503
    code = "bindings_unavailable"


class StoreUnavailable(InternalError):
    """What the gateway keeps of a response cannot be read or removed while Redis is away."""

    status = 503
    code = "store_unavailable"


class Draining(InternalError):
    """The gateway is stopping."""

    status = 503
    code = "draining"

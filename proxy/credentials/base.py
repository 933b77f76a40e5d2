"""What a scheme of credentials is, and the lease by which those that expire are held."""

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from proxy.errors import InternalError
from proxy.providers.base import Headers

T = TypeVar("T")

AHEAD = 300.0
"""Seconds before their end at which credentials are renewed. Azure's and Amazon's libraries, and Google's metadata
server, hand out what they have until about then."""
PAUSE = 1.0
"""Seconds between two attempts to obtain credentials, whatever came of the first."""

PATIENCE = 30.0
"""Seconds a request waits for credentials: a library may have no time-out of its own where it runs a program."""

_CODE = re.compile(r"[A-Za-z][A-Za-z_.]{0,63}")

Clock = Callable[[], float]
"""Tells the seconds since the epoch, by which credentials expire."""
Report = Callable[[str], object]
"""Takes note of a failure that requests may not show, in words without a secret."""


class Credentials(Protocol):
    """What one provider's requests authenticate with."""

    async def headers(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:
        """Return the headers to add to a request that has these `headers` already, `Host` among them or not.

        `url` is absolute and spelled as it is sent. Raises InternalError where there are no credentials.
        """

    async def close(self) -> None:
        """Give up what is being obtained."""


class Held(NamedTuple, Generic[T]):
    """Credentials as they were obtained; `expires` is in seconds since the epoch."""

    value: T
    expires: float = math.inf

    def __repr__(self) -> str:
        return f"Held(***, expires={self.expires})"


class Source(Protocol[T]):
    """Where credentials come from. Both methods block, and are called in one thread of their own."""

    def obtain(self) -> Held[T]:
        """Obtain them anew; any exception means there are none."""

    def close(self) -> None:
        """Release connections."""


class Lease(Generic[T]):
    """Credentials in use: obtained by one thread however many requests wait, and renewed while they still serve.

    A renewal that fails leaves them in use until they expire, and is tried again by a later request.
    """

    def __init__(self, source: Source[T], clock: Clock, report: Report, *, patience: float = PATIENCE) -> None:
        self._source = source
        self._clock = clock
        self._report = report
        self._patience = patience
        # A thread apart: one that waits for a silent endpoint must not be one that names are resolved in.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="credentials")
        self._held: Held[T] | None = None
        self._renew_at = -math.inf
        self._renewal: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self) -> T:
        """Return valid credentials; waits only where there are none.

        Raises InternalError where none can be obtained.
        """
        if self._renewal is None and self._clock() >= self._renew_at:
            self._renewal = asyncio.create_task(self._renew())
        if self._valid() is None and self._renewal is not None:
            # A request that goes away while it waits must not end the wait of the others.
            done, _ = await asyncio.wait({self._renewal}, timeout=self._patience)
            if not done:
                self._report(f"nothing has come within {self._patience:g} s")
        held = self._valid()
        if held is None:
            raise InternalError("The provider's credentials cannot be obtained.", code="no_credentials")
        return held.value

    def _valid(self) -> Held[T] | None:
        held = self._held
        return held if held is not None and self._clock() < held.expires else None

    async def _renew(self) -> None:
        try:
            self._held = await asyncio.get_running_loop().run_in_executor(self._thread, self._source.obtain)
        except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything, and it means one thing
            self._report(explain(error))
            self._renew_at = self._clock() + PAUSE
        else:
            self._plan(self._held.expires - self._clock())
        finally:
            self._renewal = None

    def _plan(self, remaining: float) -> None:
        if remaining <= 0:
            self._report("the credentials obtained have expired already: compare the clocks")
        # What lives no longer than the time ahead is renewed at half its life.
        self._renew_at = self._clock() + max(remaining - AHEAD, remaining / 2, PAUSE)

    async def close(self) -> None:
        """Give up a renewal under way; its thread ends with the library's own time-out."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})
        if not self._closed:
            self._closed = True
            self._thread.submit(self._source.close)
            self._thread.shutdown(wait=False)


def explain(error: Exception) -> str:
    """Name a failure by its type and the code a server gave it: its message may repeat a token.

    The code is OAuth's `{"error"}` or Amazon's `{"Error": {"Code"}}`, where the library keeps them.
    """
    codes = [code for answer in (*error.args, getattr(error, "response", None)) for code in _codes(answer)]
    return f"{type(error).__name__} ({codes[0]})" if codes else type(error).__name__


def _codes(answer: Any) -> Iterator[str]:
    if isinstance(answer, dict):
        for code in (answer.get("error"), *_values(answer.get("Error"))):
            if isinstance(code, str) and _CODE.fullmatch(code):
                yield code


def _values(detail: Any) -> tuple[Any, ...]:
    return (detail.get("Code"),) if isinstance(detail, dict) else ()

"""Moves one answer's body from provider to client: each chunk from the event that brought it, one in flight.

The relay is pumped by the upstream connection's `on_data` and, once the client reads again, by the downstream
connection's `on_writable`. While the client does not read nothing is taken from the parser, which then stops the
provider's socket. The only task is the exchange's own: it waits in `run`, is woken to bind a response's id before
the bytes that carry it go on, and learns how the body ended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from time import monotonic

from proxy.config import Timeouts
from proxy.downstream import Downstream
from proxy.sse import KEEP_ALIVE
from proxy.tap import Tap
from proxy.upstream import Answer

TERMINAL_GRACE = 5.0
"""Seconds behind the terminal event after which a stream that the provider keeps open, silent or not, has ended."""


class Outcome(Enum):
    """How moving a body ended."""

    WHOLE = "whole"
    CUT = "cut"
    IDLE = "idle"
    STALLED = "stalled"
    """The client stopped reading for as long as a provider may be silent."""
    STOPPED = "stopped"
    """The gateway is going away."""


class Relay:
    """One body on its way. `head` renders the head of the answer, before its first byte; None where it was sent."""

    __slots__ = (
        "_answer",
        "_binding",
        "_detached",
        "_downstream",
        "_ending",
        "_error",
        "_head",
        "_held",
        "_loop",
        "_more",
        "_outcome",
        "_pumping",
        "_received",
        "_tap",
        "_timeouts",
        "_timer",
        "_turn",
        "_written",
    )

    def __init__(
        self, answer: Answer, downstream: Downstream, tap: Tap, head: Callable[[], bytes] | None, timeouts: Timeouts
    ) -> None:
        self._answer = answer
        self._downstream = downstream
        self._tap = tap
        self._head = head
        self._timeouts = timeouts
        self._loop = answer.connection.loop
        self._held = b""
        self._binding = False
        self._pumping = self._more = False
        self._detached = False
        self._outcome: Outcome | None = None
        self._error: Exception | None = None
        self._turn: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = self._written = monotonic()
        self._ending = False

    async def run(self, bind: Callable[[], Awaitable[None]]) -> Outcome:
        """Move the body to its end; return how it ended. `bind` is awaited before a response's id goes on."""
        self._answer.connection.on_data = self._pump
        self._downstream.connection.on_writable = self._pump
        if self._timer is None:
            self._look_again(min(self._timeouts.keep_alive_comment, self._timeouts.idle))
        self._pump()
        while self._outcome is None or self._binding:
            if self._binding:
                await bind()
                self._let_go()
            else:
                self._turn = self._loop.create_future()
                await self._turn
        if self._error is not None:
            raise self._error
        return self._outcome

    def stop(self) -> None:
        """End the body here: the gateway is going away."""
        self._end(Outcome.STOPPED)

    def detach(self) -> None:
        """Go on without a client from the next `run` on, so that the provider is not interrupted."""
        self._detached = True

    def close(self) -> None:
        """Let go of both connections; nothing is pumped any more."""
        self._answer.connection.on_data = None
        self._downstream.connection.on_writable = None
        if self._timer is not None:
            self._timer.cancel()

    def _pump(self) -> None:
        """Take what the parser has and pass it on."""
        if self._pumping or self._binding or self._outcome is not None:
            # Taking what was held back makes the parser go on, and call again, before `take` returns.
            self._more = self._pumping
            return
        self._pumping = True
        try:
            self._take()
        except Exception as error:  # noqa: BLE001
            # Raised into aiohttp's parser it would be lost; `run` raises it.
            self._error = error
            self._end(Outcome.CUT)
        finally:
            self._pumping = False

    def _take(self) -> None:
        answer, tap = self._answer, self._tap
        self._more = True
        while self._more and (self._detached or not self._downstream.paused):
            self._more = False
            chunk = answer.take()
            if not chunk:
                break
            now = monotonic()
            if not self._ending:
                self._received = now
            block = tap.feed(chunk, now)
            if tap.identified:
                self._wait_for_binding(block)
                return
            if block:
                self._write(block, now)
        self._look_for_end()

    def _look_for_end(self) -> None:
        answer, tap = self._answer, self._tap
        if answer.ended:
            self._close_tap()
        elif answer.broken and (self._detached or not self._downstream.paused):
            self._end(Outcome.CUT)
        elif tap.abandoned:
            self._end(Outcome.WHOLE)
        elif tap.finished and not self._ending:
            self._ending = True
            self._look_again(TERMINAL_GRACE)

    def _close_tap(self) -> None:
        rest = self._tap.close()
        if self._tap.identified:
            self._wait_for_binding(rest)
        elif rest:
            self._write(rest, monotonic())
        self._end(Outcome.WHOLE)

    def _wait_for_binding(self, block: bytes) -> None:
        self._tap.identified = False
        self._binding = True
        self._held = block
        self._wake()

    def _let_go(self) -> None:
        """Pass on what waited for the binding, and what came meanwhile."""
        self._binding = False
        held, self._held = self._held, b""
        self._write(held, monotonic())
        self._pump()

    def _write(self, block: bytes, now: float) -> None:
        if self._detached:
            return
        self._written = now
        if self._head is not None:
            head, self._head = self._head(), None
            self._downstream.write(block, head)
        else:
            self._downstream.write(block)

    def _end(self, outcome: Outcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._wake()

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _tick(self) -> None:
        """Look at the clock: once in a while, not for every chunk."""
        now = monotonic()
        idle = self._timeouts.idle
        if self._downstream.paused and not self._detached:
            if now - self._written >= idle:
                self._end(Outcome.STALLED)
            self._received = now
        elif self._ending:
            if now - self._received >= TERMINAL_GRACE:
                self._end(Outcome.WHOLE)
        elif now - self._received >= idle:
            self._end(Outcome.IDLE)
        elif self._tap.aligned and not self._binding and now - self._written >= self._timeouts.keep_alive_comment:
            self._write(KEEP_ALIVE, now)
        if self._outcome is None:
            self._look_again(self._next_look(now) - now)

    def _look_again(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._tick)

    def _next_look(self, now: float) -> float:
        """Return when something may be due next."""
        silence = self._timeouts.keep_alive_comment
        patience = TERMINAL_GRACE if self._ending else self._timeouts.idle
        due = (self._written + silence, self._written + self._timeouts.idle, self._received + patience, now + silence)
        return min(at for at in due if at > now)

"""Wait for a fact that no event announces, and tell progress from standstill."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE = 20.0
"""Seconds after which a fact that did not come fails the test."""

PAUSE = 0.005
QUIET_ROUNDS = 40


async def eventually(fact: Callable[[], Any]) -> Any:
    """Return what `fact()` gives (awaited where it must be) as soon as it is true."""
    async with asyncio.timeout(PATIENCE):
        while not (value := await _value(fact)):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(PAUSE)
    return value


async def standstill(measure: Callable[[], int]) -> int:
    """Return the value of a growing measure once it has stopped growing."""
    async with asyncio.timeout(PATIENCE):
        known, rounds = measure(), 0
        while rounds < QUIET_ROUNDS:
            await asyncio.sleep(PAUSE)
            value = measure()
            known, rounds = value, rounds + 1 if value == known else 0
    return known


async def _value(fact: Callable[[], Any]) -> Any:
    value = fact()
    return await value if isinstance(value, Awaitable) else value

"""The two stores on a Redis of any form, by its URL."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from proxy.config import ArchiveConfig, BindingsConfig
from tests.rig import archive, bindings

ACK_TIMEOUT = 1.0
"""Seconds: four times the default, since the machine of a test may stand still for a moment."""


@contextlib.asynccontextmanager
async def bindings_at(url: str, **settings: Any) -> AsyncIterator[bindings.Running]:
    """Run bindings until the block ends."""
    running = bindings.Running(url, BindingsConfig.model_validate({"ack_timeout": ACK_TIMEOUT, **settings}))
    await running.start()
    try:
        yield running
    finally:
        running.stop()
        await running.ended()


@contextlib.asynccontextmanager
async def archive_at(url: str, **settings: Any) -> AsyncIterator[archive.Running]:
    """Run an archive until the block ends."""
    running = archive.Running(url, ArchiveConfig.model_validate({"ack_timeout": ACK_TIMEOUT, **settings}))
    await running.start()
    try:
        yield running
    finally:
        running.stop()
        await running.ended()

"""A queue of writes, the store it writes to, and the places of its keys, each of which may be away."""

import asyncio
import contextlib
import time

import orjson

from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.redisqueue import Names, RedisQueue
from tests.rig.eventually import eventually

PATIENCE = 20.0


class Places:
    """Where keys live: at the place their second byte names, or that it has moved to."""

    def __init__(self):
        self.moves = {}
        self.faults = {}
        self.watcher = None
        self.left = []

    def place_of(self, key):
        place = key[1:2].decode()
        return self.moves.get(place, place)

    def places(self):
        return {self.moves.get(place, place) for place in ("", "1", "2")}

    def watch(self, watcher):
        self.watcher = watcher

    async def probe(self, place):
        if place in self.faults:
            raise self.faults[place]

    def leave(self, place):
        self.left.append(place)

    async def confirms(self):
        return True

    def move(self, place, to):
        self.moves[place] = to
        self.watcher.moved()


class Store:
    """What a queue writes to: takes batches, holds them up or fails as it is told."""

    def __init__(self, **settings):
        self.link = Places()
        self.batches = []
        self.held = {}
        self.fault = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.dropped = 0
        self.written = []
        log = Log(self.written.append, time.time)
        self.queue = RedisQueue(
            self.send,
            self.link,
            names=Names("keep", "store_state", "store_lost"),
            dropped=self.drop,
            metrics=Metrics(providers=[], models=[]),
            log=log,
            clock=time.monotonic,
            **{"limit": 100, "batch": 10, **settings},
        )

    async def send(self, batch):
        await self.gate.wait()
        fault = self.fault or self.link.faults.get(self.link.place_of(next(iter(batch))))
        if fault is not None:
            raise fault
        self.batches.append(list(batch))
        self.held.update((key, write.value) for key, write in batch.items())
        return [write.value != "refused" for write in batch.values()]

    def drop(self, number):
        self.dropped += number

    def events(self, name):
        lines = [orjson.loads(line) for line in b"".join(self.written).splitlines()]
        return [line for line in lines if line["event"] == name]


@contextlib.asynccontextmanager
async def running(**settings):
    store = Store(**settings)
    await store.queue.open()
    writing = asyncio.create_task(store.queue.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield store
    finally:
        store.gate.set()
        store.queue.stop()
        await writing


async def taken(store):
    """Wait until nothing waits, though something may be under way."""
    await eventually(lambda: not len(store.queue))

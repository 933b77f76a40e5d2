"""Kept responses behind a socket, without the gateway around them."""

import contextlib
import functools
import re
from time import monotonic

import orjson

from proxy.archive import EventLog
from proxy.bindings import KEPT, Binding
from proxy.dialects.replay import replay
from proxy.downstream import Downstream
from proxy.errors import GatewayError
from proxy.handlers import parse_target
from proxy.headers import render
from proxy.kept import Kept
from proxy.metrics import Metrics
from proxy.ownership import response_not_found
from proxy.record import Record
from proxy.sse import encode
from tests.rig import wire
from tests.rig.archive import archive, entry_of, response_of
from tests.rig.bindings import bindings
from tests.rig.client import fetch
from tests.rig.edge import serving

LINES = render([("x-gateway-provider", "main")])
USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 8,
}


@functools.cache
def stream(words, members):
    """Make a response of so many words, with members given in JSON; return its id, its text and its frames."""
    rid = wire.new_id()
    text = "".join(f"{number} " for number in range(words))
    events = replay(response_of(rid, text, **orjson.loads(members)), re.compile(r"\S+ ").findall)
    return rid, text, [encode(event["type"], orjson.dumps(event)) for event in events]


class Desk:
    """Kept responses behind a socket, and what became of each exchange."""

    def __init__(self, kept, bound, patience):
        self.archive = kept
        self.bindings = bound
        self.kept = Kept(kept, bound, patience=patience)
        self.metrics = Metrics(providers=["main"], models=[])
        self.records = []
        self.downstreams = []
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request):
        """Do what the handlers around an exchange do."""
        record, downstream = Record("gw_1", monotonic()), Downstream(request, keep_alive=True)
        record.tenant, record.provider = "team-a", "main"
        self.downstreams.append(downstream)
        try:
            call = parse_target(["/v1"], request.method, request._message.path, "/v1")
            record.operation = call.operation
            return await self.kept.answer(call, downstream, record, LINES)
        except GatewayError as error:
            if downstream.head_sent:
                return downstream.abort()
            record.status = error.status
            return downstream.fail(error, LINES)
        finally:
            record.ended = monotonic()
            self.metrics.settle(record)
            self.records.append(record)

    async def keep(self, **entry):
        """Keep a response and bind it, as a create does; return its id."""
        rid = wire.new_id()
        kept = entry_of(rid, **entry)
        await self.archive.keep(rid, kept)
        await self.bindings.bind(rid, Binding(kept.provider, kept.tenant, KEPT))
        return rid

    async def keep_streamed(self, words, runs=1, **members):
        """Keep a response that was streamed, with its frames in runs of so many; return its id and the frames."""
        rid, text, frames = stream(words, orjson.dumps(members))
        log = EventLog(1 << 30)
        for at in range(0, len(frames), runs):
            log.append(b"".join(frames[at : at + runs]))
        await self.archive.keep(rid, entry_of(rid, text=text, **members)._replace(events=log.blocks()))
        return rid, b"".join(frames)

    async def get(self, target, method="GET"):
        return await fetch(self.port, method, f"/v1/responses/{target}")

    def counted(self, family):
        """Return the counts of a family that are not zero, by label values."""
        lines = [orjson.loads(line) for line in b"".join(self.metrics.snapshot()).splitlines()[1:]]
        return {tuple(labels): n for name, cells in lines if name == family.name for labels, n in cells if n}


@contextlib.asynccontextmanager
async def open_desk(valkey, patience=20.0, **settings):
    async with archive(valkey, **settings) as kept, bindings(valkey) as bound:
        opened = Desk(kept, bound, patience)
        async with serving(opened.handle) as server:
            opened.port = server.port
            yield opened


def missing(rid):
    return response_not_found(rid).body()

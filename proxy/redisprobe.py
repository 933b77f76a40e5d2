"""Asks the configured Redis whether it is there and fit to hold bindings: version, role, eviction, persistence."""

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Final

from redis.exceptions import AuthenticationError, ResponseError

from proxy.masters import PATIENCE, ask, open_masters
from proxy.probe import FAIL, OK, WARN, Finding
from proxy.redisline import FOREIGN, describe
from proxy.redislink import Link

OLDEST: Final = 7
"""The first major version of Redis that has `SET … NX GET`; every Valkey has it."""
SUBJECT: Final = "redis"

Note = tuple[str, str]
"""A result, and why."""


async def probe_redis(url: str, *, patience: float = PATIENCE) -> list[Finding]:
    """Probe every server that has keys, each answer within `patience` seconds."""
    try:
        async with open_masters(url, patience=patience) as masters:
            alone = len(masters.each) == 1
            subjects = {SUBJECT if alone else f"{SUBJECT} {name}": link for name, link in masters.each.items()}
            return [await _probe(subject, link) for subject, link in subjects.items()]
    except FOREIGN as error:
        return [_failure(SUBJECT, error)]


async def _probe(subject: str, link: Link) -> Finding:
    began = perf_counter()
    try:
        await ask(link, [("PING",)])
        took = perf_counter() - began
        notes = [*await _find_notes(link), (OK, f"{took * 1000:.1f} ms")]
    except FOREIGN as error:
        return _failure(subject, error)
    worst = max((result for result, _ in notes), key=(OK, WARN, FAIL).index)
    return Finding(subject, worst, "; ".join(why for result, why in notes if worst in {OK, result}))


def _failure(subject: str, error: Exception) -> Finding:
    # What a server behind a Unix socket answers to its greeting, redis-py makes an error of the connection.
    answers = (ResponseError, AuthenticationError)
    what = "refused" if isinstance(error, answers) or isinstance(error.__cause__, answers) else "unreachable"
    return Finding(subject, FAIL, f"{what}: {describe(error)}")


async def _find_notes(link: Link) -> list[Note]:
    try:
        (text,) = await ask(link, [("INFO",)])
    except ResponseError as error:
        return [(WARN, f"it does not tell about itself: {error}")]
    info = _parse_info(text)
    return [_version(info), *_role(info), _eviction(info), await _persistence(link, info)]


def _parse_info(text: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _version(info: Mapping[str, str]) -> Note:
    if "valkey_version" in info:
        return OK, f"Valkey {info['valkey_version']}"
    version = str(info.get("redis_version", ""))
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST:
        return FAIL, f"Redis {version} is too old: {OLDEST} or later is needed, or any Valkey"
    return OK, f"Redis {version}"


def _role(info: Mapping[str, str]) -> Iterator[Note]:
    if info.get("role") == "slave":
        yield FAIL, "it is a replica and takes no writes"


def _eviction(info: Mapping[str, str]) -> Note:
    policy = info.get("maxmemory_policy", "")
    if policy == "noeviction":
        return OK, "noeviction"
    if info.get("maxmemory", "0") == "0":
        return OK, f"{policy}, without a maxmemory that it could apply to"
    return WARN, f"maxmemory-policy {policy} drops bindings where memory runs out: set noeviction"


async def _persistence(link: Link, info: Mapping[str, str]) -> Note:
    if info.get("aof_last_write_status", "ok") != "ok":
        return WARN, "its append-only file could not be written last time"
    if info.get("aof_enabled") == "1":
        return OK, "append-only file"
    try:
        (settings,) = await ask(link, [("CONFIG", "GET", "save")])
    except ResponseError:
        return OK, "whether it persists it does not tell"
    if not any(settings[1::2] if isinstance(settings, list) else settings.values()):
        return WARN, "nothing is persisted: a restart forgets every binding"
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return WARN, "its last snapshot failed"
    return OK, "snapshots; with an append-only file a crash would lose less"

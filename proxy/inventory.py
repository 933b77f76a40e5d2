"""The `bindings` command: what the gateway knows of response ids, in tables for people or JSON for programs.

It never shows what a response says.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from math import ceil, inf, isinf
from time import perf_counter
from typing import Any, Final, NamedTuple

import orjson
import uvloop

from proxy.bindings import BACKGROUND, CONVERSATION, KEPT, Binding
from proxy.config import Config
from proxy.masters import Masters, open_masters
from proxy.redisline import FOREIGN, describe
from proxy.stored import Entry, Stock, Tally, look_up, remove, take_stock
from proxy.tables import align, table

FOUND, NOT_FOUND, FAILED = 0, 1, 2
"""Exit statuses; FAILED where Redis could not say."""

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60))

Object = dict[str, Any]


class Outcome(NamedTuple):
    """An exit status, and what is printed: lines for people, an object for programs."""

    status: int
    lines: list[str]
    json: Object


def add_arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Define the command's actions; `shared` has the options that say which gateway is meant."""
    shared.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    stats = actions.add_parser("stats", parents=[shared], help="count live ids by provider and tenant")
    stats.add_argument("--provider", metavar="NAME", help="only its: do ids still depend on it?")
    stats.set_defaults(act=_stats)
    for name, act, words in (
        ("show", _show, "tell what an id is bound to"),
        ("forget", _forget, "remove an id's binding, and its response where the gateway keeps it"),
    ):
        action = actions.add_parser(name, parents=[shared], help=words)
        action.add_argument("id", help="of a response or a conversation")
        action.set_defaults(act=act)


def run(arguments: argparse.Namespace, config: Config, url: str) -> int:
    """Run one action against the Redis at `url`, print what came of it and return the exit status."""
    try:
        outcome = uvloop.run(_act(arguments, config, url))
    except FOREIGN as error:
        sys.stderr.write(f"Redis cannot be asked: {describe(error)}\n")
        return FAILED
    sys.stdout.write(
        orjson.dumps(outcome.json, option=orjson.OPT_INDENT_2).decode() + "\n"
        if arguments.json
        else "".join(f"{line}\n" for line in outcome.lines)
    )
    return outcome.status


async def _act(arguments: argparse.Namespace, config: Config, url: str) -> Outcome:
    async with open_masters(url) as masters:
        outcome: Outcome = await arguments.act(arguments, config, masters)
        return outcome


# -- stats ---------------------------------------------------------------------------------------------------------


async def _stats(arguments: argparse.Namespace, config: Config, masters: Masters) -> Outcome:
    began = perf_counter()
    stock = await take_stock(masters)
    seconds = perf_counter() - began
    names = sorted({provider for provider, _ in stock.tallies} | set(config.providers))
    if arguments.provider is not None:
        if arguments.provider not in names:
            message = f"no provider {arguments.provider} is configured, and no id is bound to one of that name"
            return Outcome(NOT_FOUND, [message], {"found": False, "provider": arguments.provider})
        names = [arguments.provider]
    shares = {name: stock.of(name) for name in names}
    lines = [] if arguments.provider is not None else [*_rows(shares)]
    lines += [line for name in names for line in _dependence(name, shares[name], configured=name in config.providers)]
    lines += _footnotes(stock, seconds)
    providers = [_provider_object(name, shares[name], configured=name in config.providers) for name in names]
    return Outcome(
        FOUND, lines, {"found": True, "providers": providers, "unreadable": stock.unreadable, "seconds": seconds}
    )


def _rows(shares: Mapping[str, Mapping[str, Tally]]) -> Iterator[str]:
    rows = [
        (
            *(name, tenant),
            *(f"{count:,}" for count in (one.ids, one.dependent, one.kept, one.background, one.conversations)),
            *(_span(one.first_expires), _span(one.last_expires)),
        )
        for name, share in shares.items()
        for tenant, one in share.items()
    ]
    heads = (
        "PROVIDER",
        "TENANT",
        "IDS",
        "DEPEND",
        "KEPT",
        "BACKGROUND",
        "CONVERSATIONS",
        "FIRST EXPIRES",
        "LAST EXPIRES",
    )
    if rows:
        yield from table([heads, *rows])


def _dependence(name: str, share: Mapping[str, Tally], *, configured: bool) -> Iterator[str]:
    """Say whether a provider's key can be retired."""
    dependent, kept = sum(one.dependent for one in share.values()), sum(one.kept for one in share.values())
    tenants = sum(one.dependent > 0 for one in share.values())
    are, them = ("is", "it") if kept == 1 else ("are", "them")
    keeps = f" ({kept:,} more {are} kept by the gateway, which needs no key for {them})" if kept else ""
    if dependent:
        verb, one = ("depends", "it") if dependent == 1 else ("depend", "the last")
        yield (
            f"{_count(dependent, 'id')} of {_count(tenants, 'tenant')} still {verb} on {name}; "
            f"{one} {_expires(_last(share))}{keeps}"
        )
    else:
        yield f"no id depends on {name}{keeps}"
    if dependent and not configured:
        yield f"warning: {name} is no longer configured: calls on the ids that depend on it are answered with 404"


def _footnotes(stock: Stock, seconds: float) -> Iterator[str]:
    total = sum(tally.ids for tally in stock.tallies.values())
    if stock.unreadable:
        yield f"warning: {_count(stock.unreadable, 'key')} of the same form cannot be read as a binding"
    yield f"{_count(total, 'binding')} read in {seconds:.1f} s"


def _last(share: Mapping[str, Tally]) -> float:
    return max((tally.last_dependent_expires for tally in share.values()), default=0.0)


def _provider_object(name: str, share: Mapping[str, Tally], *, configured: bool) -> Object:
    dependent = sum(tally.dependent for tally in share.values())
    return {
        "provider": name,
        "configured": configured,
        "ids": sum(tally.ids for tally in share.values()),
        "dependent": dependent,
        "last_dependent_expires_in": _json_seconds(_last(share)) if dependent else None,
        "tenants": [
            {
                "tenant": tenant,
                "ids": tally.ids,
                "dependent": tally.dependent,
                "kept": tally.kept,
                "background": tally.background,
                "conversations": tally.conversations,
                "first_expires_in": _json_seconds(tally.first_expires),
                "last_expires_in": _json_seconds(tally.last_expires),
            }
            for tenant, tally in share.items()
        ],
    }


# -- one id --------------------------------------------------------------------------------------------------------


async def _show(arguments: argparse.Namespace, config: Config, masters: Masters) -> Outcome:
    entry = await _find(arguments.id, config, masters)
    if not entry:
        return _missing(arguments.id)
    found = {"found": True, "id": arguments.id, **_entry_object(entry, config)}
    return Outcome(FOUND, list(_describe(arguments.id, entry, config)), found)


async def _forget(arguments: argparse.Namespace, config: Config, masters: Masters) -> Outcome:
    entry = await _find(arguments.id, config, masters)
    if not entry:
        return _missing(arguments.id)
    await remove(masters, arguments.id, entry)
    lines = []
    if entry.binding is not None:
        lines.append(f"removed: the binding to {entry.binding.provider} of {entry.binding.tenant}")
    lines += [f"removed: the response kept for {kept.tenant}, {_count(kept.size, 'byte')}" for kept in entry.kept]
    notes = list(_aftermath(entry, config))
    done = {"found": True, "id": arguments.id, "removed": _entry_object(entry, config), "notes": notes}
    return Outcome(FOUND, [*lines, *(f"note: {note}" for note in notes)], done)


async def _find(response_id: str, config: Config, masters: Masters) -> Entry:
    return await look_up(masters, response_id, {key.tenant for key in config.keys} or {"default"})


def _missing(response_id: str) -> Outcome:
    return Outcome(
        NOT_FOUND, [f"{response_id}: no binding, and nothing is kept of it"], {"found": False, "id": response_id}
    )


def _aftermath(entry: Entry, config: Config) -> Iterator[str]:
    """Say what forgetting does not reach."""
    if entry.kept:
        yield "responses that continue it can no longer be read as context, and not be continued"
        return
    if entry.binding is None:
        return
    name = entry.binding.provider
    yield f"{name} was not asked: it still has what it keeps of this id"
    if config.bindings.cache:
        yield (
            f"a running worker that bound or looked up this id may still let {entry.binding.tenant} use it; "
            "reload the gateways (SIGHUP) and none does"
        )
    if config.forwards_unknown:
        yield "calls on ids that nobody bound are forwarded here (bindings.unknown), so a provider may still answer"


def _describe(response_id: str, entry: Entry, config: Config) -> Iterator[str]:
    rows = [("id", response_id)]
    if entry.binding is None:
        rows.append(("binding", "none: only what is kept is left, and no call finds it"))
    else:
        gone = "" if entry.binding.provider in config.providers else " (no longer configured)"
        rows += [
            ("provider", entry.binding.provider + gone),
            ("tenant", entry.binding.tenant),
            ("flags", ", ".join(_flags(entry.binding)) or "none"),
            ("binding", _expires(entry.expires)),
        ]
    for kept in entry.kept:
        rows.append(("kept", f"for {kept.tenant}: {_count(kept.size, 'byte')} compressed; {_expires(kept.expires)}"))
    if not entry.kept:
        rows.append(
            ("kept", "no" if entry.binding is None or not _is_kept(entry.binding) else "it should be, and is not there")
        )
    yield from align(rows)


def _is_kept(binding: Binding) -> bool:
    return bool(binding.flags & KEPT)


def _flags(binding: Binding) -> list[str]:
    named = {"background": binding.flags & BACKGROUND, "conversation": binding.flags & CONVERSATION}
    return [*(name for name, flag in named.items() if flag), *(["kept by the gateway"] if _is_kept(binding) else [])]


def _entry_object(entry: Entry, config: Config) -> Object:
    binding = entry.binding
    return {
        "binding": None
        if binding is None
        else {
            "provider": binding.provider,
            "configured": binding.provider in config.providers,
            "tenant": binding.tenant,
            "background": bool(binding.flags & BACKGROUND),
            "conversation": bool(binding.flags & CONVERSATION),
            "kept": _is_kept(binding),
            "expires_in": _json_seconds(entry.expires),
        },
        "kept": [
            {"tenant": kept.tenant, "bytes": kept.size, "expires_in": _json_seconds(kept.expires)}
            for kept in entry.kept
        ],
    }


# -- words ---------------------------------------------------------------------------------------------------------


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _span(seconds: float) -> str:
    """Write a time to come in its largest unit, rounded up: what is said to last a day does not last longer."""
    if isinf(seconds):
        return "never"
    for unit, size in _UNITS:
        if seconds > size:
            return _count(ceil(seconds / size), unit)
    return _count(max(ceil(seconds), 1), "second")


def _expires(seconds: float) -> str:
    return "never expires" if isinf(seconds) else f"expires in {_span(seconds)}"


def _json_seconds(seconds: float) -> float | None:
    return None if seconds == inf else round(seconds, 3)

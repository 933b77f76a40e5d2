"""Finds the images and documents of a request that are somewhere else, and puts what was fetched in their place."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from proxy.dialects.create import Create
from proxy.dialects.items import Call as ToolCall
from proxy.dialects.items import File, Image, Output, Part, Reply, Said, Thought, Turn
from proxy.dialects.media import is_remote

Remote = Image | File


def remote_parts(create: Create, fetches: Callable[[Remote], bool]) -> tuple[Remote, ...]:
    """Return the parts that lead elsewhere and that the provider would not follow, each once."""
    wanted = (part for part in _parts(create) if isinstance(part, Image | File) and is_remote(part.url))
    return tuple(dict.fromkeys(part for part in wanted if fetches(part)))


def put_in(create: Create, found: Mapping[Remote, str]) -> Create:
    """Return the request with data URLs where the parts `found` were."""
    return replace(create, turns=tuple(_turn(turn, found) for turn in create.turns)) if found else create


def _parts(create: Create) -> Iterator[Part]:
    for turn in create.turns:
        if isinstance(turn, Said):
            yield from turn.parts
            continue
        for holder in (*turn.acts, *turn.outputs):
            if isinstance(holder, Reply | Output):
                yield from holder.parts


def _turn(turn: Said | Turn, found: Mapping[Remote, str]) -> Said | Turn:
    if isinstance(turn, Said):
        return turn._replace(parts=_replaced(turn.parts, found))
    return Turn(
        tuple(_act(act, found) for act in turn.acts),
        tuple(output._replace(parts=_replaced(output.parts, found)) for output in turn.outputs),
    )


def _act(act: Reply | Thought | ToolCall, found: Mapping[Remote, str]) -> Reply | Thought | ToolCall:
    return act._replace(parts=_replaced(act.parts, found)) if isinstance(act, Reply) else act


def _replaced(parts: tuple[Part, ...], found: Mapping[Remote, str]) -> tuple[Part, ...]:
    return tuple(
        _local(part, found[part]) if isinstance(part, Image | File) and part in found else part for part in parts
    )


def _local(part: Remote, data: str) -> Remote:
    if isinstance(part, Image):
        return part._replace(url=data)
    name = unquote(urlsplit(part.url or "").path.rpartition("/")[2])
    return part._replace(data=data, url=None, filename=part.filename or name or None)

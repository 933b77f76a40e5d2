"""What `GET /models` answers: the models a caller may use, from the aliases and the providers' own lists."""

import asyncio

import orjson

from proxy.auth import Caller
from proxy.errors import BadAnswer, DownstreamError, GatewayError, NotFound
from proxy.providers.base import ModelList
from proxy.routing import Router
from proxy.upstream import FOREIGN, Answer, Line, Upstream, mapped

LIFETIME = 300.0
"""Seconds a provider's list is kept."""
PAUSE = 10.0
"""Seconds until a provider that gave none is asked again."""
PATIENCE = 5.0
"""Seconds a provider has to list its models; without an answer the list goes without it."""
MAX_LIST = 4_194_304
"""Bytes of a provider's list at most."""
CREATED = 1_767_225_600
"""What models nobody dated are said to be created at: the start of 2026."""


class Catalogue:
    """The models of all providers, as each caller may see them."""

    def __init__(self, upstreams: dict[str, Upstream], router: Router) -> None:
        self._upstreams = upstreams
        self._router = router
        self._loop = asyncio.get_running_loop()
        self._lists: dict[str, tuple[float, list[str]]] = {}

    async def answer(self, caller: Caller, model: str | None) -> bytes:
        """Render the list, or one model of it.

        Raises NotFound for a model that is not there or not the caller's to use.
        """
        models = await self._models(caller)
        if model is None:
            return orjson.dumps({"object": "list", "data": [_render(name, owner) for name, owner in models.items()]})
        if model not in models:
            raise NotFound(f"The model '{model[:128]}' does not exist.", code="model_not_found", param="model")
        return orjson.dumps(_render(model, models[model]))

    async def _models(self, caller: Caller) -> dict[str, str]:
        """Return model → provider: aliases, each provider's models, and what the key's own list names besides."""
        router = self._router
        allowed = router.allowed(caller)
        offers = [(alias, *target) for alias, target in router.aliases.items() if target[0] in allowed]
        lists = await asyncio.gather(*(self._list(name) for name in allowed))
        default = router.default(caller)
        for name, listed in zip(allowed, lists, strict=True):
            bare = default is not None and default.provider == name
            offers += ((self._spell(name, model, bare=bare), name, model) for model in listed)
        models = {shown: owner for shown, owner, model in offers if router.permits(caller, owner, model)}
        for name in sorted(caller.models or ()):
            owner = self._owner(caller, name)
            if owner is not None:
                models.setdefault(name, owner)
        return models

    def _spell(self, provider: str, model: str, *, bare: bool) -> str:
        """Write a model so that asking for it leads to its provider."""
        return model if bare and self._router.stands_alone(model) else f"{provider}/{model}"

    def _owner(self, caller: Caller, model: str) -> str | None:
        """Return where asking for a model leads, None where it leads nowhere."""
        try:
            route = self._router.by_model(caller, model) or self._router.default(caller)
        except DownstreamError:
            return None
        return None if route is None else route.provider

    async def _list(self, name: str) -> list[str]:
        known = self._lists.get(name)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        try:
            async with asyncio.timeout(PATIENCE):
                listed, lifetime = await _fetch(self._upstreams[name]), LIFETIME
        except (GatewayError, TimeoutError):
            listed, lifetime = known[1] if known is not None else [], PAUSE
        self._lists[name] = (self._loop.time() + lifetime, listed)
        return listed


async def _fetch(upstream: Upstream) -> list[str]:
    source = upstream.kind.models
    if source is None:
        return []
    signed = await upstream.sign("GET", source.path) if upstream.signs else None
    status, body = await get(upstream, await upstream.connect(), source.path, signed)
    if status != 200:  # noqa: PLR2004
        raise BadAnswer("The provider does not list its models.")
    return _names(body, source)


async def get(upstream: Upstream, line: Line, path: str, signed: bytes | None) -> tuple[int, bytes]:
    """Ask for what is below a provider's base URL; return status and body, and give the line back.

    `signed` are the header lines that authenticate, None for those of a fixed credential. Raises UpstreamError.
    """
    try:
        line.write(upstream.head("GET", path, b"Accept: application/json\r\n", b"", signed))
        answer = await line.answer()
        body = await _read(answer)
    except BaseException:
        line.close()
        raise
    answer.release()
    return answer.status, body


async def _read(answer: Answer) -> bytes:
    body = b""
    try:
        while not answer.body.at_eof() and len(body) < MAX_LIST:
            body += await answer.body.readany()
    except FOREIGN as error:
        raise mapped(error) from error
    return body


def _names(body: bytes, source: ModelList) -> list[str]:
    """Read a list, in its envelope or bare; raises BadAnswer."""
    try:
        value = orjson.loads(body)
        entries = value if isinstance(value, list) else value[source.list]
        names = [entry[source.name] for entry in entries]
        return [name.removeprefix(source.prefix) for name in names if isinstance(name, str)]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadAnswer("The provider's list of models cannot be read.") from error


def _render(name: str, owner: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}

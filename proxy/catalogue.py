"""What `GET /models` answers: the models a caller may use, from the aliases and the providers' own lists."""

import asyncio

import orjson

from proxy.auth import Caller
from proxy.errors import GatewayError, NotFound
from proxy.routing import Router
from proxy.upstream import FOREIGN, Answer, Upstream, mapped

LIFETIME = 300.0
"""Seconds a provider's list is kept."""
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
        """Return model → provider: aliases, then each provider's models, bare where they would be routed there bare."""
        allowed = self._router.allowed(caller)
        models = {alias: owner for alias, (owner, _) in self._router.aliases.items() if owner in allowed}
        lists = await asyncio.gather(*(self._list(name) for name in allowed))
        default = self._router.default(caller)
        for name, listed in zip(allowed, lists, strict=True):
            bare = default is not None and default.provider == name
            models.update({model if bare else f"{name}/{model}": name for model in listed if model not in models})
        if caller.models is not None:
            models = {name: owner for name, owner in models.items() if name in caller.models}
            for name in sorted(caller.models - models.keys()):
                route = self._router.by_model(caller, name) or default
                if route is not None:
                    models[name] = route.provider
        return models

    async def _list(self, name: str) -> list[str]:
        known = self._lists.get(name)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        try:
            async with asyncio.timeout(PATIENCE):
                listed = await _fetch(self._upstreams[name])
        except (GatewayError, TimeoutError):
            listed = known[1] if known is not None else []
        self._lists[name] = (self._loop.time() + LIFETIME, listed)
        return listed


async def _fetch(upstream: Upstream) -> list[str]:
    line = await upstream.connect()
    try:
        line.write(upstream.head("GET", "/models", b"Accept: application/json\r\n", b""))
        answer = await line.answer()
        body = await _read(answer)
    except BaseException:
        line.close()
        raise
    answer.release()
    return _ids(body) if answer.status == 200 else []  # noqa: PLR2004


async def _read(answer: Answer) -> bytes:
    body = b""
    try:
        while not answer.body.at_eof() and len(body) < MAX_LIST:
            body += await answer.body.readany()
    except FOREIGN as error:
        raise mapped(error) from error
    return body


def _ids(body: bytes) -> list[str]:
    try:
        data = orjson.loads(body)["data"]
        return [entry["id"] for entry in data if isinstance(entry["id"], str)]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []


def _render(name: str, owner: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}

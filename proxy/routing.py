"""(caller, what the request says, binding) → route. Pure: no look-up happens here.

The order: the binding, for calls on an id; the header `x-tfy-provider-name`; `model` written `provider/model`;
an alias; the key's or the file's default; the only provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.auth import Caller
from proxy.config import Config
from proxy.errors import BadRequest, Forbidden

NAMED, MODEL, DEFAULT = "named", "model", "default"
"""How a provider was chosen: by the header, by the model, or for want of anything that says otherwise."""


@dataclass(frozen=True, slots=True)
class Route:
    """A provider, how it was chosen, the model to ask it for (None: as the client wrote it).

    `kept`: the call is about a response that the gateway keeps itself.
    """

    provider: str
    by: str
    model: str | None = None
    kept: bool = False


class Router:
    """The routes a configuration allows."""

    def __init__(self, config: Config) -> None:
        self._providers = tuple(config.providers)
        self._known = frozenset(config.providers)
        self._default = config.default_provider
        self.aliases: Mapping[str, tuple[str, str]] = {
            alias: (target.partition("/")[0], target.partition("/")[2]) for alias, target in config.models.items()
        }
        self._aliased = frozenset(provider for provider, _ in self.aliases.values())

    def allowed(self, caller: Caller) -> list[str]:
        """Return the names of the providers a caller may use."""
        return [name for name in self._providers if caller.may_use(name)]

    def named(self, caller: Caller, name: str) -> Route:
        """Route by the header.

        Raises BadRequest, the same for a provider that is not there and one the caller may not use.
        """
        if name in self._known and caller.may_use(name):
            return Route(name, NAMED)
        raise self._unknown(caller, name, "x-tfy-provider-name")

    def _unknown(self, caller: Caller, name: str, param: str) -> BadRequest:
        return BadRequest(
            f"There is no provider '{name[:64]}' for this key. {_may_use(self.allowed(caller))}",
            code="unknown_provider",
            param=param,
        )

    def may_rewrite(self, provider: str) -> bool:
        """Tell whether an alias could replace a model's name by a longer one on the way to a provider."""
        return provider in self._aliased

    def complete(self, caller: Caller, route: Route, model: str | None) -> Route:
        """Settle the model of a route that was chosen without it.

        Raises Forbidden where the caller may not use the model.
        """
        if model is not None and route.model is None:
            target = self._target(model)
            if target is not None and target[0] == route.provider:
                route = Route(route.provider, route.by, target[1])
        self._check_model(caller, route, model)
        return route

    def by_model(self, caller: Caller, model: str | None) -> Route | None:
        """Route by what `model` names; None where it names no provider.

        Raises BadRequest or Forbidden where it names one the caller may not use.
        """
        target = None if model is None else self._target(model)
        if model is None or target is None:
            return None
        if caller.may_use(target[0]):
            return Route(target[0], MODEL, target[1])
        if model in self.aliases:
            raise Forbidden(f"This key may not use model '{model[:128]}'.", code="model_not_allowed", param="model")
        raise self._unknown(caller, target[0], "model")

    def default(self, caller: Caller) -> Route | None:
        """Route for want of anything that says otherwise: the key's default, the file's, the only provider."""
        for name in (caller.default_provider, self._default):
            if name is not None and name in self._known and caller.may_use(name):
                return Route(name, DEFAULT)
        allowed = self.allowed(caller)
        return Route(allowed[0], DEFAULT) if len(allowed) == 1 else None

    def undecided(self, caller: Caller, model: str | None) -> BadRequest:
        """Make the error that says what would decide."""
        subject = f"model '{model[:128]}'" if model else "this request"
        return BadRequest(
            f"Nothing says which provider serves {subject}. Name one in the header x-tfy-provider-name, or write the "
            f"model as provider/model. {_may_use(self.allowed(caller))}",
            code="provider_undecided",
            param="model" if model else None,
        )

    def _target(self, model: str) -> tuple[str, str] | None:
        """Return what `provider/model` or an alias stands for."""
        provider, slash, rest = model.partition("/")
        if slash and rest and provider in self._known:
            return provider, rest
        return self.aliases.get(model)

    def stands_alone(self, model: str) -> bool:
        """Tell whether a model's name says nothing about its provider."""
        return self._target(model) is None

    def permits(self, caller: Caller, provider: str, model: str) -> bool:
        """Tell whether a caller's list of models, if there is one, has a provider's `model`, however it is written."""
        if caller.models is None:
            return True
        targets = ((entry, self._target(entry)) for entry in caller.models)
        return any(entry == model if target is None else target == (provider, model) for entry, target in targets)

    def reaches(self, caller: Caller, provider: str) -> bool:
        """Tell whether there is a model that a caller may ask a provider for."""
        targets = (None,) if caller.models is None else map(self._target, caller.models)
        return caller.may_use(provider) and any(target is None or target[0] == provider for target in targets)

    def _check_model(self, caller: Caller, route: Route, model: str | None) -> None:
        if caller.models is None:
            return
        if model is None:
            raise BadRequest("This key needs a 'model' in the request.", code="model_required", param="model")
        if not self.permits(caller, route.provider, route.model or model):
            raise Forbidden(
                f"This key may not use model '{model[:128]}'. It may use: {', '.join(sorted(caller.models))}.",
                code="model_not_allowed",
                param="model",
            )


def _may_use(allowed: list[str]) -> str:
    return f"This key may use: {', '.join(allowed)}." if allowed else "This key may use no provider."

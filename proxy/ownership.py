"""Whose an id is and what it is bound to: one answer for every surface that takes an id.

Unknown and foreign ids are refused alike, with the error the caller's surface has for an id that is not there.
"""

from dataclasses import dataclass

from proxy.auth import Caller, Keys
from proxy.bindings import Binding, Bindings
from proxy.config import BindingsConfig
from proxy.errors import BadRequest, BindingsUnavailable, GatewayError, NotFound
from proxy.routing import Router


def response_not_found(response_id: str) -> NotFound:
    """Answer as OpenAI does for a response that is not there."""
    return NotFound(f"Response with id '{response_id}' not found.")


def previous_response_not_found(response_id: str) -> BadRequest:
    """Answer as OpenAI does where `previous_response_id` names nothing."""
    return BadRequest(
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def conversation_not_found(conversation_id: str) -> NotFound:
    """Answer as OpenAI does for a conversation that is not there."""
    return NotFound(f"Conversation with id '{conversation_id}' not found.")


@dataclass(frozen=True, slots=True)
class Claim:
    """An id a caller wants to use, what the header names, and the error for an id that is not there."""

    caller: Caller
    id: str
    named: str | None
    missing: GatewayError


class Ownership:
    """Decides claims from the bindings and the configuration's policy."""

    def __init__(self, bindings: Bindings, keys: Keys, router: Router, config: BindingsConfig) -> None:
        self._bindings = bindings
        self._keys = keys
        self._router = router
        self._forward = len(keys.tenants) <= 1 and config.unknown != "refuse"
        self._trust_header = config.without_redis == "trust_header"

    async def binding_of(self, claim: Claim) -> Binding | None:
        """Return what an id is bound to; None where nobody bound it and the caller may try its luck.

        While Redis is away it may be the provider that the header names, and what else is bound is not known.

        Raises the claim's `missing`, or BindingsUnavailable while nobody can tell.
        """
        if _climbs(claim.id):
            raise claim.missing
        try:
            binding = await self._bindings.find(claim.id, claim.caller.tenant)
        except BindingsUnavailable:
            if claim.named is not None and self._may_trust(claim.caller, claim.named):
                return Binding(claim.named, claim.caller.tenant)
            raise
        if claim.caller.owns(binding):
            return binding
        if binding is None and self._forward:
            return None
        raise claim.missing

    def _may_trust(self, caller: Caller, named: str) -> bool:
        """Without Redis the header decides where no second tenant could be read through it."""
        return named in self._router.allowed(caller) and (self._trust_header or self._keys.sole_tenant(named))


def _climbs(response_id: str) -> bool:
    """Tell whether an id, in a path, could lead a provider somewhere else."""
    return not {".", ".."}.isdisjoint(response_id.replace("\\", "/").split("/"))

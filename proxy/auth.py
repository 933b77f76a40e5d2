"""Gateway key → caller, in constant time; and the one place that decides what a caller may use and owns."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.bindings import Binding
from proxy.config import KeyConfig
from proxy.errors import Unauthenticated
from proxy.headers import RawHeaders

REASONS = ("missing", "malformed", "unknown")
"""Why a request has no caller; the values of the `reason` label."""


class Refused(Unauthenticated):
    """No caller, for one of the `REASONS`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a gateway key belongs to and what it may use; None stands for everything."""

    name: str
    tenant: str
    providers: frozenset[str] | None = None
    models: frozenset[str] | None = None
    default_provider: str | None = None

    def may_use(self, provider: str) -> bool:
        """Tell whether the caller may use a provider."""
        return self.providers is None or provider in self.providers

    def owns(self, binding: Binding | None) -> bool:
        """Tell whether a bound id is the caller's to read, continue, cancel or delete, on every surface alike."""
        return binding is not None and binding.tenant == self.tenant and self.may_use(binding.provider)


class Keys:
    """The gateway's keys, by digest: a key itself is compared nowhere and stays in no table."""

    def __init__(self, keys: Iterable[KeyConfig]) -> None:
        self._callers: dict[bytes, tuple[bytes, Caller]] = {}
        for key in keys:
            digest = _configured(key)
            caller = Caller(
                key.name,
                key.tenant,
                None if key.providers is None else frozenset(key.providers),
                None if key.models is None else frozenset(key.models),
                key.default_provider,
            )
            self._callers[digest] = (digest, caller)
        self.callers = [caller for _, caller in self._callers.values()]
        self.tenants = {caller.tenant for caller in self.callers}

    def sole_tenant(self, provider: str) -> bool:
        """Tell whether no more than one tenant may use a provider."""
        return len({caller.tenant for caller in self.callers if caller.may_use(provider)}) <= 1

    def caller(self, raw: RawHeaders) -> Caller:
        """Return whose key the request carries, as `Authorization: Bearer` or `api-key`.

        Raises Refused. The look-up is by digest, which the sender cannot steer byte by byte, and the
        digest found is compared in constant time.
        """
        digest = _digest(_presented(raw))
        found = self._callers.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            raise Refused("Incorrect API key provided.", "unknown")
        return found[1]


def _presented(raw: RawHeaders) -> bytes:
    for name, value in raw:
        lowered = name.lower()
        if lowered == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer" or not key.strip():
                raise Refused("The Authorization header must be 'Bearer' and a gateway key.", "malformed")
            return key.strip()
        if lowered == b"api-key":
            return value.strip()
    raise Refused(
        "You didn't provide an API key. Send a gateway key in an Authorization header: 'Authorization: Bearer KEY'.",
        "missing",
    )


def _configured(key: KeyConfig) -> bytes:
    if key.key_sha256 is not None:
        return bytes.fromhex(key.key_sha256)
    if key.key is None:
        raise ValueError(key.name)
    return _digest(key.key.reveal().encode())


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

"""Carries a provider's reasoning state through `encrypted_content`, back to the upstream it came from and no other."""

import base64
import binascii
from typing import Any, Final

import orjson

_VERSION: Final = 1


def seal(provider: str, model: str, state: Any) -> str:
    """Wrap the state of one reasoning item, which is any JSON value."""
    envelope = {"v": _VERSION, "provider": provider, "model": model, "state": state}
    return base64.urlsafe_b64encode(orjson.dumps(envelope)).rstrip(b"=").decode()


def unseal(sealed: Any, provider: str, model: str) -> Any | None:
    """Return the state; None where the envelope is not one of ours, or of another provider or model."""
    if not isinstance(sealed, str) or not sealed.isascii():
        return None
    try:
        envelope = orjson.loads(base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return None
    if not isinstance(envelope, dict):
        return None
    if (envelope.get("v"), envelope.get("provider"), envelope.get("model")) != (_VERSION, provider, model):
        return None
    return envelope.get("state")

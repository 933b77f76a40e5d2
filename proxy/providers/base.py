"""What a provider kind is: where it lives, how it authenticates, what it serves. A quirk is one replaced function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from proxy.config import ProviderConfig
from proxy.dialects.base import Dialect
from proxy.dialects.chat_completions import Profile, chat_completions
from proxy.errors import InternalError

Headers = list[tuple[str, str]]

STATELESS = frozenset({"create"})
STATEFUL = frozenset({"create", "retrieve", "delete", "cancel", "input_items"})
FULL = STATEFUL | {"compact", "input_tokens", "conversations"}


class ProviderError(NamedTuple):
    """What went wrong, in the provider's words."""

    code: str
    message: str


class ModelList(NamedTuple):
    """Where a provider lists its models, below its base URL, and under which members; `prefix` is cut off the names."""

    path: str = "/models"
    list: str = "data"
    name: str = "id"
    prefix: str = ""


OPENAI_MODELS = ModelList()


def bearer(config: ProviderConfig) -> Callable[[], Headers]:
    """Authenticate with `Authorization: Bearer`, from the key or the file that holds a token."""
    if config.token_file is not None:
        read = token_reader(config.token_file)
        return lambda: [("Authorization", f"Bearer {read()}")]
    if config.api_key is None:
        return list
    fixed = [("Authorization", f"Bearer {config.api_key.reveal()}")]
    return lambda: fixed


def token_reader(path: str) -> Callable[[], str]:
    """Return a function that reads the token, again only after the file was replaced.

    While the file is away or half written the token read before goes on; without one, InternalError.
    """
    file = Path(path)
    seen = (-1, -1)
    token = ""

    def read() -> str:
        nonlocal seen, token
        try:
            found = file.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != seen:
                (token,) = file.read_text(encoding="ascii").split()
                seen = stamp
        except (OSError, ValueError) as error:
            if not token:
                raise InternalError("The provider's credentials cannot be read.", code="no_credentials") from error
        return token

    return read


def parse_error(body: bytes) -> ProviderError:
    """Read an error body: OpenAI's `{"error": {...}}`, or `{"code", "error": "text"}`, or what else is usual."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ProviderError("", "")
    if not isinstance(value, dict):
        return ProviderError("", "")
    error = value.get("error")
    if isinstance(error, dict):
        return ProviderError(_text(error.get("code") or error.get("type")), _text(error.get("message")))
    message = error or value.get("message") or value.get("detail")
    return ProviderError(_text(value.get("code") or value.get("type")), _text(message))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


ForModel = Callable[[str], Dialect | None]
"""Chooses the dialect for a model, as the provider calls it; None for the Responses API itself."""


def native(_config: ProviderConfig) -> ForModel:
    """Speak the Responses API, whatever the model."""
    return lambda _model: None


OWN_SETTINGS = frozenset(
    {
        "api",
        "beta",
        "credentials_file",
        "events_per_second",
        "location",
        "max_tokens",
        "organization",
        "path",
        "profile",
        "project",
        "region",
        "role_arn",
        "version",
    }
)
"""Fields of `ProviderConfig` that mean something to some kinds only."""

Fitted = tuple[dict[str, Any], tuple[str, ...]]


def fit_request(body: dict[str, Any]) -> Fitted:
    """Fit a request for the Responses API to what a provider without a store takes: all of it, unless replaced."""
    return body, ()


def always(_model: str) -> bool:
    """Tell that the provider serves every model by the Responses API."""
    return True


def never(_model: str) -> bool:
    """Tell that the provider serves no model by the Responses API."""
    return False


def chat(
    profile: Profile, *, families: Mapping[str, Profile] | None = None, natively: Callable[[str], bool] = never
) -> Callable[[ProviderConfig], ForModel]:
    """Speak chat completions, or where the configuration asks for it the Responses API; unset, as `natively` tells.

    `families` has the profiles of models other than most, by the beginning of their names; the first that fits counts.
    """

    def configure(config: ProviderConfig) -> ForModel:
        serves = {"responses": always, "chat": never, None: natively}[config.api]

        @cache
        def speak(own: Profile) -> Dialect:
            return chat_completions(replace(own, path=config.path or own.path))

        def choose(model: str) -> Dialect | None:
            if serves(model):
                return None
            known = (own for start, own in (families or {}).items() if model.startswith(start))
            return speak(next(known, profile))

        return choose

    return configure


def locate(config: ProviderConfig, template: str | None) -> str:
    """Return the base URL: the one configured, or the kind's own with settings such as `{region}` filled in."""
    return config.base_url or (template or "").format_map(config.model_dump())


def openai_headers(config: ProviderConfig) -> Headers:
    """Name the organization and the project."""
    named = {"OpenAI-Organization": config.organization, "OpenAI-Project": config.project}
    return [(name, value) for name, value in named.items() if value]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the known provider types.

    `environment` maps fields of `ProviderConfig` to the environment variables they are read from
    when the gateway starts without a file; the kind is configured when all `required` ones are set, and one of the
    variables in `evidence`, where there are any: they tell that credentials are to be found elsewhere.
    `base_url` may have settings in braces, `locate` fills them in. `settings` are the fields of `ProviderConfig`
    that mean something to this kind, beyond those that do to all.
    """

    name: str
    otel_name: str
    title: str
    base_url: str | None
    environment: Mapping[str, str]
    operations: frozenset[str] = FULL
    required: tuple[str, ...] = ("api_key",)
    evidence: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Settings a file has to have too, credentials and the address aside."""
    key_suffices: bool = False
    """Whether an API key stands for those."""
    authenticate: Callable[[ProviderConfig], Callable[[], Headers]] = bearer
    parse_error: Callable[[bytes], ProviderError] = parse_error
    derive_base_url: Callable[[str], str] = str
    locate: Callable[[ProviderConfig, str | None], str] = locate
    own_headers: Callable[[ProviderConfig], Headers] = openai_headers
    dialect: Callable[[ProviderConfig], ForModel] = native
    fit_request: Callable[[dict[str, Any]], Fitted] = fit_request
    """Returns the request as the provider's Responses API takes it, and the names of what it does not."""
    settings: frozenset[str] = frozenset({"organization", "project"})
    credentials: Literal["fixed", "google", "aws", "entra"] = "fixed"
    """Where what a request authenticates with comes from: `authenticate`, or one of the schemes of `credentials.py`."""
    extra: str | None = None
    """The extra of this distribution that the dialect cannot do without."""
    models: ModelList | None = OPENAI_MODELS
    """How the provider lists its models, None where it does not."""
    proof: str | None = None
    """What only a good credential opens, for nothing, below the base URL, where anyone may list the models."""

    @property
    def unknown_settings(self) -> frozenset[str]:
        """Settings of other kinds of provider that mean nothing to this one."""
        return OWN_SETTINGS - self.settings

    @property
    def keeps_state(self) -> bool:
        """Whether a response can be retrieved from the provider later."""
        return "retrieve" in self.operations

    def find(self, environment: Mapping[str, str]) -> dict[str, str] | None:
        """Return the settings the environment holds for this kind, or None where one is missing."""
        if not self.environment:
            return None
        found = {field: environment[name] for field, name in self.environment.items() if environment.get(name)}
        if any(field not in found for field in self.required):
            return None
        if self.evidence and not any(map(environment.get, self.evidence)):
            return None
        if "base_url" in found:
            found["base_url"] = self.derive_base_url(found["base_url"])
        return found

"""Typed configuration: what an operator may write, with defaults and limits; a secret never prints."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from proxy import notation
from proxy.configfile import ConfigError, Document, Location, Mistake, dotted, read_document
from proxy.consistency import Kinds, find_inconsistencies, suggest


class Secret:
    """A credential that prints as `***` wherever it ends up: logs, tracebacks, dumps of the configuration."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the credential itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept text where a field is a secret; write `***` where the configuration is dumped as JSON."""
        masked = core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        return core_schema.no_info_plain_validator_function(cls._accept, serialization=masked)

    @classmethod
    def _accept(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text")  # noqa: TRY004 - pydantic collects ValueError only
        return cls(value)


class Section(BaseModel):
    """One mapping of the file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def _within(check: Callable[[str], str]) -> AfterValidator:
    """Apply a check of text to what a secret holds."""
    return AfterValidator(lambda secret: Secret(check(secret.reveal())))


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("lists the same value twice")
    return values


def _unique_headers(headers: dict[str, Secret]) -> dict[str, Secret]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("has the same header twice")
    return headers


Name = Annotated[str, AfterValidator(notation.check_name)]
HeaderName = Annotated[str, AfterValidator(notation.check_header_name)]
HeaderText = Annotated[str, AfterValidator(notation.check_header_value)]
HeaderSecret = Annotated[Secret, _within(notation.check_header_value)]
Credential = Annotated[Secret, _within(notation.check_credential)]
BaseURL = Annotated[str, AfterValidator(notation.check_base_url)]
Prefix = Annotated[str, AfterValidator(notation.check_prefix)]
AllowList = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_unique)]
Digest = Annotated[str, AfterValidator(notation.check_digest)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ServerConfig(Section):
    """Where the gateway listens and how it stops."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65_535)] = 9091
    prefixes: Annotated[tuple[Prefix, ...], Field(min_length=1), AfterValidator(_unique)] = (
        "/v1",
        "/",
        "/openai/v1",
        "/openai",
        "/api/llm",
    )
    keep_alive_timeout: Seconds = 650
    """Idle seconds before a client's connection closes; longer than any load balancer's own."""
    pre_stop: Annotated[float, Field(ge=0, le=600)] = 0
    """Seconds between readiness turning 503 and the listening socket closing."""
    drain_timeout: Annotated[float, Field(ge=0, le=86_400)] = 300
    """Seconds that exchanges in flight are given to finish."""


class RedisConfig(Section):
    """Where bindings live; without a URL the gateway starts a server of its own."""

    url: Annotated[Secret, _within(notation.check_redis_url)] | None = None


class KeyConfig(Section):
    """One gateway key: whose it is and what it may use."""

    name: Name
    tenant: Name
    key: Credential | None = None
    key_sha256: Digest | None = None
    providers: AllowList | None = None
    models: AllowList | None = None
    default_provider: str | None = None


class Timeouts(Section):
    """How long the gateway waits for a provider, in seconds; there is no total."""

    connect: Seconds = 10
    first_byte: Seconds = 600
    idle: Seconds = 600
    keep_alive_comment: Seconds = 15
    """Silence after which a stream's client is sent a comment."""


class ProviderConfig(Section):
    """One upstream integration."""

    kind: str
    base_url: BaseURL | None = None
    api_key: Credential | None = None
    token_file: Annotated[str, Field(min_length=1)] | None = None
    """A file that holds a bearer token and is replaced from outside (Entra workload identity)."""
    headers: Annotated[dict[HeaderName, HeaderSecret], AfterValidator(_unique_headers)] = {}
    organization: HeaderText | None = None
    project: HeaderText | None = None
    timeouts: Timeouts = Timeouts()
    api: Literal["responses", "chat"] | None = None
    """Which of its two endpoints a provider that has both is asked; unset: the one that serves the model."""
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] | None = None
    """Of chat completions, below the base URL."""
    version: HeaderText | None = None
    """Of Anthropic's API."""
    beta: Annotated[tuple[HeaderText, ...], AfterValidator(_unique)] = ()
    """Beta features of Anthropic's API to ask for."""
    max_tokens: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Output tokens asked for where a request does not say, by the beginning of the model's name."""
    region: Name | None = None
    profile: Annotated[str, Field(min_length=1)] | None = None
    role_arn: Annotated[str, Field(pattern=r"^arn:[!-~]+$")] | None = None
    """An AWS role to assume."""
    location: Name | None = None
    events_per_second: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Pace of the `sandbox` kind's streams; 0 is as fast as it goes."""


class BindingsConfig(Section):
    """How long the gateway remembers who owns a response, and what it does about ids it never saw."""

    ttl_days: Annotated[float, Field(gt=0, le=3650)] = 30
    unknown: Literal["refuse", "forward"] | None = None
    """Unset: forward where there is one tenant, refuse where there are more."""
    without_redis: Literal["refuse", "trust_header"] = "refuse"
    """While Redis is away and the id is not known here: believe `x-tfy-provider-name`, or refuse,
    where more than one tenant may use that provider."""
    ack_timeout: Seconds = 0.25
    queue: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Bindings kept for a Redis that is away; the oldest is dropped, and counted, past that."""
    cache: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """Bindings this process remembers itself."""


class Limits(Section):
    """Bounds on everything a client can make grow."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 268_435_456
    """Of a request body, as sent and once decompressed."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 65_536
    look_ahead_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_048_576
    """Of a request body, held back while the provider is not known yet."""
    max_decompression_ratio: Annotated[int, Field(ge=1)] = 200
    max_json_depth: Annotated[int, Field(ge=8, le=100_000)] = 512
    header_timeout: Seconds = 60
    """For a request's head to arrive whole."""
    body_timeout: Seconds = 60
    """Between two pieces of a request's body."""


class Config(Section):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    redis: RedisConfig = RedisConfig()
    keys: tuple[KeyConfig, ...] = ()
    providers: dict[Name, ProviderConfig] = {}
    models: dict[str, str] = {}
    default_provider: str | None = None
    bindings: BindingsConfig = BindingsConfig()
    limits: Limits = Limits()

    @property
    def forwards_unknown(self) -> bool:
        """Whether calls on an id that nobody bound go to the named or only provider."""
        if self.bindings.unknown is not None:
            return self.bindings.unknown == "forward"
        return len({key.tenant for key in self.keys}) <= 1


def parse_config(
    text: str, *, environment: Mapping[str, str], kinds: Kinds, server: Mapping[str, str] | None = None
) -> Config:
    """Read a configuration file's text; settings in `server` win over the file's.

    Raises ConfigError with every mistake there is.
    """
    return _build(read_document(text, environment), kinds, server)


def default_config(environment: Mapping[str, str], kinds: Kinds, *, server: Mapping[str, str] | None = None) -> Config:
    """Configure, without a file, each kind whose settings the environment holds, under the kind's own name.

    Raises ConfigError; its mistakes name environment variables.
    """
    found = {name: kind.find(environment) for name, kind in kinds.items()}
    providers = {name: {"kind": name, **settings} for name, settings in found.items() if settings is not None}
    variables = {
        dotted(("providers", name, field)): kinds[name].environment[field]
        for name, settings in found.items()
        for field in settings or ()
    }
    data: dict[str, Any] = {"providers": providers}
    if environment.get("REDIS_URL"):
        data["redis"] = {"url": environment["REDIS_URL"]}
        variables["redis.url"] = "REDIS_URL"
    try:
        return _build(Document(data, frozenset(variables), ()), kinds, server)
    except ConfigError as error:
        mistakes = [Mistake(variables.get(key, key), message) for key, message in error.mistakes]
    raise ConfigError(mistakes)


def load_config(
    path: Path | None,
    *,
    environment: Mapping[str, str],
    kinds: Kinds,
    server: Mapping[str, str] | None = None,
) -> Config:
    """Read the file, or the environment alone where there is none; settings in `server` win over both.

    Raises ConfigError with every mistake there is.
    """
    if path is None:
        return default_config(environment, kinds, server=server)
    return parse_config(read_file(path), environment=environment, kinds=kinds, server=server)


def read_file(path: Path) -> str:
    """Return a configuration file's text. Raises ConfigError where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        message = "no such file; leave --config out to configure providers from the environment"
    except IsADirectoryError:
        message = "is a directory: name the file in it"
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    raise ConfigError([Mistake(str(path), message)])


def new_key() -> str:
    """Make a gateway key of 256 random bits."""
    return f"sk-gw-{secrets.token_urlsafe(32)}"


def digest_key(key: str) -> str:
    """Return what a file says of a key instead of the key: the SHA-256 in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def with_ephemeral_key(config: Config, key: str | None = None) -> tuple[Config, str]:
    """Give a configuration without keys the one key of this run, made here unless given."""
    key = key or new_key()
    only = KeyConfig(name="default", tenant="default", key=Secret(key))
    return config.model_copy(update={"keys": (only,)}), key


def _build(document: Document, kinds: Kinds, server: Mapping[str, str] | None) -> Config:
    """Type a document; every mistake of notation, type and consistency is raised at once."""
    data = {name: value for name, value in document.data.items() if value is not None}
    if server:
        data["server"] = {**data["server"], **server} if isinstance(data.get("server"), dict) else dict(server)
    document = document._replace(data=data)
    config, mistakes = _validate(data)
    mistakes += find_inconsistencies(document, kinds)
    unread = {mistake.key for mistake in document.mistakes}
    mistakes = [*document.mistakes, *(mistake for mistake in mistakes if mistake.key not in unread)]
    if config is None or mistakes:
        raise ConfigError(sorted(mistakes))
    return config


def _validate(data: dict[str, Any]) -> tuple[Config | None, list[Mistake]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, [_explain(details) for details in error.errors(include_url=False, include_input=False)]


def _explain(details: ErrorDetails) -> Mistake:
    """Say what is wrong in an operator's words, without the value."""
    location = tuple(part for part in details["loc"] if part != "[key]")
    key = dotted(location)
    match details["type"]:
        case "extra_forbidden":
            return Mistake(key, f"unknown setting{suggest(str(location[-1]), _settings_at(location))}")
        case "value_error":
            return Mistake(key, str(details["ctx"]["error"]))
        case kind:
            return Mistake(key, _PLAIN_WORDS.get(kind) or details["msg"].replace("Input should", "should"))


_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}

_SECTIONS: dict[str, type[Section]] = {
    "server": ServerConfig,
    "redis": RedisConfig,
    "keys": KeyConfig,
    "providers": ProviderConfig,
    "bindings": BindingsConfig,
    "limits": Limits,
}


def _settings_at(location: Location) -> list[str]:
    """Return the settings that may stand where an unknown one was found."""
    if len(location) == 1:
        return list(Config.model_fields)
    section = Timeouts if location[-2] == "timeouts" else _SECTIONS[str(location[0])]
    return list(section.model_fields)

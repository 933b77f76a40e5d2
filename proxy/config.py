"""Typed configuration: what an operator may write, with defaults and limits; a secret never prints."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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


class Section(BaseModel):
    """One mapping of the file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ServerConfig(Section):
    """Where the gateway listens and how it stops."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65_535)] = 9091
    prefixes: tuple[str, ...] = ("/v1", "/", "/openai/v1", "/openai", "/api/llm")
    keep_alive_timeout: Seconds = 650
    """Idle seconds before a client's connection closes; longer than any load balancer's own."""
    pre_stop: Annotated[float, Field(ge=0, le=600)] = 0
    """Seconds between readiness turning 503 and the listening socket closing."""
    drain_timeout: Annotated[float, Field(ge=0, le=86_400)] = 300
    """Seconds that exchanges in flight are given to finish."""


class RedisConfig(Section):
    """Where bindings live; without a URL the gateway starts a server of its own."""

    url: Secret | None = None


class KeyConfig(Section):
    """One gateway key: whose it is and what it may use."""

    name: Name
    tenant: Name
    key: Secret | None = None
    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    providers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
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
    base_url: str | None = None
    api_key: Secret | None = None
    token_file: str | None = None
    """A file that holds a bearer token and is replaced from outside (Entra workload identity)."""
    headers: dict[str, Secret] = {}
    organization: str | None = None
    project: str | None = None
    timeouts: Timeouts = Timeouts()
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

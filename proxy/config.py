"""Typed configuration: what an operator may write, with defaults and limits; a secret never prints."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from proxy import notation
from proxy.redisurl import check_redis_url


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
Host = Annotated[str, AfterValidator(notation.check_host)]
Network = Annotated[str, AfterValidator(notation.check_network)]
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
    """Where bindings live: one server, Sentinels or a cluster; without a URL the gateway starts a server of its own."""

    url: Annotated[Secret, _within(check_redis_url)] | None = None


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
    credentials_file: Annotated[str, Field(min_length=1)] | None = None
    """A file of Google's: a service account's key, or how a foreign identity is exchanged for a token."""
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
    """Of a response that its provider keeps; one that the gateway keeps is bound for as long as that."""
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


class ArchiveConfig(Section):
    """How the gateway keeps responses of providers that keep none."""

    ttl_days: Annotated[float, Field(gt=0, le=3650)] = 30
    """Since the response was made, or last continued."""
    max_response_bytes: Annotated[int, Field(ge=1024, le=268_435_456)] = 33_554_432
    """Of one response and its input, as JSON."""
    max_chain: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Responses that one continues at most."""
    max_chain_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 67_108_864
    """Of all the responses that one continues, and their input, as JSON."""
    ack_timeout: Seconds = 1
    queue_bytes: Annotated[int, Field(ge=1024)] = 67_108_864
    """Compressed responses kept for a Redis that is away; the oldest is dropped, and counted, past that."""


class Limits(Section):
    """Bounds on everything a client can make grow."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 268_435_456
    """Of a request body, as sent and once decompressed."""
    max_translated_body_bytes: Annotated[int, Field(ge=1)] = 33_554_432
    """Of a request body that has to be read whole, because it goes to the provider in another form."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 65_536
    look_ahead_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_048_576
    """Of a request body, held back while the provider is not known yet."""
    max_decompression_ratio: Annotated[int, Field(ge=1)] = 200
    max_json_depth: Annotated[int, Field(ge=8, le=100_000)] = 512
    header_timeout: Seconds = 60
    """For a request's head to arrive whole."""
    body_timeout: Seconds = 60
    """Between two pieces of a request's body."""


class FetchConfig(Section):
    """How the gateway fetches what requests name by URL, for providers that take content only."""

    enabled: bool = True
    max_bytes: Annotated[int, Field(ge=1, le=1_073_741_824)] = 20_971_520
    timeout: Seconds = 10
    """For one fetch as a whole, redirects included."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 3
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Fetches of one worker at a time."""
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], Field(min_length=1)] = (443,)
    allow_hosts: tuple[Host, ...] = ()
    """Names that may lead to addresses that are not public."""
    allow_networks: tuple[Network, ...] = ()
    """Addresses that count as public."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """Authorities to trust beside the system's own."""


class Config(Section):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    redis: RedisConfig = RedisConfig()
    keys: tuple[KeyConfig, ...] = ()
    providers: dict[Name, ProviderConfig] = {}
    models: dict[str, str] = {}
    default_provider: str | None = None
    bindings: BindingsConfig = BindingsConfig()
    archive: ArchiveConfig = ArchiveConfig()
    limits: Limits = Limits()
    fetch: FetchConfig = FetchConfig()

    @property
    def forwards_unknown(self) -> bool:
        """Whether calls on an id that nobody bound go to the named or only provider."""
        if self.bindings.unknown is not None:
            return self.bindings.unknown == "forward"
        return len({key.tenant for key in self.keys}) <= 1


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

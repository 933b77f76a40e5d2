"""Rules between settings: what one names, another must define.

They read the document as written, before it is typed, so that they find their mistakes also where
a single setting is wrong elsewhere.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from proxy.configfile import Document, Location, Mistake, dotted
from proxy.notation import is_loopback

MIN_KEY_LENGTH = 16
_CREDENTIALS = ("api_key", "token_file", "credentials_file")
"""Settings of a provider of which one at most may be given."""


class KindFacts(Protocol):
    """What the configuration needs to know of a provider kind."""

    @property
    def base_url(self) -> str | None:
        """The kind's own base URL, if there is one."""

    @property
    def required(self) -> tuple[str, ...]:
        """Settings that a provider of this kind cannot do without."""

    @property
    def unknown_settings(self) -> frozenset[str]:
        """Settings of other kinds of provider that mean nothing to this one."""

    @property
    def credentials(self) -> str:
        """How a request authenticates: `fixed` by what is configured, or as the environment provides."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Settings that a provider of this kind has to have in a file, credentials and the address aside."""

    @property
    def key_suffices(self) -> bool:
        """Whether an API key stands for what the kind needs beside it."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Environment variables of which one has to be set beside the required settings, if there are any."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Settings, each with the environment variable it is found in."""

    def find(self, environment: Mapping[str, str]) -> dict[str, str] | None:
        """Return the settings that the environment holds, or None where one is missing."""


Kinds = Mapping[str, KindFacts]


def find_inconsistencies(document: Document, kinds: Kinds) -> list[Mistake]:
    """Return everything that does not fit together."""
    rules = _Rules(document, kinds)
    return [
        *rules.check_providers(),
        *rules.check_keys(),
        *rules.check_models(),
        *rules.check_default(),
        *rules.check_tenants(),
        *rules.check_open_start(),
    ]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "..."?`, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _Rules:
    def __init__(self, document: Document, kinds: Kinds) -> None:
        self._references = document.references
        self._kinds = kinds
        self._data = document.data
        self._providers = _mapping(self._data.get("providers"))
        entries = enumerate(_list(self._data.get("keys")))
        self._keys = [(index, entry) for index, entry in entries if isinstance(entry, dict)]

    def check_providers(self) -> Iterator[Mistake]:
        if self._data.get("providers") in (None, {}):
            yield Mistake("providers", self._no_providers())
        for name, entry in self._providers.items():
            if isinstance(entry, dict) and isinstance(entry.get("kind"), str):
                yield from self._check_provider(("providers", name), entry)

    def _no_providers(self) -> str:
        ways = [
            " with ".join([*(kind.environment[field] for field in kind.required), *kind.evidence[:1]])
            for kind in self._kinds.values()
            if kind.environment
        ]
        return (
            "none is configured; name them in a file (--config), or start without a file and set one of "
            f"{', '.join(ways)}; `responses-proxy demo` needs neither"
        )

    def _check_provider(self, location: Location, entry: dict[str, Any]) -> Iterator[Mistake]:
        name = entry["kind"]
        kind = self._kinds.get(name)
        if kind is None:
            message = f"unknown kind{self._show((*location, 'kind'), name)}; known: {', '.join(self._kinds)}"
            yield Mistake(dotted((*location, "kind")), message + suggest(name, self._kinds))
            return
        if kind.base_url is None and entry.get("base_url") is None:
            yield Mistake(dotted((*location, "base_url")), f"is missing: kind {name} has no address of its own")
        yield from self._check_settings(location, entry, kind)
        given = [setting for setting in _CREDENTIALS if entry.get(setting) is not None]
        if len(given) > 1:
            yield Mistake(dotted(location), f"has both {given[0]} and {given[1]}: leave one out")
        if "api_key" in kind.required and kind.credentials == "fixed" and not given:
            yield Mistake(dotted((*location, "api_key")), f"is missing: kind {name} needs it, or a token_file")

    def _check_settings(self, location: Location, entry: dict[str, Any], kind: KindFacts) -> Iterator[Mistake]:
        """Check that what the kind needs is there, and nothing that it does not know."""
        needed = () if kind.key_suffices and entry.get("api_key") is not None else kind.needs
        for setting in needed:
            if entry.get(setting) is None:
                yield Mistake(dotted((*location, setting)), f"is missing: kind {entry['kind']} needs it")
        for setting, value in entry.items():
            if setting in kind.unknown_settings and value not in (None, {}, []):
                yield Mistake(dotted((*location, setting)), f"means nothing to kind {entry['kind']}: leave it out")

    def check_keys(self) -> Iterator[Mistake]:
        names: dict[str, int] = {}
        digests: dict[str, int] = {}
        for index, entry in self._keys:
            yield from self._check_credential(("keys", index), entry)
            yield from self._check_allow_list(("keys", index), entry)
            first = names.setdefault(_text(entry.get("name")) or f"[{index}]", index)
            if first != index:
                yield Mistake(dotted(("keys", index, "name")), f"is the name of keys[{first}] already")
            first = digests.setdefault(_digest(entry) or f"[{index}]", index)
            if first != index:
                yield Mistake(dotted(("keys", index)), f"has the same key as keys[{first}]")

    def _check_credential(self, location: Location, entry: dict[str, Any]) -> Iterator[Mistake]:
        given = [name for name in ("key", "key_sha256") if entry.get(name) is not None]
        if not given:
            yield Mistake(dotted(location), "needs key or key_sha256; `responses-proxy keys new --tenant T` makes one")
        if len(given) > 1:
            yield Mistake(dotted(location), "has both key and key_sha256: leave one out")
        key = entry.get("key")
        if isinstance(key, str) and len(key) < MIN_KEY_LENGTH:
            message = (
                f"is shorter than {MIN_KEY_LENGTH} characters; `responses-proxy keys new --tenant T` makes a good one"
            )
            yield Mistake(dotted((*location, "key")), message)

    def _check_allow_list(self, location: Location, entry: dict[str, Any]) -> Iterator[Mistake]:
        allowed = _list(entry.get("providers"))
        for index, name in enumerate(allowed):
            yield from self._check_reference((*location, "providers", index), name)
        default = entry.get("default_provider")
        yield from self._check_reference((*location, "default_provider"), default)
        if allowed and isinstance(default, str) and default in self._providers and default not in allowed:
            yield Mistake(dotted((*location, "default_provider")), "is not among the key's own providers")

    def check_default(self) -> Iterator[Mistake]:
        return self._check_reference(("default_provider",), self._data.get("default_provider"))

    def _check_reference(self, location: Location, name: Any) -> Iterator[Mistake]:
        if isinstance(name, str) and name not in self._providers:
            message = f"unknown provider{self._show(location, name)}; configured: {self._configured()}"
            yield Mistake(dotted(location), message + suggest(name, self._providers))

    def check_models(self) -> Iterator[Mistake]:
        for alias, target in _mapping(self._data.get("models")).items():
            location = ("models", alias)
            first, slash, _ = alias.partition("/")
            if slash and first in self._providers:
                yield Mistake(dotted(location), f"could be a model of provider {first}: choose another alias")
            if not isinstance(target, str):
                continue
            provider, _, model = target.partition("/")
            if provider not in self._providers or not model:
                near = suggest(provider, self._providers.keys() - {provider})
                message = f"must be provider/model, with one of the configured providers: {self._configured()}{near}"
                yield Mistake(dotted(location), message)

    def check_tenants(self) -> Iterator[Mistake]:
        tenants = {_text(entry.get("tenant")) for _, entry in self._keys} - {""}
        if len(tenants) > 1 and _mapping(self._data.get("bindings")).get("unknown") == "forward":
            message = "cannot be forward with more than one tenant: each could read the others' responses"
            yield Mistake("bindings.unknown", message)

    def check_open_start(self) -> Iterator[Mistake]:
        host = _mapping(self._data.get("server")).get("host")
        if not self._data.get("keys") and isinstance(host, str) and not is_loopback(host):
            message = "without keys the gateway listens on this machine only: configure keys, or use 127.0.0.1"
            yield Mistake("server.host", message)

    def _configured(self) -> str:
        return ", ".join(self._providers) or "none"

    def _show(self, location: Location, value: str) -> str:
        """Quote a value that was written in the file; one that came from elsewhere may be a credential."""
        return "" if dotted(location) in self._references else f" {json.dumps(value)}"


def _digest(entry: dict[str, Any]) -> str:
    key = entry.get("key")
    if isinstance(key, str) and key:
        return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
    return _text(entry.get("key_sha256")).lower()

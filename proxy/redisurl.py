"""Reads the URL of a Redis: one server, Sentinels that know the master, or a cluster; its passwords never print.

The options of its query have the names that redis-py gives them. A mistake is a ValueError whose message does not
repeat the URL.
"""

import difflib
import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

Form = Literal["server", "sentinel", "cluster"]

FORMS: Final[dict[str, tuple[Form, int]]] = {
    "redis": ("server", 6379),
    "rediss": ("server", 6379),
    "redis+sentinel": ("sentinel", 26379),
    "rediss+sentinel": ("sentinel", 26379),
    "redis+cluster": ("cluster", 6379),
    "rediss+cluster": ("cluster", 6379),
}
"""By scheme: what the hosts are, and the port of one that names none."""

_SCHEMES: Final = "must be a redis://, rediss:// or unix:// URL, or one of redis+sentinel:// or redis+cluster://"
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]")
_NUMBER = re.compile(r"[0-9]{1,5}")
_BOOLEANS = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
_TEXT: Final = ""
_OPTIONS: Final[dict[str, str]] = {
    "db": r"[0-9]{1,5}",
    "client_name": r"[!-~]+",
    "protocol": "[23]",
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_certfile": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "|".join(_BOOLEANS),
    "ssl_ciphers": _TEXT,
}
"""What a query may say of the servers, and how; the empty pattern takes any text."""
_SENTINEL_OPTIONS: Final[dict[str, str]] = {
    "sentinel_username": _TEXT,
    "sentinel_password": _TEXT,
    "sentinel_ssl": "|".join(_BOOLEANS),
}


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A Redis as its URL describes it; `str()` is without user, passwords and options.

    `addresses` are the server's own, the Sentinels' or those of some of the cluster's nodes; a unix socket has `path`
    instead. `options` are redis-py's, for each connection to a server.
    """

    form: Form
    tls: bool
    addresses: tuple[Address, ...] = ()
    path: str | None = None
    master: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sentinel_tls: bool = False
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{quote(self.path)}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.form == "server" else f"+{self.form}")
        path = "" if self.master is None else f"/{quote(self.master, safe='')}"
        path += f"/{self.db}" if self.db else ""
        return f"{scheme}://{','.join(map(str, self.addresses))}{path}"

    def server_url(self, address: Address | None = None) -> str:
        """Return the URL, for redis-py, of the server at an address, or of the only one there is."""
        if self.path is not None:
            return f"unix://{_userinfo(self.username, self.password)}{quote(self.path)}{self._query(tls=False)}"
        scheme = "rediss" if self.tls else "redis"
        user = _userinfo(self.username, self.password)
        return f"{scheme}://{user}{address or self.addresses[0]}{self._query(tls=self.tls)}"

    def sentinel_url(self, address: Address) -> str:
        """Return the URL, for redis-py, of the Sentinel at an address."""
        scheme = "rediss" if self.sentinel_tls else "redis"
        user = _userinfo(self.sentinel_username, self.sentinel_password)
        return f"{scheme}://{user}{address}{_render_query(self._options_of(tls=self.sentinel_tls))}"

    def _query(self, *, tls: bool) -> str:
        options = self._options_of(tls=tls)
        return _render_query([*options, ("db", str(self.db))] if self.db else options)

    def _options_of(self, *, tls: bool) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.options if tls or not name.startswith("ssl_")]


def parse_redis_url(text: str) -> RedisURL:
    """Read a URL. Raises ValueError; its message follows the name of a setting, and repeats nothing of the URL."""
    if _UNPRINTABLE.search(text):
        raise ValueError("must not hold white space or control characters")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {*FORMS, "unix"}:
        raise ValueError(_SCHEMES)
    if "#" in rest:
        raise ValueError("must not hold a fragment: write # as %23")
    rest, _, query = rest.partition("?")
    form, default_port = FORMS.get(scheme, ("server", 0))
    options = _parse_query(query, form)
    user, sign, place = rest.rpartition("@")
    username, password = _parse_user(user) if sign else (None, None)
    if scheme == "unix":
        url = RedisURL(form, tls=False, path=_socket_path(place), db=int(options.get("db", "0")))
    else:
        hosts, _, path = place.partition("/")
        url = _located(
            form, scheme.startswith("rediss"), _parse_hosts(hosts, form, default_port), unquote(path), options
        )
    return _authenticated(url, username, password, options)


def check_redis_url(text: str) -> str:
    """Accept a URL that can be read, as it is. Raises ValueError."""
    parse_redis_url(text)
    return text


def _located(form: Form, tls: bool, addresses: tuple[Address, ...], path: str, options: dict[str, str]) -> RedisURL:  # noqa: FBT001
    """Make the URL's value from its hosts and its path: `/db`, or `/master/db` of Sentinels."""
    master, number = None, path
    if form == "sentinel":
        master, _, number = path.partition("/")
        if not master:
            raise ValueError(
                "must name the master that the Sentinels watch, as in redis+sentinel://host:26379/mymaster"
            )
    if number and not _NUMBER.fullmatch(number):
        raise ValueError("must end in the number of a database, as in redis://127.0.0.1:6379/0")
    if number and options.get("db", number) != number:
        raise ValueError("names two databases")
    db = int(number or options.get("db", "0"))
    if form == "cluster" and db:
        raise ValueError("must not name a database: a cluster has number 0 alone")
    return RedisURL(form, tls, addresses, master=master, db=db)


def _authenticated(url: RedisURL, username: str | None, password: str | None, options: dict[str, str]) -> RedisURL:
    """Add who connects, and how."""
    own = tuple((name, value) for name, value in options.items() if name in _OPTIONS and name != "db")
    ssl = [name for name, _ in own if name.startswith("ssl_")]
    sentinel_tls = url.form == "sentinel" and options.get("sentinel_ssl", str(url.tls).lower()) == "true"
    if ssl and not url.tls and not sentinel_tls:
        raise ValueError(f"has {ssl[0]} but no TLS: write rediss instead of redis")
    return replace(
        url,
        username=username,
        password=password,
        options=own,
        sentinel_tls=sentinel_tls,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _parse_user(user: str) -> tuple[str | None, str | None]:
    name, sign, password = user.partition(":")
    return unquote(name) or None, unquote(password) or None if sign else None


def _parse_hosts(text: str, form: Form, default_port: int) -> tuple[Address, ...]:
    addresses = tuple(_parse_host(host, default_port) for host in text.split(","))
    if form == "server" and len(addresses) > 1:
        raise ValueError("must name one host: several are redis+sentinel:// or redis+cluster://")
    if len(set(addresses)) < len(addresses):
        raise ValueError("names a host twice")
    return addresses


def _parse_host(text: str, default_port: int) -> Address:
    host, sign, port = text.rpartition(":") if re.search(r":[^\]]*\Z", text) else (text, "", "")
    if not host:
        raise ValueError("must name a host, as in redis://127.0.0.1:6379/0")
    v6 = _IPV6.fullmatch(host)
    if not (v6 or _HOST.fullmatch(host)) or (sign and not (_NUMBER.fullmatch(port) and 0 < int(port) < 65_536)):  # noqa: PLR2004
        raise ValueError("is not a URL: its host or port cannot be read")
    return Address(v6[1] if v6 else host, int(port) if sign else default_port)


def _socket_path(place: str) -> str:
    if not place.startswith("/"):
        raise ValueError("must name the socket's absolute path, as in unix:///run/valkey.sock")
    return unquote(place)


def _parse_query(query: str, form: Form) -> dict[str, str]:
    known = _OPTIONS | _SENTINEL_OPTIONS if form == "sentinel" else _OPTIONS
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise ValueError("has an unknown option" + (f"; did you mean {close[0]}?" if close else ""))
        if name in options:
            raise ValueError(f"has {name} twice")
        if not value or (known[name] and not re.fullmatch(known[name], value)):
            raise ValueError(f"has a {name} that cannot be meant" + _choice(known[name]))
        options[name] = _BOOLEANS[value] if known[name].startswith("true|") else value
    return options


def _choice(pattern: str) -> str:
    return f": it is one of {pattern.replace('|', ', ')}" if "|" in pattern else ""


def _userinfo(username: str | None, password: str | None) -> str:
    if username is None and password is None:
        return ""
    return f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"


def _render_query(options: list[tuple[str, str]]) -> str:
    return f"?{urlencode(options)}" if options else ""

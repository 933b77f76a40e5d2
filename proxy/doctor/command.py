"""The `doctor` command: its arguments, the key, and what it prints."""

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.configfile import ConfigError, Mistake
from proxy.doctor.base import SANDBOX, Options, Row, Visit
from proxy.doctor.checkup import Tell, examine
from proxy.doctor.client import Client
from proxy.doctor.report import render_json, render_line, render_sum, status_of

URL_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"
MIB = 1_048_576

DESCRIPTION = """\
Try a gateway through the path its clients take, load balancer included: a line for each thing tried, with OK, WARN,
FAIL or SKIP, what was found, and the setting to change. Exit status: 0 where nothing failed (a WARN is no failure),
1 where something did, 2 where the command has to be corrected. It creates about a dozen responses of --provider; the
built-in sandbox costs nothing, and some things only it does on request.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--url", metavar="URL", help=f"what clients use as base_url, /v1 included; else {URL_VARIABLE}")
    add("--key", metavar="KEY", help=f"a gateway key; better, since others see arguments, {KEY_VARIABLE}")
    add("--key-file", metavar="FILE", help="a file that holds the key; - is standard input")
    add("--provider", metavar="NAME", default=SANDBOX, help="who is to answer; a provider of kind sandbox is best")
    add("--model", metavar="MODEL", default=SANDBOX, help="what the provider calls its model; a sandbox takes any")
    add("--silence", metavar="SECONDS", type=float, default=Options.silence, help="75 unless given; 0 leaves it out")
    add("--body", metavar="MIB", type=float, default=32, help="how large a body is to pass; 32 unless given; 0: none")
    add("--connections", metavar="N", type=int, default=Options.connections, help="to find replicas by; 20")
    add(
        "--direct", metavar="URL", action="append", default=[], help="an address nearer to the gateway, to compare with"
    )
    add("--ca-file", metavar="FILE", help="certificates of authorities to trust beside the system's own")
    add("--json", action="store_true", help="for machines, with every figure")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine, print as it goes, and return the exit status. Raises ConfigError where an argument is wrong."""
    url, key, options, tls = read(arguments, os.environ)

    def tell(row: Row) -> None:
        if not arguments.json:
            sys.stdout.write(render_line(row))
            sys.stdout.flush()

    rows = asyncio.run(_examine(url, key, options, tls, tell))
    sys.stdout.write(render_json(url, rows).decode() if arguments.json else f"\n{render_sum(rows)}")
    return status_of(rows)


async def _examine(url: str, key: str, options: Options, tls: ssl.SSLContext | None, tell: Tell) -> list[Row]:
    async with Client(url, key, tls=tls) as client:
        return await examine(Visit(client, options), tell)


def read(
    arguments: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[str, str, Options, ssl.SSLContext | None]:
    """Read the base URL, the key, the options and the authorities; raise ConfigError with every mistake."""
    mistakes: list[Mistake] = []
    url = arguments.url or environment.get(URL_VARIABLE, "")
    mistakes += [Mistake("--url", wrong) for wrong in _wrong_url(url)]
    mistakes += [Mistake("--direct", wrong) for direct in arguments.direct for wrong in _wrong_url(direct)]
    key = _read_key(arguments, environment, mistakes)
    for name, least in (("silence", 0), ("body", 0), ("connections", 1)):
        if not getattr(arguments, name) >= least:
            mistakes.append(Mistake(f"--{name}", f"must be at least {least}"))
    tls = _authorities(arguments.ca_file, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    options = Options(
        provider=arguments.provider,
        model=arguments.model,
        silence=arguments.silence,
        body_bytes=int(arguments.body * MIB),
        connections=arguments.connections,
        direct=tuple(arguments.direct),
    )
    return url.rstrip("/"), key, options, tls


def _wrong_url(url: str) -> list[str]:
    if not url:
        return [f"is missing, and so is {URL_VARIABLE}: what clients use as base_url"]
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    return [] if good else ["must begin with http:// or https:// and a host"]


def _read_key(arguments: argparse.Namespace, environment: Mapping[str, str], mistakes: list[Mistake]) -> str:
    """Read the key from where it is given; never repeats it."""
    key = arguments.key or environment.get(KEY_VARIABLE, "")
    where = "--key" if arguments.key else KEY_VARIABLE
    if arguments.key_file is not None:
        where = "--key-file"
        try:
            key = sys.stdin.read() if arguments.key_file == "-" else Path(arguments.key_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            mistakes.append(Mistake(where, f"{arguments.key_file} cannot be read: {why}"))
            return ""
    key = key.strip()
    if not key:
        mistakes.append(Mistake(where, "holds no key" if where == "--key-file" else "is not set, and no --key-file"))
    elif not (key.isascii() and key.isprintable()) or " " in key:
        mistakes.append(Mistake(where, "holds what cannot be a key"))
    return key


def _authorities(file: str | None, mistakes: list[Mistake]) -> ssl.SSLContext | None:
    if file is None:
        return None
    tls = ssl.create_default_context()
    try:
        tls.load_verify_locations(file)
    except (OSError, ssl.SSLError):
        mistakes.append(Mistake("--ca-file", "holds no certificates that can be read"))
    return tls

"""The command line: arguments and environment in, one of the gateway's commands or processes run."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from proxy import __version__, demo, doctor, inventory, supervisor
from proxy.check import check
from proxy.config import Config, ServerConfig, digest_key, new_key, with_ephemeral_key
from proxy.configfile import ConfigError, Mistake
from proxy.configload import load_config
from proxy.credentials import require_extras
from proxy.embedded import EmbeddedError, running_url
from proxy.notation import check_name
from proxy.providers import REGISTRY

PROGRAM = "responses-proxy"
MISUSED = 2
"""Exit status where the command or the configuration has to be corrected."""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: the configuration has to be corrected\n{error}\n")
        return MISUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="A streaming gateway for the OpenAI Responses API.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="run the gateway")
    _add_config(serve)
    _add_data_dir(serve)
    for name in ("host", "port", "workers"):
        serve.add_argument(f"--{name}", help=f"instead of server.{name}")
    serve.set_defaults(run=_serve)

    checking = commands.add_parser("check", help="validate the configuration and print the routes it makes")
    _add_config(checking)
    checking.add_argument("--probe", action="store_true", help="ask every provider and Redis too; nothing is billed")
    checking.add_argument("--strict", action="store_true", help="exit 1 where there is anything to look at again")
    checking.set_defaults(run=_check)

    bound = commands.add_parser("bindings", help="count, show or forget what is known of response ids")
    which = argparse.ArgumentParser(add_help=False)
    _add_config(which)
    _add_data_dir(which)
    inventory.add_arguments(bound, which)
    bound.set_defaults(run=_bindings)

    keys = commands.add_parser("keys", help="make gateway keys").add_subparsers(metavar="ACTION", required=True)
    new = keys.add_parser("new", help="print a new key, once, and the line of the file that admits it")
    new.add_argument("--tenant", required=True, help="whose responses the key's holder shares")
    new.add_argument("--name", help="what the key is called in logs; the tenant's name unless given")
    new.set_defaults(run=_new_key)

    doctor.add_arguments(commands.add_parser("doctor", help="try a running gateway through the path its clients take"))
    commands.add_parser("demo", help="show it working, without any provider's key").set_defaults(run=_demo)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML; without it the environment names the providers"
    )


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where the embedded server keeps its file")


def _serve(arguments: argparse.Namespace) -> int:
    flags = {name: value for name in ("host", "port", "workers") if (value := getattr(arguments, name)) is not None}
    key = new_key()

    def read() -> Config:
        config = load_config(arguments.config, environment=os.environ, kinds=REGISTRY, server=flags)
        require_extras(config, REGISTRY)
        return config

    def load() -> Config:
        config = read()
        return config if config.keys else with_ephemeral_key(config, key)[0]

    config = read()
    data_dir = _data_dir(arguments)
    if not config.keys:
        _announce(config.server, key)
    return supervisor.serve(load, data_dir=data_dir)


def _announce(server: ServerConfig, key: str) -> None:
    """Print the key of this run as the two settings of every OpenAI SDK; standard output is the log's."""
    lines = ["no keys are configured; this one is good until the gateway stops:"]
    if server.port:
        host = f"[{server.host}]" if ":" in server.host else server.host
        lines.append(f"    export OPENAI_BASE_URL=http://{host}:{server.port}{server.prefixes[0].rstrip('/')}")
    lines.append(f"    export OPENAI_API_KEY={key}")
    sys.stderr.write("\n".join(lines) + "\n")


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """Return the directory that the XDG specification gives a program for its state."""
    state = Path(environment.get("XDG_STATE_HOME", ""))
    if state.is_absolute():
        return state / PROGRAM
    try:
        return Path("~/.local/state").expanduser() / PROGRAM
    except RuntimeError:
        raise ConfigError([Mistake("--data-dir", "is needed where neither XDG_STATE_HOME nor HOME is set")]) from None


def _check(arguments: argparse.Namespace) -> int:
    report = check(arguments.config, os.environ, probe=arguments.probe, strict=arguments.strict)
    sys.stdout.write(report.output)
    sys.stderr.write(report.errors)
    return report.status


def _bindings(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config, environment=os.environ, kinds=REGISTRY)
    try:
        url = config.redis.url.reveal() if config.redis.url else running_url(_data_dir(arguments))
    except EmbeddedError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return MISUSED
    return inventory.run(arguments, config, url)


def _data_dir(arguments: argparse.Namespace) -> Path:
    return arguments.data_dir or default_data_dir(os.environ)


def _new_key(arguments: argparse.Namespace) -> int:
    mistakes = _check_names({"tenant": arguments.tenant, "name": arguments.name})
    if mistakes:
        raise ConfigError(mistakes)
    key = new_key()
    entry = {"name": arguments.name or arguments.tenant, "tenant": arguments.tenant, "key_sha256": digest_key(key)}
    line = yaml.safe_dump(
        {**entry, "key_sha256": digest_key(key)}, default_flow_style=True, sort_keys=False, width=1000
    )
    sys.stdout.write(f"{key}\n\nThat is the key; it is not shown again. In the file, under `keys:`\n\n  - {line}")
    return 0


def _check_names(given: Mapping[str, str | None]) -> list[Mistake]:
    mistakes = []
    for name, value in given.items():
        try:
            if value is not None:
                check_name(value)
        except ValueError as error:
            mistakes.append(Mistake(f"--{name}", str(error)))
    return mistakes


def _demo(_: argparse.Namespace) -> int:
    return demo.main()


if __name__ == "__main__":
    sys.exit(main())

"""What a configuration allows and yet cannot mean: keys and aliases that lead nowhere, files that are not there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.auth import Caller, Keys
from proxy.config import Config, ProviderConfig
from proxy.configfile import Location, dotted
from proxy.routing import Router


def find_doubts(config: Config) -> Iterator[str]:
    """Return what an operator should look at again, each with its dotted key."""
    router, callers = Router(config), Keys(config.keys).callers
    for index, caller in enumerate(callers):
        yield from _doubt_key(router, index, caller, config)
    if callers:
        yield from _find_unused(router, callers, config)
    for location, file in _named_files(config):
        if not Path(file).is_file():
            yield f"{dotted(location)}: there is no such file yet"


def may_ask(router: Router, caller: Caller, alias: str) -> bool:
    """Tell whether a caller may ask for a model by an alias."""
    provider, model = router.aliases[alias]
    return caller.may_use(provider) and router.permits(caller, provider, model)


def credential_files(provider: ProviderConfig) -> list[tuple[str, str]]:
    """Return the settings that name a file with credentials, and the file."""
    settings = {"token_file": provider.token_file, "credentials_file": provider.credentials_file}
    return [(setting, file) for setting, file in settings.items() if file is not None]


def _doubt_key(router: Router, index: int, caller: Caller, config: Config) -> Iterator[str]:
    for model in config.keys[index].models or ():
        provider = config.models.get(model, model).partition("/")[0]
        if provider in config.providers and not caller.may_use(provider):
            yield f"keys[{index}].models: {caller.name} may use {model}, but not its provider {provider}"
    if not any(router.reaches(caller, provider) for provider in config.providers):
        yield f"keys[{index}]: {caller.name} can reach no model of any provider"


def _find_unused(router: Router, callers: Sequence[Caller], config: Config) -> Iterator[str]:
    for name in config.providers:
        if not any(router.reaches(caller, name) for caller in callers):
            yield f"{dotted(('providers', name))}: no key can reach it"
    for alias, (provider, _) in router.aliases.items():
        if not any(caller.may_use(provider) for caller in callers):
            yield f"{dotted(('models', alias))}: no key may use its provider {provider}"
        elif not any(may_ask(router, caller, alias) for caller in callers):
            yield f"{dotted(('models', alias))}: no key that may use its provider {provider} may use this model"


def _named_files(config: Config) -> Iterator[tuple[Location, str]]:
    for name, provider in config.providers.items():
        for setting, file in credential_files(provider):
            yield ("providers", name, setting), file
    if config.fetch.ca_file is not None:
        yield ("fetch", "ca_file"), config.fetch.ca_file

"""Reads a request's tools and tool choice; custom and namespaced tools become functions and are found again."""

import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from proxy.errors import BadRequest

MAX_NAME: Final = 64
CUSTOM_INPUT: Final = "input"
"""The one parameter of a function that stands for a custom tool."""
TOOL_SEARCH: Final = "tool_search"
"""The type, and the function's name, of the search for further tools that the client executes."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_SCHEMA_OF_CUSTOM: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {CUSTOM_INPUT: {"type": "string"}},
    "required": [CUSTOM_INPUT],
    "additionalProperties": False,
}


_OWN_TYPES: Final = ("function", "custom", "namespace")
_READ_MEMBERS: Final = frozenset(
    {"description", "execution", "format", "function", "name", "parameters", "strict", "tools", "type"}
)
_WITHOUT_EFFECT: Final[Mapping[str, Any]] = {"allowed_callers": ["direct"], "async": False, "defer_loading": False}


class Tool(NamedTuple):
    """A tool the client executes, as a function: `name` is what the provider calls it, `own_name` the client.

    `searches` tells that it finds further tools.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None
    own_name: str
    namespace: str | None
    custom: bool
    searches: bool = False

    @property
    def kind(self) -> str:
        """The type a tool choice knows it by."""
        return TOOL_SEARCH if self.searches else "custom" if self.custom else "function"


class Choice(NamedTuple):
    """Which tools may or must be called; `only`, where not None, are the names that are left, one if `named`."""

    mode: Literal["auto", "none", "required"]
    only: tuple[str, ...] | None = None
    named: bool = False


class Tools(NamedTuple):
    """The tools of a request: those the client executes, those a provider would have to (as sent), the choice."""

    functions: tuple[Tool, ...]
    hosted: tuple[Mapping[str, Any], ...]
    choice: Choice

    def offered(self) -> tuple[Tool, ...]:
        """Return the functions the choice leaves."""
        only = self.choice.only
        return self.functions if only is None else tuple(tool for tool in self.functions if tool.name in only)

    def find(self, name: str) -> Tool | None:
        """Return the function of the provider's name, None where there is none such."""
        return next((tool for tool in self.functions if tool.name == name), None)


def upstream_name(name: str, namespace: str | None) -> str:
    """Return the one name that stands for both, the same whenever it is asked for."""
    if namespace is None:
        return name
    joined = _ILLEGAL.sub("_", f"{namespace}__{name}")
    if len(joined) <= MAX_NAME:
        return joined
    digest = f"{zlib.crc32(f'{namespace}.{name}'.encode()):08x}"
    return f"{joined[: MAX_NAME - 9]}_{digest}"


def read_tools(declared: Iterable[tuple[str, Any]], choice: Any, *, hosted: frozenset[str] = frozenset()) -> Tools:
    """Read tools, each with the parameter it stands in, and the tool choice; `hosted` types have a counterpart."""
    functions: dict[str, Tool] = {}
    others: list[Mapping[str, Any]] = []
    for param, tool in declared:
        if not isinstance(tool, dict):
            raise BadRequest("A tool has to be an object.", param=param)
        for found in _flatten(param, tool):
            if isinstance(found, Tool):
                _add(functions, found, param)
            else:
                others.append(found)
    everything = Tools(tuple(functions.values()), tuple(others), Choice("auto"))
    return everything._replace(choice=_read_choice(choice, everything, hosted))


def unread_members(declared: Iterable[tuple[str, Any]]) -> list[str]:
    """Return what is asked of the client's own tools that none of the formats has, such as `tools.defer_loading`."""
    own = [tool for _, tool in declared if isinstance(tool, dict) and tool.get("type") in _OWN_TYPES]
    spaces = [tool["tools"] for tool in own if tool["type"] == "namespace" and isinstance(tool.get("tools"), list)]
    within = [tool for space in spaces for tool in space if isinstance(tool, dict)]
    members = [member for tool in (*own, *within) for member in tool.items() if member[0] not in _READ_MEMBERS]
    unread = [name for name, value in members if value not in (None, _WITHOUT_EFFECT.get(name))]
    return [f"tools.{name}" for name in dict.fromkeys(unread)]


def upstream_names(param: str, declared: Iterable[Any]) -> list[str]:
    """Return what the provider calls those of some tools that the client executes. Raises BadRequest."""
    return [tool.name for tool in read_tools(((param, tool) for tool in declared), None).functions]


def _add(functions: dict[str, Tool], tool: Tool, param: str) -> None:
    known = functions.setdefault(tool.name, tool)
    if (known.own_name, known.namespace, known.kind) != (tool.own_name, tool.namespace, tool.kind):
        raise BadRequest(f"Two tools would be called {tool.name!r}.", param=param)


def _flatten(param: str, tool: Mapping[str, Any]) -> list[Tool | Mapping[str, Any]]:
    """Return a tool as one function, a namespace as the functions in it, anything else as it is."""
    kind = tool.get("type")
    if not isinstance(kind, str):
        raise BadRequest("A tool has to have a type.", param=f"{param}.type")
    if kind in ("function", "custom"):
        return [_read_tool(param, tool, None, "")]
    if kind == TOOL_SEARCH and tool.get("execution") == "client":
        named = {**tool, "name": TOOL_SEARCH, "strict": None}
        return [_read_tool(param, named, None, "")._replace(searches=True)]
    if kind != "namespace":
        return [tool]
    namespace, within = tool.get("name"), tool.get("tools")
    if not isinstance(namespace, str) or not isinstance(within, list):
        raise BadRequest("A namespace has to have a name and tools.", param=param)
    if not all(isinstance(inner, dict) and inner.get("type", "function") in ("function", "custom") for inner in within):
        raise BadRequest("A namespace holds functions and custom tools.", param=param)
    about = str(tool.get("description") or "")
    return [_read_tool(f"{param}.tools[{at}]", inner, namespace, about) for at, inner in enumerate(within)]


def _read_tool(param: str, tool: Mapping[str, Any], namespace: str | None, about: str) -> Tool:
    # Chat formats nest what the Responses API has flat; some clients send the nested form.
    nested = tool.get("function")
    declared = nested if isinstance(nested, dict) else tool
    name = declared.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest("A tool has to have a name.", param=f"{param}.name")
    custom = tool.get("type") == "custom"
    parameters = declared.get("parameters")
    if not isinstance(parameters, dict):
        parameters = {"type": "object", "properties": {}}
    strict = declared.get("strict")
    notes = [about, str(declared.get("description") or ""), _describe_format(tool.get("format")) if custom else ""]
    return Tool(
        name=upstream_name(name, namespace),
        description="\n\n".join(filter(None, notes)),
        parameters=_SCHEMA_OF_CUSTOM if custom else parameters,
        strict=strict if isinstance(strict, bool) and not custom else None,
        own_name=name,
        namespace=namespace,
        custom=custom,
    )


def _describe_format(value: Any) -> str:
    """Say in words what a custom tool's grammar demands, for models that cannot be held to it."""
    note = f"Put the whole input, as plain text, into `{CUSTOM_INPUT}`."
    if not isinstance(value, dict) or value.get("type") != "grammar":
        return note
    return f"{note} It has to match this {value.get('syntax')} grammar:\n{value.get('definition')}"


def _read_choice(choice: Any, tools: Tools, hosted: frozenset[str]) -> Choice:
    if choice is None:
        return Choice("auto")
    if isinstance(choice, str):
        return _read_mode(choice, tools, hosted)
    if not isinstance(choice, dict):
        raise BadRequest("tool_choice has to be a string or an object.", param="tool_choice")
    if choice.get("type") == "allowed_tools":
        return _read_allowed(choice, tools, hosted)
    return Choice("required", (_find(choice, tools, hosted),), named=True)


def _read_mode(mode: Any, tools: Tools, hosted: frozenset[str]) -> Choice:
    if mode not in ("auto", "none", "required"):
        raise BadRequest(f"tool_choice {mode!r} is not one of auto, none, required.", param="tool_choice")
    usable = tools.functions or any(tool.get("type") in hosted for tool in tools.hosted)
    if mode == "required" and not usable:
        names = ", ".join(str(tool.get("type")) for tool in tools.hosted) or "none"
        raise BadRequest(f"A tool call is required, but this provider has none of the tools: {names}.", param="tools")
    return Choice(mode)


def _read_allowed(choice: Mapping[str, Any], tools: Tools, hosted: frozenset[str]) -> Choice:
    listed = choice.get("tools")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise BadRequest("allowed_tools needs a list of tools.", param="tool_choice.tools")
    if not all(isinstance(entry.get("type"), str) for entry in listed):
        raise BadRequest("An allowed tool has to have a type.", param="tool_choice.tools")
    mode = choice.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise BadRequest(f"allowed_tools cannot have mode {mode!r}.", param="tool_choice.mode")
    # A tool the provider cannot have anyway is no hindrance as long as it is not the only way out.
    own = {"function", "custom", *(tool.kind for tool in tools.functions)}
    known = [entry for entry in listed if entry["type"] in own or entry["type"] in hosted]
    if not known and mode == "required":
        if listed:
            _find(listed[0], tools, hosted)
        raise BadRequest("A tool call is required, but no tool is allowed.", param="tool_choice.tools")
    return Choice(mode, tuple(_find(entry, tools, hosted) for entry in known))


def _find(entry: Mapping[str, Any], tools: Tools, hosted: frozenset[str]) -> str:
    """Return the provider's name of a chosen function, or the type of a chosen hosted tool."""
    kind, name, namespace = entry.get("type"), entry.get("name"), entry.get("namespace")
    if kind in ("function", "custom"):
        for tool in tools.functions:
            if tool.own_name == name and (namespace is None or tool.namespace == namespace):
                return tool.name
        raise BadRequest(f"Tool choice {name!r} is not among the tools.", param="tool_choice")
    if isinstance(kind, str) and kind in hosted:
        return kind
    if kind == TOOL_SEARCH and (search := tools.find(TOOL_SEARCH)) is not None and search.searches:
        return search.name
    raise BadRequest(f"The tool {kind!r} cannot be chosen: this provider does not have it.", param="tool_choice")

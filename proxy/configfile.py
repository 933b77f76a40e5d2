"""The configuration file as text: YAML in, plain text, lists and mappings out, with references expanded.

Which type a setting has is the schema's business, not YAML's: every scalar stays the text it was
written as, so that `no`, `1e3` and `0123` mean what they say. Every mistake is collected with its
dotted key, and no message repeats a value, because any value may be a credential.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Location = tuple[str | int, ...]

MAX_FILE_BYTES = 65_536
"""Of what `${file:...}` names."""
MAX_DEPTH = 16
MAX_VALUES = 50_000

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WRITTEN_REFERENCE = re.compile(r"\$\{([^{}'\"\n]*)\}")
_QUOTED = re.compile(r"'([^']*)'")
_FILE = "file:"
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Stand for the braces of a reference while YAML is read: in `{key: ${NAME}}` it would take them for its own."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Mistake(NamedTuple):
    """One thing that is wrong: where (a dotted key, a file, a line) and what."""

    key: str
    message: str


class ConfigError(Exception):
    """The configuration cannot be used; `mistakes` has all there is to correct."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        return "\n".join(f"{key}: {message}" for key, message in self.mistakes)


class Document(NamedTuple):
    """What a file says: nested `dict`, `list`, `str` and None.

    `references` has the dotted keys whose value came, at least in part, from the environment or
    from another file; such a value is never shown. `files` has each of those files with its dotted key.
    """

    data: dict[str, Any]
    references: frozenset[str]
    mistakes: tuple[Mistake, ...]
    files: tuple[tuple[str, str], ...] = ()


def dotted(location: Iterable[str | int]) -> str:
    """Write a location as an operator would: `keys[1].providers[0]`, `models["gpt-4.1"]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def read_document(text: str, environment: Mapping[str, str]) -> Document:
    """Read YAML and expand `${NAME}` and `${file:/path}` inside its values; `$$` stands for `$`.

    A reference that cannot be resolved is a mistake of the document. Raises ConfigError, with the
    line, for text that is not YAML.
    """
    root = _compose(_WRITTEN_REFERENCE.sub(rf"${_OPEN}\1{_CLOSE}", text))
    reader = _Reader(environment)
    data = None if root is None else reader.read(root, ())
    if data is None:
        data = {}
    elif not isinstance(data, dict):
        raise ConfigError([Mistake("line 1", "the file must be a mapping of settings, such as `providers: {...}`")])
    return Document(data, frozenset(reader.references), tuple(reader.mistakes), tuple(reader.files))


class _TextLoader(yaml.SafeLoader):
    """Resolves no scalar to anything but text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the name and the kind of attribute are PyYAML's


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_TextLoader)
    except yaml.MarkedYAMLError as error:
        mistake = _locate(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        mistake = Mistake(f"line {line}", "a character that YAML does not allow")
    except RecursionError:
        mistake = Mistake("line 1", "nested too deeply")
    raise ConfigError([mistake])


def _locate(error: yaml.MarkedYAMLError) -> Mistake:
    """Keep the place and the problem; quoted text from the file is left out."""
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "line 1"
    problem = _QUOTED.sub(_mask, error.problem or error.context or "a mistake")
    return Mistake(place, f"not valid YAML: {problem}")


def _mask(quoted: re.Match[str]) -> str:
    """Keep single characters and the parser's own words, such as `<stream end>`."""
    return quoted[0] if len(quoted[1]) <= 1 or quoted[1].startswith("<") else "'...'"


class _Reader:
    """Turns YAML's nodes into plain values, expanding references on the way."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.mistakes: list[Mistake] = []
        self.references: set[str] = set()
        self.files: list[tuple[str, str]] = []
        self._values = 0

    def read(self, node: yaml.Node, location: Location) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(location) > MAX_DEPTH:
            raise ConfigError(
                [Mistake(f"line {node.start_mark.line + 1}", "the file is nested too deeply or too large")]
            )
        if node.tag not in _PLAIN_TAGS:
            self._add(location, "YAML tags (`!...`) mean nothing here: leave it out")
            return ""
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS:
            return None
        return self._expand(_restore(node.value), location)

    def _read_mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _restore(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if not key:
                self._add(location, f"line {line} has a name that is not text")
            elif ":" in key and value_node.start_mark.index == value_node.end_mark.index:
                # `{api_key:secret}` is a name without a value; it must not be shown.
                self._add(location, f"line {line} has no value: put a space after the colon")
            elif key in values:
                self._add((*location, key), f"is given twice, again on line {line}")
            else:
                values[key] = self.read(value_node, (*location, key))
        return values

    def _expand(self, text: str, location: Location) -> str:
        unresolved: list[str] = []

        def resolve(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            self.references.add(dotted(location))
            if match[1].startswith(_FILE):
                self.files.append((dotted(location), match[1].removeprefix(_FILE)))
            try:
                return self._resolve(match[1], closed=bool(match[2]))
            except _Unresolved as error:
                unresolved.append(str(error))
                return ""

        expanded = _REFERENCE.sub(resolve, text)
        for message in unresolved:
            self._add(location, message)
        return "" if unresolved else expanded

    def _resolve(self, name: str, *, closed: bool) -> str:
        if not closed:
            raise _Unresolved("`${` is not closed; write `$$` for a dollar sign")
        if name.startswith(_FILE):
            return _read_file(name.removeprefix(_FILE))
        if not _VARIABLE.fullmatch(name):
            raise _Unresolved("a reference is `${NAME}` or `${file:/path}`; write `$$` for a dollar sign")
        if name not in self.environment:
            raise _Unresolved(f"environment variable {name} is not set")
        return self.environment[name]

    def _add(self, location: Location, message: str) -> None:
        self.mistakes.append(Mistake(dotted(location) or "the file", message))


def _restore(text: str) -> str:
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")


class _Unresolved(Exception):
    """A reference that leads nowhere."""


def _read_file(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _Unresolved(f"file {json.dumps(name)} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _Unresolved("what follows `file:` cannot be the name of a file") from None
    if len(content) > MAX_FILE_BYTES:
        raise _Unresolved(f"file {json.dumps(name)} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Unresolved(f"file {json.dumps(name)} is not UTF-8 text") from None

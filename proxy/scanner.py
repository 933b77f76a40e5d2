"""Incremental scanner of a JSON object: the values of a few top-level fields, found while its bytes pass.

The gateway decides from such fields while foreign parsers read the same bytes. So whatever it accepts,
every JSON parser, strict or lenient, must read the same way; anything that could be read twice is refused.
"""

import codecs
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from proxy import grammar

_DECODE_BYTES: Final = 65_536

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE = b'",:{}'
_CLOSERS: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_DOTLESS: Final = str.maketrans("\u0130\u0131", "ii")


class ScanError(ValueError):
    """The object is refused; the message is for the client.

    `code` is "invalid_json", "invalid_type", "ambiguous_field", "field_too_long" or "too_deep".
    """

    def __init__(self, message: str, *, code: str = "invalid_json", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class _Plan(NamedTuple):
    """What depends on the set of wanted fields alone: how to get to them, and what may be taken for them."""

    match: grammar.Match
    names: Mapping[bytes, str]
    folded: Mapping[str, str]
    quoted: Mapping[bytes, str]


@lru_cache(maxsize=32)
def _plan(names: tuple[str, ...]) -> _Plan:
    return _Plan(
        grammar.compile_members(names),
        {name.encode(): name for name in names},
        {_fold(name): name for name in names},
        {b'"%b"' % name.lower().encode(): name for name in names},
    )


def _fold(name: str) -> str:
    """Map names that any parser takes for the same to one: by case, by Turkish i, by ending at a NUL."""
    return name.partition("\0")[0].translate(_DOTLESS).casefold()


class ObjectScanner:
    """Find the values of the wanted top-level fields of one JSON object; memory does not depend on its size.

    `wanted` maps field names to the most bytes their raw value may have. A longer one is a ScanError, or is
    treated as absent with `skip_oversized`. After a ScanError the scanner must not be fed again.
    """

    __slots__ = (
        *("_base", "_carry", "_fast", "_kept", "_max_depth", "_name", "_plan", "_seen", "_skip_oversized"),
        *("_stack", "_start", "_step", "_utf8_tail", "_wanted", "end", "spans", "values"),
    )

    def __init__(self, wanted: Mapping[str, int], *, max_depth: int = 512, skip_oversized: bool = False) -> None:
        self._wanted = wanted
        self._plan = _plan(tuple(wanted))
        self._max_depth = max_depth
        self._fast = max_depth > grammar.MEMBER_DEPTH
        self._skip_oversized = skip_oversized
        self._step: Callable[[ObjectScanner, bytes, int], int] = ObjectScanner._before
        self._base = 0  # where in the stream the buffer at hand begins
        self._carry = b""  # an unfinished key, number, literal or escape: short by their limits
        self._utf8_tail = b""
        self._stack = bytearray()  # the closing brackets due, innermost last
        self._seen: set[str] = set()
        self._name: str | None = None  # the wanted field whose value is being read
        self._start = -1  # where in the stream that value begins, once it has
        self._kept = bytearray()  # what earlier chunks held of that value
        self.values: dict[str, bytes] = {}
        """Raw JSON of the wanted fields read so far."""
        self.spans: dict[str, tuple[int, int]] = {}
        """Where in the stream those values stand: first byte, byte after the last."""
        self.end: int | None = None
        """Where in the stream the closing brace of the object stands."""

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the stream, cut anywhere."""
        if self._utf8_tail or not chunk.isascii():
            self._check_utf8(chunk)
        buffer = self._carry + chunk if self._carry else chunk
        self._carry = b""
        position, size = 0, len(buffer)
        while position < size:
            position = self._step(self, buffer, position)
        done = size - len(self._carry)
        if self._name is not None and self._start >= 0:
            self._keep(self._name, buffer[max(0, self._start - self._base) : done])
        self._base += done

    def close(self) -> None:
        """Check that the object is whole."""
        if self._step is ObjectScanner._before:
            raise ScanError("The body is empty; a JSON object is expected.")
        if self.end is None:
            raise ScanError("The body ends before its JSON object does.")

    @property
    def holding(self) -> int | None:
        """Where in the stream the value of a wanted field begins that is not complete yet."""
        return self._start if self._name is not None and self._start >= 0 else None

    def _check_utf8(self, chunk: bytes) -> None:
        """Refuse what is not UTF-8: some decoders drop such bytes, some swallow the quote that follows them."""
        for at in range(0, len(chunk), _DECODE_BYTES):
            piece = self._utf8_tail + chunk[at : at + _DECODE_BYTES]
            try:
                consumed = codecs.utf_8_decode(piece, "strict", False)[1]  # noqa: FBT003 - takes no keywords
            except UnicodeDecodeError:
                raise ScanError("The body must be JSON in UTF-8.") from None
            self._utf8_tail = piece[consumed:]

    # The steps. Each reads on from `position`, sets the step that is next and returns where it stopped.

    def _before(self, buffer: bytes, position: int) -> int:
        if buffer[position] != _OPEN:
            position = grammar.match_space(buffer, position).end()
            if position == len(buffer):
                return position
            if buffer[position] != _OPEN:
                raise _not_an_object(buffer[position])
        self._step = ObjectScanner._first
        return position + 1

    def _first(self, buffer: bytes, position: int) -> int:
        if buffer[position] == _QUOTE:
            self._step = ObjectScanner._member
            return position
        position = grammar.match_space(buffer, position).end()
        if position < len(buffer):
            self._step = ObjectScanner._after if buffer[position] == _CLOSE else ObjectScanner._member
        return position

    def _member(self, buffer: bytes, position: int) -> int:
        """Take all members that matches can, then the next one step by step."""
        if not self._fast:
            return self._key(buffer, position)
        step_over, names = self._plan.match, self._plan.names
        while True:
            match = step_over(buffer, position)
            position = match.end()
            if match.lastindex is None:
                break
            name, raw = match.group(1, 2)
            self._note(self._claim(names[name]), raw, self._base + match.start(2))
            if buffer[position - 1] == _CLOSE:
                self._step = ObjectScanner._after
                return position - 1
        if match.start() == position or buffer[position - 1] == _COMMA:
            return self._key(buffer, position)
        self._step = ObjectScanner._after
        return position

    def _key(self, buffer: bytes, position: int) -> int:
        self._step = ObjectScanner._key
        start = grammar.match_space(buffer, position).end()
        if start == len(buffer):
            return start
        if buffer[start] != _QUOTE:
            raise self._unexpected(buffer, start)
        end = grammar.match_string_body(buffer, start + 1).end()
        if end - start > grammar.MAX_KEY_BYTES + 1:
            raise ScanError(f"The body has a field whose name is longer than {grammar.MAX_KEY_BYTES} bytes.")
        if end == len(buffer) or buffer[end] != _QUOTE:
            return self._wait(buffer, start, end)
        self._name = self._identify(buffer[start : end + 1])
        self._step = ObjectScanner._colon
        return end + 1

    def _colon(self, buffer: bytes, position: int) -> int:
        position = grammar.match_space(buffer, position).end()
        if position == len(buffer):
            return position
        if buffer[position] != _COLON:
            raise self._unexpected(buffer, position)
        self._step = ObjectScanner._value
        return position + 1

    def _value(self, buffer: bytes, position: int) -> int:
        position = grammar.match_space(buffer, position).end()
        if position == len(buffer):
            return position
        self._start = self._base + position
        first = buffer[position]
        if first == _QUOTE:
            self._step = ObjectScanner._string
            return position + 1
        if first in _CLOSERS:
            self._push(first)
            return position + 1
        self._step = ObjectScanner._scalar
        return position

    def _scalar(self, buffer: bytes, position: int) -> int:
        end = grammar.match_scalar_bytes(buffer, position).end()
        if end - position > grammar.MAX_SCALAR_BYTES:
            raise ScanError(f"The body has a number of more than {grammar.MAX_DIGITS} digits.")
        if end == len(buffer):
            return self._wait(buffer, position, end)
        if not grammar.is_scalar(buffer, position, end):
            raise self._unexpected(buffer, position)
        return self._finish(buffer, end)

    def _string(self, buffer: bytes, position: int) -> int:
        end = grammar.match_string_body(buffer, position).end()
        if end == len(buffer):
            return end
        if buffer[end] != _QUOTE:
            return self._wait(buffer, end, end)
        if not self._stack:
            return self._finish(buffer, end + 1)
        self._step = ObjectScanner._nested
        return end + 1

    def _nested(self, buffer: bytes, position: int) -> int:
        skip = grammar.match_nested if len(self._stack) + grammar.NESTED_DEPTH < self._max_depth else grammar.match_flat
        end = skip(buffer, position).end()
        if end == len(buffer):
            return end
        if buffer[end] == _QUOTE:
            self._step = ObjectScanner._string
            return end + 1
        position = self._brackets(buffer, end)
        if position == end:
            raise self._unexpected(buffer, end)
        return position

    def _brackets(self, buffer: bytes, position: int) -> int:
        stack = self._stack
        while position < len(buffer):
            bracket = buffer[position]
            if bracket in _CLOSERS:
                self._push(bracket)
            elif bracket == stack[-1]:
                stack.pop()
            else:
                break
            position += 1
            if not stack:
                return self._finish(buffer, position)
        return position

    def _after(self, buffer: bytes, position: int) -> int:
        position = grammar.match_space(buffer, position).end()
        if position == len(buffer):
            return position
        if buffer[position] == _COMMA:
            self._step = ObjectScanner._member
        elif buffer[position] == _CLOSE:
            self._step = ObjectScanner._ended
            self.end = self._base + position
        else:
            raise self._unexpected(buffer, position)
        return position + 1

    def _ended(self, buffer: bytes, position: int) -> int:
        position = grammar.match_space(buffer, position).end()
        if position < len(buffer):
            raise self._unexpected(buffer, position)
        return position

    # What the steps do on the way.

    def _push(self, bracket: int) -> None:
        self._stack.append(_CLOSERS[bracket])
        if len(self._stack) >= self._max_depth:
            raise ScanError(f"The body is nested more than {self._max_depth} levels deep.", code="too_deep")
        self._step = ObjectScanner._nested

    def _wait(self, buffer: bytes, start: int, stopped: int) -> int:
        """Carry a token over to the next chunk, where the chunk and not a wrong byte has stopped it."""
        if stopped < len(buffer) and not grammar.is_partial_escape(buffer, stopped):
            raise self._unexpected(buffer, stopped)
        self._carry = buffer[start:]
        return len(buffer)

    def _identify(self, quoted: bytes) -> str | None:
        """Return the wanted field this key names, if any; refuse one that some parsers take for it."""
        plain = b"\\" not in quoted and quoted.isascii()
        name = self._plan.quoted.get(quoted.lower()) if plain else self._plan.folded.get(_fold(decode_string(quoted)))
        if name is None:
            return None
        if quoted != b'"%b"' % name.encode() and (plain or decode_string(quoted) != name):
            raise _ambiguous(name, f"Field '{name}' is spelled in a way that not every parser tells from it.")
        return self._claim(name)

    def _claim(self, name: str) -> str:
        if name in self._seen:
            raise _ambiguous(name, f"Field '{name}' is given twice.")
        self._seen.add(name)
        return name

    def _finish(self, buffer: bytes, end: int) -> int:
        """Note the value that ends here, if its field is wanted."""
        name, start = self._name, self._start
        self._name, self._start, self._step = None, -1, ObjectScanner._after
        if name is not None:
            raw = buffer[max(0, start - self._base) : end]
            if self._kept:
                raw = bytes(self._kept) + raw
                self._kept.clear()
            self._note(name, raw, start)
        return end

    def _note(self, name: str, raw: bytes, start: int) -> None:
        length = len(raw)
        if length <= self._wanted[name] or self._fits(name, length):
            self.values[name] = raw
            self.spans[name] = (start, start + length)

    def _keep(self, name: str, part: bytes) -> None:
        """Keep what this chunk holds of a wanted value that goes on in the next."""
        if self._fits(name, len(self._kept) + len(part)):
            self._kept += part

    def _fits(self, name: str, length: int) -> bool:
        limit = self._wanted[name]
        if length <= limit:
            return True
        if not self._skip_oversized:
            raise ScanError(f"Field '{name}' is longer than {limit} bytes.", code="field_too_long", param=name)
        self._name = None
        self._kept.clear()
        return False

    def _unexpected(self, buffer: bytes, position: int) -> ScanError:
        where = self._base + position
        return ScanError(f"The body is not valid JSON: unexpected {_show(buffer[position])} at byte {where}.")


def _not_an_object(first: int) -> ScanError:
    if first == codecs.BOM_UTF8[0]:
        return ScanError("The body must not begin with a byte order mark.")
    return ScanError(f"The body must be a JSON object in UTF-8; it begins with {_show(first)}.")


def _show(byte: int) -> str:
    return f"'{byte:c}'" if ord(" ") < byte < ord("\x7f") else f"0x{byte:02x}"


def _ambiguous(name: str, message: str) -> ScanError:
    return ScanError(message, code="ambiguous_field", param=name)


def decode_string(quoted: bytes, *, param: str | None = None) -> str:
    """Decode a JSON string; a ScanError where its escapes spell half a surrogate pair."""
    if b"\\" not in quoted:
        return quoted[1:-1].decode()
    try:
        text: str = orjson.loads(quoted)
    except orjson.JSONDecodeError:
        what = "A field's name" if param is None else f"Field '{param}'"
        raise ScanError(f"{what} is not Unicode text.", param=param) from None
    return text

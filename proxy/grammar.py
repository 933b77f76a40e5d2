r"""Patterns that step over JSON at the speed of the regular-expression engine, in memory that does not grow.

Up to Python 3.11.4 a possessive group goes on from where its failed last try had got to, not from where that try
began (gh-106052), and so would accept `[{]` or `"\u"`. A last alternative that is a run of a class puts the position
back: keep it so in every `(?:...)*+` below. Runs of single characters and plain groups are not affected.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, cast

MAX_KEY_BYTES: Final = 256
MAX_DIGITS: Final = 400
MAX_SCALAR_BYTES: Final = 3 * MAX_DIGITS + len("-.e+")

MEMBER_DEPTH: Final = 6
"""Levels of brackets that one step over members passes; the pattern doubles in size with each."""
NESTED_DEPTH: Final = 4
"""The same, for a step within brackets."""

Match = Callable[[bytes, int], "re.Match[bytes]"]

_NEVER = rb"[^\x00-\xff]++"
_SPACE = rb"[ \t\n\r]*+"
_PLAIN = rb"[\x20\x21\x23-\x5b\x5d-\xff]"
_BODY = rb'(?:\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4}+|%b++)*+' % _PLAIN
_STRING = rb'"%b"' % _BODY
_DIGITS = rb"[0-9]{1,%d}+" % MAX_DIGITS
_SCALAR = rb"(?:true|false|null|-?(?:0|(?!0)%b)(?:\.%b)?(?:[eE][+-]?%b)?)" % ((_DIGITS,) * 3)
# All that strict JSON can hold between strings and brackets: nothing opens a comment or another kind of quote.
_OUTSIDE = rb"[\t\n\r +,\-.0-9:Eaeflnrstu]"


def _content(depth: int) -> bytes:
    """Build the pattern of what stands between brackets, with at most `depth` further levels of them."""
    brackets = rb"\{%b\}|\[%b\]|" % (_content(depth - 1), _content(depth - 1)) if depth else b""
    return rb"(?:%b%b*+|%b%b++)*+" % (_STRING, _OUTSIDE, brackets, _OUTSIDE)


_SMALL = rb"(%b|\{%b\}|%b)" % (_STRING, _content(1), _SCALAR)


def _always(pattern: bytes) -> Match:
    """Compile a pattern that matches the empty string, and so never returns None."""
    return cast("Match", re.compile(pattern).match)


match_space = _always(_SPACE)
match_string_body = _always(_BODY)
match_scalar_bytes = _always(rb"[0-9A-Za-z+\-.]*+")
match_flat = _always(_content(0))
match_nested = _always(_content(NESTED_DEPTH))
is_partial_escape = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3}+)?").fullmatch
is_scalar = re.compile(_SCALAR).fullmatch


def compile_members(names: Iterable[str]) -> Match:
    """Compile the pattern that steps over members up to and including one that is named.

    It always matches. Its groups are the name, the value and the separator of a named member that is small and
    whole; without them the match ends behind a comma, before the closing brace, or where it began.
    """
    named = b"|".join(re.escape(name.encode()) for name in names)
    content = _content(MEMBER_DEPTH - 1)
    key = rb'%b"(?!(?i:%b)")[ !#-\[\]-~]{0,%d}+"%b:%b' % (_SPACE, named, MAX_KEY_BYTES, _SPACE, _SPACE)
    value = rb"(?:%b|\{%b\}|\[%b\]|%b)%b(?:,|(?=\}))" % (_STRING, content, content, _SCALAR, _SPACE)
    member = rb'%b"(%b)"%b:%b%b%b([,}])' % (_SPACE, named, _SPACE, _SPACE, _SMALL, _SPACE)
    return _always(rb"(?:%b%b|%b)*+(?:%b|)" % (key, value, _NEVER, member))

"""Whatever the scanner accepts, every JSON parser reads the same; and it reads the same however it is cut."""

import json
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import grammar
from proxy.scanner import ObjectScanner, ScanError

WANTED = {"model": 200, "stream": 200, "kid": 200}
LARGE = dict.fromkeys(WANTED, 100_000)


def scan(pieces, wanted=None, **options):
    scanner = ObjectScanner(WANTED if wanted is None else wanted, **options)
    for piece in pieces:
        scanner.feed(piece)
    scanner.close()
    return scanner


def single_bytes(body):
    return [body[at : at + 1] for at in range(len(body))]


def cut(body, places):
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def outcome(pieces, **options):
    """Tell what came of a body: values, spans and end, or the code and field of the refusal."""
    try:
        scanner = scan(pieces, **options)
    except ScanError as error:
        return error.code, error.param
    return scanner.values, scanner.spans, scanner.end


ACCEPTED = [
    (b"{}", {}),
    (b" \t\r\n{ \n} \r\n", {}),
    (b'{"model":"a"}', {"model": b'"a"'}),
    (b' { "model" : "a" , "stream" : true } ', {"model": b'"a"', "stream": b"true"}),
    (b'{"a":1,"model":null}', {"model": b"null"}),
    (b'{"model":"a","a":1}', {"model": b'"a"'}),
    (b'{"a":{},"b":[],"c":"","":0}', {}),
    (b'{"a":{"model":"x"},"b":["model",{"model":1}],"model":"m"}', {"model": b'"m"'}),
    (b'{"a":"\\"model\\":\\"x\\",","model":"m"}', {"model": b'"m"'}),
    (b'{"a":"\\\\","model":"m"}', {"model": b'"m"'}),
    (rb'{"mod\u0065l":"m"}', {"model": b'"m"'}),
    (rb'{"\u006d\u006F\u0064\u0065\u006c":"m","a":1}', {"model": b'"m"'}),
    (rb'{"model":"\u0067\ud83d\ude00\n"}', {"model": rb'"\u0067\ud83d\ude00\n"'}),
    (rb'{"a":"\ud83d","model":"m"}', {"model": b'"m"'}),
    ('{"schlüssel":"東京","model":"é𝄞"}'.encode(), {"model": '"é𝄞"'.encode()}),
    (b'{"models":1,"mode":2,"model":3,"kids":4}', {"model": b"3"}),
    (b'{"a":-0.5e+10,"b":0,"c":1E5,"d":-12,"model":-1.25}', {"model": b"-1.25"}),
    (b'{"model":{"a":[1,{"b":"}"}]},"stream":[1,[2,[3,[4]]]]}', None),
    (b'{"a":[[[[[[[[[[{"b":[[[[[[[[1]]]]]]]]}]]]]]]]]]],"model":"m"}', {"model": b'"m"'}),
    (b'{"a":[' + b'{"b":"c"},' * 500 + b'1],"model":"m"}', {"model": b'"m"'}),
    (b'{"a":"' + b"x\\n" * 500 + b'","model":"m"}', {"model": b'"m"'}),
    (b'{"' + b"k" * grammar.MAX_KEY_BYTES + b'":1}', {}),
    (b'{"a":' + b"9" * grammar.MAX_DIGITS + b"}", {}),
    (b'{"a":1,"a":2}', {}),
]

REFUSED = [
    # No object.
    (b"", "invalid_json", None),
    (b" \n", "invalid_json", None),
    (b"[]", "invalid_json", None),
    (b"null", "invalid_json", None),
    (b'"{}"', "invalid_json", None),
    (b"\xef\xbb\xbf{}", "invalid_json", None),
    ('{"model":"a"}'.encode("utf-16"), "invalid_json", None),
    ('{"model":"a"}'.encode("utf-16-le"), "invalid_json", None),
    ('{"model":"a"}'.encode("utf-32-be"), "invalid_json", None),
    # Not whole, or more than one.
    (b"{", "invalid_json", None),
    (b'{"model"', "invalid_json", None),
    (b'{"model":"a', "invalid_json", None),
    (b'{"model":tru', "invalid_json", None),
    (b'{"model":"a"', "invalid_json", None),
    (b'{"a":[1', "invalid_json", None),
    (b"{}{}", "invalid_json", None),
    (b'{"a":1}x', "invalid_json", None),
    (b'{"a":1}}', "invalid_json", None),
    (b'{"a":1}\x00', "invalid_json", None),
    # Punctuation.
    (b"{,}", "invalid_json", None),
    (b'{"a":1,}', "invalid_json", None),
    (b'{"a":1, }', "invalid_json", None),
    (b'{,"a":1}', "invalid_json", None),
    (b'{"a":1,,"b":2}', "invalid_json", None),
    (b'{"a":1 "b":2}', "invalid_json", None),
    (b'{"a" 1}', "invalid_json", None),
    (b'{"a"::1}', "invalid_json", None),
    (b'{"a":}', "invalid_json", None),
    (b'{"a"}', "invalid_json", None),
    (b"{a:1}", "invalid_json", None),
    (b"{'a':1}", "invalid_json", None),
    (b"{\"a\":'b'}", "invalid_json", None),
    # Scalars.
    *((b'{"a":%b}' % bad, "invalid_json", None) for bad in (b"tru", b"True", b"nul", b"nulll", b"NaN", b"Infinity")),
    *(
        (b'{"a":%b}' % bad, "invalid_json", None)
        for bad in (b"01", b"1.", b".5", b"+1", b"-", b"1e", b"1e+", b"0x1", b"1_0")
    ),
    (b'{"a":1' + b"0" * grammar.MAX_DIGITS + b"}", "invalid_json", None),
    (b'{"a":' + b"1" * grammar.MAX_SCALAR_BYTES + b"1}", "invalid_json", None),
    # Comments, and what only lenient parsers read, wherever it stands.
    (b'{/**/"a":1}', "invalid_json", None),
    (b'{"a":1}//', "invalid_json", None),
    (b'{"a":[1 /*,"*/ ],"b":2}', "invalid_json", None),
    (b'{"a":[1 //"\n]}', "invalid_json", None),
    (b'{"a":[1 #"\n]}', "invalid_json", None),
    (b'{"a":[\'"\', 1]}', "invalid_json", None),
    (b'{"a":[`"`]}', "invalid_json", None),
    (b'{"a":[NaN]}', "invalid_json", None),
    (b'{"a":[\x0c]}', "invalid_json", None),
    (b'{"a":\x0c1}', "invalid_json", None),
    (b'{"a":["\\\n"]}', "invalid_json", None),
    # Brackets.
    (b'{"a":[}', "invalid_json", None),
    (b'{"a":[}}', "invalid_json", None),
    (b'{"a":[{]}', "invalid_json", None),
    (b'{"a":[{],"b":1}]}', "invalid_json", None),
    (b'{"a":[[[[[[[[{]]]]]]]]}', "invalid_json", None),
    (b'{"a":]}', "invalid_json", None),
    # Strings.
    (b'{"a":"\n"}', "invalid_json", None),
    (b'{"a":["\x00"]}', "invalid_json", None),
    (b'{"a":"\\x"}', "invalid_json", None),
    (b'{"a":"\\u12"}', "invalid_json", None),
    (b'{"a":["\\u"]}', "invalid_json", None),
    (b'{"a":["\\u123g"]}', "invalid_json", None),
    (b'{"a\\u12":1}', "invalid_json", None),
    (b'{"a\n":1}', "invalid_json", None),
    (b'{"a":"\xff"}', "invalid_json", None),
    (b'{"a":["\xe2\x82"]}', "invalid_json", None),
    (b'{"a":"\xc0\xa2"}', "invalid_json", None),
    (b'{"a":"\xed\xa0\x80"}', "invalid_json", None),
    (b'{"\\ud800":1}', "invalid_json", None),
    (b'{"' + b"k" * (grammar.MAX_KEY_BYTES + 1) + b'":1}', "invalid_json", None),
    # Named twice, or in a way that some parser takes for the name.
    (b'{"model":"a","model":"a"}', "ambiguous_field", "model"),
    (b'{"model":"a","x":[1],"model":"b"}', "ambiguous_field", "model"),
    (rb'{"model":"a","m\u006fdel":"b"}', "ambiguous_field", "model"),
    (rb'{"m\u006fdel":"a","model":"b"}', "ambiguous_field", "model"),
    (b'{"Model":"a"}', "ambiguous_field", "model"),
    (b'{"model":"a","MODEL":"b"}', "ambiguous_field", "model"),
    (rb'{"\u004dodel":"a"}', "ambiguous_field", "model"),
    ('{"\u017ftream":true}'.encode(), "ambiguous_field", "stream"),
    (rb'{"\u017ftream":true}', "ambiguous_field", "stream"),
    ('{"\u212aid":1}'.encode(), "ambiguous_field", "kid"),
    ('{"k\u0130d":1}'.encode(), "ambiguous_field", "kid"),
    ('{"k\u0131d":1}'.encode(), "ambiguous_field", "kid"),
    (rb'{"model\u0000":"a"}', "ambiguous_field", "model"),
    (rb'{"model\u0000x":"a"}', "ambiguous_field", "model"),
    # Limits.
    (b'{"model":"' + b"m" * 199 + b'"}', "field_too_long", "model"),
    (b'{"model":[' + b"1," * 200 + b"1]}", "field_too_long", "model"),
    (b'{"a":' + b"[" * 512 + b"]" * 512 + b"}", "too_deep", None),
]


@pytest.mark.parametrize(("body", "values"), ACCEPTED)
def test_scanner_reads_wanted_fields_the_same_however_cut(body, values):
    whole = scan([body])
    if values is not None:
        assert whole.values == values
    assert json.loads(body).keys() & WANTED.keys() == whole.values.keys()
    for pieces in (single_bytes(body), [b"", *cut(body, [3, 7, len(body) // 2]), b""], [body, b" \n", b"\t"]):
        again = scan(pieces)
        assert (again.values, again.spans, again.end) == (whole.values, whole.spans, whole.end)
    assert {name: body[start:end] for name, (start, end) in whole.spans.items()} == whole.values
    assert body[whole.end :].rstrip() == b"}"


@pytest.mark.parametrize(("body", "code", "param"), REFUSED)
def test_scanner_refuses_however_cut(body, code, param):
    for pieces in ([body], single_bytes(body), cut(body, [3, 7, len(body) // 2])):
        assert outcome(pieces) == (code, param)


@pytest.mark.parametrize("tail", [b"x", b"{}", b",", b"\x00", b"\xff", b'"'])
def test_scanner_refuses_a_tail(tail):
    body = b'{"model":"a"} '
    assert outcome([body + tail]) == outcome([body, tail]) == ("invalid_json", None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty; a JSON object is expected."),
        (b"[1]", "The body must be a JSON object in UTF-8; it begins with '['."),
        (b"\xef\xbb\xbf{}", "The body must not begin with a byte order mark."),
        (b"\x00{", "The body must be a JSON object in UTF-8; it begins with 0x00."),
        (b'{"a":1', "The body ends before its JSON object does."),
        (b'{"a":"\xff"}', "The body must be JSON in UTF-8."),
        (b'{"a":1;}', "The body is not valid JSON: unexpected ';' at byte 6."),
        (b'{"model":1,"model":1}', "Field 'model' is given twice."),
    ],
)
def test_scanner_says_what_is_wrong(body, message):
    with pytest.raises(ScanError) as caught:
        scan([body])
    assert str(caught.value) == message


def test_scanner_names_the_place_of_a_wrong_byte_in_the_whole_stream():
    with pytest.raises(ScanError, match="unexpected ';' at byte 13"):
        scan([b'{"a":"', b'x"', b',"b":', b";1}"])


@pytest.mark.parametrize("byte", range(256))
def test_scanner_lets_stand_between_strings_only_what_strict_json_has_there(byte):
    allowed = byte in b" \t\n\r,:0123456789+-.eEaflnrstu"
    for array in (b"[%c]", b"[[[[[[[[%c 1]]]]]]]]", b'["",%c""]'):
        assert isinstance(outcome([b'{"a":' + array % byte + b"}"])[0], dict) is allowed


@pytest.mark.parametrize(
    "start", [b'{"a":"\\x', b'{"a":["\\u12x', b'{"a\\u0x', b'{"a":1x,', b'{"model":"' + b"m" * 200, b'{"a":"\n']
)
def test_scanner_refuses_at_the_first_wrong_byte(start):
    for pieces in ([start], single_bytes(start)):
        scanner = ObjectScanner(WANTED)
        for piece in pieces[:-1]:
            scanner.feed(piece)
        with pytest.raises(ScanError):
            scanner.feed(pieces[-1])


@pytest.mark.parametrize("depth", [1, 2, 5, 7, 8, 100])
def test_scanner_allows_the_depth_and_no_more(depth):
    def nested(levels):
        return b'{"a":' * levels + b"1" + b"}" * levels

    for cutting in (lambda body: [body], single_bytes):
        assert scan(cutting(nested(depth)), max_depth=depth).end is not None
        assert outcome(cutting(nested(depth + 1)), max_depth=depth) == ("too_deep", None)


def test_scanner_treats_an_oversized_field_as_absent_when_told_to():
    body = b'{"model":"' + b"m" * 300 + b'","stream":[' + b"1," * 300 + b'1],"kid":"k"}'
    for pieces in ([body], single_bytes(body)):
        scanner = scan(pieces, skip_oversized=True)
        assert scanner.values == {"kid": b'"k"'}
    assert outcome([b'{"model":"' + b"m" * 300 + b'","model":1}'], skip_oversized=True) == ("ambiguous_field", "model")


def test_scanner_tells_where_an_incomplete_wanted_value_begins():
    scanner = ObjectScanner(WANTED)
    seen = []
    for piece in (b'{"a":"x', b'","model"', b':"', b"gpt", b'"', b',"b":1}'):
        scanner.feed(piece)
        seen.append(scanner.holding)
    assert seen == [None, None, 17, 17, None, None]


def test_scanner_takes_memory_that_does_not_depend_on_the_body():
    pieces = [
        *([b'{"text":"'], [b"A" * 65_536] * 400, [b'","escapes":"'], [b"\\n" * 32_768] * 100, [b'","items":[']),
        *([b'{"a":[1,{"b":null}]},' * 3000] * 100, [b"[" * 400 + b"]" * 400 + b","] * 100, [b'1],"model":"m"']),
        *([b',"k":"\xc3\xa9"' * 5000] * 100, [b" " * 65_536] * 100, [b"}"]),
    ]
    scanner = ObjectScanner(WANTED)
    tracemalloc.start()
    try:
        size = sum(scanner.feed(piece) or len(piece) for part in pieces for piece in part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    scanner.close()
    assert scanner.values == {"model": b'"m"'}
    assert size > 45_000_000
    assert peak < 400_000


NAMES = st.sampled_from([*WANTED, "Model", "models", "STREAM", "\u212aid", "input", "é", 'q"\\', "id"]) | st.text(
    max_size=8
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)
MEMBERS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@st.composite
def bodies(draw):
    """Draw an object's members, repeated names too, and one of its many spellings."""
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, None, 1]))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\r\n: ")]))
    members = draw(MEMBERS)
    texts = []
    for name, value in members:
        key = json.dumps(name, ensure_ascii=ascii_only)
        if draw(st.integers(0, 9)) == 0:
            key = '"' + "".join(f"\\u{ord(letter):04x}" for letter in name if ord(letter) < 0xD800) + '"'
        texts.append(key + colon + json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    return ("{" + comma.join(texts) + "}").encode()


def strict_pairs(body):
    """Read the top level as a strict parser does: every pair in order. A ValueError where it refuses."""

    def refuse(constant):
        raise ValueError(constant)

    value = json.loads(body.decode(), object_pairs_hook=lambda pairs: ("object", pairs), parse_constant=refuse)
    return value[1]


def plain(value):
    if isinstance(value, tuple):
        return {name: plain(inner) for name, inner in value[1]}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def fold(name):
    return name.translate(str.maketrans("\u0130\u0131", "ii")).partition("\0")[0].casefold()


@settings(max_examples=150)
@given(bodies(), st.lists(st.integers(0, 10_000), max_size=6))
def test_scanner_agrees_with_a_strict_parser_on_any_object(body, places):
    pairs = strict_pairs(body)
    names = [fold(name) for name, _ in pairs]
    doubtful = any(fold(name) in WANTED and name not in WANTED for name, _ in pairs)
    result = outcome([body], wanted=LARGE)
    if doubtful or any(names.count(name) > 1 for name in WANTED):
        assert result[0] == "ambiguous_field"
    else:
        assert agrees(result, body, pairs)
    assert outcome(cut(body, places), wanted=LARGE) == outcome(single_bytes(body), wanted=LARGE) == result


def agrees(result, body, pairs):
    values, spans, end = result
    read = {name: json.loads(raw) for name, raw in values.items()}
    expected = {name: plain(value) for name, value in pairs if name in WANTED}
    cuts = {name: body[start:stop] for name, (start, stop) in spans.items()}
    return read == expected and cuts == values and body[end:].rstrip() == b"}"


@settings(max_examples=200)
@given(st.data())
def test_scanner_accepts_nothing_that_a_strict_parser_reads_otherwise(data):
    body = bytearray(data.draw(bodies()))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(st.sampled_from([*b"{}[]\",:\\/'#u0 1\n\x00\xffen", None]))
        width = data.draw(st.integers(0, 2))
        body[at : at + width] = b"" if piece is None else bytes([piece])
    body = bytes(body)
    result = outcome([body], wanted=LARGE)
    places = data.draw(st.lists(st.integers(0, 10_000), max_size=5))
    assert isinstance(outcome(cut(body, places), wanted=LARGE)[0], dict) is isinstance(result[0], dict)
    if isinstance(result[0], dict):
        try:
            pairs = strict_pairs(body)
        except ValueError:
            return
        names = [name for name, _ in pairs if name in WANTED]
        assert len(set(names)) == len(names)
        assert agrees(result, body, pairs)

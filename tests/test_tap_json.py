"""A JSON answer passes as it is, but for one member before its end."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.record import Record
from proxy.tap import JSON_FIELDS, JsonTap
from proxy.usage import Usage
from tests.rig import wire
from tests.rig.replay import recordings

SPLICE = b'"provider":"x"'
KEYS = st.one_of(st.sampled_from(["object", "output", "model", "status", "usage", "error"]), st.text(max_size=8))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
SPACE = st.text(" \t\r\n", max_size=6).map(str.encode)


def read(pieces, splice=SPLICE, depth=512):
    """Feed pieces to the end; return what passed at once, the end, the record, the tap."""
    record = Record("req_1", 0.0)
    tap = JsonTap(record, splice, max_depth=depth)
    passed = b"".join(tap.feed(piece, 0.0) for piece in pieces)
    assert not tap.identified
    return passed, tap.close(), record, tap


def cut(body, size):
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


def spliced(body):
    """Put the member before the last brace, by hand."""
    at = body.rindex(b"}")
    return body[:at] + b"," + SPLICE + body[at:]


@settings(max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=8), SPACE, SPACE, st.booleans(), st.integers(1, 40))
def test_json_tap_adds_one_member_at_the_end_and_changes_nothing_else(members, before, after, indented, size):
    value = {**members, "id": "resp_1"}
    option = orjson.OPT_INDENT_2 if indented else 0
    body = before + orjson.dumps(value, option=option) + after
    passed, end, record, tap = read(cut(body, size))
    # An ambiguous object, and a field longer than any provider's, are read in whole bodies only.
    short = all(len(orjson.dumps(value[name])) <= limit for name, limit in JSON_FIELDS.items() if name in value)
    if short and len({key.casefold() for key in value}) == len(value):
        assert passed + end == spliced(body)
        assert orjson.loads(passed + end) == {**value, "provider": "x"}
        assert (record.response_id, tap.identified) == ("resp_1", True)
    else:
        assert passed + end in (body, spliced(body))


def read_whole(body, splice=SPLICE):
    """Read a body that is all there."""
    record = Record("req_1", 0.0)
    tap = JsonTap(record, splice, max_depth=512)
    return tap.whole(body), record, tap


def assert_read_alike(body):
    """See that a body read whole is what it is read in pieces, and tells the same."""
    passed, end, record, tap = read([body])
    whole, whole_record, whole_tap = read_whole(body)
    assert whole == passed + end
    known = ("response_id", "model", "usage")
    assert [getattr(record, name) for name in known] == [getattr(whole_record, name) for name in known]
    assert (tap.identified, tap.cut_short) == (whole_tap.identified, whole_tap.cut_short)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=8), SPACE, SPACE, st.booleans())
def test_json_tap_reads_a_whole_body_as_it_reads_pieces(members, before, after, with_id):
    value = {**members, "id": "resp_1"} if with_id else members
    # An ambiguous object, and a field longer than any provider's, are read in whole bodies only.
    short = all(len(orjson.dumps(value[name])) <= limit for name, limit in JSON_FIELDS.items() if name in value)
    if short and len({key.casefold() for key in value}) == len(value):
        assert_read_alike(before + orjson.dumps(value) + after)


def test_json_tap_takes_the_last_of_two_ids_of_a_whole_body():
    """So do the clients' parsers. Read in pieces, an ambiguous object is not read at all."""
    whole, record, tap = read_whole(b'{"id":"resp_1","id":"resp_2"}')
    assert whole == b'{"id":"resp_1","id":"resp_2",' + SPLICE + b"}"
    assert (record.response_id, tap.identified) == ("resp_2", True)


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text('{}[]":,\\ae1 \n', max_size=40).map(str.encode), st.integers(1, 9))
def test_json_tap_passes_anything_at_all(body, size):
    passed, end, _, _ = read(cut(body, size))
    assert passed + end in (body, spliced(body) if b"}" in body else body)
    assert passed == (passed + end)[: len(passed)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_json_tap_reads_id_model_and_usage(size):
    rid = wire.new_id()
    body = orjson.dumps(wire.response_object(rid))
    passed, end, record, tap = read(cut(body, size))
    assert passed + end == spliced(body)
    assert (record.response_id, record.model, record.usage) == (rid, wire.MODEL, Usage(12, 4, 7, 2))
    assert (tap.identified, tap.finished, tap.aligned) == (True, False, False)


def test_json_tap_adds_nothing_where_there_is_nothing_to_add():
    body = orjson.dumps(wire.response_object("resp_1"))
    passed, end, record, _ = read([body], splice=b"")
    assert (passed + end, record.response_id) == (body, "resp_1")
    whole, record, _ = read_whole(body, splice=b"")
    assert (whole, record.response_id) == (body, "resp_1")


def test_json_tap_holds_back_the_end_and_nothing_else():
    """The id is usable to a client once the object is whole: its end waits for the binding."""
    tap = JsonTap(Record("req_1", 0.0), SPLICE, max_depth=512)
    assert tap.feed(b'  {"id":"resp_1"', 0.0) == b'  {"id":"resp_1"'
    assert tap.feed(b"}", 0.0) == b""
    assert tap.feed(b"\n", 0.0) == b""
    assert not tap.identified
    assert tap.close() == b',"provider":"x"}\n'
    assert tap.identified
    assert tap.close() == b""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   \n",
        b"null",
        b'"id"',
        b"[]",
        b'[{"id":"resp_1"}]',
        b"{}",
        b" { } ",
        b'{"object":"list","data":[]}',
        b'{"id":"resp_1"',
        b'{"id":"resp_1","output":[{"a":1}',
        b'{"id":"resp_1",}',
        b'{"id":"resp_1"}}',
        b'{"id":"resp_1"}\n{"id":"resp_2"}',
        b'{"id":"resp_1"} trailing',
        b'{"id":"resp_1","id":"resp_2"}',
        b'{"id":"resp_1","ID":"resp_2"}',
        b'{"id":"resp_1","x":"\xff"}',
        b'\xef\xbb\xbf{"id":"resp_1"}',
        b"{'id':'resp_1'}",
        b'{"id":"resp_1","x":NaN}',
        b"<html>{</html>",
        b'{"id":"resp_1","x":' + b"[" * 600 + b"]" * 600 + b"}",
    ],
)
def test_json_tap_passes_what_is_no_response_object_untouched(body):
    for size in (1, 3, 1000):
        passed, end, record, tap = read(cut(body, size))
        assert passed + end == body
        assert (record.response_id, tap.identified) == ("", False)
    if body.lower().count(b'"id"') < 2 and b"[[" not in body:
        assert_read_alike(body)


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (b'{"id":7,"model":null}', ""),
        (b'{"id":"","status":"completed"}', ""),
        (b'{"id":"' + b"x" * 5000 + b'","status":"completed"}', ""),
        (b'{"id":"' + b"x" * 4000 + b'"}', "x" * 4000),
        (b'{"id":"\\ud800","status":"completed"}', ""),
        (b'{"id":"resp_1","model":"\\udfff","usage":{"input_tokens":"\\ud800"}}', "resp_1"),
        (b'{"id":"resp_1","usage":[1],"model":{"a":"b"}}', "resp_1"),
        (b'{"id":"r\\u0065sp_1"}', "resp_1"),
        (b'{"a":{"id":"no"},"id":"resp_1","output":[{"id":"no"}]}', "resp_1"),
    ],
)
def test_json_tap_takes_only_a_text_for_an_id(body, known):
    for size in (1, 3000, 100_000):
        passed, end, record, tap = read(cut(body, size))
        assert passed + end == spliced(body)
        assert (record.response_id, tap.identified) == (known, bool(known))
        assert (record.model, record.usage) == ("", None)
    if len(body) < 5000:
        assert_read_alike(body)


def test_json_tap_does_not_wait_for_white_space_without_end():
    """What is held back is limited; the id is told before its object ends in any case."""
    tap = JsonTap(Record("req_1", 0.0), SPLICE, max_depth=512)
    assert tap.feed(b'{"id":"resp_1"}', 0.0) == b'{"id":"resp_1"'
    assert tap.feed(b" " * 2047, 0.0) == b""
    assert tap.feed(b" ", 0.0) == b',"provider":"x"}' + b" " * 2048
    assert tap.identified
    tap.identified = False
    assert tap.feed(b"\n\n", 0.0) == b"\n\n"
    assert (tap.close(), tap.identified, tap.cut_short) == (b"", False, False)


def test_json_tap_gives_back_what_it_held_when_something_follows():
    tap = JsonTap(Record("req_1", 0.0), SPLICE, max_depth=512)
    assert tap.feed(b'{"id":"resp_1"}\n', 0.0) == b'{"id":"resp_1"'
    assert tap.feed(b"{", 0.0) == b"}\n{"
    assert tap.feed(b"}", 0.0) == b"}"
    assert (tap.close(), tap.identified) == (b"", False)


def test_json_tap_knows_no_end_for_a_broken_body():
    passed, _, _, tap = read([b'{"id":"resp_1",'])
    assert passed == b'{"id":"resp_1",'
    assert tap.broken("code", "message") is None


BODIES = [
    recording
    for recording in recordings()
    if recording.api in {"responses", "responses.retrieve"}
    and recording.status == 200
    and recording.body.lstrip().startswith(b"{")
]


@pytest.mark.skipif(not BODIES, reason="recorded traffic is not here")
def test_json_tap_adds_the_provider_to_every_recorded_response():
    for recording in BODIES:
        body = recording.body
        for size in (1 if len(body) < 20_000 else 13, 1400, 1 << 20):
            passed, end, record, tap = read(cut(body, size))
            assert passed + end == spliced(body), recording.id
            value = orjson.loads(body)
            assert orjson.loads(passed + end) == {**value, "provider": "x"}, recording.id
            assert (record.response_id, tap.identified) == (value["id"], True), recording.id
            assert (record.usage is not None) == bool(value.get("usage")), recording.id
        assert_read_alike(body)


@pytest.mark.parametrize(
    ("pieces", "cut_short"),
    [
        ([b'{"id":"resp_1"}'], False),
        ([b'{"id":"resp_1"}\n'], False),
        ([b'{"id":"resp_1"'], True),
        ([b'{"id":"resp_1"', b',"x":"'], True),
        ([b"  "], True),
        ([], False),
        ([b"<html>"], False),
    ],
)
def test_json_tap_tells_an_object_that_has_no_end(pieces, cut_short):
    assert read(pieces)[3].cut_short is cut_short

"""The fields that decide routing and ownership are read right, or the body is refused."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.envelope import ENVELOPE_LIMITS, EnvelopeScanner, ScanError

TRAFFIC = Path(__file__).parents[2] / "shared" / "traffic" / "dev"


def scan(*pieces, **options):
    scanner = EnvelopeScanner(**options)
    for piece in pieces:
        scanner.feed(piece)
    scanner.close()
    return scanner


def single_bytes(body):
    return [body[at : at + 1] for at in range(len(body))]


def fields(envelope):
    return {name: getattr(envelope, name) for name in ENVELOPE_LIMITS}


EMPTY = {
    "model": None,
    "stream": False,
    "store": None,
    "background": False,
    "previous_response_id": None,
    "conversation": None,
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b'{"model":"gpt-4o","input":"hi"}', {"model": "gpt-4o"}),
        (rb'{"model":"gpt\u002d4o\/x\ud83d\ude00"}', {"model": "gpt-4o/x\N{GRINNING FACE}"}),
        ('{"model":"modèle"}'.encode(), {"model": "modèle"}),
        (b'{"model":""}', {"model": ""}),
        (b'{"stream":true,"store":false,"background":true}', {"stream": True, "store": False, "background": True}),
        (b'{"stream":false,"store":true,"background":false}', {"store": True}),
        (b'{"previous_response_id":"resp_1"}', {"previous_response_id": "resp_1"}),
        (b'{"conversation":"conv_1"}', {"conversation": "conv_1"}),
        (b'{"conversation":{"id":"conv_1"}}', {"conversation": "conv_1"}),
        (rb'{"conversation": { "x": {"id": 1}, "\u0069d" : "conv_1" } }', {"conversation": "conv_1"}),
        (b"{%b}" % b",".join(b'"%b":null' % name.encode() for name in ENVELOPE_LIMITS), {}),
        (b'{"input":[{"model":"x","conversation":{"id":1}}],"metadata":{"stream":"yes"}}', {}),
    ],
)
def test_envelope_is_read_however_cut(body, expected):
    for pieces in ([body], single_bytes(body)):
        scanner = scan(*pieces)
        assert fields(scanner.envelope) == EMPTY | expected
        assert scanner.complete
        assert scanner.end == len(body) - 1


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"model":1}', "invalid_type", "model"),
        (b'{"model":true}', "invalid_type", "model"),
        (b'{"model":["a"]}', "invalid_type", "model"),
        (b'{"model":{"id":"a"}}', "invalid_type", "model"),
        (b'{"previous_response_id":0}', "invalid_type", "previous_response_id"),
        (b'{"stream":"true"}', "invalid_type", "stream"),
        (b'{"stream":1}', "invalid_type", "stream"),
        (b'{"store":0}', "invalid_type", "store"),
        (b'{"background":{}}', "invalid_type", "background"),
        (b'{"conversation":1}', "invalid_type", "conversation"),
        (b'{"conversation":["conv_1"]}', "invalid_type", "conversation"),
        (b'{"conversation":{}}', "invalid_type", "conversation.id"),
        (b'{"conversation":{"id":null}}', "invalid_type", "conversation.id"),
        (b'{"conversation":{"id":7}}', "invalid_type", "conversation.id"),
        (b'{"conversation":{"id":"a","id":"b"}}', "ambiguous_field", "conversation.id"),
        (b'{"conversation":{"id":"a","ID":"b"}}', "ambiguous_field", "conversation.id"),
        ('{"conversation":{"id":"a","\u0131d":"b"}}'.encode(), "ambiguous_field", "conversation.id"),
        (rb'{"conversation":{"id":"a","i\u0064":"b"}}', "ambiguous_field", "conversation.id"),
        (b'{"conversation":{"id":"a",}}', "invalid_json", "conversation.id"),
        (b'{"conversation":"a","conversation":{"id":"b"}}', "ambiguous_field", "conversation"),
        (rb'{"model":"\ud800"}', "invalid_json", "model"),
        (rb'{"conversation":{"id":"\udc00"}}', "invalid_json", "conversation.id"),
        (b'{"model":"\xff"}', "invalid_json", None),
        (b'{"model":"a","model":"b"}', "ambiguous_field", "model"),
        (b'{"previous_response_id":null,"Previous_Response_Id":"resp_1"}', "ambiguous_field", "previous_response_id"),
        ('{"previou\u017f_response_id":"resp_1"}'.encode(), "ambiguous_field", "previous_response_id"),
        ('{"bac\u212aground":true}'.encode(), "ambiguous_field", "background"),
        *(
            (b'{"%b":"%b"}' % (name.encode(), b"x" * limit), "field_too_long", name)
            for name, limit in ENVELOPE_LIMITS.items()
        ),
        (b'{"input":' + b"[" * 20 + b"]" * 20 + b"}", "too_deep", None),
        (b"", "invalid_json", None),
        (b"[]", "invalid_json", None),
    ],
)
def test_envelope_is_refused_however_cut(body, code, param):
    for pieces in ([body], single_bytes(body)):
        with pytest.raises(ScanError) as caught:
            scan(*pieces, max_depth=20)
        assert (caught.value.code, caught.value.param) == (code, param)


def test_envelope_fills_while_the_body_passes():
    scanner = EnvelopeScanner()
    scanner.feed(b'{"input":"x","model"')
    assert not scanner.seen("model")
    assert scanner.holding is None
    scanner.feed(b':"gpt')
    assert not scanner.seen("model")
    assert scanner.holding == 21
    scanner.feed(b'-4o"')
    assert scanner.seen("model")
    assert scanner.holding is None
    assert scanner.envelope.model == "gpt-4o"
    assert scanner.envelope.model_span == (21, 29)
    assert not scanner.complete
    scanner.feed(b',"stream":null}')
    assert scanner.seen("stream")
    assert not scanner.seen("store")
    assert scanner.complete
    assert scanner.end == 43


@pytest.mark.parametrize("model", [b'"gpt-4o"', b'"a\\u0062"', b"null"])
def test_envelope_model_span_is_where_the_model_can_be_replaced(model):
    body = b' {"input": "\xc3\xa9", "model" :\n%b , "stream": true}' % model
    for pieces in ([body], single_bytes(body)):
        start, end = scan(*pieces).envelope.model_span
        assert body[start:end] == model
    assert scan(b'{"input":1}').envelope.model_span is None


@settings(max_examples=100)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.none() | st.text(max_size=40),
            "stream": st.none() | st.booleans(),
            "store": st.none() | st.booleans(),
            "background": st.none() | st.booleans(),
            "previous_response_id": st.none() | st.text(max_size=40),
            "conversation": st.none() | st.text(max_size=40) | st.fixed_dictionaries({"id": st.text(max_size=40)}),
            "input": st.text() | st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=50)), max_size=5),
        },
    ),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=5),
)
def test_envelope_reads_what_was_written(document, ascii_only, places):
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    found = fields(scan(*(body[start:end] for start, end in pairwise(edges))).envelope)
    expected = {name: document.get(name) for name in ENVELOPE_LIMITS}
    if isinstance(expected["conversation"], dict):
        expected["conversation"] = expected["conversation"]["id"]
    assert found == expected | {"stream": bool(expected["stream"]), "background": bool(expected["background"])}


@pytest.mark.skipif(not TRAFFIC.is_dir(), reason="no recordings here")
def test_envelope_of_recorded_requests_is_read_however_cut():
    count = 0
    for path in sorted(TRAFFIC.glob("*/*-responses-*.json")):
        recording = json.loads(path.read_bytes())
        document = recording["request"].get("json")
        if not isinstance(document, dict):
            continue
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        found = fields(scan(*(body[at : at + 7] for at in range(0, len(body), 7))).envelope)
        assert found == fields(scan(body).envelope)
        assert found["model"] == document.get("model")
        assert found["previous_response_id"] == document.get("previous_response_id")
        assert found["stream"] == bool(document.get("stream"))
        count += 1
    assert count > 100

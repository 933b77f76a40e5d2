import pytest

from proxy.dialects.gemini_generate_content.arguments import PartialArguments
from proxy.dialects.translator import Malformed


def put_together(*pieces):
    arguments = PartialArguments()
    for path, value in pieces:
        arguments.add({"jsonPath": path, **value})
    return arguments.value


def text(value):
    return {"stringValue": value}


def test_texts_come_in_pieces():
    assert put_together(("$.a", text("He")), ("$.a", text("llo")), ("$.a", text(""))) == {"a": "Hello"}


def test_other_values_come_whole():
    pieces = [("$.n", {"numberValue": 1.5}), ("$.b", {"boolValue": False}), ("$.z", {"nullValue": "NULL_VALUE"})]
    assert put_together(*pieces) == {"n": 1.5, "b": False, "z": None}


def test_places_are_made_on_the_way():
    pieces = [("$.a.b[0].c", text("x")), ("$.a.b[0].d", text("y")), ("$.a.b[1]", text("z")), ("$['q r']", text("w"))]
    assert put_together(*pieces) == {"a": {"b": [{"c": "x", "d": "y"}, "z"]}, "q r": "w"}


@pytest.mark.parametrize(
    "path",
    ["", "a", "$", "$.", "$..a", "$.a[", "$.a[1]", "$.a[999999999]", "$[0]", "$" + ".a" * 100, 3, None],
)
def test_place_that_cannot_be_is_refused(path):
    with pytest.raises(Malformed):
        put_together((path, text("x")))


def test_piece_that_does_not_fit_the_others_is_refused():
    for path in ("$.a.b", "$.a[0]"):
        with pytest.raises(Malformed):
            put_together(("$.a", text("x")), (path, text("y")))


@pytest.mark.parametrize("piece", [None, [], "x", {}])
def test_piece_without_a_place_is_refused(piece):
    with pytest.raises(Malformed):
        PartialArguments().add(piece)

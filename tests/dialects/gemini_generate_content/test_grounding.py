import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.gemini_generate_content.grounding import Grounding, char_offsets

URL = "https://a.example/b"


def grounding_of(*segments, uri=URL, **metadata):
    spent = []
    grounding = Grounding(spent.append)
    supports = [{"segment": segment, "groundingChunkIndices": [0]} for segment in segments]
    chunks = [{"web": {"uri": uri, "title": "B"}}]
    grounding.take({"groundingMetadata": {"groundingSupports": supports, "groundingChunks": chunks, **metadata}})
    return grounding, spent


def places(grounding, text):
    return [(one["start_index"], one["end_index"]) for one in grounding.annotations(text)]


def test_places_are_told_in_characters():
    text = "Grüße aus 東京. Ende."
    said = "東京"
    start = len(text.encode()[: text.encode().index(said.encode())])
    grounding, _ = grounding_of({"startIndex": start, "endIndex": start + len(said.encode()), "text": said})
    ((first, last),) = places(grounding, text)
    assert text[first:last] == said
    (annotation,) = grounding.annotations(text)
    assert (annotation["type"], annotation["url"], annotation["title"]) == ("url_citation", URL, "B")


def test_words_are_looked_for_where_their_place_is_of_another_part():
    grounding, _ = grounding_of({"endIndex": 4, "text": "Ende"})
    assert places(grounding, "Am Anfang. Ende") == [(11, 15)]
    assert places(grounding, "Am Anfang.") == []


def test_place_alone_is_enough_and_has_to_be_there():
    grounding, _ = grounding_of({"startIndex": 1, "endIndex": 3})
    assert places(grounding, "abcd") == [(1, 3)]
    assert places(grounding, "a") == []


def test_citation_repeated_is_told_once():
    grounding, spent = grounding_of({"endIndex": 2, "text": "ab"}, {"endIndex": 2, "text": "ab"})
    assert places(grounding, "ab") == [(0, 2)]
    assert sum(spent) == len(URL) + len("ab" + URL + "B")


def test_citations_beside_the_grounding_are_told():
    grounding, _ = grounding_of()
    grounding.take(
        {"citationMetadata": {"citations": [{}, {"uri": URL, "endIndex": 3}, {"uri": URL, "endIndex": 3}, 3]}}
    )
    assert places(grounding, "abcd") == [(0, 3)]


def test_queries_and_sources_are_told_once():
    grounding, spent = grounding_of(webSearchQueries=["", "a", "a", 3, "b"])
    assert (grounding.queries, grounding.sources) == (["a", "b"], [URL])
    assert sum(spent) == len("ab" + URL)


@pytest.mark.parametrize("value", [None, [], "x", 3, [3], [[]], {}, [{}], [{"web": 3}]])
def test_strange_members_are_left_out(value):
    grounding = Grounding(lambda _count: None)
    names = ("webSearchQueries", "groundingChunks", "groundingSupports")
    grounding.take({"groundingMetadata": dict.fromkeys(names, value), "citationMetadata": {"citations": value}})
    grounding.take({"groundingMetadata": value, "citationMetadata": value})
    support = {"segment": value, "groundingChunkIndices": value}
    grounding.take(
        {"groundingMetadata": {"groundingSupports": [support], "groundingChunks": [{"web": {"uri": value}}]}}
    )
    assert list(grounding.annotations("text")) == []
    assert grounding.sources == ([value] if value == "x" else [])


def test_what_is_kept_is_bounded():
    grounding, _ = grounding_of(webSearchQueries=[str(number) for number in range(5000)])
    assert len(grounding.queries) == 4096


@settings(max_examples=50)
@given(st.text(max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_offsets_agree_with_the_text(text, cuts):
    wanted = {len(text[:at].encode()): len(text[:at]) for at in cuts}
    assert char_offsets(text.encode(), wanted) == wanted

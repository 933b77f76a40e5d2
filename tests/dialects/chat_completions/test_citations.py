import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.chat_completions.citations import Source, marks_in, read_sources, render_citation

A, B = Source("https://a.example", "A"), Source("https://b.example", "B")


def test_sources_are_the_search_results():
    results = [{"url": A.url, "title": A.title, "date": None}, {"url": B.url, "title": B.title}]
    assert read_sources({"search_results": results, "citations": [A.url, B.url]}) == [A, B]


def test_sources_may_be_bare_urls():
    assert read_sources({"citations": [A.url, B.url], "search_results": []}) == [Source(A.url, ""), Source(B.url, "")]


@pytest.mark.parametrize("answer", [{}, {"citations": None}, {"citations": "x", "search_results": {"a": 1}}])
def test_there_may_be_none(answer):
    assert read_sources(answer) == []


@pytest.mark.parametrize("result", [3, None, {}, {"url": 3, "title": []}])
def test_source_of_another_form_keeps_its_number(result):
    assert read_sources({"search_results": [result, {"url": B.url, "title": "B"}]}) == [Source("", ""), B]


def test_marks_are_found_with_their_sources():
    text = "Russia [2], not [1][2]."
    found = list(marks_in(text, [A, B]))
    assert [(text[start:end], source) for (start, end), source in found] == [("[2]", B), ("[1]", A), ("[2]", B)]


@pytest.mark.parametrize("text", ["[0]", "[3]", "[1", "[01]", "[a]", "[1234]", "[-1]"])
def test_what_stands_for_no_source_is_text(text):
    assert not list(marks_in(text, [A, Source("", "")]))


def test_citation_is_an_annotation_of_the_api():
    rendered = {"type": "url_citation", "url": A.url, "title": "A", "start_index": 7, "end_index": 10}
    assert render_citation(A, (7, 10)) == rendered


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "title"]), inner),
    max_leaves=6,
)


@settings(max_examples=50)
@given(JSON, JSON, st.text("[]0123x", max_size=20))
def test_no_json_raises(citations, results, text):
    sources = read_sources({"citations": citations, "search_results": results})
    for (start, end), source in marks_in(text, sources):
        assert 0 <= start < end <= len(text)
        assert source.url

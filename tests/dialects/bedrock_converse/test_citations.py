import pytest

from proxy.dialects.bedrock_converse.citations import parse_citation

PLACES = ("documentChar", "documentPage", "documentChunk")


def test_page_is_cited_by_its_url_with_the_place_in_the_text():
    citation = {"title": "T", "location": {"web": {"url": "https://a.example/b", "domain": "a.example"}}}
    cited = {"type": "url_citation", "url": "https://a.example/b", "title": "T", "start_index": 3, "end_index": 9}
    assert parse_citation(citation, 3, 9) == cited


def test_search_result_is_cited_by_its_source():
    location = {"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}}
    citation = {"source": "https://a.example", "title": "T", "location": location}
    assert parse_citation(citation, 0, 1)["url"] == "https://a.example"
    assert parse_citation({**citation, "source": "kb-7"}, 0, 1) is None


@pytest.mark.parametrize("place", PLACES)
def test_document_is_cited_by_its_name_and_number(place):
    citation = {"title": "Document 2", "location": {place: {"documentIndex": 1, "start": 0, "end": 73}}}
    cited = {"type": "file_citation", "file_id": "Document 2", "filename": "Document 2", "index": 1}
    assert parse_citation(citation, 0, 1) == cited


@pytest.mark.parametrize(
    "citation",
    [None, 3, [], {}, {"location": 1}, {"location": {}}, {"location": {"web": {"url": "javascript:x"}}}],
)
def test_what_cites_nothing_is_none(citation):
    assert parse_citation(citation, 0, 1) is None


@pytest.mark.parametrize("index", [None, -1, "1", True])
def test_number_that_is_none_is_the_first(index):
    citation = {"title": 7, "location": {"documentPage": {"documentIndex": index}}}
    assert parse_citation(citation, 0, 1) == {"type": "file_citation", "file_id": "", "filename": "", "index": 0}

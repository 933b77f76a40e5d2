import pytest

from proxy.dialects.anthropic_messages.citations import render_citation


@pytest.mark.parametrize(
    ("citation", "annotation"),
    [
        (
            {"type": "web_search_result_location", "url": "u", "title": None, "encrypted_index": "e"},
            {"type": "url_citation", "url": "u", "title": ""},
        ),
        (
            {"type": "search_result_location", "source": "u", "title": "t"},
            {"type": "url_citation", "url": "u", "title": "t"},
        ),
        (
            {"type": "char_location", "document_index": 2, "document_title": "t", "file_id": "file_1"},
            {"type": "file_citation", "file_id": "file_1", "filename": "t", "index": 2},
        ),
        (
            {"type": "page_location", "document_index": True, "document_title": None},
            {"type": "file_citation", "file_id": "", "filename": "", "index": 0},
        ),
    ],
)
def test_citation_becomes_an_annotation(citation, annotation):
    assert render_citation(citation) == annotation


@pytest.mark.parametrize("citation", [None, [], {}, {"type": "other"}, {"type": ["char_location"]}])
def test_anything_else_is_none(citation):
    assert render_citation(citation) is None

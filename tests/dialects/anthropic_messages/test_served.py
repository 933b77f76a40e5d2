import pytest

from tests.dialects.anthropic_messages.test_stream import carried_in
from tests.dialects.anthropic_messages.written import answer, block, end, items_of, start, tool, types_of, whole


def use(name, given, call_id="s1"):
    return {"type": "server_tool_use", "id": call_id, "name": name, "input": given}


def result(kind, content, call_id="s1"):
    return {"type": kind, "tool_use_id": call_id, "content": content}


def item(*content):
    return whole(*content)["output"][0]


def test_search_says_what_it_looked_for_and_found():
    found = [{"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "x"}]
    searched = item(use("web_search", {"query": "q"}), result("web_search_tool_result", found))
    assert (searched["type"], searched["status"]) == ("web_search_call", "completed")
    assert searched["action"] == {
        "type": "search",
        "query": "q",
        "queries": ["q"],
        "sources": [{"type": "url", "url": "https://a.example"}],
    }


def test_search_goes_through_its_events():
    events = answer(
        start(),
        tool(0, "web_search", '{"query":', '"q"}', kind="server_tool_use", call_id="s1"),
        block(1, "web_search_tool_result", tool_use_id="s1", content=[]),
        end(),
    )
    assert types_of(events)[2:7] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]


def test_fetched_page_is_a_page_that_was_opened():
    page = {"type": "web_fetch_result", "url": "https://a.example", "content": {"type": "document"}}
    fetched = item(use("web_fetch", {"url": "https://a.example"}), result("web_fetch_tool_result", page))
    assert fetched["action"] == {"type": "open_page", "url": "https://a.example"}


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("code_execution", {"code": "print(1)"}, "print(1)"),
        ("bash_code_execution", {"command": "ls"}, "ls"),
        ("text_editor_code_execution", {"command": "view", "path": "/a"}, '{"command":"view","path":"/a"}'),
        ("bash_code_execution", {"restart": True}, '{"restart":true}'),
    ],
)
def test_code_is_what_was_run(name, given, code):
    assert item(use(name, given))["code"] == code


@pytest.mark.parametrize(
    ("content", "logs"),
    [
        ({"stdout": "1\n", "stderr": "", "return_code": 0, "content": []}, "1\n"),
        ({"stdout": "a", "stderr": "b", "return_code": 1}, "a\nb"),
        ({"stdout": "", "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}, None]}, "file_1"),
        ({"type": "text_editor_code_execution_view_result", "content": "Hello"}, "Hello"),
    ],
)
def test_output_is_what_was_printed(content, logs):
    ran = item(use("bash_code_execution", {"command": "x"}), result("bash_code_execution_tool_result", content))
    assert (ran["status"], ran["outputs"]) == ("completed", [{"type": "logs", "logs": logs}])


@pytest.mark.parametrize("content", [{"stdout": "", "encrypted_stdout": "x"}, None, [], "x"])
def test_nothing_printed_is_no_output(content):
    ran = item(use("code_execution", {"code": "x"}), result("code_execution_tool_result", content))
    assert ran["outputs"] is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("web_search", "web_search_tool_result"), ("bash_code_execution", "bash_code_execution_tool_result")],
)
def test_tool_that_failed_is_told_so(name, kind):
    error = {"type": f"{kind}_error", "error_code": "unavailable"}
    assert item(use(name, {}), result(kind, error))["status"] == "failed"


def test_result_of_an_earlier_use_is_carried_and_tells_nothing():
    late = result("web_search_tool_result", [], "elsewhere")
    response = whole(late)
    assert (items_of(response), carried_in(response)) == (["reasoning"], [late])


def test_result_that_comes_twice_is_told_once():
    found = result("web_search_tool_result", [])
    assert items_of(whole(use("web_search", {"query": "q"}), found, found)) == ["web_search_call", "reasoning"]


@pytest.mark.parametrize("name", ["advisor", "tool_search_tool_bm25", ["x"], None])
def test_tool_the_api_has_no_item_for_says_nothing(name):
    assert whole(use(name, {}), result("advisor_tool_result", {}), {"type": "mcp_tool_use"})["output"] == []

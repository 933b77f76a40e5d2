import httpx
import orjson
import pytest
from openai import OpenAI
from openai.types.responses import ResponseCodeInterpreterToolCall, ResponseFunctionWebSearch

from proxy.dialects.base import Failure
from proxy.dialects.events import EventWriter, OutputTooLong
from proxy.dialects.hosted import CodeInterpreterCall, WebSearchCall
from proxy.dialects.output import Message
from tests.dialects.oracle import context_of, read_events, text_of

SEARCH = "response.web_search_call"
CODE = "response.code_interpreter_call"


class Answering(httpx.BaseTransport):
    """Answers every request with one stream."""

    def __init__(self, stream):
        self.stream = stream

    def handle_request(self, request):
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx.Response(200, headers=headers, content=self.stream, request=request)


def write(make, end=lambda writer: writer.finish(None, None), **options):
    """Return the stream whose output `make` writes."""
    writer = EventWriter(context_of(**options))
    writer.open()
    make(writer)
    end(writer)
    return writer.take()


def events_of(make, **options):
    return read_events(write(make, **options))


def types_of(events):
    """Return the types of the events between the opening of the response and its end."""
    return [event["type"].removeprefix("response.") for event in events[2:-1]]


def search_and_run(writer):
    search = WebSearchCall(writer)
    search.begin()
    search.search(["one", "two"], ["https://a.example"])
    search.close()
    page = WebSearchCall(writer)
    page.open_page("https://a.example")
    page.close()
    run = CodeInterpreterCall(writer, "cntr_1")
    run.add_code("print(")
    run.add_code("1)")
    run.log("1\n")
    run.log("2\n")
    run.close()
    Message(writer).add_text("Done.")


def test_search_goes_from_progress_to_completion():
    events = events_of(WebSearchCall)
    assert types_of(events) == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]
    item = events[2]["item"]
    assert item["status"] == "in_progress"
    assert item["id"].startswith("ws_")
    assert {event["item_id"] for event in events if event["type"].startswith(SEARCH)} == {item["id"]}


def test_run_tells_its_code_before_it_runs():
    def make(writer):
        run = CodeInterpreterCall(writer)
        run.add_code("1 +")
        run.add_code(" 1")

    events = events_of(make)
    assert types_of(events) == [
        "output_item.added",
        "code_interpreter_call.in_progress",
        "code_interpreter_call_code.delta",
        "code_interpreter_call_code.delta",
        "code_interpreter_call_code.done",
        "code_interpreter_call.interpreting",
        "code_interpreter_call.completed",
        "output_item.done",
    ]
    assert next(event["code"] for event in events if "code" in event) == "1 + 1"


@pytest.mark.parametrize("make", [WebSearchCall, CodeInterpreterCall])
def test_tool_begins_once_and_ends_once(make):
    def run(writer):
        call = make(writer)
        for step in (call.begin, call.begin, call.close, call.close):
            step()

    names = types_of(events_of(run))
    assert len(names) == len(set(names))


def test_search_says_what_it_looked_for_and_found():
    searched, opened = (item["action"] for item in events_of(search_and_run)[-1]["response"]["output"][:2])
    sources = [{"type": "url", "url": "https://a.example"}]
    assert searched == {"type": "search", "query": "one", "queries": ["one", "two"], "sources": sources}
    assert opened == {"type": "open_page", "url": "https://a.example"}


@pytest.mark.parametrize("queries", [[], ["a"]])
def test_search_may_be_without_queries(queries):
    def make(writer):
        WebSearchCall(writer).search(queries)

    (item,) = events_of(make)[-1]["response"]["output"]
    assert (item["action"]["query"], item["action"]["queries"]) == ("".join(queries), queries)


def test_run_says_what_it_printed():
    item = events_of(search_and_run)[-1]["response"]["output"][2]
    assert (item["code"], item["container_id"]) == ("print(1)", "cntr_1")
    assert item["outputs"] == [{"type": "logs", "logs": "1\n"}, {"type": "logs", "logs": "2\n"}]


def test_run_without_output_has_none():
    (item,) = events_of(CodeInterpreterCall)[-1]["response"]["output"]
    assert (item["code"], item["outputs"], item["container_id"]) == ("", None, "auto")


@pytest.mark.parametrize("make", [WebSearchCall, CodeInterpreterCall])
def test_tool_that_failed_says_so_in_a_response_that_goes_on(make):
    def run(writer):
        call = make(writer)
        call.failed = True
        call.close()
        Message(writer).add_text("Sorry.")

    response = events_of(run)[-1]["response"]
    assert [item["status"] for item in response["output"]] == ["failed", "completed"]


@pytest.mark.parametrize("make", [WebSearchCall, CodeInterpreterCall])
@pytest.mark.parametrize("failed", [False, True])
def test_tool_cut_short_is_incomplete_and_never_completed(make, failed):
    def run(writer):
        make(writer).failed = failed

    events = events_of(run, end=lambda writer: writer.finish("max_output_tokens", None))
    assert not [name for name in types_of(events) if name.endswith("call.completed")]
    assert [item["status"] for item in events[-1]["response"]["output"]] == ["incomplete"]


@pytest.mark.parametrize("make", [WebSearchCall, CodeInterpreterCall])
def test_tool_of_a_response_that_fails_is_incomplete_and_not_done(make):
    failure = Failure(502, "upstream_error", "upstream_disconnected", "m")
    events = events_of(make, end=lambda writer: writer.fail(failure, announce=False))
    assert "output_item.done" not in types_of(events)
    assert [item["status"] for item in events[-1]["response"]["output"]] == ["incomplete"]


@pytest.mark.parametrize(
    "grow",
    [
        lambda writer: WebSearchCall(writer).search(["x" * 600]),
        lambda writer: WebSearchCall(writer).search([], ["x" * 600]),
        lambda writer: WebSearchCall(writer).open_page("x" * 600),
        lambda writer: CodeInterpreterCall(writer).add_code("x" * 600),
        lambda writer: CodeInterpreterCall(writer).log("x" * 600),
    ],
)
def test_what_is_kept_counts_against_the_bound(grow):
    def repeat(writer):
        for _ in range(3):
            grow(writer)

    with pytest.raises(OutputTooLong):
        write(repeat, limit=1500)
    write(grow, limit=1500)


def test_any_code_arrives_as_it_is():
    code = "print(\"50 %d\", '\\')  # é 🙂\n"

    def make(writer):
        CodeInterpreterCall(writer).add_code(code)

    assert events_of(make)[-1]["response"]["output"][0]["code"] == code


def test_items_are_what_the_official_types_say():
    output = events_of(search_and_run)[-1]["response"]["output"]
    kinds = [ResponseFunctionWebSearch, ResponseFunctionWebSearch, ResponseCodeInterpreterToolCall]
    for kind, item in zip(kinds, output, strict=False):
        parsed = kind.model_validate(item, strict=True)
        assert orjson.loads(parsed.model_dump_json()) == item


def test_official_client_follows_the_stream_to_its_end():
    stream = write(search_and_run)
    with (
        httpx.Client(transport=Answering(stream)) as http,
        OpenAI(api_key="key", base_url="http://gateway.example/v1", http_client=http) as client,
        client.responses.stream(model="large", input="Hi") as events,
    ):
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert seen == [event["type"] for event in read_events(stream)]
    assert [item.type for item in final.output] == [
        "web_search_call",
        "web_search_call",
        "code_interpreter_call",
        "message",
    ]
    assert final.output_text == text_of(read_events(stream)[-1]["response"]) == "Done."
    assert final.output[2].outputs[0].logs == "1\n"

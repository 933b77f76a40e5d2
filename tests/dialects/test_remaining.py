from proxy.dialects.create import read_create
from proxy.dialects.remaining import Remaining


def create_of(*, hosted=frozenset(), **body):
    return read_create({"input": "Hi", **body}, "primary", "large", hosted=hosted)


def test_what_nobody_rendered_is_dropped():
    left = Remaining(create_of(temperature=0.5, top_p=1, seed=3, reasoning={"effort": "low"}))
    assert left.take("top_p") == 1
    assert left.dropped() == ("seed", "temperature", "reasoning.effort")


def test_setting_that_is_not_there_is_none():
    left = Remaining(create_of())
    assert left.take("temperature") is None
    assert left.dropped() == ()


def test_setting_is_rendered_once():
    left = Remaining(create_of(user="u"))
    assert [left.take("user"), left.take("user")] == ["u", None]


def test_request_keeps_what_was_taken():
    create = create_of(user="u")
    Remaining(create).take("user")
    assert create.settings == {"user": "u"}


def test_what_the_gateway_honours_itself_is_not_dropped():
    assert Remaining(create_of(metadata={"a": "b"}, reasoning={"summary": "auto"})).dropped() == ()


def test_parts_are_reported_once_and_in_order():
    left = Remaining(create_of(input=[{"type": "web_search_call"}, {"role": "user", "content": "x"}], user="u"))
    for name in ("b", "a", "b"):
        left.drop(name)
    assert left.dropped() == ("input.web_search_call", "b", "a", "user")


def test_hosted_tools_without_a_counterpart_are_reported():
    tools = [{"type": "web_search"}, {"type": "code_interpreter"}, {"type": "web_search"}]
    create = create_of(tools=tools)
    left = Remaining(create)
    left.drop_hosted(create)
    assert left.dropped() == ("tools.web_search", "tools.code_interpreter")
    left = Remaining(create)
    left.drop_hosted(create, frozenset({"web_search"}))
    assert left.dropped() == ("tools.code_interpreter",)


def test_limit_on_hosted_calls_is_reported_only_where_there_are_hosted_tools():
    for tools, dropped in (([], ()), ([{"type": "web_search"}], ("tools.web_search", "max_tool_calls"))):
        create = create_of(tools=tools, max_tool_calls=3)
        left = Remaining(create)
        left.drop_hosted(create)
        assert left.dropped() == dropped


def test_hints_of_parts_are_reported_where_there_is_no_place_for_them():
    image = {"type": "input_image", "image_url": "u", "detail": "original"}
    file = {"type": "input_file", "file_url": "u", "detail": "low"}
    text = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    create = create_of(
        input=[
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [image, file]},
            {"role": "user", "content": [text, {**image, "detail": "auto"}, {**file, "detail": None}]},
        ]
    )
    named = ("input.input_image.detail", "input.input_file.detail", "input.prompt_cache_breakpoint")
    for details, caches, reported in ((set(), False, named), ({"original"}, True, named[1:2])):
        left = Remaining(create)
        left.drop_hints(create, frozenset(details), caches=caches)
        assert left.dropped() == reported

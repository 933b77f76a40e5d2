import pytest

from proxy.dialects.items import Audio, Call, File, Image, Output, Refusal, Reply, Said, Text, Thought, Turn, read_input
from proxy.dialects.reasoning import seal
from proxy.errors import BadRequest


def read(*items):
    return read_input(list(items), "primary", "large")


def user(text):
    return {"role": "user", "content": text}


def call(call_id, **members):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **members}


def output(call_id, value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def test_string_is_one_message_of_the_user():
    assert read_input("Hi", "p", "m").turns == (Said("user", (Text("Hi"),)),)


def test_history_is_read_as_clients_resend_it():
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "final_answer",
        "content": [
            {"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "No."},
        ],
    }
    read_ = read(
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "Be brief."}],
            "id": "msg_0",
        },
        user("Hi"),
        message,
        call("c1", id="fc_1", status="completed"),
        {**output("c1"), "id": "fco_1", "status": "completed"},
    )
    assert read_.turns == (
        Said("developer", (Text("Be brief."),)),
        Said("user", (Text("Hi"),)),
        Turn((Reply((Text("Yes."), Refusal("No."))), Call("c1", "f", "{}")), (Output("c1", (Text("done"),)),)),
    )
    assert read_.dropped == ()


def test_outputs_stand_behind_the_calls_they_answer():
    read_ = read(call("a"), call("b"), output("b", "B"), user("Wait"), output("a", "A"))
    first, said = read_.turns
    assert [result.call_id for result in first.outputs] == ["a", "b"]
    assert said == Said("user", (Text("Wait"),))


def test_call_behind_an_output_is_another_turn():
    assert [len(turn.acts) for turn in read(call("a"), output("a"), call("b"), output("b")).turns] == [1, 1]


def test_call_ids_used_again_pair_in_their_order():
    turns = read(call("a"), output("a", "1"), user("Again"), call("a"), output("a", "2")).turns
    assert [turn.outputs[0].parts for turn in turns if isinstance(turn, Turn)] == [(Text("1"),), (Text("2"),)]


def test_output_without_its_call_is_refused():
    with pytest.raises(BadRequest, match="c9"):
        read(user("Hi"), output("c9"))


@pytest.mark.parametrize(
    "items",
    [
        [call("c9")],
        [call("c9"), user("Go on")],
        [call("a"), call("c9"), output("a")],
        [call("c9"), call("c9"), output("c9")],
    ],
)
def test_call_without_its_output_is_refused(items):
    with pytest.raises(BadRequest) as refused:
        read(user("Hi"), *items)
    assert (refused.value.message, refused.value.param) == ("No tool output found for function call c9.", "input")


def test_custom_and_namespaced_calls_are_calls_of_functions():
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a"b'}
    result = {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}
    (turn,) = read(call("n", namespace="files"), custom, output("n"), result).turns
    assert [(act.name, act.arguments) for act in turn.acts] == [("files__f", "{}"), ("patch", '{"input":"a\\"b"}')]
    assert [one.call_id for one in turn.outputs] == ["n", "c"]


def test_outputs_may_hold_images_and_files():
    parts = [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    (turn,) = read(call("a"), output("a", parts)).turns
    text, image, file, audio = turn.outputs[0].parts
    assert text == Text("See")
    assert image == Image("data:image/png;base64,AA==", None, "high", "input[1].output[1]")
    assert file == File("data:application/pdf;base64,AA==", None, None, "a.pdf", "input[1].output[2]")
    assert audio == Audio("AA==", "wav")


def test_own_reasoning_is_opened_and_foreign_is_reported():
    def item(sealed):
        summary = [{"type": "summary_text", "text": "Hm."}]
        return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": sealed}

    own = read(item(seal("primary", "large", {"reasoning": "Hm."})))
    assert own.turns == (Turn((Thought("Hm.", {"reasoning": "Hm."}),), ()),)
    assert own.dropped == ()
    foreign = read(item(seal("other", "large", {"reasoning": "Hm."})), item("gAAAAB"))
    assert [act.state for act in foreign.turns[0].acts] == [None, None]
    assert foreign.dropped == ("input.reasoning.encrypted_content",)


FOUND = {"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "open"}]}


def search(**members):
    return {"type": "tool_search_call", "call_id": "s", "execution": "client", "arguments": {"query": "q"}, **members}


def found(*tools, **members):
    return {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": list(tools), **members}


def test_search_of_the_client_is_a_call_and_what_it_found_is_offered():
    read_ = read(search(), found(FOUND, {"type": "web_search"}))
    (turn,) = read_.turns
    assert turn.acts == (Call("s", "tool_search", '{"query":"q"}'),)
    assert turn.outputs == (Output("s", (Text("Found: files__open."),)),)
    assert [tool for _, tool in read_.tools] == [FOUND, {"type": "web_search"}]


def test_search_that_found_nothing_says_so():
    (turn,) = read(search(arguments=None), found()).turns
    assert (turn.acts[0].arguments, turn.outputs[0].parts) == ("{}", (Text("No tools were found."),))


def test_search_of_another_provider_is_reported():
    read_ = read(user("Hi"), search(execution="server", call_id=None), found(FOUND, execution="server", call_id=None))
    assert (read_.dropped, read_.tools) == (("input.tool_search_call", "input.tool_search_output"), ())


def test_tools_in_the_input_are_tools_of_the_request():
    tool = {"type": "function", "name": "f"}
    assert read({"type": "additional_tools", "role": "developer", "tools": [tool]}).tools == (
        ("input[0].tools[0]", tool),
    )


def test_configuration_changes_hold():
    changed = {"type": "configuration_update", "reasoning": {"effort": "low"}, "text": None}
    assert read(changed, {**changed, "reasoning": {"effort": "high"}}).configuration == {
        "reasoning": {"effort": "high"}
    }


def test_items_of_hosted_tools_are_reported_once():
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
    assert read(user("Hi"), searched, searched).dropped == ("input.web_search_call",)


@pytest.mark.parametrize(
    "item",
    [
        3,
        {"role": "critic", "content": "x"},
        {"role": "user"},
        {"role": "user", "content": [3]},
        {"role": "user", "content": [{"type": "video"}]},
        {"role": "user", "content": [{"type": "input_image"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "u", "file_id": "f"}]},
        {"role": "user", "content": [{"type": "input_file", "filename": "a"}]},
        {"role": "user", "content": [{"type": "input_text", "text": 3}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": 3}]},
        {"role": "assistant", "content": [{"type": "input_image", "image_url": "u"}]},
        {"role": "assistant", "content": [{"type": "input_file", "file_id": "f"}]},
        {"role": "assistant", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]},
        {"id": "msg_1"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "reasoning", "summary": 3},
        {"type": "reasoning", "summary": [], "content": "x"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "compaction_trigger"},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "additional_tools", "tools": 3},
        {"type": "tool_search_call", "execution": "client", "arguments": {}},
        {"type": "tool_search_output", "execution": "client", "call_id": "s", "tools": 3},
        {"type": "tool_search_output", "execution": "client", "call_id": "s", "tools": [3]},
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(item):
    with pytest.raises(BadRequest) as refused:
        read(user("Hi"), item)
    assert refused.value.param.startswith("input[1]")


def test_input_of_another_type_is_refused():
    with pytest.raises(BadRequest):
        read_input({"role": "user"}, "p", "m")


@pytest.mark.parametrize(
    ("mark", "cache"),
    [(None, None), ({"mode": "explicit"}, ""), ({"mode": "explicit", "ttl": "12h"}, "12h"), ("explicit", None)],
)
def test_cache_breakpoint_of_a_part_is_kept(mark, cache):
    parts = [
        {"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": mark},
        {"type": "input_image", "image_url": "https://a.example/b.png", "prompt_cache_breakpoint": mark},
        {"type": "input_file", "file_id": "file_1", "prompt_cache_breakpoint": mark},
    ]
    (said,) = read({"role": "user", "content": parts}).turns
    assert [part.cache for part in said.parts] == [cache] * 3

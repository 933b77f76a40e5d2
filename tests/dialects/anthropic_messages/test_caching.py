import pytest

from tests.dialects.anthropic_messages.rendering import call, output, render, said, user

SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}


def marked(*items, **body):
    """Return the texts that are marked, with their marks, and what was dropped."""
    rendered, dropped = render(input=list(items), **body)
    blocks = [*rendered.get("system", ()), *(block for message in rendered["messages"] for block in message["content"])]
    inner = [part for block in blocks for part in block.get("content", ()) if isinstance(part, dict)]
    marks = [(block.get("text"), block["cache_control"]) for block in [*blocks, *inner] if "cache_control" in block]
    return marks, dropped


def text(value, **mark):
    return {"type": "input_text", "text": value, "prompt_cache_breakpoint": {"mode": "explicit", **mark}}


def test_nothing_is_cached_unless_asked_for():
    assert marked(user("Hi")) == ([], ())


@pytest.mark.parametrize(
    ("asked", "mark", "dropped"),
    [
        ({"prompt_cache_key": "k"}, SHORT, ()),
        ({"prompt_cache_retention": "in_memory"}, SHORT, ()),
        ({"prompt_cache_retention": "24h"}, LONG, ("prompt_cache_retention",)),
        ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, LONG, ()),
    ],
)
def test_asking_for_a_cache_marks_the_end(asked, mark, dropped):
    assert marked(user("A"), said("B"), user("C"), **asked) == ([("C", mark)], dropped)


def test_asking_for_marks_of_one_s_own_marks_nothing_else():
    explicit = {"prompt_cache_options": {"mode": "explicit"}, "prompt_cache_key": "k"}
    assert marked(user([text("A")]), said("B"), user("C"), **explicit) == ([("A", SHORT)], ())


def test_parts_are_marked_where_the_client_says():
    items = [said([text("S", ttl="12h")], "system"), user([text("A")]), call(), output("c1", [text("R")]), user("B")]
    assert marked(*items) == ([("S", LONG), ("A", SHORT), ("R", SHORT)], ())


def test_no_more_marks_are_set_than_there_may_be():
    parts = [text(str(at)) for at in range(5)]
    marks, dropped = marked(user([*parts, {"type": "input_text", "text": "end"}]), prompt_cache_key="k")
    assert [name for name, _ in marks] == ["2", "3", "4", "end"]
    assert dropped == ("input.prompt_cache_breakpoint",)


def test_message_of_the_model_is_not_marked():
    assert marked(user("A"), said("B"), prompt_cache_key="k")[0] == []
    assert marked(said("S", "system"), prompt_cache_key="k", instructions="I")[0] == [("S", SHORT)]

import pytest

from proxy.dialects.create import read_create
from proxy.dialects.items import File, Image
from proxy.dialects.remote import put_in, remote_parts

ELSEWHERE = "https://example.com/a/Caf%C3%A9.pdf?v=1"
PICTURE = "https://example.com/a.png"
DATA = "data:image/png;base64,AAAA"


def read(*parts, output=()):
    """Read a request with parts in what was said, in what the model replied, and in what a call returned."""
    return read_create(
        {
            "model": "m",
            "input": [
                {"role": "user", "content": list(parts)},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": list(output)},
            ],
        },
        "p",
        "m",
    )


def image(url):
    return {"type": "input_image", "image_url": url}


def every(_part):
    return True


@pytest.mark.parametrize("where", ["said", "returned"])
def test_part_elsewhere_is_found_and_replaced_wherever_it_stands(where):
    create = read(image(PICTURE)) if where == "said" else read(output=[image(PICTURE)])
    (part,) = remote_parts(create, every)
    assert (type(part), part.url) == (Image, PICTURE)
    local = put_in(create, {part: DATA})
    assert remote_parts(local, every) == ()
    holder = local.turns[0] if where == "said" else local.turns[1].outputs[0]
    assert holder.parts[0].url == DATA


def test_document_that_was_fetched_has_the_name_its_url_ends_in():
    create = read({"type": "input_file", "file_url": ELSEWHERE})
    (part,) = remote_parts(create, every)
    assert put_in(create, {part: DATA}).turns[0].parts == (File(DATA, None, None, "Café.pdf", part.param),)


def test_name_the_client_gave_a_document_stays():
    create = read({"type": "input_file", "file_url": ELSEWHERE, "filename": "mine.pdf"})
    (part,) = remote_parts(create, every)
    assert put_in(create, {part: DATA}).turns[0].parts[0].filename == "mine.pdf"


def test_what_is_here_or_followed_by_the_provider_is_left_alone():
    here = read(image(DATA), {"type": "input_file", "file_data": "AAAA"}, {"type": "input_text", "text": PICTURE})
    assert remote_parts(here, every) == ()
    assert remote_parts(read(image(PICTURE)), lambda _part: False) == ()
    create = read(image(PICTURE))
    assert put_in(create, {}) is create


def test_url_that_stands_twice_is_two_parts_with_places_of_their_own():
    parts = remote_parts(read(image(PICTURE), image(PICTURE)), every)
    assert [part.param for part in parts] == ["input[0].content[0]", "input[0].content[1]"]

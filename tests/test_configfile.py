import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.configfile import MAX_FILE_BYTES, ConfigError, dotted, read_document

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "DOLLARS": "${NAME}", "A_B2": "two"}


def read(text, environment=ENVIRONMENT):
    document = read_document(text, environment)
    return document.data, dict(document.mistakes)


def raised(text):
    with pytest.raises(ConfigError) as caught:
        read_document(text, ENVIRONMENT)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a-${NAME}/${A_B2}-z", "a-value/two-z"),
        ("'${NAME}'", "value"),
        ('"${NAME}"', "value"),
        ("${EMPTY}", ""),
        ("${DOLLARS}", "${NAME}"),
        ("$${NAME}", "${NAME}"),
        ("$$", "$"),
        ("pa$word", "pa$word"),
        ("no", "no"),
        ("1e3", "1e3"),
        ("0123", "0123"),
        ("2024-13-45", "2024-13-45"),
        ("null", None),
        ("~", None),
        ("'null'", "null"),
        ("''", ""),
        ("{inner: ${NAME}, other: [${A_B2}, $${NAME}]}", {"inner": "value", "other": ["two", "${NAME}"]}),
        ("|\n  one\n  ${NAME}\n", "one\nvalue\n"),
    ],
)
def test_document_keeps_scalars_as_text_and_expands_references(written, value):
    assert read(f"key: {written}") == ({"key": value}, {})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${MISSING}", "environment variable MISSING is not set"),
        ("x${MISSING}y", "environment variable MISSING is not set"),
        ("${lower-case}", "a reference is `${NAME}` or `${file:/path}`; write `$$` for a dollar sign"),
        ("${}", "a reference is `${NAME}` or `${file:/path}`; write `$$` for a dollar sign"),
        ("'${NAME'", "`${` is not closed; write `$$` for a dollar sign"),
        ("${file:/nowhere/at/all}", 'file "/nowhere/at/all" cannot be read: No such file or directory'),
        ("${file:/}", 'file "/" cannot be read: Is a directory'),
        ('"${file:a\\0b}"', "what follows `file:` cannot be the name of a file"),
        ("!!python/name:os.system x", "YAML tags (`!...`) mean nothing here: leave it out"),
        ("!secret x", "YAML tags (`!...`) mean nothing here: leave it out"),
    ],
)
def test_document_names_the_key_when_a_value_cannot_be_read(written, message):
    assert read(f"outer: [{{key: {written}}}]") == ({"outer": [{"key": ""}]}, {"outer[0].key": message})


def test_document_names_every_variable_that_is_not_set():
    document = read_document("{a: ${ONE}${TWO}, b: [${THREE}]}", {})
    assert [(key, message.split()[2]) for key, message in document.mistakes] == [
        ("a", "ONE"),
        ("a", "TWO"),
        ("b[0]", "THREE"),
    ]


def test_file_reference_loses_only_the_newline_at_its_end(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b" one\ntwo \r\n")
    assert read(f"key: [{{inner: <${{file:{secret}}}>}}]") == ({"key": [{"inner": "< one\ntwo >"}]}, {})


def test_file_reference_is_a_mistake_when_the_file_is_too_large(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * MAX_FILE_BYTES)
    assert read(f"key: ${{file:{large}}}")[0] == {"key": "x" * MAX_FILE_BYTES}
    large.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert "is larger than" in read(f"key: ${{file:{large}}}")[1]["key"]


def test_file_reference_is_a_mistake_when_the_file_is_not_text(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in read(f"key: ${{file:{binary}}}")[1]["key"]


def test_document_knows_which_values_came_from_elsewhere():
    document = read_document("{a: {b: x-${NAME}, c: plain}, d: [$$, $${NAME}, ${MISSING}]}", ENVIRONMENT)
    assert document.references == {"a.b", "d[2]"}


def test_document_reports_every_duplicate_with_its_key_and_line():
    _, mistakes = read("a:\n  b: 1\n  b: 2\n  b: 3\nlist:\n  - {x: 1, x: 2}\na: {}\n")
    assert mistakes == {
        "a.b": "is given twice, again on line 4",
        "list[0].x": "is given twice, again on line 6",
        "a": "is given twice, again on line 7",
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [", "line 1, column 5: not valid YAML"),
        ("a: 1\nb: {c: 2\n", "line 3, column 1: not valid YAML"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: not valid YAML"),
        ("a: *nobody", "line 1, column 4: not valid YAML: found undefined alias '...'"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not valid YAML"),
        ("ok: 1\nx: \x07", "line 2: a character that YAML does not allow"),
        ("- a\n- b", "line 1: the file must be a mapping of settings"),
        ("text", "line 1: the file must be a mapping of settings"),
        ("[" * 600, "line 1: nested too deeply"),
        ("[" * 40 + "]" * 40, "line 1: the file is nested too deeply or too large"),
        ("a: &a [*a]", "line 1: the file is nested too deeply or too large"),
    ],
)
def test_text_that_is_not_a_mapping_in_yaml_is_placed_by_line(text, place):
    assert raised(text).startswith(place)


def test_aliases_cannot_multiply_a_small_file_into_a_large_document():
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 10)]
    assert "too large" in raised("\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]", *levels]))


@pytest.mark.parametrize(
    "text", ["{api_key:sk-canary}", "p: {kind: openai, api_key:sk-canary}", "? {a: sk-canary}\n: b"]
)
def test_name_that_may_hold_a_credential_is_not_shown(text):
    _, mistakes = read(text)
    assert mistakes
    assert "canary" not in str(mistakes)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null", "\ufeff"])
def test_empty_file_is_an_empty_mapping(text):
    assert read(text) == ({}, {})


def test_location_is_written_as_an_operator_would():
    assert dotted(("keys", 1, "providers", 0)) == "keys[1].providers[0]"
    assert dotted(("models", "gpt-4.1")) == 'models["gpt-4.1"]'


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=20,
)


def outcome(text):
    try:
        return read_document(text, ENVIRONMENT), ()
    except ConfigError as error:
        return None, error.mistakes


@given(tree)
@settings(max_examples=100)
def test_any_tree_is_read_or_refused_with_config_error(value):
    document, found = outcome(yaml.safe_dump(value, allow_unicode=True))
    assert isinstance(document.data, dict) if document else found


@given(
    st.text(
        alphabet=st.characters(codec="utf-8") | st.sampled_from("${}[]:,#&*!|>'\"- \n\t%@`\ue000\ue001"), max_size=60
    )
)
@settings(max_examples=400)
def test_any_text_is_read_or_refused_with_config_error(text):
    document, found = outcome(text)
    assert isinstance(document.data, dict) if document else found


def test_document_names_the_files_its_values_came_from(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("value")
    document = read_document(f"a: {{b: ${{file:{secret}}}, c: [x, 'y ${{file:{secret}}}']}}\nd: ${{NAME}}", ENVIRONMENT)
    assert document.files == (("a.b", str(secret)), ("a.c[1]", str(secret)))

import pytest

from proxy.tables import align, table


def test_table_aligns_its_columns_and_ends_in_an_empty_line():
    assert list(table([("NAME", "KIND"), ("a-long-name", "x"), ("b", "")])) == [
        "NAME         KIND",
        "a-long-name  x",
        "b",
        "",
    ]


def test_rows_alone_end_in_none():
    assert list(align([("id", "resp_1"), ("tenant", "t")])) == ["id      resp_1", "tenant  t"]


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        list(align([("a", "b"), ("c",)]))

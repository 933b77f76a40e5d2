import pytest

from proxy.tables import table


def test_table_aligns_its_columns_and_ends_in_an_empty_line():
    assert list(table([("NAME", "KIND"), ("a-long-name", "x"), ("b", "")])) == [
        "NAME         KIND",
        "a-long-name  x",
        "b",
        "",
    ]


def test_table_refuses_rows_of_different_lengths():
    with pytest.raises(ValueError, match="shorter"):
        list(table([("a", "b"), ("c",)]))

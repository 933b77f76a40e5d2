import pytest

from proxy.record import ENDS, Record


def test_record_begins_with_nothing_known():
    record = Record("req_1", 5.0)
    known = {name: getattr(record, name) for name in Record.__slots__}
    begun = {"request_id": "req_1", "started": 5.0, "operation": "unknown"}
    assert {name: value for name, value in known.items() if value} == begun


def test_record_takes_no_field_it_does_not_declare():
    """A misspelled phase would be lost silently."""
    with pytest.raises(AttributeError):
        Record("req_1", 5.0).first_chnuk = 1.0


def test_ends_are_distinct_label_values():
    assert len(set(ENDS)) == len(ENDS)
    assert all(end.replace("_", "").isalpha() and end.islower() for end in ENDS)

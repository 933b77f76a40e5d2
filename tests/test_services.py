import pytest

from proxy.providers.base import FULL
from proxy.services import READS_ENVELOPE, Call


@pytest.mark.parametrize(
    ("operation", "reads"),
    [
        ("create", True),
        ("compact", True),
        ("input_tokens", True),
        ("retrieve", False),
        ("delete", False),
        ("cancel", False),
        ("input_items", False),
        ("conversations", False),
        ("models", False),
    ],
)
def test_call_reads_the_envelope_where_a_body_names_a_model(operation, reads):
    assert Call(operation, "/responses").reads_envelope is reads


def test_operations_that_read_the_envelope_are_operations():
    assert READS_ENVELOPE < FULL

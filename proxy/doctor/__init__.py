"""The doctor: tries a gateway through the path its clients take, and says what to change."""

from proxy.doctor.command import add_arguments

__all__ = ["add_arguments"]

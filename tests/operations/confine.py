"""Take from a process what a systemd unit takes from it, then become its command: `confine.py RULES COMMAND...`.

RULES is JSON: `allowed`, names of system calls; `families`, numbers of address families; `errno`, what else gets. The
filters are libseccomp's, as systemd's own are, and forbid memory that is writable and executable as systemd does.
"""

import ctypes
import errno
import json
import mmap
import os
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
FAMILIES = range(64)
SHM_EXEC = 0o100000


class Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """One filter of the kernel's; `default` is what happens to calls that no rule is about."""

    def __init__(self, default):
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action, name, *comparisons):
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return
        array = (Comparison * len(comparisons))(*comparisons)
        arguments = (self._context, ctypes.c_uint32(action), number, len(comparisons), array)
        if failed := self._library.seccomp_rule_add_array(*arguments):
            raise OSError(-failed, name)

    def load(self):
        if failed := self._library.seccomp_load(self._context):
            raise OSError(-failed, "seccomp_load")


def confine(rules):
    denied = Filter(ALLOW)
    refused = ERRNO | errno.EPERM
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    denied.add(refused, "mmap", Comparison(2, MASKED_EQUAL, both, both))
    for name in ("mprotect", "pkey_mprotect"):
        denied.add(refused, name, Comparison(2, MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC))
    denied.add(refused, "shmat", Comparison(2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC))
    for family in set(FAMILIES).difference(rules["families"]):
        denied.add(ERRNO | errno.EAFNOSUPPORT, "socket", Comparison(0, EQUAL, family, 0))
    denied.load()
    allowed = Filter(ERRNO | rules["errno"])
    for name in rules["allowed"]:
        allowed.add(ALLOW, name)
    allowed.load()


if __name__ == "__main__":
    confine(json.loads(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the test's own command

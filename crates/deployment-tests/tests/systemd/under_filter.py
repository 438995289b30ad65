"""Runs a program under the system calls and address families that a unit allows: under_filter.py UNIT PROGRAM ARGUMENT...

Reads SystemCallFilter= and RestrictAddressFamilies= as systemd does for a list of what is allowed: all else fails with EPERM,
sockets of other families among it. What a set of calls holds is asked of systemd-analyze.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys

ALLOW = 0x7FFF0000
EQUAL = 4


def refuse_with(number):
    return 0x00050000 | number


class Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    ]


def calls(word):
    """The names behind a word of a filter: a call, or a set with its sets."""
    if not word.startswith("@"):
        return {word}
    lines = subprocess.run(
        ["systemd-analyze", "syscall-filter", word], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    words = [line.strip() for line in lines[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls(inner) for inner in words))


def settings(unit, key):
    with open(unit) as lines:
        return [line.split("=", 1)[1].split() for line in lines if line.startswith(key + "=")]


def main():
    unit, command = sys.argv[1], sys.argv[2:]
    # systemd allows these in any case, or nothing could be started.
    allowed = calls("@default")
    for words in settings(unit, "SystemCallFilter"):
        if words[0].startswith("~"):
            words[0] = words[0][1:]
            allowed -= set().union(*map(calls, words)) - calls("@default")
        else:
            allowed |= set().union(*map(calls, words))
    families = {getattr(socket, name) for words in settings(unit, "RestrictAddressFamilies") for name in words}
    assert len(allowed) > 100 and families, "the unit restricts nothing"

    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)]
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
    context = seccomp.seccomp_init(refuse_with(errno.EPERM))

    def rule(action, number, *comparisons):
        array = (Comparison * max(1, len(comparisons)))(*comparisons)
        failed = seccomp.seccomp_rule_add_array(context, action, number, len(comparisons), array)
        assert failed == 0, (number, failed)

    for name in sorted(allowed - {"socket"}):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        # Those of other processors have negative numbers.
        if number >= 0:
            rule(ALLOW, number)
    number = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        rule(ALLOW, number, Comparison(0, EQUAL, family, 0))
    failed = seccomp.seccomp_load(context)
    assert failed == 0, failed
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        raise SystemExit("the filter is not in effect")
    except PermissionError:
        pass
    os.execv(command[0], command)


main()

"""System calls that a program in the sandbox has no use for, refused by a filter of the kernel (seccomp).

Namespaces and limits leave gaps that this closes: sockets of families that no network namespace
holds (a virtual machine's AF_VSOCK reaches its host), memory that no limit counts (memory files,
System V segments and semaphores), keys of other sessions, and parts of the kernel that programs rarely
see (io_uring, bpf). What the limits bound already is left alone. Runs inside the sandbox; 64-bit x86
and ARM.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing would take longer to start than the harness
    from typing import Any

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SOCKET = {"x86_64": 41, "aarch64": 198}
REFUSED = {
    "shmget": {"x86_64": 29, "aarch64": 194},
    "semget": {"x86_64": 64, "aarch64": 190},
    "msgget": {"x86_64": 68, "aarch64": 186},
    "memfd_create": {"x86_64": 319, "aarch64": 279},
    "memfd_secret": {"x86_64": 447, "aarch64": 447},
    "add_key": {"x86_64": 248, "aarch64": 217},
    "request_key": {"x86_64": 249, "aarch64": 218},
    "keyctl": {"x86_64": 250, "aarch64": 219},
    "ptrace": {"x86_64": 101, "aarch64": 117},
    "process_vm_readv": {"x86_64": 310, "aarch64": 270},
    "process_vm_writev": {"x86_64": 311, "aarch64": 271},
    "pidfd_getfd": {"x86_64": 438, "aarch64": 438},
    "perf_event_open": {"x86_64": 298, "aarch64": 241},
    "bpf": {"x86_64": 321, "aarch64": 280},
    "userfaultfd": {"x86_64": 323, "aarch64": 282},
    # It opens sockets too, past any filter of the call that does.
    "io_uring_setup": {"x86_64": 425, "aarch64": 425},
}
"""Calls and their numbers (the kernel's syscall tables)."""

FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6: their sockets belong to a network namespace, which is empty here."""

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, KILL, REFUSE, NO_FAMILY = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050061
"""Actions: the last two return EPERM and EAFNOSUPPORT."""

LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
CALL, ARCH, FIRST_ARGUMENT = 0, 4, 16
"""Where the kernel's struct seccomp_data has them, in bytes."""

X32 = 0x40000000
"""x86 counts the calls of its 32-bit-pointer form from here on."""


def refuse_calls(kernel: Any) -> bool:
    """Install the filter in this process and all that it starts. False where that does not work.

    kernel: the C library by ctypes; no_new_privs is set.
    """
    import ctypes

    machine = os.uname().machine
    if machine not in AUDIT_ARCH:
        return False
    steps = filter_steps(machine)
    code = ctypes.create_string_buffer(b"".join(map(_packed, steps)))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    program = Program(len(steps), ctypes.addressof(code))
    done: int = kernel.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    return done == 0


def filter_steps(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter for a machine: (operation, steps to skip where true, where false, operand)."""
    steps = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, CALL), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    for numbers in REFUSED.values():
        steps += [(EQUAL, 0, 1, numbers[machine]), (RETURN, 0, 0, REFUSE)]
    steps += [(EQUAL, 1, 0, SOCKET[machine]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT)]
    for family in FAMILIES:
        steps += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    return [*steps, (RETURN, 0, 0, NO_FAMILY)]


def _packed(step: tuple[int, int, int, int]) -> bytes:
    operation, if_true, if_false, operand = step
    return operation.to_bytes(2, "little") + bytes((if_true, if_false)) + operand.to_bytes(4, "little")

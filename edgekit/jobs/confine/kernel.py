"""What Linux offers to take rights away from a process, called through ctypes: no package does it without a compiler.

Landlock (https://docs.kernel.org/userspace-api/landlock.html) decides which paths can be opened, a system call filter
(seccomp(2)) which calls exist at all, namespaces (namespaces(7)) which network and which processes are seen,
capabilities(7) what root may do. None of it can be undone by the process, nor by what it starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Mapping
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

# --- Landlock: linux/landlock.h -------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 13, 1 << 14
#: Rights over a path; whatever is below a folder has its rights.
READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
USE = _READ_FILE | _WRITE_FILE
LIST = _READ_DIR
#: Files and folders may be made, changed, moved and removed; links, pipes, sockets and devices may not be made.
WRITE = READ | _WRITE_FILE | _TRUNCATE | _MAKE_DIR | _MAKE_REG | _REMOVE_DIR | _REMOVE_FILE | _REFER
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

#: How many rights over files each version of Landlock knows; it refuses those that it does not.
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


def landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 where it has none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def restrict_files(rights: Mapping[Path, int]) -> None:
    """Allow this process the paths given and no other, no TCP and no signals to others where the kernel can.

    Args:
        rights: path -> what may be done with it and, of a folder, with all below it. Paths that do not exist are left
            out; links are followed.

    Raises:
        OSError: the kernel refuses.
    """
    version = landlock_version()
    handled = (1 << _KNOWN[min(version, max(_KNOWN))]) - 1
    attributes = struct.pack("QQQ", handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    try:
        for path, wanted in rights.items():
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                allowed = wanted & handled & (-1 if path.is_dir() else _OF_A_FILE)
                rule = struct.pack("=Qi", allowed, descriptor)
                _checked(_libc.syscall(_ADD_RULE, ruleset, 1, rule, 0))
            finally:
                os.close(descriptor)
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


# --- System calls: linux/seccomp.h, linux/bpf_common.h --------------------------------------------------------------

_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_SECCOMP_SET_MODE_FILTER = 1
#: Old kernels switch speculative stores off for filtered processes, which slows them; this asks them not to.
_SPEC_ALLOW = 1 << 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NEW_NAMESPACES = 0x7E020000

#: Per architecture: its number in linux/audit.h, seccomp(2), clone(2).
_ARCHITECTURES = {"x86_64": (0xC000003E, 317, 56), "aarch64": (0xC00000B7, 277, 220)}
#: Calls that a confined process is denied, by their numbers on these: sockets (pipes and pairs of streams stay),
#: io_uring, which has sockets of its own, other processes' memory, keyrings, mounts, namespaces, kernel modules, BPF,
#: performance counters, files by handle; and what Landlock does not guard (truncate: before its third version):
#: owners and attributes of any file that has a path.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "unshare": (272, 97), "setns": (308, 268),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "file_setattr": (469, 469), "truncate": (76, 45),
}  # fmt: skip
#: Modes and times of files by their paths, which Landlock does not guard either. Libraries set them on copies that they
#: make, and take a refusal for a failure: these calls are answered as done, and change nothing.
_UNDONE: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip
_CLONE3 = 435
#: The mode of an open file is set, since C++ makes a copy unreadable before it fills it; what is opened here may be
#: read anyway. Not so that everybody could write into it, or that it would run as somebody else.
_FCHMOD, _FOR_OTHERS = (91, 52), 0o7002
_SOCKETPAIR, _KIND_OF_SOCKET, _STREAM = (53, 199), 0xF, 1


def filter_calls() -> bool:
    """Deny this process sockets and the calls that reach other processes or the kernel; False where that cannot be."""
    found = _ARCHITECTURES.get(platform.machine())
    if found is None:
        return False
    architecture, seccomp, clone = found
    at = list(_ARCHITECTURES).index(platform.machine())
    answers = [(numbers[at], _EPERM) for numbers in _DENIED.values()]
    answers += [(numbers[at], 0) for numbers in _UNDONE.values()]

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def refuse(error: int) -> bytes:
        return step(_RETURN, _ERRNO | error)

    program = [
        step(_LOAD, 4), step(_EQUAL, architecture, 1), refuse(_ENOSYS),
        step(_LOAD, 0), step(_AT_LEAST, 1 << 30, 0, 1), refuse(_ENOSYS),  # x32: the same calls by other numbers
        *(part for number, error in answers if number for part in (step(_EQUAL, number, 0, 1), refuse(error))),
        step(_EQUAL, _FCHMOD[at], 0, 4), step(_LOAD, 24), step(_ANY_BIT, _FOR_OTHERS, 0, 1), refuse(0),
        step(_RETURN, _ALLOW),
        # An end of a pair of datagrams can be sent from to whatever service of this machine has a path.
        step(_EQUAL, _SOCKETPAIR[at], 0, 5), step(_LOAD, 24), step(_AND, _KIND_OF_SOCKET),
        step(_EQUAL, _STREAM, 0, 1), step(_RETURN, _ALLOW), refuse(_EPERM),
        # Its flags lie in memory, where a filter cannot look; the C library falls back to clone.
        step(_EQUAL, _CLONE3, 0, 1), refuse(_ENOSYS),
        step(_EQUAL, clone, 0, 3), step(_LOAD, 16), step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), refuse(_EPERM),
        step(_RETURN, _ALLOW),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(program))
    filtered = struct.pack("HP", len(program), ctypes.addressof(code))
    return bool(_libc.syscall(seccomp, _SECCOMP_SET_MODE_FILTER, _SPEC_ALLOW, filtered) == 0)


# --- Privileges and namespaces ---------------------------------------------------------------------------------------

_NEW_USER, _NEW_NET, _NEW_PID, _NEW_IPC = 0x10000000, 0x40000000, 0x20000000, 0x08000000


def no_new_privileges() -> None:
    """Nothing that is executed from here on gains rights (set-user-ID files); the other restrictions ask for it."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up what root, or the first process of a user namespace, may do beyond its files' permissions."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header, none = struct.pack("II", 0x20080522, 0), bytes(24)  # version 3: two sets of effective, permitted, inherited
    _checked(_libc.capset(header, none))


def isolate() -> bool:
    """Take a network without devices and, for what this process starts, a process tree of its own.

    Returns:
        False where the system does not let an ordinary user do so; nothing has changed then.
    """
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_USER | _NEW_NET | _NEW_PID | _NEW_IPC) == 0:
        # The same user inside as outside; a system that does not allow that leaves a nameless one, with the same files.
        with contextlib.suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return True
    return bool(_libc.unshare(_NEW_NET | _NEW_PID | _NEW_IPC) == 0)  # root in a container without user namespaces


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

"""Which process is meant, and how it ended: a pid alone is reused, so boot, pid namespace and start time belong to it."""

import fcntl
import os
import struct
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

_INFO: Final = struct.Struct("<Q52xi")  # mask, what is not used here, exit status as of wait(2)
_GET_INFO: Final = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
"""PIDFD_GET_INFO of linux/pidfd.h, with the first version of struct pidfd_info."""
_WITH_EXIT: Final = 1 << 3
"""PIDFD_INFO_EXIT, of Linux 6.15: how a process ended, told to whoever has its pidfd once it was waited for."""


class Liveness(Enum):
    """What can be known of a process from here."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """Another pid namespace, or a system without /proc: not visible from here, so never called dead."""


class ProcessIdentity(NamedTuple):
    """Identity of a process.

    Attributes:
        pid: process id in its own pid namespace.
        start_ticks: start time since boot in clock ticks, field 22 of /proc/<pid>/stat; 0 where there is no /proc.
        boot_id: random id of the kernel's boot; empty where there is none.
        pid_namespace: for example `pid:[4026531836]`; empty where there is none.
    """

    pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: str

    def to_payload(self) -> dict[str, Any]:
        """Return the form that runStart and HELLO carry."""
        return self._asdict()

    @classmethod
    def from_payload(cls, payload: object) -> "ProcessIdentity | None":
        """Return the identity, or None if the payload does not hold one."""
        if not isinstance(payload, dict):
            return None
        pid, ticks = payload.get("pid"), payload.get("start_ticks")
        boot, namespace = payload.get("boot_id"), payload.get("pid_namespace")
        if type(pid) is int and pid > 0 and type(ticks) is int and type(boot) is str and type(namespace) is str:
            return cls(pid=pid, start_ticks=ticks, boot_id=boot, pid_namespace=namespace)
        return None

    def liveness(self) -> Liveness:
        """Return whether this very process still runs; an ended process that nobody waited for is gone."""
        boot_id = _boot_id()
        if self.boot_id != boot_id:
            return Liveness.GONE if self.boot_id and boot_id else Liveness.UNKNOWN
        if not self.start_ticks or self.pid_namespace != _pid_namespace():
            return Liveness.UNKNOWN
        try:
            found = _state_and_start(self.pid)
        except OSError:
            return Liveness.UNKNOWN  # no descriptor is left to look with
        if found is None:
            return Liveness.GONE
        state, ticks = found
        return Liveness.ALIVE if ticks == self.start_ticks and state not in "ZX" else Liveness.GONE


def current() -> ProcessIdentity:
    """Return the identity of this process."""
    return identity_of(os.getpid())


def identity_of(pid: int) -> ProcessIdentity:
    """Return the identity of a process of this pid namespace; without a start time if it is gone or cannot be seen."""
    try:
        found = _state_and_start(pid)
    except OSError:
        found = None
    ticks = found[1] if found else 0
    return ProcessIdentity(pid=pid, start_ticks=ticks, boot_id=_boot_id(), pid_namespace=_pid_namespace())


def exit_status(pidfd: int) -> dict[str, int] | None:
    """Return how the process ended that a pidfd stands for: `exitCode` or `signal`.

    None while it runs, while its parent has not waited for it, and where the kernel does not tell (before Linux 6.15).
    """
    info = bytearray(_INFO.pack(_WITH_EXIT, 0))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    mask, status = _INFO.unpack(info)
    if not mask & _WITH_EXIT:
        return None
    code = os.waitstatus_to_exitcode(status)
    return {"exitCode": code} if code >= 0 else {"signal": -code}


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """Return what /proc says of a process, or None if there is none of this pid; raise OSError if it cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # ESRCH: it ended between open and read
        return None
    # The second field is the command in parentheses and may hold anything, so count from the last one.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])

"""Run a command to which Unix sockets are forbidden, as some sandboxes do: socket(AF_UNIX) fails with EPERM (seccomp(2)).

python no_unix_sockets.py COMMAND ...
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SOCKET_CALL = {"x86_64": 41, "aarch64": 198}


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def main() -> None:
    """Set the filter and become the command."""
    program = b"".join(
        [
            _step(_LOAD, 0),  # the call's number
            _step(_IF_EQUAL, _SOCKET_CALL[platform.machine()], 0, 3),
            _step(_LOAD, 16),  # its first argument
            _step(_IF_EQUAL, socket.AF_UNIX, 0, 1),
            _step(_RETURN, _ERRNO | errno.EPERM),
            _step(_RETURN, _ALLOW),
        ]
    )
    steps = ctypes.create_string_buffer(program)
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(steps)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER_MODE, described, 0, 0):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "no filter can be set")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()

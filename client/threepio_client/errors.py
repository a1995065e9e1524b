"""The errors of threepiod and the exit code that each one means to a command.

Exit codes: 0 ok, 1 the answer is "not good", 2 usage, 3 timed out, 4 no such run or test, 5 daemon needed and not there.
"""

from __future__ import annotations

from typing import ClassVar


class ThreepioError(Exception):
    """Base of all errors that a user can meet; the text says what is wrong and what to do.

    Attributes:
        exit_code: of a command that meets it.
        lines: further lines, for a list.
    """

    exit_code: ClassVar[int] = 1
    lines: tuple[str, ...] = ()


class SettingsError(ThreepioError):
    """A setting has a value that cannot be used: a bad number, a path that is too long or not writable."""

    exit_code = 2


class NoPlace(SettingsError):
    """A directory or file that is needed cannot be made or written where the settings want it."""


class NotSaid(ThreepioError):
    """An answer cannot be written to stdout: the disk is full behind it."""

    exit_code = 2


class WaitedTooLong(ThreepioError):
    """Something did not happen within the time that it was given."""

    exit_code = 3


class NoSuchRun(ThreepioError):
    """No run has this id, or several begin with this prefix."""

    exit_code = 4


class NoSuchTest(ThreepioError):
    """No run has an outcome of this test."""

    exit_code = 4


class UnreadableStore(ThreepioError):
    """What is asked for stands in a part of the store that is damaged."""


class NoDaemon(ThreepioError):
    """The daemon is needed for this and cannot be reached or started."""

    exit_code = 5


class BadLine(ThreepioError):
    """A journal line that is not whole: cut, changed, or never written by an adapter."""


class ProtocolError(ThreepioError):
    """A frame or message that the wire protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """This side tried to send a message that its state does not allow: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes or a message that its state does not allow.

    Attributes:
        code: the refusal code that the peer is told (see docs/protocol.md).
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{reason} [{code}]")
        self.code = code
        self.reason = reason


class Refused(ThreepioError):
    """The daemon refused the connection."""

    exit_code = 5

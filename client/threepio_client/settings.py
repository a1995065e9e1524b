"""The settings of adapter, daemon and commands: environment first, then the runner's ini file, then the default.

Read once, at the start: a test may change or clear the environment later.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from zlib import crc32

from threepio_client.errors import SettingsError

if TYPE_CHECKING:
    from threepio_client.paths import StateDir

RUN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SOCKET_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path: `sun_path` holds 108 with the final NUL (unix(7))."""

KEEP_DAYS: Final = 90.0
"""Days after which a run that is over is removed."""

NAMES: Final = (
    "THREEPIO",
    "THREEPIO_SOCKET",
    "THREEPIO_STATE_DIR",
    "THREEPIO_RUN_ID",
    "THREEPIO_SYNC",
    "THREEPIO_EVENT_BUFFER_SIZE",
    "THREEPIO_BLOCK_MS",
    "THREEPIO_BLOCK_TOTAL_MS",
    "THREEPIO_NESTED",
    "THREEPIO_STACKS",
)
"""Every setting but the daemon's own THREEPIO_KEEP_DAYS; as an ini option it has the same name in lower case."""

T = TypeVar("T")


class Mode(StrEnum):
    """THREEPIO: whether and how the adapter works."""

    AUTO = "auto"
    """Connect if a daemon listens, else journal only."""
    REQUIRE = "require"
    """A usage error if no daemon can be reached."""
    OFF = "off"


class SyncPolicy(StrEnum):
    """THREEPIO_SYNC: when the adapter syncs the journal where no daemon does."""

    GROUP = "group"
    ALWAYS = "always"
    EXIT = "exit"


class Settings(NamedTuple):
    """All settings, checked.

    Attributes:
        mode: see `Mode`.
        socket: absolute path of the daemon's socket.
        state_dir: absolute path of the directory with journals, store and logs.
        run_id: the id that this run is to have, or None for a new one.
        sync: see `SyncPolicy`.
        event_buffer_size: events that may be sent and not yet acked, at least 1.
        block_s: seconds that one emit may wait for a slow daemon; may be infinite.
        block_total_s: seconds that all emits of a run together may wait; may be infinite.
        nested: report a runner that was started inside a test too.
        stacks: let `threepio stacks` ask the tested process itself.
    """

    mode: Mode
    socket: Path
    state_dir: Path
    run_id: str | None
    sync: SyncPolicy
    event_buffer_size: int
    block_s: float
    block_total_s: float
    nested: bool
    stacks: bool = False

    @property
    def places(self) -> "StateDir":
        """The state directory, with a spare one beside the socket: by default that is the user's runtime directory."""
        from threepio_client.paths import StateDir  # not in a process that reports nothing

        if self.state_dir in self.socket.parents:
            return StateDir(self.state_dir)  # the same disk: no help
        owner = crc32(os.fsencode(self.state_dir))  # several state directories may share a socket's directory
        return StateDir(self.state_dir, self.socket.with_name(f"{self.socket.name}.{owner:08x}.journals"))


def load(environ: Mapping[str, str] | None = None, ini: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process.

    Args:
        environ: the environment; default `os.environ`.
        ini: values of the runner's ini file, by lower-case name; empty texts count as not given.

    Raises:
        SettingsError: a value cannot be used; the text names the setting, where it stands, and what is allowed.
    """
    source = _Source(os.environ if environ is None else environ, ini or {})
    state_dir = source.get("THREEPIO_STATE_DIR", None, _absolute) or _default_state_dir()
    return Settings(
        mode=source.get("THREEPIO", Mode.AUTO, _choice(Mode)),
        socket=source.get("THREEPIO_SOCKET", None, _absolute) or _default_socket(state_dir, source.environ),
        state_dir=state_dir,
        run_id=source.get("THREEPIO_RUN_ID", None, _run_id),
        sync=source.get("THREEPIO_SYNC", SyncPolicy.GROUP, _choice(SyncPolicy)),
        event_buffer_size=source.get("THREEPIO_EVENT_BUFFER_SIZE", 10_000, _count),
        block_s=source.get("THREEPIO_BLOCK_MS", 0.250, _milliseconds),
        block_total_s=source.get("THREEPIO_BLOCK_TOTAL_MS", 2.0, _milliseconds),
        nested=source.get("THREEPIO_NESTED", False, _flag),
        stacks=source.get("THREEPIO_STACKS", False, _flag),
    )


def load_keep_s(environ: Mapping[str, str] | None = None) -> float:
    """Return for how many seconds a run that is over is kept: THREEPIO_KEEP_DAYS, which only the daemon reads.

    Raises:
        SettingsError: it is no number of days.
    """
    source = _Source(os.environ if environ is None else environ, {})
    return source.get("THREEPIO_KEEP_DAYS", KEEP_DAYS, _days) * 86_400


def check_socket_path(path: Path) -> None:
    """Raise SettingsError if the kernel cannot hold the path of this socket."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_LIMIT:
        raise SettingsError(
            f"the socket path has {size} bytes, the system allows {SOCKET_PATH_LIMIT}: "
            f"set THREEPIO_SOCKET to a shorter path (now {path})"
        )


class _Source:
    def __init__(self, environ: Mapping[str, str], ini: Mapping[str, str]) -> None:
        self.environ = environ
        self._ini = ini

    def get(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        for place, text in (("environment", self.environ.get(name)), ("ini option", self._ini.get(name.lower()))):
            if text:
                try:
                    return parse(text)
                except ValueError as error:
                    label = name if place == "environment" else f"{name.lower()} (ini option)"
                    raise SettingsError(f"{label}={text!r}: {error}") from None
        return default


E_ = TypeVar("E_", bound=StrEnum)


def _choice(kind: type[E_]) -> Callable[[str], E_]:
    def parse(text: str) -> E_:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError("must be one of " + ", ".join(kind)) from None

    return parse


def _absolute(text: str) -> Path | None:
    if "\0" in text:
        raise ValueError("a path cannot hold NUL")
    return Path(os.path.abspath(os.path.expanduser(text)))  # not resolve(): a link stays a link


def _run_id(text: str) -> str | None:
    if not RUN_ID.fullmatch(text) or text in {".", "..", "latest"} or text.endswith(".observed"):
        raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ - and not 'latest' or with '.observed' at its end")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 8 or not 1 <= int(text) <= 10_000_000:
        raise ValueError("must be a whole number from 1 to 10000000")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if math.isnan(value) or value < 0:
        raise ValueError("must be a number of milliseconds, 0 or more, or inf")
    return value / 1000


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if math.isnan(value) or value <= 0:
        raise ValueError("must be a number of days, more than 0, or inf")
    return value


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("must be 0 or 1")
    return text == "1"


def _default_socket(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return the socket's path in the user's runtime directory; where there is none, in the state directory.

    platformdirs would warn in that case, which is an error in many a suite, and take a directory below /tmp, where
    another user may come first.
    """
    for base in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}"):
        if os.path.isabs(base) and os.path.isdir(base) and os.stat(base).st_uid == os.getuid():
            return Path(base, "threepiod", "threepiod.sock")
    return state_dir / "threepiod.sock"


def _default_state_dir() -> Path:
    from platformdirs import user_state_path  # only where it is needed: 2 ms

    return user_state_path("threepiod", appauthor=False)

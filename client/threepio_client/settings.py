"""The settings of adapter, daemon and commands, all defined here: environment first, then the runner's ini file, then the
configuration file (`configfile.py`), then the default.

Read once, at the start: a test may change or clear the environment later.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from zlib import crc32

from threepio_client.errors import NoPlace, SettingsError

if TYPE_CHECKING:
    from threepio_client.configfile import Problem
    from threepio_client.masking import Mask
    from threepio_client.paths import StateDir

RUN_ID: Final = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,63}")
_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
SOCKET_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path: `sun_path` holds 108 with the final NUL (unix(7))."""


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
        autostart: start a daemon where none listens.
        mask_env: names of environment variables whose values are masked in events, with `*` and `?`.
        mask: regular expressions; what they match is masked in events.
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
    autostart: bool = False
    mask_env: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()

    @property
    def places(self) -> "StateDir":
        """The state directory, with a spare one beside the socket: by default that is the user's runtime directory."""
        from threepio_client.paths import StateDir  # not in a process that reports nothing

        if self.state_dir in self.socket.parents:
            return StateDir(self.state_dir)  # the same disk: no help
        owner = crc32(os.fsencode(self.state_dir))  # several state directories may share a socket's directory
        return StateDir(self.state_dir, self.socket.with_name(f"{self.socket.name}.{owner:08x}.journals"))

    def make_mask(self) -> "Mask | None":
        """Return what hides secrets, with the environment's values as they are now; None where nothing is to be masked."""
        if not self.mask and not self.mask_env:
            return None
        from threepio_client.masking import Mask  # only where it is asked for

        return Mask(self.mask_env, self.mask, os.environ)


REPORTS_DIR: Final = ".threepio"
"""Directory of a rootdir into which the daemon writes reports."""
BESIDE: Final = "beside"
OFF: Final = "off"
ReportPlace = Path | str


class DaemonSettings(NamedTuple):
    """The settings that only the daemon reads.

    Attributes:
        keep_s: seconds for which a run that is over is kept; may be infinite.
        idle_exit_s: seconds without a run or a client after which the daemon ends; may be infinite. None: it depends on who
            started it.
        reports: where report trees are written: BESIDE, OFF, or an absolute path of a directory.
    """

    keep_s: float
    idle_exit_s: float | None
    reports: ReportPlace


def load(
    environ: Mapping[str, str] | None = None,
    ini: Mapping[str, str] | None = None,
    problems: "list[Problem] | None" = None,
) -> Settings:
    """Return the settings of this process.

    Args:
        environ: the environment; default `os.environ`.
        ini: values of the runner's ini file, by lower-case name; empty texts count as not given.
        problems: gets what is wrong with the configuration file, and the rest of it is used. None: that is an error too,
            but for keys that are not known, which a newer version may have.

    Raises:
        SettingsError: a value cannot be used; the text names the setting, where it stands, and what is allowed.
        NoPlace: no state directory is set, and there is no home directory for one.
    """
    source = _Source(environ, ini, problems)
    found = {setting.key: source.get(setting).value for setting in SETTINGS if not setting.is_daemons}
    state_dir = found["state_dir"] or _default_state_dir()
    return Settings(
        mode=found["mode"],
        socket=found["socket"] or _default_socket(state_dir, source.environ),
        state_dir=state_dir,
        run_id=found["run_id"],
        sync=found["sync"],
        event_buffer_size=found["event_buffer_size"],
        block_s=found["block_ms"],
        block_total_s=found["block_total_ms"],
        nested=found["nested"],
        stacks=found["stacks"],
        autostart=found["autostart"],
        mask_env=found["mask_env"] or (),
        mask=found["mask"] or (),
    )


def mode_of(environ: Mapping[str, str], ini: Mapping[str, str]) -> Mode:
    """Return whether and how the adapter is to work, also where no directory for its files is known; else as `load`.

    Raises:
        SettingsError: it cannot be used, or the configuration file cannot.
    """
    mode: Mode = _Source(environ, ini, []).get(BY_KEY["mode"]).value
    return mode


def load_daemons(environ: Mapping[str, str] | None = None) -> DaemonSettings:
    """Return the settings that only the daemon reads.

    Raises:
        SettingsError: one cannot be used, or the configuration file cannot.
    """
    source = _Source(environ, None, None)
    return DaemonSettings(
        keep_s=source.get(BY_KEY["keep_days"]).value * 86_400,
        idle_exit_s=source.get(BY_KEY["idle_exit"]).value,
        reports=source.get(BY_KEY["reports"]).value,
    )


def length_of_time(text: str) -> float:
    """Return the seconds of a text like 30s, 9m, 1h or 30d; raises ValueError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text, re.ASCII)
    if match is None:
        raise ValueError("must be a time like 30s, 9m, 1h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def explain(environ: Mapping[str, str] | None = None) -> "tuple[list[Explained], list[Problem]]":
    """Return every setting with where it comes from, and what is wrong in environment and configuration file.

    What is wrong is passed over: the next place that says something counts. Ini options are not looked at.

    Args:
        environ: the environment; default `os.environ`.
    """
    from threepio_client.configfile import Problem

    problems: list[Problem] = []
    source = _Source(environ, None, problems)
    told = [source.get(setting, lambda text: problems.append(Problem(text))) for setting in SETTINGS]
    by_key = {one.setting.key: one for one in told}
    state_dir = by_key["state_dir"].value or _default_state_dir()
    by_key["state_dir"].text = str(state_dir)
    by_key["socket"].text = str(by_key["socket"].value or _default_socket(state_dir, source.environ))
    return told, problems


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the configuration file is, or would be: what platformdirs says, which takes 2 ms to import."""
    return Path(_config_file(os.environ if environ is None else environ))


def check_socket_path(path: Path) -> None:
    """Raise SettingsError if the kernel cannot hold the path of this socket."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_LIMIT:
        raise SettingsError(
            f"the socket path has {size} bytes, the system allows {SOCKET_PATH_LIMIT}: "
            f"set THREEPIO_SOCKET to a shorter path (now {path})"
        )


E_ = TypeVar("E_", bound=StrEnum)


def _choice(kind: type[E_]) -> Callable[[str], E_]:
    def parse(text: str) -> E_:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError("must be one of " + ", ".join(kind)) from None

    return parse


def _absolute(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path cannot hold NUL")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError("begins with a home directory, and there is none: HOME is not set, or no user has that name")
    return Path(os.path.abspath(path))  # not resolve(): a link stays a link


def _report_place(text: str) -> ReportPlace:
    if text.lower() in (BESIDE, OFF):
        return text.lower()
    if not text.startswith(("/", "~/")):
        raise ValueError("must be beside, off, or a directory that begins with / or ~/")
    return _absolute(text)


def _run_id(text: str) -> str:
    if not RUN_ID.fullmatch(text) or text in {".", "..", "latest"} or text.endswith(".observed"):
        raise ValueError(
            "must be 1 to 64 of A-Z a-z 0-9 . _ - and not begin with -, be 'latest' or have '.observed' at its end"
        )
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


def _names(text: str) -> tuple[str, ...]:
    names = tuple(re.split(r"[,\s]+", text.strip(", \t\r\n")))
    if not all(re.fullmatch(r"[A-Za-z0-9_*?]+", name) for name in names):
        raise ValueError("must be names of environment variables with commas between them; * and ? may stand in them")
    if any(not name.strip("*?") for name in names):
        raise ValueError("would mask the values of all variables")
    return names


def _patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(line.strip() for line in text.splitlines() if line.strip())
    for pattern in patterns:
        try:
            is_empty = re.compile(pattern).search("") is not None
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"must be regular expressions, one a line: {pattern!r}: {error}") from None
        if is_empty:
            raise ValueError(f"must be regular expressions that match something: {pattern!r} matches an empty text")
    return patterns


def _idle_time(text: str) -> float:
    if text == "inf":
        return math.inf
    seconds = length_of_time(text)
    if seconds < 1:
        raise ValueError("must be a time of at least 1s, or inf")
    return seconds


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("must be 0 or 1, in the configuration file also true or false")
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

    try:
        found = user_state_path("threepiod", appauthor=False)
        if found.is_absolute():
            return found
    except RuntimeError:  # older versions return what begins with ~
        pass
    raise NoPlace(
        "no place to keep results in is known, because HOME names no directory: set THREEPIO_STATE_DIR to one that can be "
        "written"
    )


class Setting:
    """One setting: its names, and what it may be. No NamedTuple: making one takes 0.15 ms of every suite.

    Attributes:
        name: of the environment variable.
        key: its name in the configuration file.
        option: its name as ini option.
        default: as it would be written; empty where it depends on the machine or the run.
        parse: from text to value; raises ValueError, which says what is allowed.
        meaning: one or two sentences, for help and documentation.
        default_text: the default in words, where `default` is empty.
        is_daemons: only the daemon reads it: it is no ini option.
        is_a_runs: it is of one run: it cannot stand in the configuration file.
        is_list: it holds several values, which may be a list in the configuration file.
    """

    def __init__(
        self,
        name: str,
        default: str,
        parse: Callable[[str], Any],
        meaning: str,
        default_text: str = "",
        is_daemons: bool = False,
        is_a_runs: bool = False,
        is_list: bool = False,
    ) -> None:
        self.name = name
        self.key = "mode" if name == "THREEPIO" else name.removeprefix("THREEPIO_").lower()
        self.option = name.lower()
        self.default = default
        self.parse = parse
        self.meaning = meaning
        self.default_text = default_text
        self.is_daemons = is_daemons
        self.is_a_runs = is_a_runs
        self.is_list = is_list


SETTINGS: Final = (
    Setting(
        "THREEPIO",
        "auto",
        _choice(Mode),
        "auto: connect if a daemon listens, else journal only. require: a usage error if none does. off: nothing is written",
    ),
    Setting(
        "THREEPIO_STATE_DIR",
        "",
        _absolute,
        "directory with journals, store and logs",
        "the user's state directory (~/.local/state/threepiod)",
    ),
    Setting(
        "THREEPIO_SOCKET",
        "",
        _absolute,
        "path of the daemon's socket, 107 bytes at most",
        "threepiod/threepiod.sock in the user's runtime directory; without one, threepiod.sock in the state directory",
    ),
    Setting(
        "THREEPIO_RUN_ID",
        "",
        _run_id,
        "the id that this run is to have, 1 to 64 of A-Z a-z 0-9 . _ - with no - at its beginning; one that is taken "
        "becomes -2, -3 ...",
        "seven random characters",
        is_a_runs=True,
    ),
    Setting(
        "THREEPIO_SYNC",
        "group",
        _choice(SyncPolicy),
        "group, always or exit: when the journal is synced where no daemon does. group: at an event, 100 ms or 100 sync "
        "times after the last",
    ),
    Setting("THREEPIO_EVENT_BUFFER_SIZE", "10000", _count, "events that may be sent and not yet stored"),
    Setting(
        "THREEPIO_BLOCK_MS",
        "250",
        _milliseconds,
        "milliseconds that one event may wait for a slow daemon; inf waits for ever",
    ),
    Setting(
        "THREEPIO_BLOCK_TOTAL_MS",
        "2000",
        _milliseconds,
        "milliseconds that all events of a run together may wait; only stalls over 20 ms count",
    ),
    Setting(
        "THREEPIO_KEEP_DAYS",
        "90",
        _days,
        "days after which the daemon removes a run that is over; inf keeps all",
        is_daemons=True,
    ),
    Setting(
        "THREEPIO_IDLE_EXIT",
        "",
        _idle_time,
        "how long the daemon stays without a run or a client before it ends: 90s, 30m, 2h, inf",
        "for ever; where systemd listens for it and starts it again, 1h",
        is_daemons=True,
    ),
    Setting(
        "THREEPIO_REPORTS",
        BESIDE,
        _report_place,
        "where the daemon writes report trees: beside (`.threepio/` in the rootdir of the tests), a directory, or off",
        is_daemons=True,
    ),
    Setting(
        "THREEPIO_AUTOSTART",
        "0",
        _flag,
        "1: a pytest that finds no daemon starts one, which takes it about half a second",
    ),
    Setting(
        "THREEPIO_MASK_ENV",
        "",
        _names,
        "names of environment variables whose values are masked in every event, with commas between them; * and ? may "
        "stand in them: `*_TOKEN, DB_PASSWORD`",
        "none",
        is_list=True,
    ),
    Setting(
        "THREEPIO_MASK",
        "",
        _patterns,
        "regular expressions, one a line; what they match is masked in every event (docs/security.md)",
        "none",
        is_list=True,
    ),
    Setting(
        "THREEPIO_NESTED",
        "0",
        _flag,
        "1: report a pytest that was started inside a test too; it decides nothing about the outer run",
    ),
    Setting(
        "THREEPIO_STACKS",
        "0",
        _flag,
        "1: let 'threepio stacks' ask the tests' own processes where they are, by the signal SIGRTMIN+11, which a suite "
        "could notice",
    ),
)
"""In the order of the documentation."""
BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
INI_SETTINGS: Final = tuple(setting for setting in SETTINGS if not setting.is_daemons)
"""Those that are ini options too, with the same name in lower case."""


class Explained:
    """What a setting is, and why.

    Attributes:
        setting: which one.
        value: what it is, parsed; None where it depends on the machine or the run.
        text: the same as it is written.
        origin: `environment`, `ini option`, `file` or `default`.
    """

    def __init__(self, setting: Setting, value: Any, text: str, origin: str) -> None:
        self.setting = setting
        self.value = value
        self.text = text
        self.origin = origin


def _config_file(environ: Mapping[str, str]) -> str:
    base = environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
    return f"{base}/threepiod/config.toml"


class _Source:
    def __init__(
        self, environ: Mapping[str, str] | None, ini: Mapping[str, str] | None, problems: "list[Problem] | None"
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self._ini = ini or {}
        self._file: Mapping[str, str] = {}
        path = _config_file(self.environ)
        if not os.path.isabs(path) or not os.path.lexists(path):  # the former: there is no home directory
            return
        from threepio_client.configfile import read  # brings tomllib: 2 ms, and only where there is a file

        self._file, found = read(Path(path))
        if problems is not None:
            problems += found
        for problem in found:
            if problems is None and not problem.is_unknown_key:
                raise SettingsError(problem.text)

    def get(self, setting: Setting, complain: Callable[[str], None] | None = None) -> Explained:
        """Return what a setting is; what cannot be used is complained of and passed over, or raises SettingsError."""
        for origin, text in (
            ("environment", self.environ.get(setting.name)),
            ("ini option", self._ini.get(setting.option)),
            ("file", self._file.get(setting.key)),
        ):
            if text:
                try:
                    return Explained(setting, setting.parse(text), text, origin)
                except ValueError as error:
                    label = setting.name if origin == "environment" else f"{setting.option} ({origin})"
                    if complain is None:
                        raise SettingsError(f"{label}={text!r}: {error}") from None
                    complain(f"{label}={text!r}: {error}")
        return Explained(
            setting, setting.parse(setting.default) if setting.default else None, setting.default, "default"
        )

"""Where things lie in the state directory, and how its directories are made: 0700 and ours."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Final, NamedTuple

from threepio_client.errors import NoPlace, SettingsError
from threepio_client.files import sync_directory

_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""Run ids are read aloud and typed: no 0 or o, no 1, i or l."""


RUN_ID_LIMIT: Final = 64
"""Characters of a run id."""
ID_TRIES: Final = 1_000
"""How many runs may want the same id."""


SPARE_FROM: Final = 1_000
"""Numbers of journal files in the spare directory begin here, so that no number stands for two files."""
COMPRESSED: Final = ".gz"
"""Behind the name of a journal file that was compressed after its run was over."""
FILES_LIMIT: Final = 100
"""Files that a run's journal may have in one directory: a disk that fails for ever must not fill it."""


class StateDir(NamedTuple):
    """The state directory and the files in it. Only names: nothing is made or looked at.

    Attributes:
        path: the state directory.
        spare: where journals go on when they cannot be written in the state directory: on another file system, if
            there is one. None if there is no such place.
    """

    path: Path
    spare: Path | None = None

    @property
    def journals(self) -> Path:
        return self.path / "journals"

    @property
    def store(self) -> Path:
        return self.path / "store.sqlite3"

    @property
    def lock(self) -> Path:
        return self.path / "daemon.lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def daemon_log(self) -> Path:
        return self.logs / "threepiod.log"

    @property
    def adapter_log(self) -> Path:
        return self.logs / "adapter.log"

    @property
    def reports(self) -> Path:
        """Which runs have a report tree, and the trees that can be nowhere else."""
        return self.path / "reports"

    def journal(self, run_id: str, number: int = 0) -> Path:
        """Return a file of a run's journal: the first one, or the `number`th continuation."""
        directory = self.journals if number < SPARE_FROM or self.spare is None else self.spare
        return directory / (f"{run_id}.{number}.jsonl" if number else f"{run_id}.jsonl")

    def now_page(self, run_id: str) -> Path:
        return self.journals / f"{run_id}.now"

    def observed(self, run_id: str) -> Path:
        return self.journals / f"{run_id}.observed.jsonl"

    def stacks(self, run_id: str, pid: int) -> Path:
        """Where a process of a run writes its stacks when it is asked to, if it agreed to that."""
        return self.path / "stacks" / f"{run_id}.{pid}"

    def output(self, run_id: str) -> Path:
        """What a command started by `threepio run` printed."""
        return self.path / "output" / f"{run_id}.log"


def new_run_id() -> str:
    """Return a run id of seven characters: short enough to type, and a unique prefix is shorter still."""
    return "".join(SystemRandom().choices(_ALPHABET, k=7))


def numbered(run_id: str, number: int) -> str:
    """Return the id of the `number`th run that is to have this id: the id itself, then with `-2`, `-3` ... at its end."""
    suffix = f"-{number}" if number > 1 else ""
    return run_id[: RUN_ID_LIMIT - len(suffix)] + suffix


def ids_like(wanted: str) -> Iterator[str]:
    """Yield the ids that a run may have which is to have this one, for its maker to take the first that is free.

    Raises:
        SettingsError: none was taken.
    """
    for number in range(1, ID_TRIES):
        yield numbered(wanted, number)
    raise SettingsError(f"the run id {wanted} and {ID_TRIES} ids after it are taken: choose another THREEPIO_RUN_ID")


def make_private_dir(path: Path, setting: str = "THREEPIO_STATE_DIR") -> None:
    """Make the directory 0700, or check that nobody else can plant files in the one that is there.

    A directory just made survives a power cut: it is synced into the one that it is in, and so on upwards.

    Args:
        path: the directory.
        setting: the setting that says where it is, for the error.

    Raises:
        NoPlace: it cannot be made, is not a directory, belongs to somebody else, or others may write to it.
    """
    try:
        absent = [place for place in (path, *path.parents) if not os.path.lexists(place)]
        for made in reversed(absent):
            _make_dir(made, 0o700 if made == path else 0o777)
        path.mkdir(mode=0o700, exist_ok=True)
        for made in absent:
            with suppress(PermissionError):  # who may write there but not read cannot sync it
                sync_directory(made.parent)
        found = path.lstat()
    except OSError as error:
        if os.path.exists(path) and not os.path.isdir(path):  # a Path's own raise for a name that is too long
            raise NoPlace(f"{path} is no directory: set {setting} to another place") from error
        raise NoPlace(
            f"cannot make the directory {path}: {error.strerror}. Set {setting} to a place that can be written"
        ) from error
    check_private_dir(path, found, setting)


def _make_dir(path: Path, mode: int) -> None:
    """Make a directory that we can use whatever a suite's umask is, unless somebody else has just made it."""
    try:
        path.mkdir(mode)
    except FileExistsError:
        return
    found = stat.S_IMODE(path.lstat().st_mode)
    if found & 0o700 != 0o700:
        path.chmod(found | 0o700)


def check_private_dir(path: Path, found: os.stat_result, setting: str = "THREEPIO_STATE_DIR") -> None:
    """Check that nobody else can plant files in a directory.

    Args:
        path: the directory.
        found: what lstat(2) says of it.
        setting: the setting that says where it is, for the error.

    Raises:
        NoPlace: it is not a directory, belongs to somebody else, or others may write to it.
    """
    if not stat.S_ISDIR(found.st_mode):
        raise NoPlace(f"{path} is a link, not a directory: set {setting} to another place")
    shared_but_sticky = found.st_uid == 0 and found.st_mode & stat.S_ISVTX
    if found.st_uid != os.getuid() and not shared_but_sticky:
        raise NoPlace(
            f"the directory {path} belongs to uid {found.st_uid}, not to you (uid {os.getuid()}): "
            f"set {setting} to another place"
        )
    if found.st_mode & 0o022 and not shared_but_sticky:
        raise NoPlace(f"others may write to the directory {path}: chmod 700 it, or set {setting} to another place")

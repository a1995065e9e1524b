"""Row 9: nothing can be written, or nothing opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.mounts import tmpfs
from tests.place import Place
from tests.suites.checker import SOLO, Compared
from tests.suites.rows.row02_sigpipe import AFTERWARDS
from tests.suites.variant import Process, Variant

DOES = "`resource.setrlimit(RLIMIT_FSIZE, 0)`, RLIMIT_NOFILE 3, a full disk"
HOLDS = (
    "tests go on; the loss of the journal is said loudly, the socket carries on and the daemon journals; what neither "
    "could take is counted, and the run is not green"
)

UNWRITTEN = ("cannot write the journal",)
ALSO = (*AFTERWARDS, "cannot write ", "cannot sync", *(f"{number} events were lost" for number in range(1, 30)))


def _check_journaled_by_daemon(result: Compared) -> None:
    if result.name != SOLO:
        assert result.status["events"]["unjournaled"] > 0, result.status["events"]


def _check_counted(result: Compared) -> None:
    if result.name == SOLO:
        assert result.status["events"]["lost"] > 0, result.status["events"]
        assert "lost" in result.status["verdict"]["text"], result.status["verdict"]
    else:
        _check_journaled_by_daemon(result)


def _disk(place: Place) -> AbstractContextManager[object]:
    return tmpfs(place.state_dir.path, "3m")


@contextmanager
def _ground(place: Place) -> Iterator[None]:
    with _disk(place):
        yield


@contextmanager
def _on_the_disk(process: Process) -> Iterator[None]:
    """Free the disk when the run is over, so that the daemon can store it."""
    disk = process.place.state_dir.path
    process.environ["DISK"] = str(disk if process.name != "none" else process.directory)
    if process.name == "none":
        with tmpfs(process.directory.parent / "disk", "3m") as other:
            process.environ["DISK"] = str(other.path)
            yield
        return
    yield
    (disk / "filler").unlink(missing_ok=True)


@contextmanager
def _on_the_disk_alone(process: Process) -> Iterator[None]:
    with _on_the_disk(process):
        process.environ["THREEPIO_SOCKET"] = str(process.place.state_dir.path / "nobody")
        yield


VARIANTS = [
    Variant(name="RLIMIT_FSIZE 0 for ever", suite="file_size_limit", arguments=("-s",), counts={"passed": 3},
            reportlog=False, says=UNWRITTEN, may_say=ALSO, solo_loses=True, solo_state=("crashed", "incomplete"),
            solo_kind=("gone", "exit"), check=_check_journaled_by_daemon),
    Variant(name="RLIMIT_FSIZE 0 for a while", suite="file_size_limit_lifted", arguments=("-s",), counts={"passed": 5},
            reportlog=False, says=UNWRITTEN, may_say=ALSO, solo_loses=True, solo_state="incomplete",
            solo_kind=("damaged", "unfinished"), check=_check_counted),
    Variant(name="RLIMIT_NOFILE 3", suite="no_descriptors", arguments=("-s",), counts={"passed": 2}),
    Variant(name="a full disk", suite="full_disk", ground=_ground, around=_on_the_disk, runs_alone=False,
            counts={"failed": 1, "passed": 4}, says=UNWRITTEN, may_say=ALSO),
    Variant(name="a full disk and no daemon", suite="full_disk", ground=_ground, around=_on_the_disk_alone,
            runs_alone=False, loses=True, state=("incomplete", "crashed"), kind=("gone", "exit", "damaged", "unfinished"),
            exit_code=1, says=UNWRITTEN, may_say=ALSO),
]  # fmt: skip

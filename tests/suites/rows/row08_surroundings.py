"""Row 8: a process without surroundings."""

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = (
    "`os.chdir` to a directory that is then removed; `os.environ.clear()`; `umask(0)`; `sys.stdout = None`; "
    "`sys.modules` games"
)
HOLDS = "absolute paths and settings read once"


def _check(result: Compared) -> None:
    found = {path.name: path.stat().st_mode & 0o777 for path in result.place.state_dir.journals.iterdir()}
    assert set(found.values()) == {0o600}, found


VARIANTS = [
    Variant(name="one after the other", suite="no_surroundings", arguments=("-v", "--tb=line"),
            counts={"passed": 7, "failed": 1}, check=_check)
]  # fmt: skip

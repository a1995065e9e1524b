"""Row 21: where the tests lie."""

from __future__ import annotations

from collections.abc import Callable

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = (
    "rootdir not the working directory; `--rootdir`, `--import-mode=importlib`, two files of one name, symlinked tests"
)
HOLDS = "one group a file"


def _groups(*names: str, rootdir: str = ".") -> Callable[[Compared], None]:
    def check(result: Compared) -> None:
        for event_type in ("testGroupDiscovered", "testGroupResult"):
            found = [payload["groupName"] for payload in result.of_type(event_type)]
            assert sorted(found) == sorted(names), (event_type, found)
        start = result.of_type("runStart")[0]
        assert start["rootdir"] == str((result.directory / rootdir).resolve()), start["rootdir"]

    return check


_BELOW = {"failed": 1, "passed": 1}
VARIANTS = [
    Variant(name="rootdir below the working directory", suite="elsewhere", arguments=("below/here",), counts=_BELOW,
            check=_groups("here/test_it.py", rootdir="below")),
    Variant(name="rootdir above the working directory", suite="elsewhere", cwd="below/here", counts=_BELOW,
            check=_groups("here/test_it.py", rootdir="below")),
    Variant(name="--rootdir", suite="elsewhere", arguments=("--rootdir=.", "below"), counts=_BELOW,
            check=_groups("below/here/test_it.py")),
    Variant(name="--rootdir beside the tests", suite="elsewhere", files={"other/notes.txt": ""}, counts=_BELOW,
            arguments=("--rootdir=other", "below"), check=_groups("here/test_it.py", rootdir="other")),
    Variant(name="four files of one name, importlib", suite="same_names", arguments=("--import-mode=importlib",),
            counts={"failed": 8, "passed": 8},
            check=_groups("a/test_one.py", "b/test_one.py", "a_b/test_one.py", "test_a_test_one.py")),
    Variant(name="files of one name, prepend", suite="same_names", arguments=("a", "b"), exit_code=2, state="failed",
            kind="collection", counts={"errors": 1}),
    Variant(name="symlinked tests", suite="linked", arguments=("--import-mode=importlib",),
            counts={"failed": 3, "passed": 3}, check=_groups("link/test_it.py", "real/test_it.py", "test_linked.py")),
]  # fmt: skip

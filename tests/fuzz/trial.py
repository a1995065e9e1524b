"""One random suite, run and checked in a place of its own; a place whose suite does not hold is kept."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.generator import Suite
from tests.place import Place
from tests.suites.checker import NONE, Checker
from tests.suites.variant import NotHere

_VARYING: Final = re.compile(r"[\[{\d'\"]")


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """What does not hold of a suite."""

    text: str

    @property
    def kind(self) -> str:
        """What two complaints of one kind have in common: whose run, numbers and names left out."""
        text = re.sub(r"^(with|solo): ", "", self.text)
        return _VARYING.split(text)[0].strip()


def run(suite: Suite, keep: Path | None = None) -> Complaint | None:
    """Run a suite and return what does not hold, if anything.

    Args:
        suite: what to run.
        keep: where to the place is moved if something does not hold.

    Raises:
        NotHere: something is not installed, or pytest alone does not come to an end.
    """
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    complaint = None
    try:
        place.start_daemon()
        Checker(place).check(suite.variant())
    except AssertionError as error:
        text = str(error)
        if text.startswith(f"{NONE}: "):
            raise NotHere(text[:200]) from None
        complaint = Complaint(text=text)
    except NotHere:
        raise
    except Exception as error:  # noqa: BLE001 - what breaks the checker is a complaint too
        complaint = Complaint(text=f"{type(error).__name__} in the checker: {error}")
    finally:
        place.stop_daemon()
        if complaint is not None and keep is not None:
            shutil.move(path, keep)
            (keep / "complaint.txt").write_text(f"{complaint.text}\n", "utf-8", "backslashreplace")
            (keep / "command.txt").write_text(f"{suite.command}\n")
        shutil.rmtree(path, ignore_errors=True)
    return complaint

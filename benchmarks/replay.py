"""`python -m benchmarks replay`: a recorded suite through the plugin's real hooks."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from benchmarks.bench import add_options, bench, bench_plain
from benchmarks.measure import Suite
from benchmarks.outcomes import Counts, parse_line
from benchmarks.reportlog import count_log
from benchmarks.requirements import MissingRequirement, require_distributions

HELP: Final = "replay a suite recorded with pytest-reportlog"

DESCRIPTION: Final = """\
Replay a suite that was recorded with `pytest --report-log FILE` (in one process) through pytest's real hooks: real
items, real reports, no test code. It shows what the reporting costs and whether all of it arrives.

Needs, in the environment named by --python: pytest and threepiod[daemon] (with --plain only pytest); and a recording.
For pandas' 216,078 tests about a minute and 1.4 GB of memory for pytest.

Prints the table of the pandas benchmark, with the recording in the place of pytest-reportlog's file. The tests in
flight are not judged: the recorded times are not those of the replay. Exit code 0 if all is met, 1 if not, 2 if
something is missing.
"""

_RECORDING: Final = "THREEPIO_RECORDING"


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "replay", rounds=1)
    parser.add_argument(
        "--recording", type=Path, metavar="FILE", help=f"the recording, also .xz or .gz (default: ${_RECORDING})"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="replay only the first N tests")
    parser.add_argument("--expect", metavar="LINE", help="what pytest's last line said when the recording was made")
    parser.add_argument("--plain", action="store_true", help="without threepiod: what the replay costs by itself")
    parser.add_argument(
        "--ask-every", type=float, default=0.2, metavar="S", help="seconds between two questions (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: there is no recording, or the environment lacks something.
    """
    recording = recording_of(options.recording)
    versions = require_distributions(options.python, ["pytest"] if options.plain else ["pytest", "threepiod"])

    def arguments(work: Path) -> list[str]:
        # A configuration and root directory of its own: whatever lies above the temporary directory has no say.
        (work / "pytest.ini").write_text("[pytest]\n")
        chosen = ["-c", str(work / "pytest.ini"), "--rootdir", str(work / "cwd")]
        limit = [] if options.limit is None else ["--replay-limit", str(options.limit)]
        return [*chosen, "-p", "benchmarks.replay_plugin", "--replay", str(recording), *limit]

    suite = Suite(
        name="replay",
        python=options.python,
        arguments=arguments,
        truth=lambda _work: count_log(recording, options.limit),
        own_times=False,
        imports_benchmarks=True,
        ask_every=options.ask_every,
        asks_wanted=0,
        expected=_expected(options.expect),
    )
    return bench_plain(suite, options, versions) if options.plain else bench([suite], options, versions)


def recording_of(given: Path | None) -> Path:
    """Return the recording that is meant.

    Raises:
        MissingRequirement: there is none.
    """
    named = given or Path(os.environ.get(_RECORDING, ""))
    if not named.is_file():
        raise MissingRequirement(
            f"no recording: give --recording FILE or {_RECORDING}, made with: python -m pytest --report-log FILE"
        )
    return named.resolve()


def _expected(line: str | None) -> Counts | None:
    """The counts of a last line, given with or without its time."""
    if line is None:
        return None
    counts = parse_line(line) or parse_line(f"{line.strip()} in 0.00s")
    if counts is None:
        raise MissingRequirement(f"--expect {line!r} is no last line of pytest")
    return counts

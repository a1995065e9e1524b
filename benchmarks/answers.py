"""`python -m benchmarks answers`: what a reader must read to know every cause, tool by tool."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.failing import TrueCause, write_failing_suite
from benchmarks.readings import BUDGET, PEERS, TOOLS, Job, Reading
from benchmarks.recorded_causes import Group, groups_of, named
from benchmarks.replay import recording_of
from benchmarks.requirements import require_distributions
from benchmarks.table import Check, aligned, render_checks

HELP: Final = "bytes that a reader must read to know what failed, beside other tools"

DESCRIPTION: Final = """\
Give one failing run to threepio, to pytest, to the old 3pio (threepio-test-runner) and to pytest-receptor; count the bytes
that each prints and that are in the files it names, and the causes that they name.

  1000/25, 2000/200  generated suites of so many failures with so many causes, known by construction
  recording          a recorded run (--recording), replayed; causes by a grouping of its own

A generated cause is named if its own word (in its message or its source, in no test's name) or the `file.py:line` that
raises it occurs in the output. A group of the recording is named if its place occurs, or, where it shares its place, the
first five words of its message in one line.

Needs threepiod[daemon] and pytest in the environment of --python; pytest, pytest-receptor and threepio-test-runner in
that of --peers, which may be the same. Minutes for the generated suites; for pandas' recording half an hour, because
pytest's own summary takes so long.

Exit code 0 if threepio names every cause in fewer bytes than any other tool that does, and keeps the budget; 1 if not;
2 if something is missing.
"""

SUITES: Final = {"1000/25": (1000, 25), "2000/200": (2000, 200)}
RECORDING: Final = "recording"
BYTES_PER_TOKEN: Final = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A reading, counted.

    Attributes:
        tool: name in `TOOLS`.
        command: as in `Reading`.
        size: bytes.
        named: causes that are named.
        files: opened beside the command's output.
        digest: SHA-256 of the text.
    """

    tool: str
    command: str
    size: int
    named: int
    files: int
    digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """threepio's causes against the true ones.

    Attributes:
        causes: how many threepio finds.
        mixing: those of them that have failures of several true causes.
        split: true causes whose failures are in several of them.
        examples: of both.
    """

    causes: int
    mixing: int
    split: int
    examples: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """The true causes of a job.

    Attributes:
        count: how many there are.
        named: how many of them a text names.
        cause_of: what a failure's true cause is, given its node id and its phase.
    """

    count: int
    named: Callable[[str], int]
    cause_of: Callable[[str, str], str]


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "answers", rounds=None)
    parser.add_argument("--recording", type=Path, metavar="FILE", help="as for replay; only for the job `recording`")
    parser.add_argument("--peers", type=Path, metavar="PATH", help="python of the other tools (default: --python)")
    jobs = [*SUITES, RECORDING]
    parser.add_argument("--jobs", nargs="+", choices=jobs, default=jobs, help="which runs (default: all)")
    parser.add_argument(
        "--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS), help="which tools (default: all)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environments lack something, or there is no recording.
    """
    peers = options.peers or options.python
    versions = require_distributions(options.python, ["pytest", "threepiod"])
    wanted = [PEERS[tool] for tool in options.tools if tool in PEERS]
    versions |= {
        f"peers: {name}": version for name, version in require_distributions(peers, ["pytest", *wanted]).items()
    }
    makers = {name: _recorded if name == RECORDING else _generated for name in options.jobs}
    recording = recording_of(options.recording) if RECORDING in options.jobs else None
    results: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for name, maker in makers.items():
        with work_directory(options.keep, f"answers-{name.replace('/', '-')}") as work:
            job, truth = maker(name, recording, work)
            print(f"\n{name}: {truth.count} causes", flush=True)
            answers, grouping = _measure(job, truth, options, peers, work)
        checks = checks_of(answers, grouping, truth.count)
        print(render_answers(answers, truth.count), render_checks(checks), sep="\n\n", flush=True)
        if grouping is not None:
            print(*(f"  {example}" for example in grouping.examples), sep="\n", flush=True)
        verdicts += [check.ok for check in checks]
        results.append(
            {
                "job": name,
                "causes": truth.count,
                "answers": [dataclasses.asdict(answer) for answer in answers],
                "grouping": None if grouping is None else dataclasses.asdict(grouping),
                "checks": [dataclasses.asdict(check) for check in checks],
            }
        )
    return finish(options, versions, results, verdicts)


def _measure(
    job: Job, truth: Truth, options: argparse.Namespace, peers: Path, work: Path
) -> tuple[list[Answer], Grouping | None]:
    answers: list[Answer] = []
    grouping = None
    for tool in options.tools:
        python = options.python if tool == "threepio" else peers
        (work / tool).mkdir()
        for reading in TOOLS[tool](job, python, work / tool):
            answers.append(count(tool, reading, truth))
            print(f"  {reading.command}: {answers[-1].size:,} bytes", flush=True)
            if reading.failures is not None:
                grouping = compare(reading.failures["failures"], truth)
    return answers, grouping


def count(tool: str, reading: Reading, truth: Truth) -> Answer:
    """Count a reading's bytes and the causes that it names."""
    return Answer(
        tool=tool,
        command=reading.command,
        size=len(reading.text),
        named=truth.named(reading.text.decode("utf-8", "replace")),
        files=reading.files,
        digest=hashlib.sha256(reading.text).hexdigest(),
    )


def compare(failures: Iterable[dict[str, Any]], truth: Truth) -> Grouping:
    """Compare threepio's causes with the true ones, failure by failure."""
    ours: defaultdict[str, Counter[str]] = defaultdict(Counter)
    theirs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for failure in failures:
        true = truth.cause_of(failure["nodeid"], failure["phase"])
        ours[failure["cause"]][true] += 1
        theirs[true][failure["cause"]] += 1
    mixing = [f"{cause} mixes {_listed(found)}" for cause, found in ours.items() if len(found) > 1]
    split = [f"{cause} is split into {_listed(found)}" for cause, found in theirs.items() if len(found) > 1]
    return Grouping(causes=len(ours), mixing=len(mixing), split=len(split), examples=mixing[:5] + split[:5])


def _listed(found: Counter[str]) -> str:
    shown = ", ".join(f"{number}x {name}" for name, number in found.most_common(3))
    return f"{shown} and {len(found) - 3} more" if len(found) > 3 else shown


def checks_of(answers: list[Answer], grouping: Grouping | None, causes: int) -> list[Check]:
    """threepio must name every cause, in fewer bytes than the best of the others that do, and within the budget."""
    ours = [answer for answer in answers if answer.tool == "threepio"]
    peers = [answer for answer in answers if answer.tool != "threepio" and answer.named == causes]
    best = min(peers, key=lambda answer: answer.size) if peers else None
    checks = []
    for answer in ours:
        found = f"{answer.named} of {causes}"
        checks.append(
            Check(label=f"{answer.command}: named", found=found, wanted=str(causes), ok=answer.named == causes)
        )
        if best is not None:
            wanted = f"< {best.size:,} ({best.command})"
            is_less = answer.size < best.size
            checks.append(Check(label="  bytes", found=f"{answer.size:,}", wanted=wanted, ok=is_less))
        if "--budget" in answer.command:
            limit = BUDGET * BYTES_PER_TOKEN
            is_kept = answer.size <= limit
            checks.append(Check(label="  the budget", found=f"{answer.size:,}", wanted=f"<= {limit:,}", ok=is_kept))
    if grouping is not None:
        for label, number in (
            ("causes that threepio finds", grouping.causes),
            ("  that mix true ones", grouping.mixing),
            ("  true ones that are split", grouping.split),
        ):
            checks.append(Check(label=label, found=str(number), wanted="", ok=None))
    return checks


def render_answers(answers: list[Answer], causes: int) -> str:
    """The table of a job."""
    lines = [["", "bytes", "causes named", "files", ""]]
    for answer in answers:
        named = f"{answer.named} of {causes}"
        lines.append([answer.command, f"{answer.size:,}", named, str(answer.files), ""])
    return aligned(lines)


def _generated(name: str, _: Path | None, work: Path) -> tuple[Job, Truth]:
    failures, causes = SUITES[name]
    found = write_failing_suite(work / "suite", failures, causes)

    def prepare(place: Path) -> None:
        write_failing_suite(place / "suite", failures, causes)

    return Job(name=name, arguments=["suite"], prepare=prepare), truth_of_suite(found)


def truth_of_suite(causes: list[TrueCause]) -> Truth:
    """The truth of a generated suite."""
    of = {nodeid: cause.word for cause in causes for nodeid in cause.nodeids}
    return Truth(
        count=len(causes),
        named=lambda text: sum(cause.is_named(text) for cause in causes),
        cause_of=lambda nodeid, _phase: of[nodeid.rpartition("/")[2]],
    )


def _recorded(name: str, recording: Path | None, _: Path) -> tuple[Job, Truth]:
    if recording is None:
        raise ValueError("no recording")
    arguments = ["-p", "benchmarks.replay_plugin", "--replay", str(recording), "--rootdir", "."]

    def prepare(place: Path) -> None:
        (place / "pytest.ini").write_text("[pytest]\n")

    return Job(name=name, arguments=[*arguments, "-c", "pytest.ini"], prepare=prepare), truth_of_groups(
        groups_of(recording)
    )


def truth_of_groups(groups: list[Group]) -> Truth:
    """The truth of a recording."""
    of = {failure: f"{group.line} {group.place}" for group in groups for failure in group.failures}
    return Truth(
        count=len(groups),
        named=lambda text: sum(named(groups, text)),
        cause_of=lambda nodeid, phase: of[nodeid, phase],
    )

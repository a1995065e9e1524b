"""One suite run twice, without the plugin and with it, and everything that must hold between the two.

`Comparison.run` is the one checker of these tests: same exit code, same output but for the plugin's own lines, a journal
that is whole, a store that equals it, and counts that equal pytest's last line.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.place import COMMAND_TIMEOUT_S, QUICK, Place
from threepio_client.archive import Archive
from threepio_client.query import QueryClient
from threepio_client.runjournal import RunJournal
from threepio_client.verification import settle_and_verify

SUITE: Final = "test_it.py"
SUMMARY: Final = "short test summary info"

_COUNT: Final = r"\d+ [a-z ]+?"
_LAST_LINE: Final = re.compile(rf"=*\s*({_COUNT}(?:, {_COUNT})*) in [\d.]+s(?: \(.*\))?\s*=*")
_NAME_OF: Final = {"error": "errors", "warning": "warnings"}


@dataclass(kw_only=True)
class Compared:
    """What the run with the plugin left behind.

    Attributes:
        run_id: its id.
        exit_code: of both processes.
        output: what the run with the plugin printed, its own lines left out.
        said: the plugin's own lines.
        status: the daemon's answer about the run; empty if there was no run.
        events: the journal, decoded.
        directory: where the suite lies.
    """

    run_id: str
    exit_code: int
    output: str
    said: list[str]
    directory: Path
    status: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The counts that are not zero."""
        return {name: number for name, number in self.status["counts"].items() if number}

    def of_type(self, *names: str) -> list[dict[str, Any]]:
        """Return the payloads of the events of these types."""
        return [event["payload"] for event in self.events if event["type"] in names]

    def outcomes(self) -> dict[str, list[str]]:
        """Return the statuses of each node id, in their order."""
        found: dict[str, list[str]] = {}
        for payload in self.of_type("testCase"):
            found.setdefault(payload["nodeid"], []).append(payload["status"])
        return found

    def case(self, name: str) -> dict[str, Any]:
        """Return the payload of the only testCase whose own name this is."""
        (found,) = (payload for payload in self.of_type("testCase") if payload["testName"] == name)
        return found


class Comparison:
    """Runs suites with and without the plugin against one daemon."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._numbers = itertools.count(1)

    def run(
        self,
        files: str | Mapping[str, str],
        *arguments: str,
        counts: dict[str, int] | None = None,
        with_workers: bool = False,
        complaints: tuple[str, ...] = (),
        may_say: tuple[str, ...] = (),
        has_run: bool = True,
        loses: bool = False,
        dies: bool = False,
        cwd: str = ".",
        environ: Mapping[str, str] | None = None,
    ) -> Compared:
        """Run the suite twice at the same time, check what must hold for every suite, and return the run with the plugin.

        Args:
            files: text by path; a lone text is SUITE.
            arguments: pytest's.
            counts: what is to be counted, where pytest's last line does not say it.
            with_workers: the order of tests and lines is not the same in two runs.
            complaints: beginnings of what the plugin must say beside its header and closing line.
            may_say: beginnings of what it may say.
            has_run: False where pytest gives up before there is a session.
            loses: the suite keeps the journal from being written, so neither it nor the counts can be whole.
            dies: the process ends itself, so there is no last line and no closing line.
            cwd: working directory, below the suite's.
            environ: further environment of both.
        """
        number = next(self._numbers)
        run_id = f"run{number}"
        directories = [self.place.path / str(number) / name / "suite" for name in ("none", "with")]
        for directory in directories:
            _write(directory, {SUITE: files} if isinstance(files, str) else files)
        processes = [
            self._start(directories[0] / cwd, ["-p", "no:threepio", *arguments], environ or {}),
            self._start(directories[1] / cwd, arguments, {**(environ or {}), "THREEPIO_RUN_ID": run_id}),
        ]
        plain, reported = (process.communicate(timeout=COMMAND_TIMEOUT_S)[0] for process in processes)
        expected, _ = _lines(plain, directories[0])
        lines, said = _lines(reported, directories[1])
        assert processes[1].returncode == processes[0].returncode, reported
        if with_workers:
            expected, lines = _summary(expected), _summary(lines)
        assert lines == expected
        result = Compared(
            run_id=run_id,
            exit_code=processes[0].returncode,
            output="\n".join(lines),
            said=said,
            directory=directories[1],
        )
        if not has_run:
            assert not self.place.state_dir.journal(run_id).exists()
            return result
        self._check_said(result, run_id, complaints, may_say)
        if loses:
            result.status = self.answer(run_id)
            return result
        self._fill(result, run_id)
        if dies:
            return result
        counted = last_line_counts(plain)
        assert (counted is None) != (counts is None), "say the counts where pytest does not, and only there"
        # Unless it is verbose or quiet, pytest counts subtests that did not fail nowhere; we keep them.
        unsaid = {"subtests_passed", "subtests_skipped"} - (counted or {}).keys() if counts is None else set()
        compared = {name: number for name, number in result.counts.items() if name not in unsaid}
        assert compared == (counts if counted is None else counted)
        if processes[0].returncode >= 0 and "runComplete" in {event["type"] for event in result.events}:
            assert result.status["exit_code"] == result.exit_code
            assert result.of_type("runComplete")[0]["pluginErrors"] == 0
        return result

    def answer(self, run_id: str) -> dict[str, Any]:
        """Return the daemon's status of a run."""
        with QueryClient.connect(self.place.settings.socket) as client:
            found: dict[str, Any] = client.ask("status", {"run": run_id})
        return found

    def _fill(self, result: Compared, run_id: str) -> None:
        with closing(RunJournal(self.place.state_dir, run_id)) as journal:
            journal.look()
            found = [step.event for step in journal.steps(0, final=True)]
        assert None not in found, "a line of the journal is bad"
        # A continuation begins with the first line again.
        events = [event for number, event in enumerate(found) if event and (event.seq > 1 or not number)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        verified = settle_and_verify(Archive(self.place.state_dir), run_id, wait=True)
        assert verified["whole"], verified
        assert verified["journal_events"] == verified["stored_events"] == len(events)
        result.events = [event._asdict() for event in events]
        result.status = self.answer(run_id)
        assert result.status["events"]["lost"] == 0

    def _check_said(self, result: Compared, run_id: str, must: tuple[str, ...], may: tuple[str, ...]) -> None:
        said = [line.removeprefix("threepio: ") for line in result.said]
        rest = [line for line in said if not line.startswith(f"run {run_id}")]
        assert [line for line in rest if not line.startswith((*must, *may))] == []
        assert [beginning for beginning in must if not any(line.startswith(beginning) for line in rest)] == []

    def _start(self, cwd: Path, arguments: list[str] | tuple[str, ...], environ: Mapping[str, str]) -> Any:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICK, *arguments],
            env={**self.place.environ, "COLUMNS": "200", **environ},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        )


def last_line_counts(output: str) -> dict[str, int] | None:
    """Return the counts of pytest's last line by our names, or None where it printed none."""
    for line in reversed(output.splitlines()):
        if "no tests ran in" in line:
            return {}
        match = _LAST_LINE.fullmatch(line.strip())
        if match is None or "collected" in match[1]:
            continue
        found = {}
        for part in match[1].split(", "):
            number, name = part.split(" ", 1)
            found[_NAME_OF.get(name, name.replace(" ", "_"))] = int(number)
        return found
    return None


def _write(directory: Path, files: Mapping[str, str]) -> None:
    directory.mkdir(parents=True)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _lines(output: str, directory: Path) -> tuple[list[str], list[str]]:
    """Return (lines without what differs from run to run, the plugin's own lines)."""
    text = output.replace(str(directory), "HERE")
    text = re.sub(r"\b\d+\.\d+s( \([\d:]+\))?|0x[0-9a-f]+|(?<=pid[= ])\d+", "N", text)
    text = re.sub(r"={3,}", "===", text)
    found: list[str] = []
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith("threepio: "):
            said.append(line)
        elif not line.startswith("plugins: "):
            found.append(line)
    return found, said


def _summary(lines: list[str]) -> list[str]:
    """Return the sorted lines of the summary and the last line: all that is the same in two runs with workers."""
    at = next((number for number, line in enumerate(lines) if SUMMARY in line), len(lines) - 1)
    return sorted(re.sub(r"\bgw\d+", "gw", line) for line in lines[at:])

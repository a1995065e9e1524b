"""Write docs/screens.md: what `threepio run` and `threepio status --watch` look like, captured from real terminals by tmux.

    python -m docs.make_screens --python PYTHON -- --pyargs pandas.tests.io.formats -n 2

PYTHON's environment has the suite, pytest-xdist and threepiod; tmux is installed. The suite runs four times: once to be
known, and once for each size. Half a minute each is right.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SIZES: Final = ((80, 24), (200, 50), (40, 10))
PATIENCE_S: Final = 300.0
CAPTURE_AT: Final = 0.4
"""Share of the tests that have finished when the screens are captured."""


class Terminals:
    """A tmux server of our own, with one terminal a window."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self._socket = directory / "tmux"
        self._directory = directory
        self._environ = environ

    def start(self, name: str, width: int, height: int, command: str) -> None:
        """Start a terminal of this size with a command in it; it stays when the command has ended."""
        self._tmux("new-session", "-d", "-s", name, "-x", str(width), "-y", str(height), "sh")
        self._tmux("set-option", "-t", name, "status", "off")
        self._tmux("set-option", "-t", name, "window-size", "manual")
        self.resize(name, width, height)
        self.type(name, "PS1='$ '; clear", "Enter")
        self.type(name, command, "Enter")

    def resize(self, name: str, width: int, height: int) -> None:
        """Make a terminal another size."""
        self._tmux("resize-window", "-t", name, "-x", str(width), "-y", str(height))

    def type(self, name: str, *keys: str) -> None:
        """Type on a terminal's keyboard."""
        self._tmux("send-keys", "-t", name, *keys)

    def capture(self, name: str) -> str:
        """Return what is on a terminal's screen."""
        return self._tmux("capture-pane", "-p", "-t", name).rstrip()

    def close(self) -> None:
        """End the server and what runs in it."""
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", self._socket, *words],
            cwd=self._directory,
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def main() -> int:
    """Make the screens and write the document."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.make_screens", usage="%(prog)s --python PYTHON -- ARGUMENTS..."
    )
    parser.add_argument("--python", required=True)
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="3p-screens-") as name:
        directory = Path(name)
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "THREEPIO_STATE_DIR": str(directory / "state"),
            "THREEPIO_SOCKET": str(directory / "socket"),
            "TERM": "xterm-256color",
        }
        (directory / "bin").mkdir()
        (directory / "bin" / "python").symlink_to(options.python)
        script = directory / "bin" / "tests"
        script.write_text(f'#!/bin/sh\nexec {options.python} -m pytest -p no:cacheprovider "$@"\n')
        script.chmod(0o755)
        environ["PATH"] = f"{directory / 'bin'}:{environ['PATH']}"
        command = f"threepio run -- tests {' '.join(options.arguments)}"
        terminals = Terminals(directory, environ)
        try:
            subprocess.run(command, shell=True, cwd=directory, env=environ, capture_output=True, check=False)
            sections = [_section(terminals, environ, command, *size) for size in SIZES]
        finally:
            terminals.close()
            subprocess.run(["threepiod", "stop"], env=environ, check=False, capture_output=True)
    text = f"""\
# Screens

What `threepio run` and `threepio status --watch` look like in terminals of three sizes while a real suite runs with two
workers, captured by tmux. `tests` is a script that starts pytest; the suite ran once before, so that durations are known.

    python -m docs.make_screens --python PYTHON -- {" ".join(options.arguments)}
"""
    (Path(__file__).parent / "screens.md").write_text("\n".join([text, *sections]))
    return 0


def _section(terminals: Terminals, environ: dict[str, str], command: str, width: int, height: int) -> str:
    size = f"{width}x{height}"
    run, watch = f"run-{size}", f"watch-{size}"
    other = (40, 10) if width != 40 else (80, 24)
    before = _runs(environ)
    terminals.start(run, width, height, f"{command}; echo exit code $?")
    _wait(lambda: len(_runs(environ)) > len(before))
    (run_id,) = {row["run_id"] for row in _runs(environ)} - {row["run_id"] for row in before}
    terminals.start(watch, width, height, f"threepio status --watch {run_id}; echo exit code $?")

    def share() -> float:
        view = _ask(environ, "status", run_id)
        return float(view["finished"] / view["collected"]) if view["collected"] else 0.0

    _wait(lambda: share() >= CAPTURE_AT)
    running, watched = terminals.capture(run), terminals.capture(watch)
    terminals.resize(watch, *other)
    time.sleep(2)  # two of its looks
    resized = terminals.capture(watch)
    terminals.resize(watch, width, height)
    time.sleep(2)
    terminals.type(watch, "C-c")
    _wait(lambda: _has_ended(terminals.capture(watch)))
    left = terminals.capture(watch)
    _wait(lambda: _has_ended(terminals.capture(run)))
    ended = terminals.capture(run)
    parts = [
        ("`threepio run`, while the tests run", running),
        ("`threepio status --watch` at the same moment", watched),
        (f"the same, made {other[0]}x{other[1]}", resized),
        (f"the same, made {size} again, after Ctrl-C", left),
        ("`threepio run` at its end", ended),
    ]
    shown = "\n".join(f"{title}:\n\n```text\n{text}\n```\n" for title, text in parts)
    return f"## {size}\n\n{shown}"


def _ask(environ: dict[str, str], *words: str) -> Any:
    done = subprocess.run(["threepio", *words, "--json"], env=environ, capture_output=True, check=False)
    return json.loads(done.stdout)


def _runs(environ: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _ask(environ, "runs")["runs"]
    return found


def _has_ended(screen: str) -> bool:
    return re.search(r"^exit code \d+$", screen, re.MULTILINE) is not None


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("nothing to be seen: does the suite run?")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())

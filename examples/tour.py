"""The main job in three commands, shown as a terminal session; exit code 0 if all of it came out as it should.

    python examples/tour.py

Needs pytest and `threepiod[daemon]` in the environment of this Python. The daemon that it starts stays, as yours would.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
EXPECTED = "3 passed, 1 failed, 1 error, 1 skipped, 1 xfailed"
STEPS = (
    (["threepio", "run", "--", "pytest", "examples"], 1, EXPECTED),
    (["threepio", "status"], 1, EXPECTED),
    (["threepio", "verify"], 0, "0 missing, 0 duplicates, 0 corrupt"),
)
"""(command, expected exit code, what it must say): the suite has a failure and an error, so 1 is right."""


def main() -> int:
    """Run the steps; return the exit code."""
    wrong = []
    for command, expected_code, expected_text in STEPS:
        print(f"$ {shlex.join(command)}", flush=True)
        real = [str(BIN / word) if word in {"threepio", "pytest"} else word for word in command]
        done = subprocess.run(real, cwd=HERE.parent, text=True, capture_output=True, check=False)
        print(done.stdout + done.stderr, end="")
        print(f"[exit code {done.returncode}]\n", flush=True)
        if done.returncode != expected_code or expected_text not in done.stdout:
            wrong.append(f"{shlex.join(command)}: expected exit code {expected_code} and {expected_text!r}")
    for text in wrong:
        print(f"not as expected - {text}", file=sys.stderr)
    if not wrong:
        print(
            f"All as expected. The daemon stays and waits for your next suite; stop it with: {BIN / 'threepiod'} stop"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Starting a daemon from outside: by `threepio run`, and by a tested process that THREEPIO_AUTOSTART asks to.

The command `threepiod start` is run and waited for: when it returns, the daemon is nobody's child any more.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from shutil import which
from typing import Final

from threepio_client.settings import Settings

_OF_THE_TESTS: Final = ("COV_", "COVERAGE_", "PYTEST_", "PYTHON")
"""Beginnings of variables with which a suite has its own children measured, or changes what they import."""


def start_daemon(settings: Settings, patience_s: float) -> str:
    """Start a daemon in the background; return why that failed, or an empty text.

    Args:
        settings: where it is to listen, and where its state is.
        patience_s: seconds to wait until it is ready.
    """
    command = _command()
    if command is None:
        return "there is no command threepiod: pip install 'threepiod[daemon]', in any environment that is on PATH"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_TESTS)}
    environ |= {"THREEPIO_SOCKET": str(settings.socket), "THREEPIO_STATE_DIR": str(settings.state_dir)}
    try:
        done = subprocess.run(
            [*command, "start"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return f"threepiod start did not end within {patience_s:g} s"
    except OSError as error:
        return f"cannot run {command[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    text = done.stderr.decode(errors="replace").strip().removeprefix("threepiod: ")
    return text or f"threepiod start ended with exit code {done.returncode}"


def _command() -> list[str] | None:
    """Return how to call `threepiod`: that of this environment if it can run here, else the first on PATH."""
    if all(find_spec(name) is not None for name in ("threepiod", "trio", "typer")):
        return [sys.executable, "-P", "-m", "threepiod"]
    found = which("threepiod")
    return None if found is None else [found]

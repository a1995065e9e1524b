"""What a benchmark needs of the environment that it measures, asked before anything is started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
"""The project's directory, for processes that import `benchmarks`."""

_ASK_VERSIONS: Final = """
import importlib.metadata, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""


class MissingRequirement(Exception):
    """Something that the benchmark needs is not there; the text is one line that says what to do."""


def require_distributions(python: Path, names: list[str]) -> dict[str, str]:
    """The versions of distributions in the environment of `python`.

    Raises:
        MissingRequirement: `python` cannot be run, or its environment lacks one of them.
    """
    try:
        answer = subprocess.run([python, "-c", _ASK_VERSIONS, *names], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingRequirement(f"--python {python} cannot be run: {error}") from error
    versions: dict[str, str] = json.loads(answer.stdout)
    missing = [name for name in names if name not in versions]
    if missing:
        wanted = [f"-e '{PROJECT}[daemon]'" if name == "threepiod" else name for name in missing]
        raise MissingRequirement(f"{', '.join(missing)} missing; run: {python} -m pip install {' '.join(wanted)}")
    return versions


def require_command(name: str, python: Path) -> Path:
    """The command beside `python`, else beside this program's python, else on PATH.

    Daemon and commands may live in another environment than the suite.

    Raises:
        MissingRequirement: it is in none of these places.
    """
    for directory in (python.parent, Path(sys.executable).parent):
        if (directory / name).is_file():
            return directory / name
    found = shutil.which(name)
    if found is None:
        raise MissingRequirement(f"no command {name}; run: {python} -m pip install -e '{PROJECT}[daemon]'")
    return Path(found)

"""A Python that runs the suites: which pytest and which plugins it has."""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass

_ASK = """
import importlib.metadata, importlib.util, json, sys
points = importlib.metadata.entry_points(group="pytest11")
modules = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
print(json.dumps({"python": sys.version.split()[0], "pytest": importlib.metadata.version("pytest"),
                  "plugins": sorted({point.name for point in points}), "modules": modules}))
"""
ASKED_FOR = ("freezegun", "gevent", "hypothesis", "pyfakefs", "time_machine", "trio")
"""Modules beside pytest plugins that a variant may need."""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """One Python.

    Attributes:
        path: its program.
        python, pytest: versions.
        plugins: names of the pytest plugins that are installed.
        modules: which of ASKED_FOR are.
    """

    path: str
    python: str
    pytest: str
    plugins: frozenset[str]
    modules: frozenset[str]

    @property
    def major(self) -> int:
        """First number of pytest's version."""
        return int(self.pytest.partition(".")[0])

    def blocked(self, used: tuple[str, ...]) -> list[str]:
        """Return the arguments that keep every plugin from being imported that is not used; ours is not meant."""
        names = {"cacheprovider", *self.plugins} - set(used) - {"threepio"}
        return [argument for name in sorted(names) for argument in ("-p", f"no:{name}")]


@functools.cache
def ask(path: str) -> Interpreter:
    """Ask a Python what it has."""
    done = subprocess.run([path, "-c", _ASK, *ASKED_FOR], capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    return Interpreter(
        path=path,
        python=found["python"],
        pytest=found["pytest"],
        plugins=frozenset(found["plugins"]),
        modules=frozenset(found["modules"]),
    )

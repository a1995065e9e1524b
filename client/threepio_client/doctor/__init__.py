"""What can be wrong with an installation, and what to do about each: `threepio doctor`. Never in the tested process.

Needs no daemon, and changes nothing but a probe file, which it removes. One module a question: `places.py` (directories,
disk), `daemon.py` (socket, daemon), `environment.py` (what is installed where), `loading.py` (what keeps pytest from loading
the plugin).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from threepio_client import __version__, settings
from threepio_client.configfile import misspelt
from threepio_client.doctor import daemon, environment, loading, places
from threepio_client.doctor.finding import Finding, ok, problem


def examine(environ: Mapping[str, str], cwd: Path, python: str = "") -> Iterator[Finding]:
    """Yield what was found, check by check; a check with several problems yields each.

    Args:
        environ: the environment.
        cwd: where the tests are run: whose ini file is looked at.
        python: interpreter of the environment that runs the tests; by default it is looked for.
    """
    told, problems = settings.explain(environ)
    yield from _config(environ, [text for text, _ in problems])
    by_key = {one.setting.key: one for one in told}
    state_dir, socket = Path(by_key["state_dir"].text), Path(by_key["socket"].text)
    yield from places.check_state_dir(state_dir)
    yield from places.check_disk(state_dir)
    yield from daemon.check_socket(socket, state_dir)
    asked = daemon.ask(socket, state_dir, is_required=by_key["mode"].value is settings.Mode.REQUIRE)
    yield asked.finding
    tests = environment.find(environ, cwd, python)
    yield from environment.check_plugin(tests)
    yield from loading.check(by_key["mode"], environ, cwd)
    versions = {"the daemon": asked.version, "the plugin": tests.version_of_ours if tests else ""}
    yield environment.check_versions(__version__, versions)
    yield from environment.check_copies(tests, environ)


def _config(environ: Mapping[str, str], problems: list[str]) -> Iterator[Finding]:
    for text in problems:
        yield problem("config", text, "correct it or remove it; see what is used: threepiod config")
    for name, near in misspelt(environ):
        yield problem("config", f"the variable {name} is no setting", f"call it {near}, if that is what you mean")
    if not problems:
        path = settings.config_path(environ)
        count = sum(bool(environ.get(setting.name)) for setting in settings.SETTINGS)
        where = f"{path} can be used" if os.path.lexists(path) else f"no file {path}"
        yield ok("config", f"{where}; {count} settings from the environment")

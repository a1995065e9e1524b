"""Installations made of a few small files, for `threepio doctor`: an interpreter that says where it looks, and dist-info."""

from __future__ import annotations

import json
from pathlib import Path

from tests.place import Place
from tests.scripted import made_state_dir
from threepio_client import __version__


class Installation:
    """An environment that runs tests, with pytest and the plugin, and nothing wrong with it.

    Attributes:
        place: state directory, socket and the variables that a test may change.
        python: its interpreter.
        site: where its packages are.
    """

    def __init__(self, place: Place) -> None:
        made_state_dir(place.state_dir.path)
        self.place = place
        self.python = place.path / "env" / "bin" / "python"
        self.site = place.path / "env" / "lib" / "python3.11" / "site-packages"
        self.interpreter([3, 11], [self.site])
        self.package("pytest", "9.0.1")
        self.package("threepiod", __version__, plugin=True, needs=["msgpack>=1.0.7", "trio>=0.25; extra == 'daemon'"])
        self.package("msgpack", "1.1.0")
        place.environ["PATH"] = "/nowhere"
        for name in ("PYTEST_ADDOPTS", "VIRTUAL_ENV", "PYTHONPATH"):
            place.environ[name] = ""

    def interpreter(self, version: list[int], paths: list[Path], python: Path | None = None) -> None:
        """Write an interpreter: all that it can do is to say its version and where it looks."""
        path = python or self.python
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{json.dumps([version, [str(found) for found in paths]])}'\n")
        path.chmod(0o755)

    def package(
        self, name: str, version: str, site: Path | None = None, *, plugin: bool = False, needs: list[str] | None = None
    ) -> Path:
        """Install a package, as far as its metadata go; return where they are."""
        info = (site or self.site) / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        required = "".join(f"Requires-Dist: {one}\n" for one in needs or [])
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
        if plugin:
            (info / "entry_points.txt").write_text("[pytest11]\nthreepio = pytest_threepio.plugin\n")
        return info

    def remove(self, name: str) -> None:
        """Remove a package."""
        for info in self.site.glob(f"{name}-*.dist-info"):
            for path in info.iterdir():
                path.unlink()
            info.rmdir()

    def command(self, name: str, environment: str, head: str = "#!{python}\n") -> Path:
        """Put a command of another environment onto PATH; return where that has its packages."""
        bin_dir = self.place.path / environment / "bin"
        bin_dir.mkdir(parents=True, exist_ok=True)
        script = bin_dir / name
        script.write_text(head.format(python=bin_dir / "python3") + "import sys\n")
        script.chmod(0o755)
        self.place.environ["PATH"] = str(bin_dir)
        return self.place.path / environment / "lib" / "python3.12" / "site-packages"

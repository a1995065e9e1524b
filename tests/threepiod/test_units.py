"""`threepiod install` and `uninstall`: what is written, and what is left alone. Under a real systemd: tests/services."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.place import Place

NO_MANAGER = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "XDG_RUNTIME_DIR": "/nowhere"}
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(place: Place) -> Path:
    place.environ |= NO_MANAGER
    return Path(place.environ["XDG_CONFIG_HOME"], "systemd", "user")


def written(units: Path) -> dict[str, str]:
    return {str(path.relative_to(units)): path.read_text() for path in sorted(units.rglob("*")) if path.is_file()}


def test_the_units_call_this_installation_and_its_places(place: Place, units: Path) -> None:
    done = place.threepiod("install", THREEPIO_KEEP_DAYS="30", THREEPIO_IDLE_EXIT="5m")

    assert done.returncode == 0, done.stderr
    found = written(units)
    assert list(found) == ["threepiod.service", "threepiod.socket"]
    assert f"\nListenStream={place.settings.socket}\n" in found["threepiod.socket"]
    assert f"\nExecStart={sys.executable} -P -m threepiod start --foreground\n" in found["threepiod.service"]
    for setting in (f"STATE_DIR={place.state_dir.path}", "KEEP_DAYS=30", "IDLE_EXIT=5m"):
        assert f"\nEnvironment=THREEPIO_{setting}\n" in found["threepiod.service"]
    assert all(f"written: {units / name}\n" in done.stdout for name in found)
    assert "next: systemctl --user enable --now threepiod.socket" in done.stdout


def test_the_part_that_needs_namespaces_comes_and_goes(place: Place, units: Path) -> None:
    assert place.threepiod("install", "--namespaces").returncode == 0
    drop_in = written(units)["threepiod.service.d/namespaces.conf"]
    assert f"\nReadWritePaths={place.state_dir.path} {place.settings.socket.parent}\n" in drop_in

    assert place.threepiod("install").returncode == 0

    assert "threepiod.service.d/namespaces.conf" not in written(units)


@needs_analyze
@pytest.mark.parametrize("name", ["plain", "with space %h $HOME \"q\" 'p' \\b", "\u4e2d"])
def test_systemd_finds_nothing_wrong_with_them(place: Place, units: Path, name: str) -> None:
    state = place.path / name
    assert place.threepiod("install", "--namespaces", THREEPIO_STATE_DIR=str(state)).returncode == 0

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", *(str(units / f"threepiod.{kind}") for kind in ("service", "socket"))],
        env={**os.environ, "XDG_RUNTIME_DIR": str(place.path), "HOME": str(place.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_uninstall_removes_what_install_wrote_and_nothing_else(place: Place, units: Path) -> None:
    units.mkdir(parents=True)
    (units / "other.service").write_text("[Service]\n")
    assert place.threepiod("install", "--namespaces").returncode == 0

    done = place.threepiod("uninstall")

    assert done.returncode == 0
    assert done.stdout.count("removed: ") == 3
    assert os.listdir(units) == ["other.service"]
    assert place.threepiod("uninstall").stdout == "nothing to remove: no unit of threepiod is there\n"


def test_a_unit_of_somebody_else_is_left_alone(place: Place, units: Path) -> None:
    units.mkdir(parents=True)
    (units / "threepiod.service").write_text("[Service]\nExecStart=/bin/mine\n")

    done = place.threepiod("install")
    removed = place.threepiod("uninstall")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"{units / 'threepiod.service'} is there, and not written by threepiod install" in done.stderr
    assert removed.stdout == "nothing to remove: no unit of threepiod is there\n"
    assert written(units) == {"threepiod.service": "[Service]\nExecStart=/bin/mine\n"}


def test_where_no_systemd_runs_nothing_is_written_and_a_daemon_stays(place: Place, units: Path) -> None:
    place.start_daemon()

    done = place.threepiod("install", "--now")

    assert (done.returncode, done.stdout) == (5, "")
    assert "use threepiod start, or THREEPIO_AUTOSTART=1" in done.stderr
    assert not units.exists()
    assert place.threepiod("status").returncode == 0


def test_a_path_that_no_unit_can_hold_is_refused(place: Place, units: Path) -> None:
    done = place.threepiod("install", THREEPIO_STATE_DIR=f"{place.path}/a\nb")

    assert done.returncode == 2
    assert "a path with control characters cannot stand in a unit" in done.stderr
    assert not units.exists()


def test_a_systemd_that_refuses_is_quoted_and_nothing_is_removed(place: Place, units: Path) -> None:
    assert place.threepiod("install").returncode == 0
    tool = place.path / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$2" = show-environment ] && exit 0\necho "Access denied" >&2\nexit 1\n')
    tool.chmod(0o700)
    path = f"{tool.parent}:{place.environ['PATH']}"

    install = place.threepiod("install", "--now", PATH=path)
    uninstall = place.threepiod("uninstall", PATH=path)

    assert (install.returncode, uninstall.returncode) == (5, 5)
    assert "systemctl --user daemon-reload: Access denied" in install.stderr
    assert "systemctl --user disable --now threepiod.socket: Access denied" in uninstall.stderr
    assert list(written(units)) == ["threepiod.service", "threepiod.socket"]

"""A systemd with a user manager, in namespaces of its own over a copy-on-write view of this machine's files.

What happens in it touches neither this machine's files nor its processes: /tmp and /run are its own, too.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

USER: Final = "threepio-tester"
UID: Final = 61_500
HOME: Final = f"/home/{USER}"
BOOT_S: Final = 60.0
COMMAND_S: Final = 120.0
NEEDED: Final = ("unshare", "nsenter", "useradd", "runuser", "systemctl", "systemd-analyze", "mount", "pivot_root")
_SYSTEMD: Final = "/lib/systemd/systemd"
_BOOT: Final = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1"/upper "$1"/work "$1"/root
root=$1/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount --rbind /dev "$root"/dev
mount -t proc proc "$root"/proc
mount -t sysfs sysfs "$root"/sys
mount --rbind /sys/fs/cgroup "$root"/sys/fs/cgroup
mount -t tmpfs tmpfs "$root"/run
mount -t tmpfs tmpfs "$root"/tmp
chmod 1777 "$root"/tmp
mkdir -p "$root"/run/lock
mount --bind "$2" "$root"/dev/console
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
shift 2
chmod o+rx "$@"
useradd -m -u {UID} {USER}
export container=other
exec {_SYSTEMD} --system --unit=basic.target --log-target=console
"""


def _directories() -> list[str]:
    """Return the directories through which the user must come to this interpreter and this project."""
    places = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent]
    return sorted({str(above) for place in places for above in (place, *place.parents)})


class NotHere(Exception):
    """Something that the machine needs is missing."""


class Machine:
    """A booted systemd, with the user's manager running."""

    def __init__(self) -> None:
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if os.getuid() != 0:
            raise NotHere("only root may make the namespaces")
        if missing or not os.path.exists(_SYSTEMD):
            raise NotHere(f"not installed: {', '.join(missing) or 'systemd'}")
        self._place = tempfile.mkdtemp(prefix="threepio-machine-")
        self._console = bytearray()
        self._master, slave = pty.openpty()
        boot = ("bash", "-c", _BOOT, "boot", self._place, os.ttyname(slave))
        kinds = ("pid", "mount", "uts", "ipc", "net", "cgroup")
        self._process = subprocess.Popen(
            ["unshare", *(f"--{kind}" for kind in kinds), "--fork", "--kill-child", *boot, *_directories()],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        try:
            self.wait_until(lambda: self.as_root("systemctl", "is-active", "basic.target").returncode == 0, BOOT_S)
            done = self.as_root("systemctl", "start", f"user@{UID}.service")
            if done.returncode:
                raise NotHere(f"no user manager: {done.stderr.strip()}\n{self.console}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of its processes."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._master)
        os.rmdir(self._place)

    @property
    def console(self) -> str:
        """What it printed."""
        return self._console.decode(errors="replace")

    def as_root(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return self._enter(list(command))

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it as the user."""
        known = {
            "HOME": HOME,
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": f"/run/user/{UID}",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        told = [f"{name}={value}" for name, value in {**known, **environ}.items()]
        return self._enter(["runuser", "-u", USER, "--", "env", "-i", "-C", HOME, *told, *command])

    def write(self, path: str, text: str) -> None:
        """Write a file of the user's."""
        done = self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', "sh", path, text)
        assert done.returncode == 0, done.stderr

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Return as soon as the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None:
                raise NotHere(f"systemd did not boot:\n{self.console}")
            assert time.monotonic() < deadline, f"it did not happen in {timeout_s:g} s"
            time.sleep(0.1)

    def _enter(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(command, 1, "", "not there yet")
        return subprocess.run(
            ["nsenter", "--target", children[0], "--all", "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def _read(self) -> None:
        with suppress(OSError):  # its end
            while data := os.read(self._master, 65536):
                self._console += data

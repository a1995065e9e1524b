"""`threepiod install`: writes the units of `systemd/`, with the paths of this installation, where systemd looks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from threepio_client.errors import NoDaemon, NoPlace
from threepio_client.paths import make_private_dir
from threepio_client.settings import Settings

SOCKET: Final = "threepiod.socket"
SERVICE: Final = "threepiod.service"
NAMESPACES: Final = "threepiod.service.d/namespaces.conf"
_MARK: Final = "# Written by `threepiod install`; `threepiod uninstall` removes it.\n"
_FOR_THE_DAEMON: Final = ("THREEPIO_STATE_DIR", "THREEPIO_KEEP_DAYS", "THREEPIO_IDLE_EXIT")
"""Variables that it would not see when systemd starts it. The socket's path comes with the socket."""
_PATIENCE_S: Final = 30.0


def install(settings: Settings, *, namespaces: bool) -> list[Path]:
    """Write the units and have systemd read them, if it runs; return the files.

    Args:
        settings: where socket and state directory are.
        namespaces: with the drop-in that needs user namespaces; without, one that is there is removed.

    Raises:
        NoPlace: a file is there that we did not write, or cannot be written.
    """
    place = _place()
    socket, state_dir = str(settings.socket), str(settings.state_dir)
    command = " ".join(map(_quoted, [sys.executable, "-P", "-m", "threepiod"]))
    given = [f"Environment={_quoted(f'{name}={os.environ[name]}')}" for name in _FOR_THE_DAEMON if os.environ.get(name)]
    texts = {
        SOCKET: _source(SOCKET).replace("%t/threepiod/threepiod.sock", _plain(socket)),
        SERVICE: _source(SERVICE).replace(
            "ExecStart=%h/.local/bin/threepiod", "\n".join([*given, f"ExecStart={command}"])
        ),
    }
    if namespaces:
        writable = f"{_quoted(state_dir)} {_quoted(str(settings.socket.parent))}"
        texts[NAMESPACES] = _source(NAMESPACES).replace("%h/.local/state/threepiod %t/threepiod", writable)
    make_private_dir(settings.state_dir)  # the sandbox cannot make what it is to be confined to
    make_private_dir(settings.socket.parent, "THREEPIO_SOCKET")
    written = [place / name for name in texts]
    for path in (*written, place / NAMESPACES):
        if path.exists() and not path.read_text(errors="replace").startswith(_MARK):
            raise NoPlace(f"{path} is there, and not written by threepiod install: move it away first")
    try:
        (place / NAMESPACES).unlink(missing_ok=True)
        for path, text in zip(written, texts.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_MARK + text)
    except OSError as error:
        raise NoPlace(f"cannot write the units in {place}: {error.strerror}") from error
    if _has_manager():
        _systemctl("daemon-reload")
    return written


def require_manager() -> None:
    """Raise NoDaemon if no systemd runs for this user."""
    if not _has_manager():
        raise NoDaemon(
            "no systemd runs for this user here (systemctl --user): use threepiod start, or THREEPIO_AUTOSTART=1"
        )


def enable() -> None:
    """Have systemd listen now and from every login on.

    Raises:
        NoDaemon: it does not do it.
    """
    _systemctl("enable", SOCKET)
    _systemctl("restart", SOCKET)


def uninstall() -> list[Path]:
    """Stop and remove what `install` wrote; return the files that were removed.

    Raises:
        NoDaemon: systemd does not do it.
        NoPlace: a file cannot be removed.
    """
    place = _place()
    ours = [path for path in (place / name for name in (SOCKET, SERVICE, NAMESPACES)) if _is_ours(path)]
    if ours and _has_manager():
        _systemctl("disable", "--now", SOCKET)
        _systemctl("stop", SERVICE)
    try:
        for path in ours:
            path.unlink()
        if (place / NAMESPACES).parent.is_dir() and not os.listdir((place / NAMESPACES).parent):
            (place / NAMESPACES).parent.rmdir()
    except OSError as error:
        raise NoPlace(f"cannot remove the units in {place}: {error.strerror}") from error
    if ours and _has_manager():
        _systemctl("daemon-reload")
    return ours


def _place() -> Path:
    """Return where the user's own units are (systemd.unit(5))."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.config"), "systemd", "user")


def _source(name: str) -> str:
    """Return a unit as it comes with us: in the package, or, in a checkout, beside it."""
    here = Path(__file__).parent
    directory = here / "systemd" if (here / "systemd").is_dir() else here.parent / "systemd"
    return (directory / name).read_text()


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(errors="replace").startswith(_MARK)
    except OSError:
        return False


def _plain(text: str) -> str:
    """Return a text as the value of a unit's line, where `%` begins a specifier."""
    if not text.isprintable():
        raise NoPlace(f"a path with control characters cannot stand in a unit: {text!a}")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return a text as one word of such a line (systemd.service(5), "Command lines")."""
    escaped = _plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if set(escaped) & set(" \"'\\;") else escaped


def _has_manager() -> bool:
    if shutil.which("systemctl") is None:
        return False
    done = subprocess.run(
        ["systemctl", "--user", "show-environment"], capture_output=True, timeout=_PATIENCE_S, check=False
    )
    return done.returncode == 0


def _systemctl(*arguments: str) -> None:
    """Have the user's systemd do something.

    Raises:
        NoDaemon: it does not; the text is its own.
    """
    done = subprocess.run(
        ["systemctl", "--user", *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode:
        raise NoDaemon(f"systemctl --user {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")

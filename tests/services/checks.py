"""What is tried under a real systemd, in this order. Each check returns what was seen, or fails by an assertion."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tests.services.machine import HOME, UID, Machine

UNITS: Final = f"{HOME}/.config/systemd/user"
SERVICE: Final = "threepiod.service"
SOCKET: Final = f"/run/user/{UID}/threepiod/threepiod.sock"
SUITE: Final = (
    "import time, pytest\n@pytest.mark.parametrize('n', range({tests}))\ndef test_it(n): time.sleep({each_s})\n"
)
PROBE: Final = """
import ctypes, errno, json, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def tried(name, action):
    try:
        action()
        found[name] = "allowed"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
def call(function, *arguments):
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "")
def executable():
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, 4096, 7, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "")
state = sys.argv[1]
own = os.path.join(state, "probe")
def write(path):
    with open(path, "w"): pass
tried("a file in the state directory", lambda: write(own))
tried("a Unix socket", lambda: socket.socket(socket.AF_UNIX).close())
tried("an Internet socket", lambda: socket.socket(socket.AF_INET).close())
tried("a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
tried("memory to write and execute", executable)
tried("a user namespace", lambda: call(libc.unshare, 0x10000000))
tried("a set-user-id file", lambda: os.chmod(own, 0o4755))
tried("a realtime priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
tried("another personality", lambda: call(libc.personality, 0x0400000))
tried("a mount", lambda: call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None))
tried("a file at home", lambda: write(os.path.expanduser("~/probe")))
tried("a file in /tmp", lambda: write("/tmp/probe"))
tried("a device", lambda: os.close(os.open("/dev/console", os.O_RDONLY | os.O_NOCTTY)))
os.unlink(own)
found["status"] = {
    name: value.split()[0] for name, _, value in (line.partition(":") for line in open("/proc/self/status"))
    if name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "Umask")
}
found["networks"] = sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else []
print(json.dumps(found))
"""
ALLOWED: Final = ("a file in the state directory", "a Unix socket")
FORBIDDEN: Final = {
    "an Internet socket": "EAFNOSUPPORT",
    "a netlink socket": "EAFNOSUPPORT",
    "memory to write and execute": "EPERM",
    "a user namespace": "EPERM",
    "a set-user-id file": "EPERM",
    "a realtime priority": "EPERM",
    "another personality": "EPERM",
    "a mount": "EPERM",
}
READ_ONLY: Final = ("a file at home", "a file in /tmp")


class Tried:
    """A machine with the commands that the checks need."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def python(self, module: str, *words: str, **environ: str) -> Any:
        return self.machine.run(sys.executable, "-m", module, *words, **environ)

    def threepiod(self, *words: str, **environ: str) -> Any:
        return self.python("threepiod", *words, **environ)

    def status(self) -> dict[str, Any]:
        done = self.threepiod("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def verify(self, run: str) -> dict[str, Any]:
        done = self.python("threepio_client.cli", "verify", run, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def systemctl(self, *words: str) -> str:
        done = self.machine.run("systemctl", "--user", *words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    def shown(self, name: str, unit: str = SERVICE) -> str:
        return self.systemctl("show", "--value", "--property", name, unit)

    def suite(self, run: str, *, tests: int = 20, each_s: float = 0.0, background: bool = False, **environ: str) -> Any:
        path = f"{HOME}/suite/{run}/test_it.py"
        self.machine.write(path, SUITE.format(tests=tests, each_s=each_s))
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", HOME, path]
        if background:
            words = [
                "sh",
                "-c",
                'exec >/dev/null 2>&1; "$@" >"$HOME/$THREEPIO_RUN_ID.out" 2>&1; echo $? >"$HOME/$THREEPIO_RUN_ID.rc"',
                "sh",
                *words,
            ]
            words = ["setsid", "--fork", *words]
        return self.machine.run(*words, THREEPIO_RUN_ID=run, **environ)

    def ended(self, run: str) -> str:
        """Wait until a suite in the background has ended; return its exit code."""
        path = f"{HOME}/{run}.rc"
        self.machine.wait_until(lambda: self.machine.run("test", "-s", path).returncode == 0, 60)
        return str(self.machine.run("cat", path).stdout).strip()

    def drop_in(self, name: str, *lines: str) -> None:
        """Change the service for the checks that follow; no line: back to what it was."""
        path = f"{UNITS}/{SERVICE}.d/{name}.conf"
        if lines:
            self.machine.write(path, "\n".join(["[Service]", *lines, ""]))
        else:
            assert self.machine.run("rm", path).returncode == 0
        self.systemctl("daemon-reload")
        self.systemctl("stop", SERVICE)


def installed(tried: Tried) -> str:
    """A daemon that runs is replaced by units that listen, and nothing is wrong with them."""
    assert tried.threepiod("start").returncode == 0
    done = tried.threepiod("install", "--now", "--namespaces")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tried.systemctl("is-active", "threepiod.socket") == "active"
    assert tried.systemctl("is-enabled", "threepiod.socket") == "enabled"
    assert str(tried.status()["pid"]) == tried.shown("MainPID")
    checked = tried.machine.run(
        "systemd-analyze", "verify", "--user", *(f"{UNITS}/threepiod.{kind}" for kind in ("service", "socket"))
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    modes = tried.machine.run("stat", "-c", "%a", SOCKET, SOCKET.rpartition("/")[0]).stdout.split()
    assert modes == ["600", "700"], modes
    return "systemd-analyze verify: nothing; socket 0600 in 0700"


def activated(tried: Tried) -> str:
    """The first suite starts the daemon, also where one is required."""
    for mode in ("auto", "require"):
        tried.systemctl("stop", SERVICE)
        done = tried.suite(f"activated-{mode}", THREEPIO=mode)
        assert done.returncode == 0, done.stdout
        tried.machine.wait_until(lambda: tried.shown("ActiveState") == "active")
        found = tried.verify(f"activated-{mode}")
        assert found["missing"] == 0, found
    return f"{found['stored_events']} events of each stored, the daemon ready and active"


def sandboxed(tried: Tried) -> str:
    """What the service may not do, it cannot do: tried by a program in the same sandbox, and read back of the daemon."""
    return f"{_probed(tried, namespaces=True)}; without the namespaces: {_probed(tried, namespaces=False)}"


def _probed(tried: Tried, *, namespaces: bool) -> str:
    state = tried.status()["state_dir"]
    tried.machine.write(f"{HOME}/probe.py", PROBE)
    text = tried.machine.run("cat", f"{UNITS}/{SERVICE}").stdout
    if namespaces:
        text += tried.machine.run("cat", f"{UNITS}/{SERVICE}.d/namespaces.conf").stdout
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("Type=", "ExecStart=", "Restart", "Requires=", "Also="))
    ]
    at = lines.index("[Service]") + 1
    command = f"ExecStart={sys.executable} {HOME}/probe.py {state}"
    lines[at:at] = ["Type=oneshot", command, f"StandardOutput=file:{state}/probed.json", "StandardError=inherit"]
    tried.machine.write(f"{UNITS}/probe.service", "\n".join([*lines, ""]))
    tried.systemctl("daemon-reload")
    done = tried.machine.run("systemctl", "--user", "start", "probe.service")
    told = tried.machine.run("cat", f"{state}/probed.json").stdout
    assert done.returncode == 0, f"{done.stderr}{told}{tried.machine.run('journalctl', '--user', '-n', '20').stdout}"
    found = json.loads(told)
    status, networks = found.pop("status"), found.pop("networks")
    forbidden = {**FORBIDDEN, **(dict.fromkeys(READ_ONLY, "EROFS") if namespaces else {})}
    assert {name: found[name] for name in forbidden} == forbidden, found
    assert all(found[name] == "allowed" for name in ALLOWED), found
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077"), status
    assert int(status["CapEff"], 16) == 0, status
    assert networks == ["lo"] or not namespaces, networks
    daemon = tried.machine.run("cat", f"/proc/{tried.shown('MainPID')}/status").stdout
    assert {f"NoNewPrivs:\t{1}", f"Seccomp:\t{2}"} <= set(daemon.splitlines()), daemon
    return f"{len(forbidden)} things refused, no capabilities, Seccomp 2"


def killed(tried: Tried) -> str:
    """A daemon that is killed in mid-suite is started again, and the run is whole."""
    tried.suite("killed", tests=40, each_s=0.1, background=True)
    tried.machine.wait_until(lambda: tried.status()["runs_connected"] == 1)
    before = tried.shown("MainPID")
    assert tried.machine.run("kill", "-9", before).returncode == 0
    tried.machine.wait_until(lambda: tried.shown("MainPID") not in (before, "0"))
    assert tried.shown("NRestarts") == "1"
    code = tried.ended("killed")
    assert code == "0", code
    found = tried.verify("killed")
    return (
        f"pid {before} -> {tried.shown('MainPID')}, the suite ended with 0, {found['stored_events']} events, 0 missing"
    )


def stopped(tried: Tried) -> str:
    """A daemon that is stopped in mid-suite leaves in order; the suite's next connection starts it again."""
    tried.suite("stopped", tests=40, each_s=0.1, background=True)
    tried.machine.wait_until(lambda: tried.status()["runs_connected"] == 1)
    tried.systemctl("stop", SERVICE)
    assert tried.shown("Result") == "success"
    tried.machine.wait_until(lambda: tried.shown("ActiveState") == "active")
    code = tried.ended("stopped")
    assert code == "0", code
    return (
        f"stopped with success, active again by the suite, {tried.verify('stopped')['stored_events']} events, 0 missing"
    )


def hanging(tried: Tried) -> str:
    """A daemon that hangs is ended by the watchdog, with its stacks in the journal, and started again."""
    tried.drop_in("watchdog", "WatchdogSec=2")
    before = tried.status()["pid"]
    time.sleep(5)
    assert tried.status()["pid"] == before, "a daemon that works was ended"
    assert tried.machine.run("kill", "-STOP", str(before)).returncode == 0
    tried.machine.wait_until(lambda: tried.shown("MainPID") not in (str(before), "0"), 60)
    result = tried.systemctl("show", "--value", "--property", "NRestarts", SERVICE)
    assert int(result) >= 1, result
    after = tried.status()["pid"]
    tried.drop_in("watchdog")
    return f"fed for 5 s with a limit of 2 s; stopped by a signal, it was ended and started again ({before} -> {after})"


def idle(tried: Tried) -> str:
    """A daemon that has nothing to do ends, and is there again when it is asked."""
    tried.drop_in("idle", "Environment=THREEPIO_IDLE_EXIT=2s")
    before = tried.status()["pid"]
    tried.machine.wait_until(lambda: tried.shown("ActiveState") == "inactive")
    assert tried.shown("Result") == "success"
    after = tried.status()["pid"]
    assert after != before
    tried.drop_in("idle")
    return f"ended with success, asked again: pid {after}"


def misconfigured(tried: Tried) -> str:
    """A setting that cannot be used: the service says so and is not started again and again; suites go on."""
    tried.systemctl("stop", SERVICE)
    tried.machine.write(f"{HOME}/.config/threepiod/config.toml", 'keep_days = "soon"\n')
    started = time.monotonic()
    done = tried.suite("misconfigured")
    assert done.returncode == 0, done.stdout
    seconds = time.monotonic() - started
    tried.machine.wait_until(lambda: tried.shown("ActiveState") == "failed")
    assert tried.shown("ExecMainStatus") == "2"
    restarts = tried.shown("NRestarts")
    assert restarts == "0", restarts
    log = tried.machine.as_root("journalctl", f"_UID={UID}", "--no-pager", "-n", "50").stdout
    assert "keep_days = 'soon': must be a number of days" in log, log
    assert tried.machine.run("rm", f"{HOME}/.config/threepiod/config.toml").returncode == 0
    tried.systemctl("reset-failed", SERVICE, "threepiod.socket")
    tried.systemctl("restart", "threepiod.socket")
    tried.machine.wait_until(lambda: tried.verify("misconfigured")["stored_events"] > 0)
    return f"exit code 2 said in the journal, 0 restarts, the suite took {seconds:.1f} s; stored when it was mended"


def uninstalled(tried: Tried) -> str:
    """Nothing is left but what the runs left."""
    done = tried.threepiod("uninstall")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("removed: ") == 3, done.stdout
    left = tried.machine.run("systemctl", "--user", "list-unit-files", "threepiod*").stdout
    assert "0 unit files" in left, left
    assert tried.machine.run("test", "-e", SOCKET).returncode == 1
    runs = json.loads(tried.python("threepio_client.cli", "runs", "--json").stdout)["runs"]
    assert len(runs) == 5, [run["run_id"] for run in runs]
    assert tried.threepiod("start").returncode == 0
    assert tried.threepiod("stop").returncode == 0
    return f"units and socket are gone, {len(runs)} runs are there, a daemon starts by hand"


CHECKS: Final[tuple[Callable[[Tried], str], ...]] = (
    installed,
    activated,
    sandboxed,
    killed,
    stopped,
    hanging,
    idle,
    misconfigured,
    uninstalled,
)

import os
import signal
import time


def test_before():
    pass


def test_kills_the_daemon():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    pid = os.environ.get("DAEMON_PID")
    if pid:
        os.kill(int(pid), signal.SIGKILL)
        while _runs(pid):
            time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_after():
    pass


def test_last():
    pass

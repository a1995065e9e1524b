"""The process that stands by: which signals were sent to the whole group."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from tests.place import COMMAND_TIMEOUT_S

ASKS = """
import os, signal, sys, time
from contextlib import closing
from threepio_client.cli import bystander
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
with closing(bystander.Bystander()) as found:
    for send in sys.argv[1:]:
        number = signal.SIGINT if send.endswith("INT") else signal.SIGTERM
        if not send.startswith("group"):
            os.kill(os.getpid(), number)
        if not send.startswith("one"):
            os.killpg(0, number)
        signal.sigwait([number])
        print(send, found.was_reached(number))
"""


def asked(*sends: str, **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASKS, *sends],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        start_new_session=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_signal_to_the_group_is_told_from_one_to_a_process_again_and_again() -> None:
    sends = ["one INT", "group INT", "one INT", "group TERM", "group INT", "one TERM"]

    assert asked(*sends) == [f"{send} {send.startswith('group')}" for send in sends]


def test_one_that_is_sent_to_the_process_and_then_to_its_group_came_once() -> None:
    """As timeout(1) does; what would be left of it would end the process with the mask."""
    assert asked("both TERM", "one INT") == ["both TERM True", "one INT False"]


def test_where_nobody_can_stand_by_each_signal_is_for_the_process_alone(tmp_path: Path) -> None:
    assert asked("group INT", PATH=str(tmp_path)) == ["group INT False"]


def test_it_ends_with_whoever_made_it() -> None:
    code = (
        "import os, signal\nfrom threepio_client.cli.bystander import Bystander\n"
        "print(Bystander()._process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGKILL
    try:
        process = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return  # it has ended already
    assert select.select([process], [], [], COMMAND_TIMEOUT_S)[0]
    os.close(process)

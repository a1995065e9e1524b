"""`threepio run`: run a command with a daemon behind it, few lines out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from threepio_client import faulttrace, settings
from threepio_client.archive import Archive
from threepio_client.autostart import start_daemon
from threepio_client.cgroup import OomKills
from threepio_client.cli.bystander import Bystander
from threepio_client.cli.command_output import last_lines, mask_output, rename, reserve
from threepio_client.cli.command_settings import load_settings
from threepio_client.cli.live import LOOK_EVERY_S, Following, say_result
from threepio_client.cli.output import complain, flush, say
from threepio_client.cli.source import PATIENCE_S, Source, open_source
from threepio_client.errors import NoDaemon, NoPlace, NotSaid, ThreepioError
from threepio_client.events import ObservationType
from threepio_client.here import current
from threepio_client.paths import ID_TRIES, StateDir, new_run_id, numbered
from threepio_client.printable import one_line
from threepio_client.query import QueryClient
from threepio_client.runstate import LIVE_STATES, State, signal_name
from threepio_client.wording import last_words, status_lines

EXAMPLE = "Example: threepio run -- pytest -x tests"
NOT_PASSED: Final = 70
"""Exit code where the command said 0 but its run did not pass (EX_SOFTWARE of sysexits.h)."""
NOT_FOUND: Final = 127
START_PATIENCE_S: Final = 30.0
"""As long as `threepiod start` itself waits."""
SETTLE_S: Final = 5.0
"""How long to wait until the daemon knows of the end of the run."""

_TOLD_BY_OUTPUT: Final = frozenset({"usage", "internal-error"})
"""Verdicts of which only the runner's own output says why."""
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_DEBUGGER: Final = {"--pdb", "--trace"}
_SENT_BY_A_PROCESS: Final = 0
"""si_code SI_USER (sigaction(2)): not the terminal's, which reaches the command by itself."""


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command, for example: -- pytest")],
) -> None:
    """Run a command that runs tests; say at the end what happened.

    Starts the daemon if none runs. The command's own output goes to a file that is named at the end, unless it has
    pytest's --pdb or --trace. The exit code is the command's, or 70 where it said 0 but its run did not pass.
    """
    raise typer.Exit(run_and_report(command)[1])


def run_and_report(command: list[str], cwd: str | None = None) -> tuple[list[str], int]:
    """Do what `threepio run` does; return the ids of the command's runs and the exit code.

    Args:
        command: the command.
        cwd: its working directory; None for our own.
    """
    try:
        found = load_settings()
    except NoPlace as error:  # no reason to keep the tests from running
        say(f"threepio: this run is not recorded: {error}", to_stderr=True)
        return [], _exit_code(_run(command, None, dict(os.environ), cwd, lambda: None)[1])
    begun = time.time()
    state_dir = found.places
    run_id, output = reserve(state_dir, found.run_id or new_run_id())  # first, so that `threepio wait` sees it
    _ensure_daemon(found)
    if found.run_id not in (None, run_id):
        say(f"threepio: the run id {found.run_id} is taken: this run is {run_id}", to_stderr=True)
    command_id = os.urandom(8).hex()
    environ = {
        **os.environ,
        "THREEPIO_RUN_ID": run_id,
        "THREEPIO_COMMAND_ID": command_id,
        "THREEPIO_COMMAND_CWD": current(),
    }
    # The command may run elsewhere, where a relative path means another place.
    places = {"THREEPIO_STATE_DIR": found.state_dir, "THREEPIO_SOCKET": found.socket}
    environ |= {name: str(path) for name, path in places.items() if environ.get(name)}
    if output is not None and _DEBUGGER & set(command):
        say("threepio: the command's output comes here, not into a file: its debugger asks you", to_stderr=True)
        os.close(output)
        state_dir.output(run_id).unlink(missing_ok=True)
        output = None
    if output is not None:
        environ["THREEPIO_SPARE_TRACEBACKS"] = "1"  # the answer has them, and nobody waits for the file
    oom_kills = OomKills()
    with closing(Following(run_id, has_terminal=output is not None and sys.stdout.isatty())) as following:

        def look() -> None:
            oom_kills.look()
            following.look()

        pid, code = _run(command, output, environ, cwd, look)
    if output is not None:
        mask_output(found, state_dir.output(run_id))
    end = {"pid": pid, **({"exitCode": code} if code >= 0 else {"signal": -code})}
    if code == -signal.SIGKILL:
        end["outOfMemory"] = oom_kills.rose()
    file = state_dir.output(run_id) if output is not None else None
    run_ids = _runs_of(state_dir, run_id, command_id, begun)
    if file is not None and run_ids and run_id not in run_ids:  # the command chose an id of its own
        file = rename(state_dir, run_id, run_ids[0])
    doubt = _report(run_ids, end, file, following.said)
    if file is not None:
        with _as_far_as_anybody_reads():
            say(f"  full output: {file}")
    if code == 0 and doubt:
        say(f"threepio: the command said 0, but {doubt}", to_stderr=True)
        return run_ids, NOT_PASSED
    return run_ids, _exit_code(code)


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _report(run_ids: list[str], end: dict[str, int], output: Path | None, said: dict[str, str]) -> str:
    """Say what became of the command's runs; return why they are not known to have passed, empty if they are.

    Args:
        run_ids: the runs.
        end: how the command ended, as the payload of an observation.
        output: the file with what it printed, if there is one.
        said: of runs that were over before the command was, the verdict that was said then.
    """
    if not run_ids:
        ask = (
            "is the plugin installed where the command runs, THREEPIO not off, and are the variables THREEPIO_* passed on "
            "to it (tox: pass_env)? Ask threepio doctor"
        )
        last = last_lines(output) if output is not None and end.get("exitCode") != 0 else []
        killed = f"the command was killed by {signal_name(end['signal'])} before a run began" if "signal" in end else ""
        if last:
            say(f"{killed or 'no adapter reported'}; the last that the command printed:", to_stderr=True)
            for line in last:
                say(f"  {one_line(line)}", to_stderr=True)
            if not killed:
                say(f"If that does not say why: {ask}", to_stderr=True)
        elif killed:
            say(f"threepio: {killed}", to_stderr=True)
        else:
            say(f"no adapter reported: {ask}", to_stderr=True)
        return ""
    doubt = "whether its run passed is not known"
    try:
        with open_source() as source:
            views = [_conclude(source, run_id, end, output) for run_id in run_ids]
            # A nested one is its test's matter.
            outer = [view for view in views if view["parent_run_id"] not in run_ids]
            doubt = "" if all(view["state"] == State.PASSED for view in outer) else "its run did not pass"
            with _as_far_as_anybody_reads():
                for view in views:
                    if view["run_id"] not in said:
                        say_result(source, view)
                    else:  # before the command ended
                        if said[view["run_id"]] != view["verdict"]["text"]:
                            say(one_line(status_lines(view)[0]))
                        for line in last_words(view):
                            say(one_line(line))
                    if view["verdict"]["kind"] in _TOLD_BY_OUTPUT and output is not None:
                        for line in last_lines(output):
                            say(one_line(f"    {line}"))
    except (ThreepioError, OSError) as error:  # the command has ended: its exit code is the answer, whatever fails here
        say(f"threepio: cannot say what became of the run: {error}", to_stderr=True)
    return doubt


@contextmanager
def _as_far_as_anybody_reads() -> Iterator[None]:
    """Print to stdout within this. Where that cannot be, nothing more is said, and the exit code is what it would be."""
    try:
        yield
        flush()
    except (NotSaid, BrokenPipeError) as error:
        complain("threepio", error)


def _ensure_daemon(found: settings.Settings) -> None:
    """Start the daemon if none answers; without one the journal still takes everything."""
    try:
        QueryClient.connect(found.socket, PATIENCE_S, state_dir=found.state_dir).close()
        return
    except ThreepioError:
        pass  # none there: started below, and what is wrong is said by the daemon itself
    trouble = start_daemon(found, START_PATIENCE_S)
    if trouble:
        say(f"threepio: going on without a daemon: {trouble}", to_stderr=True)


def _run(
    command: list[str], output: int | None, environ: dict[str, str], cwd: str | None, look: Callable[[], None]
) -> tuple[int, int]:
    """Run the command; return its pid and its exit code, negative for a signal. Signals sent to us alone are passed on.

    Args:
        command: the command.
        output: descriptor for its output, which is closed here; None leaves it our own.
        environ: its environment.
        cwd: its working directory, or None for ours.
        look: called every LOOK_EVERY_S while the command runs.
    """
    watched = (*_PASSED_ON, signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave us without the command's end
    old = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        try:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env=environ,
                cwd=cwd,
                close_fds=False,  # what we were given is the command's: our own are closed by the kernel
                preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, old),
            )
        except (OSError, ValueError) as error:  # the latter: a NUL in it, or what is no text of this system
            where = f" in {cwd}" if cwd is not None else ""
            why = error.strerror if isinstance(error, OSError) else error
            if cwd is not None and not os.path.isdir(cwd):
                why = "there is no such directory (any more)"
            say(f"threepio: cannot run {command[0]}{where}: {why}", to_stderr=True)
            raise typer.Exit(NOT_FOUND) from error
        with closing(Bystander()) as bystander:
            while process.poll() is None:
                info = signal.sigtimedwait(watched, LOOK_EVERY_S)
                if info is not None and info.si_signo != signal.SIGCHLD:
                    was_reached = bystander.was_reached(info.si_signo) and _is_of_our_group(process.pid)
                    if info.si_code == _SENT_BY_A_PROCESS and not was_reached:
                        process.send_signal(info.si_signo)
                look()
        return process.pid, process.returncode
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        if output is not None:
            os.close(output)  # and with it the lock, by which others see that the command goes on


def _is_of_our_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpgrp()  # timeout(1) and setsid(1) make a group of their own
    except ProcessLookupError:
        return True


def _conclude(source: Source, run_id: str, end: dict[str, int], output: Path | None) -> dict[str, Any]:
    """Tell how the process ended, and return the run's status once that is known everywhere."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            source.observe(run_id, ObservationType.EXIT_STATUS, end)
            break
        except NoDaemon:
            raise
        except OSError as error:  # without a daemon, in a state directory that cannot be written any more
            _say_not_noted(error)
            break
        except ThreepioError:
            if time.monotonic() > deadline:  # the daemon has not seen this run yet
                break
            time.sleep(0.05)
    while True:
        view = source.status(run_id)
        if view["state"] not in LIVE_STATES or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    # Where the daemon has not seen the end in that time, the trace waits for it in the file of observations.
    may_have_died = view["death"] or view["workers_died"] or view["state"] in LIVE_STATES
    trace = faulttrace.find(output) if output is not None and may_have_died else ""
    if trace:
        try:
            source.observe(run_id, ObservationType.FAULT_TRACE, {"text": trace})
        except OSError as error:
            _say_not_noted(error)
        if view["state"] not in LIVE_STATES:
            view["death"] = {**(view["death"] or {}), "trace": trace}
    return view


def _say_not_noted(error: OSError) -> None:
    say(f"threepio: cannot note how the command ended: {error}", to_stderr=True)


def _runs_of(state_dir: StateDir, run_id: str, command_id: str, begun: float) -> list[str]:
    """Return the runs that the command began: one that starts several runners has `-2`, `-3` ... too.

    Another command may have wanted the same id, or a runner that nobody started by `threepio run`; and the command may have
    chosen ids of its own.

    Args:
        state_dir: where they are.
        run_id: the id that the command was given.
        command_id: what its runs say of themselves.
        begun: when it began, seconds since the epoch.
    """
    archive = Archive(state_dir)
    found = []
    try:
        started = archive.started()
        like_it = [name for number in range(1, ID_TRIES) if (name := numbered(run_id, number)) in started]
        since = sorted((at, name) for name, at in started.items() if at >= begun - 1 and name not in like_it)
        for name in [*like_it, *(name for _, name in since)]:
            begun_by = archive.beginning(name).start.get("commandId")
            # An adapter of an older version does not say it: what has an output of its own is another command's.
            is_older = begun_by is None and name in like_it
            if begun_by == command_id or (is_older and (name == run_id or not os.path.exists(state_dir.output(name)))):
                found.append(name)
    except (ThreepioError, OSError) as error:
        say(f"threepio: cannot look for the runs of the command: {error}", to_stderr=True)
    return found

"""The commands of `threepiod`; the work is in `control.py`, `units.py` and `rebuild.py`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

import typer

from threepio_client import answers, settings
from threepio_client.cli.command_settings import load_settings
from threepio_client.cli.output import say, say_json
from threepio_client.cli.program import guarded, new_program
from threepio_client.errors import NoDaemon
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import clock_time, duration
from threepiod import control, units
from threepiod.listener import AlreadyRunning
from threepiod.metrics import openmetrics

app = new_program("threepiod", "The daemon that keeps the results of your test runs.")

_TOTALS: Final = {
    "received": "received",
    "stored": "stored",
    "duplicates": "duplicates discarded",
    "conflicts": "conflicts",
    "corrupt": "corrupt lines",
    "kept": "journaled by the daemon itself",
    "failures": "failures to write, sync or read",
}

Json = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]


@app.command(epilog="Example: threepiod start")
@guarded("threepiod")
def start(
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal and log to it.")] = False,
    idle_exit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="End after so long without a run or a client: 90s, 30m, 2h. Default: THREEPIO_IDLE_EXIT.",
        ),
    ] = None,
) -> None:
    """Start the daemon. It is ready when this returns; if one runs already, say so."""
    if idle_exit is not None:
        os.environ["THREEPIO_IDLE_EXIT"] = idle_exit
    settings.load_daemons()  # the daemon would refuse what cannot be used, but its words are for the log
    if foreground:
        control.become_foreground()
    _start(load_settings("threepiod", is_strict=True))


@app.command(epilog="Example: threepiod stop")
@guarded("threepiod")
def stop() -> None:
    """Stop the daemon, once everything it received is stored. Running suites go on, in their journals."""
    pid = control.stop(load_settings("threepiod"))
    say(f"threepiod stopped (pid {pid})")


@app.command(epilog="Example: threepiod restart")
@guarded("threepiod")
def restart() -> None:
    """Stop the daemon if it runs, and start it. Running suites connect again by themselves."""
    found = load_settings("threepiod", is_strict=True)
    try:
        control.stop(found)
    except NoDaemon as error:
        say(f"nothing to stop: {error}", to_stderr=True)
    _start(found)


@app.command(epilog="Example: threepiod status --json")
@guarded("threepiod")
def status(as_json: Json = False) -> None:
    """Say how the daemon is. Exit code 5 if there is none."""
    found = control.daemon_status(load_settings("threepiod"))
    if as_json:
        say_json(found)
        return
    if found["schema_version"] < VIEW_VERSION:
        say(f"threepiod {found['version']} runs, of an older version than this command: threepiod restart")
        say(f"  pid {found['pid']}, socket {found['socket']}, {found['runs_active']} runs active")
        return
    last = found["last_error"]
    say(f"threepiod {found['version']} runs: pid {found['pid']}, up {duration(found['uptime_s'])}")
    say(f"  socket     {found['socket']}")
    say(f"  state      {found['state_dir']}")
    say(f"  runs       {found['runs_active']} active, {found['runs_connected']} connected")
    events = found["events"]
    say(f"  events     {found['events_per_s']:.0f}/s, {found['backlog']} received and not stored yet")
    say(f"  since then {', '.join(f'{count} {_TOTALS[name]}' for name, count in events.items() if count) or 'none'}")
    say(f"  memory     {found['rss_bytes'] / 2**20:.0f} MiB")
    say(f"  last error {clock_time(last['time']) + ': ' + last['text'] if last else 'none'}")


@app.command(epilog="Example: threepiod metrics")
@guarded("threepiod")
def metrics() -> None:
    """Print the daemon's counters as OpenMetrics text, for Prometheus and the like. Exit code 5 if there is none."""
    found = control.daemon_status(load_settings("threepiod"))
    if found["schema_version"] < VIEW_VERSION:
        raise NoDaemon(f"threepiod (pid {found['pid']}) is of an older version than this command: threepiod restart")
    sys.stdout.write(openmetrics(found))


@app.command(epilog="Example: threepiod install --now")
@guarded("threepiod")
def install(
    now: Annotated[
        bool, typer.Option("--now", help="Have systemd listen at once, instead of a daemon that runs.")
    ] = False,
    namespaces: Annotated[
        bool, typer.Option("--namespaces", help="Also the part of the sandbox that needs user namespaces.")
    ] = False,
) -> None:
    """Write user units for systemd: the socket is there from login on, the daemon starts with the first run.

    They call this installation. What the environment says of socket, state directory and limits goes into them.
    """
    found = load_settings("threepiod", is_strict=True)
    if now:
        units.require_manager()
    for path in units.install(found, namespaces=namespaces):
        say(f"written: {path}")
    if not now:
        say(
            "next: systemctl --user enable --now threepiod.socket, after threepiod stop; threepiod install --now does both"
        )
        return
    with suppress(NoDaemon):
        say(f"threepiod stopped (pid {control.stop(found)})")
    units.enable()
    status = control.daemon_status(found, control.OTHER_TIMEOUT_S)
    say(
        f"threepiod {status['version']} is started by systemd from now on: pid {status['pid']}, socket {status['socket']}"
    )


@app.command(epilog="Example: threepiod uninstall")
@guarded("threepiod")
def uninstall() -> None:
    """Stop what `threepiod install` has systemd start, and remove the units. Journals and store stay."""
    load_settings("threepiod")
    removed = units.uninstall()
    for path in removed:
        say(f"removed: {path}")
    if not removed:
        say("nothing to remove: no unit of threepiod is there")


@app.command(epilog="Example: threepiod config")
@guarded("threepiod")
def config(as_json: Json = False) -> None:
    """Print every setting, its value and where that comes from: environment, configuration file or default.

    Ini options of a project, which stand between environment and file, are not looked at. Exit code 2 if something cannot be
    used; all else is printed even so.
    """
    found, problems = settings.explain()
    path = settings.config_path()
    if as_json:
        answer: answers.Config = {
            "schema_version": VIEW_VERSION,
            "file": str(path),
            "file_is_there": os.path.lexists(path),
            "settings": [
                {
                    "key": one.setting.key,
                    "environment": one.setting.name,
                    "value": one.text or None,
                    "source": one.origin,
                }
                for one in found
            ],
            "problems": [problem.text for problem in problems],
        }
        say_json(answer)
    else:
        say(f"configuration file: {path}{'' if os.path.lexists(path) else ' (not there)'}")
        for one in found:
            source = {"environment": one.setting.name, "file": str(path)}.get(one.origin, one.origin)
            say(f"{one.setting.key:<17}  {one.text or one.setting.default_text}  ({source})")
        for problem in problems:
            say(f"threepiod: {problem.text}", to_stderr=True)
    if problems:
        raise typer.Exit(2)


@app.command(epilog="Example: threepiod rebuild")
@guarded("threepiod")
def rebuild(as_json: Json = False) -> None:
    """Make the store again from the journals, whatever became of the old one; nothing that only the old one has is lost.

    The daemon must be stopped. Exit code 1 if something of the old store or of a journal could not be read and is in no
    other place; the old store is kept beside the new one where it was damaged.
    """
    from threepiod.rebuild import rebuild as make_again  # brings trio, which no other command needs

    made = make_again(load_settings("threepiod").places)
    if as_json:
        say_json(made.to_json())
    else:
        old = f", {made.old_events} of them in {made.old_runs} runs from the old store only" if made.old_events else ""
        kept = f"; the old store was damaged and is kept as {made.kept}" if made.kept else ""
        say(f"store made again: {made.runs} runs, {made.events} events{old}, in {made.seconds:.1f} s{kept}")
    for what in made.unreadable:
        say(f"threepiod: could not be read: {what}", to_stderr=True)
    if made.unreadable:
        raise typer.Exit(1)


def run() -> None:
    """Run the command."""
    app()


def _start(found: settings.Settings) -> None:
    try:  # it may be systemd that listens, and starts the daemon for this question
        status = control.daemon_status(found)
    except NoDaemon:
        pass  # started below, which says what is wrong if somebody else listens
    else:
        control.check_keeps(status, found)
        say(f"threepiod runs already: pid {status['pid']}, socket {status['socket']}")
        return
    try:
        status = control.start_background(found, partial(say, to_stderr=True))
    except AlreadyRunning as error:
        _say_running(found, error)
    else:
        say(f"threepiod {status['version']} is ready: pid {status['pid']}, socket {status['socket']}")


def _say_running(found: settings.Settings, error: AlreadyRunning) -> None:
    """Say that another daemon runs, once it is ready: it may have been started at the same time."""
    begun = found.places.lock.stat().st_mtime if found.places.lock.exists() else 0.0
    patience_s = min(max(begun + control.OTHER_TIMEOUT_S - time.time(), 0.5), control.OTHER_TIMEOUT_S)
    try:
        status = control.other_status(found, patience_s)
    except NoDaemon:
        raise NoDaemon(
            f"{error} and does not answer at {found.socket}: it was started with another THREEPIO_SOCKET or "
            "XDG_RUNTIME_DIR, is not ready yet, or hangs. Its log says whether it brings the store to a new form: then "
            f"wait. Else use the socket that it has, or end that process. The log: {found.places.daemon_log}"
        ) from None
    say(f"threepiod runs already: pid {status['pid']}, socket {status['socket']}")

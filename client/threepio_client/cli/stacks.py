"""`threepio stacks`: where a run is just now, by the Python stacks of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from threepio_client import answers
from threepio_client import stacks as stacks_of
from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import Source, open_source
from threepio_client.errors import ThreepioError
from threepio_client.printable import one_line
from threepio_client.process import ProcessIdentity
from threepio_client.runstate import LIVE_STATES
from threepio_client.stacks import CannotTell, Stack
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import duration

EXAMPLE = "Example: threepio stacks latest"
PLUMBING = ("/_pytest/", "/pluggy/", "/execnet/", "/xdist/")
FRAMES_SHOWN = 20
LOOP_FILES = ("asyncio/base_events.py", "trio/_core/_run.py")


def stacks(
    run: RunReference = "latest",
    as_json: AsJson = False,
    show_all: Annotated[bool, typer.Option("--all", help="Every thread and frame, pytest's own too.")] = False,
) -> None:
    """Print the Python stacks of a running suite's process and workers, the innermost call first.

    Uses py-spy, which only reads memory, if it is installed; else the tests must have been started with THREEPIO_STACKS=1,
    which also shows the tasks of an event loop.
    """
    with open_source() as source:
        view = source.status(run)
        if view["state"] not in LIVE_STATES:
            raise ThreepioError(f"the run {view['run_id']} is over ({view['state']}): it has no stacks any more")
        found = sorted((_process(source, view, process) for process in _processes(view)), key=_longest_first)
    if as_json:
        said: answers.Stacks = {"schema_version": VIEW_VERSION, "run_id": view["run_id"], "processes": found}
        say_json(said)
    else:
        for process in found:
            for line in _lines(process, view["rootdir"], show_all):
                say(one_line(line))
    # A worker whose tests are done may have nothing to say any more: that is no trouble unless nobody has.
    untold = [process for process in found if process["trouble"]]
    if len(untold) == len(found) or any(process["in_flight"] for process in untold):
        raise typer.Exit(1)


def _processes(view: dict[str, Any]) -> list[dict[str, Any]]:
    own = {"worker": None, "pid": view["pid"], "process": view["process"]}
    return [*view["workers"], own]


def _longest_first(process: answers.StackedProcess) -> float:
    """Order what hangs before what is idle; of a session with workers the controller, which only waits, comes last."""
    slot = process["in_flight"]
    return -slot["elapsed_s"] if slot is not None and slot["phase"] else 0.0


def _process(source: Source, view: dict[str, Any], process: dict[str, Any]) -> answers.StackedProcess:
    pid, worker = process["pid"], process["worker"]
    slot = next((slot for slot in view["in_flight"] if slot["worker"] == worker), None)
    answer: answers.StackedProcess = {"worker": worker, "pid": pid, "in_flight": slot, "trouble": None, "stacks": []}
    try:
        identity = ProcessIdentity.from_payload(process["process"])
        if identity is None:
            raise CannotTell("it is not known which process it is: it may be on another machine")
        found = stacks_of.of_process(identity, source.state_dir.stacks(view["run_id"], pid))
        answer["stacks"] = [
            {
                "kind": stack.kind,
                "name": stack.name,
                "active": stack.active,
                "frames": [cast(answers.Frame, frame._asdict()) for frame in stack.frames],
            }
            for stack in found
        ]
    except CannotTell as error:
        answer["trouble"] = str(error)
    return answer


def _lines(process: answers.StackedProcess, rootdir: str, show_all: bool) -> list[str]:
    slot = process["in_flight"]
    who = f"process {process['pid']}" + (f" ({process['worker']})" if process["worker"] else "")
    what = f"{slot['nodeid'] or 'the session'} ({slot['phase']}, for {duration(slot['elapsed_s'])})" if slot else ""
    lines = [f"{who}: {what or 'no test in flight'}"]
    if process["trouble"]:
        return [*lines, f"  no stacks: {process['trouble']}"]
    hidden = 0
    shown = [Stack(s["kind"], s["name"], s["active"], [_frame(f) for f in s["frames"]]) for s in process["stacks"]]
    has_tasks = any(stack.kind == "task" for stack in shown)
    for stack in shown:
        frames = stack.frames if show_all else _own(stack.frames)
        if not frames and slot is not None and not show_all:
            hidden += 1
            continue
        state = "" if stack.active is None else ", runs" if stack.active else ", waits"
        lines.append(f"  {stack.kind} {stack.name}{state}:")
        frames = frames[: None if show_all else FRAMES_SHOWN]
        lines += [f"    {_short(frame.file, rootdir)}:{frame.line} in {frame.function}" for frame in frames]
        left = len(stack.frames) - len(frames)
        if left:
            lines.append(f"    and {left} frames of what called it")
        if not has_tasks and any(frame.file.endswith(LOOP_FILES) for frame in stack.frames):
            lines.append("    an event loop: start the tests with THREEPIO_STACKS=1 to see what its tasks wait for")
    if hidden:
        lines.append(f"  and {hidden} threads of the test runner's own (--all shows them)")
    return lines


def _own(frames: list[stacks_of.Frame]) -> list[stacks_of.Frame]:
    """Return the frames up to where the test runner called what is not its own."""
    found = []
    for frame in frames:
        if any(part in frame.file for part in PLUMBING):
            break
        found.append(frame)
    return found


def _frame(found: answers.Frame) -> stacks_of.Frame:
    return stacks_of.Frame(found["file"], found["line"], found["function"])


def _short(file: str, rootdir: str) -> str:
    path = Path(file)
    return str(path.relative_to(rootdir)) if rootdir and path.is_relative_to(rootdir) else file

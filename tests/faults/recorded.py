"""Runs that are recorded: what daemon and adapter did to the disk, as crash states need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tests.faults.crash_states import CrashLog
from tests.faults.disk_log import AckSent, acks_of_syncs, acks_sent, read_steps
from tests.faults.disk_scene import Scene, told_in
from tests.faults.recovery import Judge, emitted_lines, judge_states
from tests.place import Place, wait_until

EVENTS = 200


class Kind(Enum):
    """How a recorded run goes."""

    WHOLE = "whole"
    """To its end, with a daemon."""
    KILLED = "killed"
    """Both are killed in the middle; a new daemon recovers."""
    ALONE = "alone"
    """Without a daemon, each event synced; a daemon that is started later takes the journal."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A log and what was promised in it."""

    log: CrashLog
    acks: list[AckSent]

    @property
    def acked(self) -> int:
        """The highest seq that was acked."""
        return max((ack.seq for ack in self.acks), default=0)

    def judge(self, count: int, seed: int, *, enough: int = 3) -> tuple[int, list[str]]:
        """Recover `count` of its crash states; return how many were tried and what does not hold."""
        judge = Judge(emitted_lines(self.log.steps), self.acks)
        return judge_states(self.log, judge, self.acks, count, seed, enough=enough)


def record(
    place: Place,
    seed: int,
    *,
    kind: Kind = Kind.WHOLE,
    daemon: tuple[str, ...] = (),
    emitter: tuple[str, ...] = (),
    daemon_faults: Mapping[str, str] | None = None,
    emitter_faults: Mapping[str, str] | None = None,
    emitter_settings: Mapping[str, str] | None = None,
    pause_ms: int = 2,
) -> Recording:
    """Record a run with a daemon, which is stopped at its end.

    Args:
        place: an empty place.
        seed: of what is emitted.
        kind: how the run goes.
        daemon, emitter: other commands than the real ones.
        daemon_faults, emitter_faults: what the library is to do besides noting, as for `Scene.shim`.
        emitter_settings: THREEPIO_ variables of the emitter.
        pause_ms: between its events.
    """
    steps = place.path / "steps"
    place.state_dir.path.mkdir(mode=0o700)
    with Scene(place, seed) as scene:
        daemon_environ = scene.shim(log=str(steps), **(daemon_faults or {}))
        emitter_environ = {**scene.shim(log=str(steps), **(emitter_faults or {})), **(emitter_settings or {})}
        if kind is Kind.ALONE:
            emitter_environ["THREEPIO_SYNC"] = "always"
        else:
            served = scene.start_daemon(daemon_environ, *daemon)
            pids = {served.pid}
        events = 0 if kind is Kind.KILLED else EVENTS
        producer, out = scene.start_emitter(events, emitter_environ, pause_ms=pause_ms, command=emitter)
        if kind is Kind.KILLED:
            wait_until(lambda: producer.poll() is not None or told_in(out).attempted >= EVENTS // 2)
            served.kill()
            producer.kill()
            served.wait()
            producer.wait()
            served = scene.start_daemon(daemon_environ, *daemon)
            pids.add(served.pid)
        else:
            producer.wait(60)
            assert producer.returncode == 0, scene.output("emitter1")
        if kind is Kind.ALONE:
            served = scene.start_daemon(daemon_environ, *daemon)
            pids = {served.pid}
        scene.wait_until_over(told_in(out).run_id)
        scene.stop_daemon(served)
        found = read_steps(steps)
    promised = acks_sent(found, pids)
    if kind is Kind.ALONE:
        promised += acks_of_syncs(found, producer.pid)
    return Recording(log=CrashLog(place.state_dir.path, found), acks=promised)

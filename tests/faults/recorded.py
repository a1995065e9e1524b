"""Runs that are recorded: what daemon and adapter did to the disk, as crash states need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.crash_states import CrashLog
from tests.faults.disk_log import AckSent, acks_sent, read_steps
from tests.faults.recovery import Judge, emitted_lines, judge_states
from tests.faults.scene import Scene, told_in
from tests.place import Place, wait_until

EVENTS = 200


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
    killed: bool = False,
    daemon: tuple[str, ...] = (),
    emitter: tuple[str, ...] = (),
    daemon_faults: Mapping[str, str] | None = None,
    emitter_faults: Mapping[str, str] | None = None,
) -> Recording:
    """Record a run with a daemon, which is stopped at its end.

    Args:
        place: an empty place.
        seed: of what is emitted.
        killed: kill both in the middle of the run, then let a new daemon recover.
        daemon, emitter: other commands than the real ones.
        daemon_faults, emitter_faults: what the library is to do besides noting, as for `Scene.shim`.
    """
    steps = place.path / "steps"
    place.state_dir.path.mkdir(mode=0o700)
    with Scene(place, seed) as scene:
        daemon_environ = scene.shim(log=str(steps), **(daemon_faults or {}))
        emitter_environ = scene.shim(log=str(steps), **(emitter_faults or {}))
        served = scene.start_daemon(daemon_environ, *daemon)
        pids = {served.pid}
        producer, out = scene.start_emitter(0 if killed else EVENTS, emitter_environ, pause_ms=2, command=emitter)
        if killed:
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
        scene.wait_until_over(told_in(out).run_id)
        scene.stop_daemon(served)
        found = read_steps(steps)
    return Recording(log=CrashLog(place.state_dir.path, found), acks=acks_sent(found, pids))

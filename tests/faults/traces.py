"""Random traces of the event path with every fault of its model, on the real parts.

    python -m tests.faults.traces --seconds 600 --seed 1    for so long; prints traces, steps, and the counter-example

A trace is a configuration and a list of steps, made from a number. Each runs in a world of its own (`world.py`), is
judged after every step, and then ends without faults (`oracle.py`). One that breaks a condition is made as short as it
can be before it is shown; what is shown can be run again as it is: `run_trace(Config(...), [...])`.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.faults.disk import DAEMON
from tests.faults.trace_oracle import Violation, check_safety, files_of, finish, watch
from tests.faults.world import Config, Producer, World

Step = tuple[str, *tuple[int, ...]]
"""A name of STEPS, and its numbers: the run first, where it is about one."""


def _producer(world: World, run: int) -> Producer | None:
    return world.producers[run] if run < len(world.producers) else None


def _of(action: Callable[[World, Producer, int], object]) -> Callable[..., object]:
    """Return the step of an action on a run that is there, with a number or none."""

    def step(world: World, run: int, number: int = 0) -> None:
        producer = _producer(world, run)
        if producer is not None:
            action(world, producer, number)

    return step


def _living(action: Callable[[World, Producer, int], object]) -> Callable[..., object]:
    """Likewise, of a process that lives."""
    return _of(lambda world, producer, number: action(world, producer, number) if producer.is_alive else None)


def _short(world: World, producer: Producer, packed: int) -> None:
    calls = world.disk.calls[producer.run_id]
    calls.short, calls.refused = packed // 8, packed % 8


def _rot(world: World, producer: Producer, number: int) -> None:
    """Change a bit of a whole line but the first: whose journal it is must be known for anything to be said."""
    places = []
    for path in files_of(world, producer.run_id):
        end = 0
        for line in path.read_bytes().split(b"\n")[:-1]:
            if b'"seq":1,' not in line:
                places.append((path, end, line))
            end += len(line) + 1
    if places:
        path, start, line = places[number % len(places)]
        producer.rotten.add(int(line[7 : line.index(b",")]))
        world.disk.rot(path, start + 20 + number % (len(line) - 20))


def _cut(world: World, producer: Producer, _: int) -> None:
    world.daemon_failed = True
    if producer.wire is not None:
        producer.wire.cut()


def _kill_daemon(world: World) -> None:
    world.daemon_failed = True
    world.kill_daemon()


def _fork(world: World, producer: Producer, _: int) -> None:
    if producer.wire is not None:
        producer.wire.is_held = True


def _freeze(world: World) -> None:
    world.is_frozen = world.daemon is not None


def _set(name: str) -> Callable[[World, Producer, int], None]:
    return lambda world, producer, number: setattr(world.disk.calls[producer.run_id], name, number)


def _set_daemon(name: str) -> Callable[[World, int], None]:
    def step(world: World, number: int) -> None:
        world.daemon_failed = True
        if world.daemon is not None:
            setattr(world.disk.calls[DAEMON], name, number)

    return step


STEPS: Final[dict[str, Callable[..., object]]] = {
    # what happens anyway
    "start run": lambda world: world.start_run(),
    "emit": _living(lambda world, producer, _: world.emit(producer)),
    "end run": _living(lambda world, producer, _: world.close(producer)),
    "wait": lambda world, milliseconds: world.pass_time(milliseconds / 1000),
    "start daemon": lambda world: world.start_daemon(),
    "checkpoint": lambda world: world.checkpoint(),
    # faults of the tested process
    "kill run": _living(lambda world, producer, _: world.kill(producer)),
    "kill run in": _living(_set("kill_in")),
    "kill run in a write": _living(_set("kill_half")),
    "throw": _living(_set("throws")),
    "fork": _living(_fork),
    "reuse pid": _of(lambda world, producer, _: world.reused.add(producer.identity.pid)),
    "cut connection": _living(_cut),
    # faults of its disk
    "short write": _living(_short),
    "no write": _living(_set("full")),
    "no sync": _living(_set("eio")),
    "rot": _of(_rot),
    "power": lambda world, seed: world.cut_power(seed),
    # faults of the daemon
    "kill daemon": _kill_daemon,
    "kill daemon in": _set_daemon("kill_in"),
    "freeze daemon": _freeze,
    "thaw daemon": lambda world: setattr(world, "is_frozen", False),
    "slow disk": lambda world, milliseconds: setattr(world, "latency", milliseconds / 1000),
    "small receives": lambda world, size: setattr(world, "piece", size),
    "daemon: no sync": _set_daemon("eio"),
    "daemon: no directory sync": _set_daemon("eio_names"),
    "daemon: no sync of observations": _set_daemon("eio_observed"),
    "daemon: no write": _set_daemon("full"),
    "stuck sync": _of(lambda world, producer, _: world.stuck.add(producer.run_id)),
    "unstuck": _of(lambda world, producer, _: world.stuck.discard(producer.run_id)),
    "commit fails": lambda world: world.store_faults.append("before"),
    "commit fails, applied": lambda world: world.store_faults.append("after"),
}
"""What a step does; one that makes no sense at its place does nothing."""


def run_trace(config: Config, steps: list[Step]) -> None:
    """Run a trace, judge it after every step, and end it.

    Raises:
        Violation: a condition does not hold.
    """
    with World(config, watch) as world:
        for name, *numbers in steps:
            STEPS[name](world, *numbers)
            check_safety(world)
        finish(world)


def make_trace(seed: int) -> tuple[Config, list[Step]]:
    """Return the trace of a number."""
    chance = Random(seed)
    config = Config(
        runs=chance.choice([1, 1, 1, 2, 3]),
        tests=chance.choice([3, 5, 8]),
        credit=chance.choice([1, 2, 4, 10_000]),
        capacity=chance.choice([300, 700, 1 << 20]),
        batch=chance.choice([4, 8, 10_000]),
        has_spare=chance.random() < 0.3,
    )

    def run() -> int:
        return chance.randrange(config.runs)

    usual: list[Callable[[], Step]] = [
        lambda: ("emit", run()),
        lambda: ("emit", run()),
        lambda: ("emit", run()),
        lambda: ("emit", run()),
        lambda: ("wait", chance.choice([1, 5, 20, 60])),
        lambda: ("wait", chance.choice([100, 300, 600, 1500])),
        lambda: ("start daemon",),
    ]
    some: list[Callable[[], Step]] = [
        lambda: ("start run",),
        lambda: ("end run", run()),
        lambda: ("thaw daemon",),
        lambda: ("unstuck", run()),
        lambda: ("no write", run(), 0),
        lambda: ("daemon: no write", 0),
        lambda: ("slow disk", chance.choice([0, 0, 3, 40, 400])),
        lambda: ("checkpoint",),
        lambda: ("small receives", chance.choice([7, 150, 1 << 18])),
    ]
    faults: list[Callable[[], Step]] = [
        lambda: ("kill run", run()),
        lambda: ("kill run in", run(), chance.randrange(8)),
        lambda: ("kill run in a write", run(), 1),
        lambda: ("throw", run(), 1),
        lambda: ("fork", run()),
        lambda: ("reuse pid", run()),
        lambda: ("cut connection", run()),
        lambda: ("short write", run(), chance.randrange(1, 120) * 8 + chance.randrange(8)),
        lambda: ("no write", run(), 1),
        lambda: ("no sync", run(), chance.choice([1, 1, 2, 7])),
        lambda: ("rot", run(), chance.randrange(10_000)),
        lambda: ("power", chance.randrange(1 << 20)),
        lambda: ("kill daemon",),
        lambda: ("kill daemon in", chance.randrange(8)),
        lambda: ("freeze daemon",),
        lambda: ("daemon: no sync", chance.choice([1, 1, 2, 7])),
        lambda: ("daemon: no directory sync", chance.choice([1, 1, 2])),
        lambda: ("daemon: no write", 1),
        lambda: ("stuck sync", run()),
        lambda: ("commit fails",),
        lambda: ("commit fails, applied",),
    ]
    # A few faults a trace, several times each: all of them at once hide one another.
    chosen = chance.sample(faults, chance.choice([1, 2, 2, 3, 4]))
    steps: list[Step] = [("start run",)] if chance.random() < 0.5 else [("start daemon",), ("start run",)]
    for _ in range(chance.choice([8, 15, 30])):
        kind = chance.random()
        steps.append(chance.choice(usual if kind < 0.65 else some if kind < 0.8 else chosen)())
    return config, steps


@dataclass(frozen=True, kw_only=True)
class CounterExample:
    """A trace that breaks a condition, as short as it could be made."""

    seed: int
    config: Config
    steps: list[Step]
    violation: str

    def __str__(self) -> str:
        steps = "".join(f"\n    {step!r}," for step in self.steps)
        return f"seed {self.seed}: {self.violation}\nrun_trace({self.config}, [{steps}\n])"


def find(seeds: Iterator[int], is_over: Callable[[], bool] = lambda: False) -> tuple[int, int, CounterExample | None]:
    """Run the traces of these numbers; return how many, how many steps, and the first counter-example."""
    traces = count = 0
    for seed in seeds:
        if is_over():
            break
        config, steps = make_trace(seed)
        traces += 1
        count += len(steps)
        found = _violation(config, steps)
        if found is not None:
            short = shrink(config, steps, found)
            last = _violation(config, short) or found
            return traces, count, CounterExample(seed=seed, config=config, steps=short, violation=str(last))
    return traces, count, None


def shrink(config: Config, steps: list[Step], found: Violation) -> list[Step]:
    """Return a part of the steps that breaks the same condition, and none of whose steps can be left out."""
    size = len(steps)
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            again = _violation(config, shorter)
            if again is not None and again.kind == found.kind:
                steps = shorter
            else:
                at += size
        size //= 2
    return steps


def _violation(config: Config, steps: list[Step]) -> Violation | None:
    try:
        run_trace(config, steps)
    except Violation as violation:
        return violation
    return None


def main() -> int:
    """Run traces for so long; exit code 1 if one breaks a condition."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.traces", description="Try random traces of faults.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="where to begin (default: anywhere, printed)")
    options = parser.parse_args()
    first = secrets.randbelow(2**32) << 20 if options.seed is None else options.seed << 20
    end = time.monotonic() + options.seconds
    numbers = iter(range(first, first + (1 << 20)))
    traces, steps, example = find(numbers, lambda: time.monotonic() > end)
    print(f"seed {first >> 20}: {traces} traces, {steps} steps in at most {options.seconds:.0f} s")
    print("no counter-example" if example is None else example)
    return 0 if example is None else 1


if __name__ == "__main__":
    sys.exit(main())

"""Random traces of the event path, a few with fixed numbers. The long form: `python -m tests.faults.traces`."""

from __future__ import annotations

import pytest

from tests.faults import mutations
from tests.faults.traces import find, make_trace, run_trace
from tests.faults.world import World

SEED = 20261123
TRACES = 60


def test_random_traces_break_no_condition() -> None:
    traces, steps, example = find(iter(range(SEED, SEED + TRACES)))

    assert example is None, str(example)
    assert (traces, steps) == (TRACES, sum(len(make_trace(SEED + number)[1]) for number in range(TRACES)))


def test_a_trace_always_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, list[bytes]]] = []
    leave = World.__exit__

    def look(world: World, *error: object) -> None:
        files = [path.read_bytes() for path in world.disk.files() if "observed" not in path.name]
        # ids of producers are random on purpose: all of one size, at one place
        ends.append((world.now(), [data[data.find(b'"process"') :] for data in files]))
        leave(world, None, None, None)

    monkeypatch.setattr(World, "__exit__", look)
    for _ in range(2):
        run_trace(*make_trace(SEED + 3))

    assert ends[0][0] == ends[1][0]
    assert [len(data) for data in ends[0][1]] == [len(data) for data in ends[1][1]]


@pytest.mark.parametrize("mutation", [mutations.first_file_only, mutations.failed_commit_is_forgotten])
def test_random_traces_find_a_rule_that_is_not_kept(
    mutation: mutations.Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    _, _, example = find(iter(range(1_000, 1_100)))

    assert example is not None
    assert len(example.steps) <= 6, "it is not made as short as it can be"

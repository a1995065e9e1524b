"""The model's shortest counter-examples on the real parts: each rule's trace holds, and does not without the rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.faults import mutations
from tests.faults.mutations import Mutation
from tests.faults.trace_oracle import Violation
from tests.faults.traces import Step, run_trace
from tests.faults.world import Config


@dataclass(frozen=True, kw_only=True)
class CounterExample:
    """A trace that breaks a condition if a rule is not kept.

    Attributes:
        rule: the rule, in the model's words.
        without: mutations of the product that break the rule, each with the condition that it breaks.
    """

    rule: str
    without: dict[Mutation, str]
    steps: list[Step]
    config: Config = field(default_factory=Config)


RULES: Final = {
    "TAIL": CounterExample(
        rule='an incomplete last line of a living writer is "not yet"; the cursor passes whole lines only',
        without={mutations.torn_tail_is_the_end: "STORE!=JOURNAL"},
        # the rest of the line fails, and the next file: the line gets its end at the next emit
        steps=[("start run",), ("short write", 0, 18 * 8 + 7), ("emit", 0)],
    ),
    "CURSOR": CounterExample(
        rule="one cursor per run; a line beyond the next one is not taken until the gap is ingested",
        without={mutations.gap_is_filled_beside: "STORE!=JOURNAL"},
        steps=[
            ("start daemon",),
            ("start run",),
            ("freeze daemon",),
            ("emit", 0),
            ("emit", 0),
            ("thaw daemon",),
            ("wait", 200),  # until it has acked: an adapter that waited in vain waits for a word before it sends again
            ("emit", 0),
            ("end run", 0),
        ],
        config=Config(credit=1),
    ),
    "TAKEN": CounterExample(
        rule="the cursor counts what was taken (batched), not what was stored",
        without={mutations.gap_is_counted_from_stored: "REFUSED"},
        steps=[
            ("start daemon",),
            ("start run",),
            ("emit", 0),
            ("emit", 0),
            ("throw", 0, 1),
            ("emit", 0),
            ("emit", 0),
        ],
        config=Config(credit=2, tests=8, capacity=1 << 20),
    ),
    "WATCH": CounterExample(
        rule="the daemon compares the journal's end with the cursor by itself",
        without={mutations.nobody_watches: "STORE!=JOURNAL"},
        steps=[("start run",), ("start daemon",), ("wait", 60), ("emit", 0)],
    ),
    "LAST": CounterExample(
        rule="the final read comes after the process is known to be gone",
        without={mutations.verdict_before_the_last_read: "STORE!=JOURNAL"},
        steps=[("start run",), ("start daemon",), ("wait", 600), ("freeze daemon",), ("emit", 0), ("end run", 0)],
    ),
    "DEATH": CounterExample(
        rule="death is the end of the process; the end of the stream proves nothing",
        without={mutations.end_of_stream_is_death: "LIVE-DECLARED-DEAD"},
        steps=[("start daemon",), ("start run",), ("emit", 0), ("wait", 300), ("cut connection", 0), ("wait", 300)],
    ),
    "DEATH, with a child": CounterExample(
        rule="a forked child that holds the socket does not keep its run alive",
        without={mutations.death_waits_for_the_end_of_the_stream: "NO-VERDICT"},
        steps=[("start daemon",), ("start run",), ("emit", 0), ("fork", 0), ("kill run", 0)],
    ),
    "DEATH, pid reused": CounterExample(
        rule="a process is boot id, pid and start time: a pid alone is reused",
        without={mutations.pid_is_the_process: "NO-VERDICT"},
        steps=[("start run",), ("emit", 0), ("kill run", 0), ("reuse pid", 0)],
    ),
    "JSYNC": CounterExample(
        rule="the journal and its name are synced before the COMMIT",
        without={mutations.no_sync_before_the_commit: "STORE-AHEAD", mutations.name_is_not_synced: "STORE-AHEAD"},
        steps=[("start run",), ("emit", 0), ("start daemon",), ("wait", 600), ("power", 1)],
    ),
    "JSYNC, failed": CounterExample(
        rule="a sync that failed is not tried again: what it was to cover is written elsewhere",
        without={
            mutations.sync_is_tried_again: "STORE-AHEAD",
            mutations.daemon_writes_nothing_again: "STORE!=JOURNAL",
        },
        steps=[("start daemon",), ("start run",), ("daemon: no sync", 1), ("emit", 0), ("wait", 3000)],
    ),
    "JSYNC, stuck": CounterExample(
        rule="a run whose file cannot be synced delays no other",
        without={mutations.one_stuck_run_stops_all: "STORE!=JOURNAL"},
        steps=[
            ("start daemon",),
            ("start run",),
            ("start run",),
            ("stuck sync", 1),
            ("emit", 1),
            ("wait", 600),
            ("emit", 0),
        ],
        config=Config(runs=2),
    ),
    "CONT": CounterExample(
        rule="continuation files are one ordered journal, the first copy of a seq counts",
        without={
            mutations.first_file_only: "STORE!=JOURNAL",
            mutations.adapter_stays_in_a_file_that_failed: "STORE-AHEAD",
        },
        steps=[("start run",), ("no sync", 0, 1), ("emit", 0), ("wait", 300), ("emit", 0), ("emit", 0), ("end run", 0)],
    ),
    "CONT, after a power cut": CounterExample(
        rule="a run is found by any of its files: a power cut may leave the first one empty",
        without={mutations.first_file_only: "STORE!=JOURNAL"},
        steps=[
            ("start daemon",),
            ("start run",),
            ("daemon: no sync", 1),
            ("emit", 0),
            ("emit", 0),
            ("wait", 1500),
            ("power", 141607),
        ],
        config=Config(credit=2, capacity=300),
    ),
    "ERR": CounterExample(
        rule="after a failed COMMIT the batch is dropped and the cursor is what is stored: the commit may have been applied",
        without={mutations.batch_is_kept_after_a_failed_commit: "REFUSED"},
        steps=[("start run",), ("emit", 0), ("commit fails, applied",), ("start daemon",), ("wait", 3000), ("emit", 0)],
    ),
    "ERR, not applied": CounterExample(
        rule="after a failed COMMIT nothing of it is believed to be stored",
        without={mutations.failed_commit_is_forgotten: "ORDER/ONCE"},
        steps=[("start daemon",), ("start run",), ("commit fails",), ("emit", 0), ("wait", 3000), ("emit", 0)],
    ),
    "FRAME": CounterExample(
        rule="a partly sent frame is finished before any other, or the connection is closed",
        without={mutations.partly_sent_frame_is_dropped: "DAEMON"},
        steps=[("start daemon",), ("start run",), ("freeze daemon",), ("emit", 0), ("emit", 0), ("thaw daemon",)],
        config=Config(capacity=300),
    ),
    "ACKED": CounterExample(
        rule="what is acked already is not sent: no ack would come for it, and its credit would be gone",
        without={mutations.acked_line_is_sent: "NEVER-ACKED"},
        steps=[
            ("start daemon",),
            ("start run",),
            ("throw", 0, 1),
            ("emit", 0),
            ("throw", 0, 1),
            ("emit", 0),
            ("emit", 0),
            ("emit", 0),
        ],
        config=Config(credit=1, tests=8, capacity=700),
    ),
    "HOLE": CounterExample(
        rule="a line nobody can read is stored as a hole once a later line is there; never green",
        without={mutations.bad_line_is_skipped: "ORDER/ONCE", mutations.bad_line_stops_the_reading: "STORE!=JOURNAL"},
        steps=[("start run",), ("emit", 0), ("rot", 0, 5561), ("emit", 0)],
    ),
    "UNJ": CounterExample(
        rule="what the adapter cannot journal is sent marked; the daemon journals it before taking it",
        without={mutations.unjournaled_lines_are_just_taken: "STORE-AHEAD"},
        steps=[("start daemon",), ("start run",), ("no write", 0, 1), ("emit", 0), ("emit", 0), ("wait", 600)],
    ),
    "PEND": CounterExample(
        rule="a begun line is finished by the next emit; its seq is never reused",
        without={mutations.seq_of_a_begun_line_is_used_again: "RETURNED-NOT-JOURNALED"},
        steps=[("start run",), ("emit", 0), ("short write", 0, 53 * 8 + 3), ("emit", 0)],
    ),
    "PEND, interrupted": CounterExample(
        rule="an exception thrown into an emit behind its write leaves one line, not two",
        without={mutations.seq_of_a_begun_line_is_used_again: "JOURNAL"},
        steps=[("start run",), ("emit", 0), ("throw", 0, 1), ("emit", 0), ("emit", 0)],
    ),
}
"""By the model's name of the rule: its trace is the shortest one of the model, in the steps of the real parts."""

BROKEN: Final = [(name, mutation) for name, example in RULES.items() for mutation in example.without]


@pytest.mark.parametrize("name", RULES)
def test_the_trace_holds(name: str) -> None:
    run_trace(RULES[name].config, RULES[name].steps)


@pytest.mark.parametrize(("name", "mutation"), BROKEN, ids=[f"{name}-{mutation.__name__}" for name, mutation in BROKEN])
def test_without_its_rule_the_trace_breaks_its_condition(
    name: str, mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(Violation) as caught:
        run_trace(RULES[name].config, RULES[name].steps)
    assert caught.value.kind == RULES[name].without[mutation], RULES[name].rule


def test_an_observation_that_cannot_be_written_is_tried_again() -> None:
    run_trace(
        Config(),
        [
            ("start daemon",),
            ("start run",),
            ("emit", 0),
            ("wait", 300),
            ("daemon: no sync of observations", 1),
            ("kill run", 0),
            ("wait", 300),
        ],
    )


def test_an_unjournaled_line_on_its_way_when_the_process_ends_is_stored() -> None:
    run_trace(
        Config(capacity=1 << 20, batch=10_000),
        [
            ("start daemon",),
            ("start run",),
            ("short write", 0, 493),
            ("emit", 0),
            ("wait", 300),
            ("small receives", 7),
            ("emit", 0),
            ("kill run", 0),
        ],
    )

"""A run's journal as one sequence, however its lines are spread over files."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.scripted import case, flip_bit, made_state_dir, run_lines
from threepio_client.paths import StateDir
from threepio_client.runjournal import RunJournal, Step

LINES = run_lines("run", 20)


def read(state_dir: StateDir, *, final: bool = True) -> list[Step]:
    with closing(RunJournal(state_dir, "run")) as journal:
        journal.look()
        return list(journal.steps(0, final=final))


def seqs(steps: list[Step]) -> list[int | None]:
    return [step.event.seq if step.event is not None else None for step in steps]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.booleans()), min_size=1, max_size=5),
    st.integers(1, 4096),
)
def test_the_files_are_one_sequence_however_the_lines_are_spread(
    files: list[tuple[int, int, bool]], piece: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        state_dir = made_state_dir(Path(directory))
        upto = 0
        for number, (again, more, torn) in enumerate(files):
            begin, end = max(upto - again, 0), min(upto + more, len(LINES) - 1)
            header = LINES[:1] if number and begin else []
            state_dir.journal("run", number).write_bytes(
                b"".join([*header, *LINES[begin:end]]) + (LINES[end][:40] if torn else b"")
            )
            upto = end
        found: list[int] = []
        with closing(RunJournal(state_dir, "run")) as journal:
            journal.targets = journal.look()
            while journal.is_behind:
                steps, more_to_come = journal.read(len(found), final=True, size=piece)
                for step in steps:
                    assert step.event is not None
                    if step.event.seq > len(found):
                        assert step.event.seq == len(found) + 1
                        found.append(step.event.seq)
                    journal.offsets[step.file] = step.end
                if not more_to_come:
                    break
            assert journal.torn() == sum(40 for *_, torn in files if torn)

    assert found == list(range(1, upto + 1))


def test_a_line_that_no_file_has_leaves_a_gap(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    state_dir.journal("run").write_bytes(b"".join(LINES[:5]))
    state_dir.journal("run", 1).write_bytes(LINES[0] + b"".join(LINES[7:9]))

    assert seqs(read(state_dir)) == [1, 2, 3, 4, 5, 1, 8, 9]


def test_a_bad_last_line_is_judged_when_its_writer_is_gone(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    path = state_dir.journal("run")
    path.write_bytes(b"".join(LINES[:5]))
    flip_bit(path, path.stat().st_size - len(LINES[4]) + 9)

    assert seqs(read(state_dir, final=False)) == [1, 2, 3, 4]
    assert seqs(read(state_dir, final=True)) == [1, 2, 3, 4, None]


def test_a_line_that_is_written_while_the_files_are_read_is_no_gap(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    first, second = state_dir.journal("run"), state_dir.journal("run", 1)
    first.write_bytes(b"".join(LINES[:2]))
    second.write_bytes(LINES[0])
    with closing(RunJournal(state_dir, "run")) as journal:
        journal.look()
        steps = journal.steps(0, final=True)
        found = [next(steps) for _ in range(2)]
        with first.open("ab") as file:  # the first file is read to its end, and the second not yet
            file.write(LINES[2])
        with second.open("ab") as file:
            file.write(LINES[3])
        found += list(steps)

    assert [seq for seq in seqs(found) if seq != 1] == [2, 3, 4]


def test_who_says_how_far_reads_no_line_that_is_written_meanwhile(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    first = state_dir.journal("run")
    first.write_bytes(b"".join(LINES[:5]) + LINES[5][:30])
    with closing(RunJournal(state_dir, "run")) as journal:
        steps = journal.steps(0, final=True, until=journal.look())
        found = [next(steps)]
        with first.open("ab") as file:
            file.write(LINES[5][30:] + LINES[6])
        found += list(steps)

    assert seqs(found) == [1, 2, 3, 4, 5]


def test_only_lines_with_a_text_may_be_asked_for(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    name = "test_it.py::test_\u00e9[a\\b]"
    lines = [LINES[0], *(case(seq, name if seq % 3 == 0 else "test_it.py::test_b") for seq in range(2, 12))]
    state_dir.journal("run").write_bytes(b"".join(lines[:6]))
    state_dir.journal("run", 1).write_bytes(lines[0] + b"".join(lines[4:]))
    with closing(RunJournal(state_dir, "run")) as journal:
        journal.look()
        found = list(journal.steps(0, final=True, about=name))

    assert list(dict.fromkeys(seqs(found))) == [3, 6, 9]


def test_what_a_suite_does_to_the_names_loses_nothing_that_was_written(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    path = state_dir.journal("run")
    path.write_bytes(b"".join(LINES[:5]))
    with closing(RunJournal(state_dir, "run")) as journal:
        journal.look()
        with path.open("ab") as file:
            path.unlink()
            path.write_bytes(case(1, "somebody else's"))
            file.write(LINES[5])
        assert journal.look() == {0: sum(map(len, LINES[:6]))}
        assert seqs(list(journal.steps(0, final=True))) == [1, 2, 3, 4, 5, 6]


def test_closed_journals_leave_no_descriptor_open(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    for number in range(3):
        state_dir.journal("run", number).write_bytes(LINES[0])
    before = len(os.listdir("/proc/self/fd"))

    assert len(read(state_dir)) == 3

    assert len(os.listdir("/proc/self/fd")) == before


def with_a_gap(state_dir: StateDir, lines: list[bytes]) -> int:
    """Write a journal of which a sector in the middle is zeros; return where the first bad line begins."""
    data = bytearray(b"".join(lines))
    at = len(data) // 2
    data[at : at + 512] = bytes(512)
    state_dir.journal("run").write_bytes(data)
    return bytes(data[:at]).rfind(b"\n") + 1


def test_after_a_power_cut_reading_ends_where_a_block_is_missing(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    lines = run_lines("run", 20, exit_code=None)
    at = with_a_gap(state_dir, lines)

    *kept, last = read(state_dir)

    assert seqs(kept) == list(range(1, len(kept) + 1))
    assert sum(len(step.raw) + 1 for step in kept) == at
    assert last.is_cut_off
    assert last.end == state_dir.journal("run").stat().st_size
    assert f"{last.end - at} bytes" in last.reason
    assert seqs(read(state_dir, final=False)) == seqs(kept)  # its writer lives: judged when it is gone


def test_a_run_that_went_on_to_its_end_was_not_cut_off(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path)
    with_a_gap(state_dir, LINES)

    found = read(state_dir)

    assert seqs(found)[-1] == len(LINES)
    assert None in seqs(found)
    assert not any(step.is_cut_off for step in found)

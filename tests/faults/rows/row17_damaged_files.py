"""Row 17: bits of a journal flipped and pages of the store overwritten. Neither is ever taken for right."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.row import Result, Scale
from tests.place import Place
from tests.scripted import case, made_state_dir, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.errors import ThreepioError
from threepio_client.line import Event, decode
from threepio_client.paths import StateDir
from threepio_client.runstate import RunState, State
from threepio_client.verification import verify_run
from threepiod.rebuild import rebuild

FAULT = "every bit of a 200-event journal flipped; pages of the store overwritten"
PASSES_WHEN = "journal: always detected; store: an error or right, and `rebuild` gives it back"

EVENTS = 200
PAGE = 4096
SHORT_BITS, SHORT_VERIFIED, LONG_VERIFIED = 2_000, 40, 5_000
SHORT_STORES, LONG_STORES = 4, 500
RUNS = 12


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Flip bits and overwrite pages."""
    rng = random.Random(seed)
    is_long = scale is Scale.LONG
    failures: list[str] = []
    journal = _flip_bits(place, rng, is_long, failures)
    store = _overwrite_pages(place, rng, LONG_STORES if is_long else SHORT_STORES, failures)
    return Result(figures=f"{journal}; {store}", failures=tuple(f"seed {seed}: {text}" for text in failures[:5]))


def _flip_bits(place: Place, rng: random.Random, is_long: bool, failures: list[str]) -> str:
    state_dir = made_state_dir(place.path / "bits")
    path = write_journal(state_dir, "run", run_lines("run", EVENTS - 3))
    rebuild(state_dir)
    good = path.read_bytes()
    bits = list(range(len(good) * 8))
    if not is_long:
        bits = sorted(rng.sample(bits, SHORT_BITS))
    verified = set(rng.sample(bits, min(LONG_VERIFIED if is_long else SHORT_VERIFIED, len(bits))))
    ends = [0, *(at + 1 for at, byte in enumerate(good) if byte == 10)]
    lines = [good[a:b] for a, b in pairwise(ends)]
    line_of = [number for number, line in enumerate(lines) for _ in line]
    unseen = 0
    for bit in bits:
        number = line_of[bit // 8]
        # What a flip changes is its own line, or - a newline that is gone - that and the next one.
        if _is_green([*lines[:number], _flipped(lines[number], bit - ends[number] * 8), *lines[number + 1 :]], number):
            unseen += 1
            failures.append(f"bit {bit} of the journal flipped, and the reducer says passed")
        if bit in verified:
            path.write_bytes(_flipped(good, bit))
            if verify_run(Archive(state_dir), "run")["whole"]:
                unseen += 1
                failures.append(f"bit {bit} of the journal flipped, and verify says whole")
    return f"{len(bits):,} of {len(good) * 8:,} bits flipped, {len(verified):,} of them verified: {unseen} not detected"


def _is_green(lines: list[bytes], number: int) -> bool:
    """Return whether the reducer calls these lines passed; those before line `number` - 1 are known to be good."""
    state = RunState()
    for raw in b"".join(lines).split(b"\n")[:-1] if number < 2 else _tail_of(lines, number, state):
        try:
            state.fold(decode(raw))
        except Exception as error:
            if type(error).__name__ != "BadLine":
                raise
            state.fold_bad_line()
    return state.verdict().state is State.PASSED


def _tail_of(lines: list[bytes], number: int, state: RunState) -> list[bytes]:
    for line in lines[: number - 1]:
        state.fold(_decoded(line))
    return b"".join(lines[number - 1 :]).split(b"\n")[:-1]


_known: dict[bytes, Event] = {}


def _decoded(line: bytes) -> Event:
    if line not in _known:
        _known[line] = decode(line[:-1])
    return _known[line]


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _overwrite_pages(place: Place, rng: random.Random, stores: int, failures: list[str]) -> str:
    state_dir = made_state_dir(place.path / "pages")
    for number in range(RUNS):
        lines = run_lines(f"run-{number}", 40)
        lines[5] = case(6, "test_it.py::test_fails", "FAIL", error={"message": "m" * rng.randrange(3_000)})
        write_journal(state_dir, f"run-{number}", lines)
    rebuild(state_dir)
    good = state_dir.store.read_bytes()
    expected = _answers(state_dir)
    errors = right = found = 0
    for trial in range(stores):
        data = bytearray(good)
        for page in rng.sample(range(len(good) // PAGE), rng.randrange(1, 6)):
            at, size = page * PAGE, rng.choice((1, 16, 512, PAGE))
            at += rng.randrange(PAGE - size + 1)
            data[at : at + size] = bytes(size) if rng.random() < 0.3 else rng.randbytes(size)
        _replace(state_dir.store, bytes(data))
        archive = Archive(state_dir)
        for number in range(RUNS):
            try:
                answer = _answer(archive, f"run-{number}")
                whole = verify_run(archive, f"run-{number}")["whole"]
            except ThreepioError:
                errors += 1
                continue
            if answer == expected[number]:
                right += 1
            elif whole:
                failures.append(f"store {trial}: run-{number} is answered otherwise, and verify says whole")
            else:
                found += 1
        rebuild(state_dir)
        for kept in state_dir.path.glob("store-*"):
            kept.unlink()
        with closing(sqlite3.connect(state_dir.store)) as db:
            verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok" or [answer for answer in _answers(state_dir) if answer not in expected]:
            failures.append(f"store {trial}: rebuild did not give it back ({verdict})")
    return (
        f"{stores:,} stores with 1 to 5 pages overwritten, {stores * RUNS:,} answers: {right:,} right, {errors:,} errors, "
        f"{found:,} wrong and found by verify, the rest {len(failures)}; all rebuilt"
    )


def _answers(state_dir: StateDir) -> list[tuple[Any, ...]]:
    archive = Archive(state_dir)
    return [_answer(archive, f"run-{number}") for number in range(RUNS)]


def _answer(archive: Archive, run_id: str) -> tuple[Any, ...]:
    view = archive.view(run_id)
    bad = [(item["nodeid"], item["seq"], item["status"], item["error"]) for item in archive.bad_results(run_id)]
    return view["state"], view["counts"], view["verdict"], bad


def _replace(path: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)

"""Adapter: what a runner's plugin calls. `emit()` writes an event to the journal, then sends it, or spills.

Nothing here raises for a full disk, a slow or absent daemon, or anything else that is not the caller's mistake: it is
counted, said once, and visible in the run's own statistics.
"""

from __future__ import annotations

import os
from _thread import RLock
from contextlib import suppress
from itertools import islice
from math import inf
from pathlib import Path
from typing import Final

from threepio_client import clock, process
from threepio_client.errors import NoDaemon, SettingsError
from threepio_client.events import SCHEMA_VERSION, EventType, ObservationType, Payload
from threepio_client.files import open_own
from threepio_client.forks import forget_in_children
from threepio_client.journal import JournalError, append_observation
from threepio_client.line import encode_payload, plain_text, seal
from threepio_client.link import Budget, Link
from threepio_client.newfiles import make_first_file, make_next_file
from threepio_client.nowpage import NoPage, NowPage, tell_end
from threepio_client.paths import make_private_dir, new_run_id
from threepio_client.settings import Mode, Settings, check_socket_path
from threepio_client.syncing import Syncing

REQUIRED_PATIENCE_S: Final = 10.0
"""How long THREEPIO=require waits for a daemon that is being started, beside the budget: systemd starts one for the first
connection, and the other way out is that no test runs."""
AUTOSTART_PATIENCE_S: Final = 10.0
"""How long a session waits for the daemon that THREEPIO_AUTOSTART starts: about half a second on a machine that works."""
RECONNECT_EVERY_S: Final = 1.0
NEXT_FILE_EVERY_S: Final = 1.0
"""How often another file is tried where the journal cannot be written."""
STATS_EVERY_EVENTS: Final = 1_000
STATS_EVERY_S: Final = 10.0

# Bound once: a test may replace what `os` holds while we run.
_getpid: Final = os.getpid
_write: Final = os.write
_close: Final = os.close
_WALL_AT_ZERO: Final = clock.WALL_AT_ZERO


class Adapter:
    """One run's way out of the tested process.

    Attributes:
        run_id: the run's id.
        journal_path: the run's journal.
        now: the now page.
        warnings: the runner's count of warnings, kept here by its plugin and reported with the statistics.
        complaints: what went wrong, each said once, for the end of the run.
        mask: what hides secrets in events; None where no setting asks for it.
    """

    def __init__(self, settings: Settings, start: Payload) -> None:
        """Make the journal and the now page, write runStart, connect if a daemon listens.

        Args:
            settings: as read at the process's start; `mode` must not be off.
            start: the runner's part of runStart: `runner`, `argv`, `rootdir` ...

        Raises:
            NoPlace: the journal cannot be made where the settings want it.
            NoDaemon: a daemon is required, and there is none.
            SettingsError: the run id is taken too often, or a daemon is required and the socket's path is too long.
        """
        self._settings = settings
        self.mask = settings.make_mask()
        self._owner = _getpid()  # the process whose run it is; 0 when it is over
        # Tests report from threads of their own, too. A thread may have it twice: statistics are an event within another.
        self._lock = RLock()
        self._state_dir = settings.places
        self._process = process.current()
        self._producer_id = os.urandom(8).hex()
        self._budget = Budget(settings.block_s, settings.block_total_s)
        self._link: Link | None = None
        self._said: set[str] = set()
        self._emitted = self._syncs = self._write_failures = self._spilled = self._connections = 0
        self._unjournaled = self._unjournaled_to = 0
        self._next_file_at = 0.0
        self._stuck = ""
        self._retry_at = 0.0  # not before this is it tried again to connect
        self._trouble = ""
        self._syncing = Syncing(settings.sync)
        self._sync_at = 0.0
        self._stats_at_seq = STATS_EVERY_EVENTS
        self._stats_at = clock.monotonic() + STATS_EVERY_S
        self.warnings = 0
        self.complaints: list[str] = []
        self._last_error: Payload | None = None
        for directory in (self._state_dir.path, self._state_dir.journals, self._state_dir.logs):
            make_private_dir(directory)
        # Set by `threepio run`.
        command_id, command_cwd = (os.environ.get(f"THREEPIO_COMMAND_{name}", "") for name in ("ID", "CWD"))
        wanted = settings.run_id or new_run_id()
        taken: set[str] = set()
        self._open(wanted, taken)
        while self._connect_first():  # the daemon has a run of this id whose journal is gone
            taken.add(self.run_id)
            self._take_back_files()
            self._open(wanted, taken)
        # Of a command that begins several runs, the later ones cannot have the id that it was given.
        if self.run_id != wanted and not command_id:
            self.complain(f"the run id {wanted} is taken already: this run is {self.run_id}")
        forget_in_children(self)
        for name in () if self.mask is None else self.mask.too_short:
            self.complain(
                f"the value of {name} is not masked: it has under 4 characters, and would be found everywhere"
            )
        self.emit(
            EventType.RUN_START,
            {
                "schemaVersion": SCHEMA_VERSION,
                "runId": self.run_id,
                "producerId": self._producer_id,
                "process": self._process.to_payload(),
                "commandId": command_id,
                **({"commandCwd": plain_text(command_cwd)} if command_cwd else {}),
                **start,
            },
        )

    @property
    def now_path(self) -> Path:
        """The now page's file, for workers that write slots of their own."""
        return self._state_dir.now_page(self.run_id)

    @property
    def is_connected(self) -> bool:
        """Whether a daemon takes this run's events now."""
        return self._link is not None and self._link.is_open

    @property
    def is_journal_removed(self) -> bool:
        """Whether the suite removed the journal's file: what was not stored by then is nowhere."""
        return self._journal.is_removed

    def emit(self, event_type: str, payload: Payload) -> None:
        """Write one event to the journal, then send it or spill it.

        When this returns, the event is in the journal, or it is counted as lost. It may wait for a slow daemon, within
        the budget. In a forked child it does nothing: the run belongs to its parent.
        """
        body = encode_payload(payload if self.mask is None else self.mask.payload(payload))
        self.emit_encoded(event_type, body, clock.monotonic())

    def emit_encoded(self, event_type: str, body: str, now: float, can_wait: bool = False) -> None:
        """Do as `emit` does with a payload that is JSON already, by `line.py`.

        Args:
            event_type: an `EventType`.
            body: the payload.
            now: `clock.monotonic`, of which the event's timestamp is made.
            can_wait: whether nobody misses it if it is sent with the events after it (`Link.offer`).
        """
        if _getpid() != self._owner:
            return
        with self._lock:
            if not self._owner:  # another thread wrote the end meanwhile
                return
            self._emitted += 1
            try:
                seq, line = self._journal.append(event_type, body, _WALL_AT_ZERO + now)
            except JournalError as error:
                found = self._append_elsewhere(error, event_type, body, _WALL_AT_ZERO + now)
                if found is None:
                    return
                seq, line = found
            self.now.set_seq(seq)
            link = self._link
            if (link is None or not link.is_alive) and now >= self._retry_at:
                link = self._connect(now)
            if link is not None:
                link.offer(self._journal.number, self._journal.end, seq, line, now, can_wait=can_wait)
                if link.trouble and "connection" not in self._said:
                    self._complain_of(link)
            if now >= self._sync_at:
                self._sync_if_due(now)
            if seq >= self._stats_at_seq or now >= self._stats_at:
                self._emit_stats(event_type, seq, now)

    def stats(self) -> Payload:
        """Return what adapterStats and runComplete carry; times in milliseconds."""
        acked = self._link.acked if self._link is not None else 0
        return {
            "written": self._journal.seq,
            "writeFailures": self._write_failures,
            "unjournaled": self._unjournaled,
            # A begun line is not lost: nothing can be written, this statement included, before it is finished.
            "eventsLost": self._emitted
            - self._journal.seq
            - (self._journal.begun is not None)
            + (0 if self.is_connected else self._not_taken()),
            "syncs": self._syncs,
            "synced": max(self._syncing.seq, acked),
            "spilled": self._spilled_in_all(),
            "acked": acked,
            "connections": self._connections,
            "blockedMs": round(self._budget.blocked * 1000, 3),
            "reopened": self._journal.reopened,
            "warnings": self.warnings,
            "lastError": self._last_error,
        }

    def close(self, complete: Payload) -> bool:
        """Write runComplete, sync, say BYE; return whether the daemon has stored all of the run.

        Args:
            complete: the runner's part of runComplete: `exitCode`, `totals`, `stopped`.
        """
        if _getpid() != self._owner:
            return False
        with self._lock:
            stats = self.stats()
            self.emit(EventType.RUN_COMPLETE, {**complete, "stats": stats})
            self._owner = 0
        stored = False
        self._sync()
        if self._link is not None:
            stored = self._link.finish(self._journal.seq)
            if self._link.trouble and not stored:
                self._complain_of(self._link)
        if self._not_taken():
            self.complain(
                f"{self._not_taken()} events that could not be journaled were sent, and nobody says that they are stored"
            )
        lost = int(self.stats()["eventsLost"]) + (self._journal.begun is not None)
        if lost > int(stats["eventsLost"]):  # the end too, with its statistics: nobody else can tell
            self.complain(f"{lost} events were lost, because nothing could be written", key="lost")
        if self._journal.damage:
            self.complain(self._journal.damage)
        if self._journal.reopened:
            self.complain(
                f"the suite closed the journal's descriptor; it was opened again {self._journal.reopened} times"
            )
        if self._connections and not stored:
            self.complain(
                f"threepiod was slow or away: {self._spilled_in_all()} events were spilled; what it lacks it takes from the "
                "journal"
            )
        self._journal.close()
        self.now.close()
        return stored

    def end(self, exit_code: int | None) -> None:
        """State that the session has ended; in a forked child nothing.

        Args:
            exit_code: with what code, where that is another one than runComplete has; else None.

        Raises:
            OSError: it cannot be written.
        """
        if _getpid() != self._process.pid:
            return
        if exit_code is not None:
            payload = {"exitCode": exit_code}
            append_observation(self._state_dir.observed(self.run_id), ObservationType.RUNNER_END, payload, clock.wall())
        with suppress(FileNotFoundError):  # there is no page: it could not be made, or the suite removed it
            tell_end(self.now_path)

    def complain(self, text: str, key: str = "") -> None:
        """Keep a complaint for the end of the run and write it to the adapter's log, once for each `key`."""
        if (key or text) in self._said:
            return
        if self.mask is not None:
            text = self.mask.hide(text)
        self._said.add(key or text)
        self.complaints.append(text)
        now = clock.wall()
        self._last_error = {"time": round(now, 3), "text": plain_text(text)}
        line = f"{now:.3f} run {self.run_id} pid {self._process.pid}: {plain_text(text)}\n"
        try:
            fd = open_own(self._state_dir.adapter_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                _write(fd, line.encode())
            finally:
                _close(fd)
        except OSError as error:
            self.complaints.append(f"cannot write {self._state_dir.adapter_log}: {error.strerror}")

    def forget(self) -> None:
        """In a forked child: let go of the socket, so that the daemon sees the end of the stream when the parent ends."""
        self._owner = 0
        if self._link is not None:
            self._link.close()

    def _open(self, wanted: str, taken: set[str]) -> None:
        """Make journal and now page under the id that is wanted, or the next one that is free and not taken."""
        started = clock.monotonic()
        self.run_id, self._journal, trouble = make_first_file(self._state_dir, wanted, taken)
        self._syncing.stretch(clock.monotonic() - started)  # its directory was synced
        self.journal_path: Path = self._journal.path
        if trouble:
            self._write_failures += 1
            self.complain(trouble)
        self.now: NowPage = self._make_now_page()

    def _append_elsewhere(
        self, error: JournalError, event_type: str, body: str, timestamp: float
    ) -> tuple[int, bytes] | None:
        """Append a line that the journal's file does not take to the next file; where there is none, send it unjournaled.

        Returns:
            The line and its seq if it is journaled, as `JournalWriter.append` does; None if it went another way.
        """
        self._write_failures += 1
        old, begun = self._journal, self._journal.begun
        self._go_on(error)
        if self._journal is not old:
            if begun is not None and error.is_begun:
                return self._journal.seq, begun
            try:
                return self._journal.append(event_type, body, timestamp)
            except JournalError as again:
                error = again
        journal, link, now = self._journal, self._link, clock.monotonic()
        if (link is None or not link.is_alive) and now >= self._retry_at:
            link = self._connect(now)
        # The begun line, which may be an earlier one, and then the one that was to follow it.
        waiting = [] if journal.begun is None else [journal.begun]
        if not error.is_begun:
            waiting.append(seal(journal.seq + 1 + len(waiting), event_type, body, timestamp))
        for line in waiting:
            if link is None or not link.offer_unjournaled(journal.seq + 1, line):
                break
            journal.leave_at(journal.seq + 1)
            self._unjournaled += 1
            self._unjournaled_to = journal.seq
        else:
            self.complain(
                f"{error}{self._stuck}. Events are sent to threepiod instead, which journals them", key="unjournaled"
            )
            return None
        self.complain(
            f"{error}{self._stuck}. Events are being lost, so this run can never be called green", key="journal"
        )
        return None

    def _go_on(self, error: JournalError) -> None:
        """Go on in the next file of the journal, at most one try in NEXT_FILE_EVERY_S; `_stuck` says why it is not possible.

        Not before the daemon has all that was sent unjournaled: a later line would make these look like a hole.
        """
        now = clock.monotonic()
        if self._link is not None:
            self._link.hear()
        if now < self._next_file_at or (self._not_taken() and self.is_connected):
            return
        old = self._journal
        again: list[bytes] = []
        with suppress(JournalError):  # then what was not synced is written again
            if not old.is_poisoned:
                old.sync()
        try:
            if old.is_poisoned:
                again = [line for seq, line in old.read_back(self._syncing.end) if seq > 1]
            header = [line for seq, line in islice(old.read_back(0), 1) if seq == 1]
            begun = [old.begun] if old.begun is not None else []
            journal = make_next_file(self._state_dir, self.run_id, [*header, *again, *begun])
        except (JournalError, OSError) as trouble:
            self._next_file_at = now + NEXT_FILE_EVERY_S
            self._stuck = f"; and the journal cannot go on in another file: {trouble}"
            return
        self._stuck = ""
        self._syncs += 1
        journal.start_at(old.seq + len(begun))
        journal.reopened, journal.damage = old.reopened, old.damage
        old.close()
        self._journal = journal
        self._syncing.go_on(journal.seq, journal.end)
        self.complain(f"{error}. The journal goes on in other files, the first of them {journal.path}", key="next file")

    def _complain_of(self, link: Link) -> None:
        self.complain(f"the connection to threepiod ended: {link.trouble}", key="connection")

    def _not_taken(self) -> int:
        """Return how many of the events that were sent unjournaled are not known to be stored."""
        acked = self._link.acked if self._link is not None else 0
        return min(max(self._unjournaled_to - acked, 0), self._unjournaled)

    def _spilled_in_all(self) -> int:
        return self._journal.seq if self._link is None else self._spilled + self._link.spilled

    def _make_now_page(self) -> NowPage:
        path = self._state_dir.now_page(self.run_id)
        try:
            path.unlink(missing_ok=True)  # a run's page whose journal was removed
            if self.mask is not None:
                from threepio_client.masking import MaskedPage

                return MaskedPage(path, 0, self.mask, create=True)
            return NowPage(path, 0, create=True)
        except OSError as error:
            self.complain(f"no now page, so nobody can see which test is in flight: {error.strerror or error}")
            return NoPage()

    def _connect_first(self) -> bool:
        """Connect if a daemon listens; return whether it has another run of this id."""
        required = self._settings.mode is Mode.REQUIRE
        try:
            check_socket_path(self._settings.socket)
            link = self._connect(clock.monotonic())
            if link is None and self._settings.autostart:
                link = self._start_daemon()
            patience_s = REQUIRED_PATIENCE_S if required else None
            if link is not None and not link.wait_for_welcome(patience_s) and link.trouble:
                if link.is_taken:
                    self._link, self._retry_at = None, 0.0
                    return True
                self.complain(f"journal only: {link.trouble}", key="connection")
            if required and not self.is_connected:
                trouble = self._trouble if link is None else link.trouble or "it does not answer"
                raise NoDaemon(
                    f"THREEPIO=require, and no daemon at {self._settings.socket}: {trouble}. Start it with: threepiod start"
                )
        except (SettingsError, NoDaemon) as error:
            if required:
                self._discard()
                raise
            self.complain(f"journal only: {error}")
            self._retry_at = inf
        return False

    def _start_daemon(self) -> Link | None:
        """Start a daemon and connect; return the link if that worked."""
        from threepio_client.autostart import start_daemon  # brings subprocess, and only where it is asked for

        trouble = start_daemon(self._settings, AUTOSTART_PATIENCE_S)
        if trouble:
            self.complain(f"no daemon could be started, as THREEPIO_AUTOSTART=1 asks: {trouble}")
            return None
        return self._connect(clock.monotonic())

    def _discard(self) -> None:
        """Take back the files of a run that is not to be."""
        self._owner = 0
        if self._link is not None:
            self._link.close()
        self._take_back_files()

    def _take_back_files(self) -> None:
        self._journal.close()
        self.now.close()
        for path in (self.journal_path, self.now_path):
            path.unlink(missing_ok=True)

    def _connect(self, now: float) -> Link | None:
        """Try to connect, without waiting; return the link if that worked. In RECONNECT_EVERY_S it may be tried again."""
        old = self._link
        if old is not None and old.refused:
            return None
        self._retry_at = now + RECONNECT_EVERY_S
        link = Link(self._settings.socket, self._budget, self._settings.event_buffer_size)
        if not link.connect(self.run_id, self._producer_id, self._process, self.journal_path):
            self._trouble = link.trouble
            return None
        if old is not None:
            link.acked = old.acked
            self._spilled += old.spilled
        else:
            self._spilled = max(self._journal.seq - 1, 0)  # the last line is offered
        self._connections += 1
        self._link = link
        return link

    def _emit_stats(self, event_type: str, seq: int, now: float) -> None:
        if event_type == EventType.RUN_COMPLETE:  # nothing follows it, and it has statistics of its own
            return
        self._stats_at_seq = seq + STATS_EVERY_EVENTS
        self._stats_at = now + STATS_EVERY_S
        if self._link is not None:
            self._syncing.note_acked(self._link.acked, self._journal.seq, self._journal.end)
        self.emit(EventType.ADAPTER_STATS, self.stats())

    def _sync_if_due(self, now: float) -> None:
        """Sync, unless the daemon does or it is too early; note when to look again."""
        self._sync_at = self._syncing.due_at(now, self._journal.seq, self._link)
        if now >= self._sync_at:
            self._sync()

    def _sync(self) -> None:
        start = clock.monotonic()
        was_poisoned = self._journal.is_poisoned
        try:
            self._journal.sync()
            self._syncs += 1
            self._syncing.cover(self._journal.seq, self._journal.end)
        except JournalError as error:
            self._write_failures += not was_poisoned
            self._go_on(error)
            if self._stuck:
                self.complain(f"{error}{self._stuck}. What is not synced may be lost in a power cut", key="sync")
        self._sync_at = self._syncing.over(start)

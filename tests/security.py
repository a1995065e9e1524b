"""`python -m tests.security`: take each check of docs/security.md out of a copy of the code, and see its test fail.

Exit code 0 if every test goes red without its check, 1 if one stays green.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

PROJECT: Final = Path(__file__).parent.parent
COPIED: Final = ("client", "pytest_plugin", "threepiod", "tests", "docs", "systemd", "pyproject.toml", "README.md")
TEST_S: Final = 300.0


class Check(NamedTuple):
    """A check of the security page.

    Attributes:
        what: what it keeps away, as the page says it.
        file: where it stands, below the project's directory.
        text: the code that is it.
        without: the same without the check.
        test: what goes red then.
    """

    what: str
    file: str
    text: str
    without: str
    test: str


CHECKS: Final = (
    # Directories and files
    Check(
        "a directory of another user is not used",
        "client/threepio_client/paths.py",
        "if found.st_uid != os.getuid() and not shared_but_sticky:",
        "if False:",
        "tests/client/test_paths.py::test_a_directory_of_somebody_else_is_refused",
    ),
    Check(
        "nor one into which others may write",
        "client/threepio_client/paths.py",
        "if found.st_mode & 0o022 and not shared_but_sticky:",
        "if False:",
        "tests/client/test_paths.py::test_a_directory_that_others_may_write_to_is_refused",
    ),
    Check(
        "nor a link in its place",
        "client/threepio_client/paths.py",
        "found = path.lstat()\n    except OSError as error:",
        "found = path.stat()\n    except OSError as error:",
        "tests/client/test_paths.py::test_a_file_or_a_link_is_no_directory",
    ),
    Check(
        "directories are made 0700",
        "client/threepio_client/paths.py",
        "_make_dir(made, 0o700 if made == path else 0o777)",
        "_make_dir(made, 0o777)",
        "tests/client/test_paths.py::test_a_directory_is_made_private_with_its_parents",
    ),
    Check(
        "a journal is new, 0600, and not made through a link",
        "client/threepio_client/journal.py",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)",
        "os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)",
        "tests/client/test_journal.py::test_the_file_is_private_and_new",
    ),
    Check(
        "no journal, observation, log or output file is read or written through a link",
        "client/threepio_client/files.py",
        "flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)",
        "flags | os.O_CLOEXEC, 0o600)",
        "tests/client/test_journal.py::test_a_link_is_not_read",
    ),
    Check(
        "nor one that another user made",
        "client/threepio_client/files.py",
        "if found.st_uid != _getuid():",
        "if False:",
        "tests/threepiod/test_planted.py",
    ),
    Check(
        "nor is a store of another user, or one behind a link, by the daemon",
        "threepiod/store.py",
        "if why := foreign(path):",
        'if why := "":',
        "tests/threepiod/test_planted.py::test_a_store_is_neither_written_nor_read",
    ),
    Check(
        "and by the commands",
        "client/threepio_client/archive.py",
        "if why := foreign(path):",
        'if why := "":',
        "tests/threepiod/test_planted.py::test_a_store_is_neither_written_nor_read",
    ),
    Check(
        "a now page is new, 0600, and not made through a link",
        "client/threepio_client/nowpage.py",
        "os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)",
        "os.O_CLOEXEC | (os.O_CREAT if create else 0)",
        "tests/client/test_nowpage.py::test_the_file_is_private_and_new",
    ),
    Check(
        "a lock is not taken through a link",
        "threepiod/listener.py",
        "os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)",
        "tests/threepiod/test_listener.py::test_a_lock_is_not_taken_through_a_link",
    ),
    Check(
        "all that the daemon makes is 0600",
        "threepiod/lifecycle.py",
        "os.umask(0o077)",
        "os.umask(0o022)",
        "tests/threepiod/test_lifecycle.py::test_everything_that_a_daemon_makes_is_private",
    ),
    Check(
        "a configuration file of another user is not used",
        "client/threepio_client/configfile.py",
        "if found.st_uid not in (0, os.getuid()):",
        "if False:",
        "tests/client/test_configfile.py::test_a_file_that_cannot_be_read_at_all",
    ),
    Check(
        "nor one into which anybody may write",
        "client/threepio_client/configfile.py",
        "if found.st_mode & stat.S_IWOTH:",
        "if False:",
        "tests/client/test_configfile.py::test_a_file_that_cannot_be_read_at_all",
    ),
    # The socket
    Check(
        "the socket is 0600",
        "threepiod/listener.py",
        "old = os.umask(0o177)",
        "old = os.umask(0o022)",
        "tests/threepiod/test_listener.py::test_a_socket_is_made_for_its_user_only",
    ),
    Check(
        "a socket at which somebody listens is not taken over",
        "threepiod/listener.py",
        '    raise SocketTaken(f"another program listens at',
        '    path.unlink()\n    return\n    raise SocketTaken(f"another program listens at',
        "tests/threepiod/test_listener.py::test_a_live_socket_is_never_stolen",
    ),
    Check(
        "what is no socket is not removed for it",
        "threepiod/listener.py",
        "if not stat.S_ISSOCK(mode):",
        "if False:",
        "tests/threepiod/test_listener.py::test_what_is_no_socket_is_refused_and_left_as_it_is",
    ),
    Check(
        "a path that the kernel would cut is refused",
        "client/threepio_client/settings.py",
        "if size > SOCKET_PATH_LIMIT:",
        "if False:",
        "tests/threepiod/test_listener.py::test_a_path_that_the_system_cannot_hold_is_refused_with_its_length",
    ),
    Check(
        "the daemon hears no other user",
        "threepiod/connection.py",
        "if uid != os.getuid():",
        "if False:",
        "tests/threepiod/test_connection.py::test_another_user_hears_not_a_byte",
    ),
    Check(
        "an adapter tells no other user's daemon a byte",
        "client/threepio_client/link.py",
        "if uid != _getuid():",
        "if False:",
        "tests/client/test_link.py::test_a_process_of_another_user_is_not_talked_to",
    ),
    Check(
        "nor does a command",
        "client/threepio_client/query.py",
        "if peer_uid(sock) != os.getuid():",
        "if False:",
        "tests/faults/test_rows.py::test_row_holds[19]",
    ),
    Check(
        "one daemon a state directory",
        "threepiod/listener.py",
        "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/threepiod/test_listener.py::test_a_lock_is_held_by_one_and_names_it",
    ),
    # What comes over it
    Check(
        "the length of a frame is looked at before its body comes",
        "client/threepio_client/wire.py",
        "if length > self.limit:",
        "if False:",
        "tests/client/test_wire.py::test_a_length_over_the_limit_is_refused_before_the_body_comes",
    ),
    Check(
        "a body takes memory by its size, not by what it claims",
        "client/threepio_client/wire.py",
        "            _check_shape(body)\n",
        "            pass\n",
        "tests/client/test_wire.py::test_a_frame_takes_no_more_memory_than_a_few_of_its_size",
    ),
    Check(
        "extension types are refused",
        "client/threepio_client/wire.py",
        "            max_ext_len=0,\n            ext_hook=_refuse_extension,\n",
        "",
        "tests/client/test_wire.py::test_a_body_that_is_no_message_is_refused",
    ),
    Check(
        "fields have their types",
        "client/threepio_client/protocol.py",
        "if type(value) is not wanted or (type(value) is int and value < 0):",
        "if False:",
        "tests/client/test_protocol.py::test_a_missing_or_wrong_field_is_refused",
    ),
    Check(
        "who says nothing is let go",
        "threepiod/admission.py",
        "deadline=trio.current_time() + HELLO_TIMEOUT_S",
        "",
        "tests/threepiod/test_connection.py::test_a_client_that_says_nothing_is_let_go",
    ),
    Check(
        "so many may be connected and no more",
        "threepiod/admission.py",
        "if self._guests[role] >= most:",
        "if False:",
        "tests/threepiod/test_connection.py::test_who_is_one_too_many_is_told_so_and_may_come_later",
    ),
    Check(
        "a journal is of the daemon's own state directory",
        "threepiod/daemon.py",
        "if Path(hello.place).parent not in (self._state_dir.journals, self._state_dir.spare):",
        "if False:",
        "tests/threepiod/test_connection.py::test_a_run_of_another_state_directory_is_refused",
    ),
    # Names and texts
    Check(
        "a run id is a name of a file and nothing else",
        "client/threepio_client/settings.py",
        "if not RUN_ID.fullmatch(text) or text in",
        "if text in",
        "tests/client/test_settings.py::test_a_bad_value_is_named_with_what_is_allowed",
    ),
    Check(
        "no directory of a report tree is a link",
        "client/threepio_client/report/tree.py",
        "fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)",
        "fd = os.open(name, _DIRECTORY, dir_fd=parent)",
        "tests/report/test_tree.py::test_a_link_in_the_place_of_a_directory_is_not_followed",
    ),
    Check(
        "nor another user's",
        "client/threepio_client/report/tree.py",
        "if owner != os.getuid():",
        "if False:",
        "tests/report/test_tree.py::test_a_directory_of_somebody_else_is_refused",
    ),
    Check(
        "no page of it lies outside of its run's folder",
        "client/threepio_client/report/tree.py",
        'part if _PLAIN.fullmatch(part) and not part.endswith(".md") else _marked(part) for part in',
        "part for part in",
        "tests/report/test_tree.py::test_no_two_groups_share_a_page_and_none_lies_outside",
    ),
    Check(
        "no text of a test ends the block of Markdown that it is in",
        "client/threepio_client/report/texts.py",
        'fence = "```" if "`" not in shown or "```" not in shown else "`" * (_longest_run_of_ticks(shown) + 1)',
        'fence = "```"',
        "tests/report/test_markdown.py::test_what_a_test_says_is_shown_and_does_nothing",
    ),
    Check(
        "no text acts on a terminal",
        "client/threepio_client/printable.py",
        "if text.isascii() and text.isprintable():",
        "if True:",
        "tests/cli/test_hostile_names.py::test_what_goes_into_a_pipe",
    ),
    Check(
        "no name acts on the store",
        "client/threepio_client/results.py",
        '("AND t.nodeid = ?", (nodeid,))',
        """(f"AND t.nodeid = '{nodeid}'", ())""",
        "tests/cli/test_hostile_names.py::test_what_goes_into_a_pipe",
    ),
    Check(
        "a line has an end",
        "client/threepio_client/line.py",
        "    if len(text) <= limit:\n        return text\n    mark",
        "    if True:\n        return text\n    mark",
        "tests/client/test_line.py::test_clip_keeps_both_ends_within_the_limit",
    ),
    Check(
        "no name that a shell acts on is offered to complete",
        "client/threepio_client/cli/completion.py",
        "if _PLAIN_NODEID.fullmatch(name)]",
        "]",
        "tests/cli/test_completion.py::test_no_test_is_offered_whose_name_a_shell_could_act_on",
    ),
    # Secrets
    Check(
        "secrets are masked in every text of an event",
        "client/threepio_client/adapter.py",
        "payload if self.mask is None else self.mask.payload(payload)",
        "payload",
        "tests/client/test_masking.py::test_nothing_that_is_kept_of_a_run_has_the_secret",
    ),
    Check(
        "in the now page",
        "client/threepio_client/masking.py",
        "super().set(self._mask.hide(text),",
        "super().set(text,",
        "tests/client/test_masking.py::test_the_now_page_is_masked",
    ),
    Check(
        "before a text is cut",
        "client/threepio_client/masking.py",
        "return clip(self.hide(text), limit)",
        "return self.hide(clip(text, limit))",
        "tests/client/test_masking.py::test_a_text_is_masked_before_it_is_cut",
    ),
    Check(
        "in the output of a command",
        "client/threepio_client/cli/run.py",
        "        mask_output(found, state_dir.output(run_id))\n",
        "        pass\n",
        "tests/client/test_masking.py::test_the_output_of_a_command_is_masked_when_it_has_ended",
    ),
)


def table() -> str:
    """Return the page's table."""
    rows = [f"| {check.what} | `{check.file}` | `{check.test}` |" for check in CHECKS]
    return "\n".join(["| check | where | test |", "|---|---|---|", *rows, ""])


def is_found_out(check: Check, copy: Path) -> bool:
    """Take a check out of a copy of the project and return whether its test goes red; the copy is mended after."""
    path = copy / check.file
    whole = path.read_text()
    if whole.count(check.text) != 1:
        raise SystemExit(f"tests.security: {check.file} has {whole.count(check.text)} times: {check.text}")
    path.write_text(whole.replace(check.text, check.without))
    try:
        return not passes(check.test, copy)
    finally:
        path.write_text(whole)


def passes(test: str, copy: Path) -> bool:
    """Return whether a test of the copy passes with the copy's own code."""
    places = (copy / "client", copy / "pytest_plugin", copy)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TEST_S,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"tests.security: {test} cannot be run:\n{done.stdout}")
    return done.returncode == 0


def main() -> int:
    """Try every check."""
    argparse.ArgumentParser(prog="python -m tests.security", description=__doc__).parse_args()
    green = 0
    with tempfile.TemporaryDirectory(prefix="3p-") as directory:
        copy = Path(directory)
        for name in COPIED:
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        for test in sorted({check.test for check in CHECKS}):
            if not passes(test, copy):
                raise SystemExit(f"tests.security: {test} fails with every check in its place")
        for check in CHECKS:
            start = time.monotonic()
            red = is_found_out(check, copy)
            green += not red
            word = "red" if red else "STILL GREEN"
            print(f"{word:<11} {time.monotonic() - start:5.1f} s  {check.what}: {check.test}", flush=True)
    print(f"{len(CHECKS)} checks taken out, {green} not noticed")
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main())

"""The configuration file as a user meets it: in a suite, in commands, in the daemon, and in `threepiod config`."""

from __future__ import annotations

import json

from docs import make_configuration
from tests.commands import Result, call_threepiod
from tests.place import Place
from threepio_client.settings import SETTINGS, config_path

BROKEN = "block_mss = 1\nblock_ms = -1\nrun_idd = 'x'\nstacks = true\n"


def config(place: Place, *arguments: str, **environ: str) -> Result:
    return call_threepiod(place, "config", *arguments, **environ)


def test_a_suite_goes_on_with_what_is_valid_and_says_once_what_is_not(place: Place) -> None:
    place.suite("def test_one(): pass")
    path = place.configure(BROKEN)

    done = place.pytest("-W", "error", THREEPIO_RUN_ID="run")

    assert (done.returncode, done.stderr) == (0, "")
    told = [line for line in done.stdout.splitlines() if str(path) in line]
    assert [line.split(": ")[1].removeprefix(f"{path}, ") for line in told] == ["line 1", "line 2", "line 3"]
    assert "the nearest is 'block_ms' (the tests go on without it)" in told[0]
    assert place.status("run")["state"] == "passed"


def test_workers_say_nothing_of_it_and_take_what_is_valid(place: Place) -> None:
    place.suite("import signal\ndef test_one(): assert signal.getsignal(signal.SIGRTMIN + 11) != signal.SIG_DFL")
    place.configure("sync =\n")

    done = place.pytest("-n", "1")

    assert done.returncode == 1  # without the file there are no stacks
    assert (done.stdout + done.stderr).count("is no TOML") == 1
    place.configure(BROKEN)
    done = place.pytest("-n", "1")
    assert done.returncode == 0, done.stdout
    assert (done.stdout + done.stderr).count("line 2") == 1


def test_where_it_is_off_nothing_is_said(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.configure(BROKEN)
    assert "config.toml" not in place.pytest(THREEPIO="off").stdout

    place.configure("mode = 'off'\nblock_ms = -1")
    assert "threepio:" not in place.pytest().stdout
    assert not place.state_dir.path.exists()


def test_a_command_says_once_what_is_wrong_and_answers(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.configure(BROKEN)

    done = place.threepio("run", "--", *place.python, "-m", "pytest", THREEPIO_RUN_ID="run")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("block_ms = -1") == 2  # the daemon's own reason is the other
    assert "going on without a daemon: " in done.stderr
    asked = place.threepio("status", "run")
    assert asked.stdout.startswith("run run: passed")
    assert asked.stderr.count("(going on without it)") == 3


def test_the_daemon_does_not_start_with_a_value_that_it_cannot_use(place: Place) -> None:
    path = place.configure("keep_days = '1 year'")
    done = place.threepiod("start")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"threepiod: {path}, line 1: keep_days = '1 year': must be a number of days, more than 0, or inf\n"
    )
    assert place.command("threepiod.lifecycle").returncode == 2
    assert not place.state_dir.path.exists()


def test_the_daemon_starts_with_a_key_that_it_does_not_know_and_logs_it(place: Place) -> None:
    place.configure("keep_dayz = 1")

    done = place.threepiod("start")

    assert done.returncode == 0
    assert "there is no setting 'keep_dayz': the nearest is 'keep_days'" in done.stderr
    assert "passed over: " in place.state_dir.daemon_log.read_text()
    place.configure("keep_days = 0")
    assert place.threepiod("restart").returncode == 2
    assert place.threepiod("status").returncode == 0  # the old one still runs
    assert place.threepiod("stop").returncode == 0


def test_config_prints_every_setting_and_its_source(place: Place) -> None:
    path = place.configure("block_ms = 500")

    done = config(place, THREEPIO_SYNC="always")
    answer = json.loads(config(place, "--json", THREEPIO_SYNC="always").stdout)

    assert (done.exit_code, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"configuration file: {path}"
    assert [line.split()[0] for line in lines] == [setting.key for setting in SETTINGS]
    assert f"state_dir          {place.state_dir.path}  (THREEPIO_STATE_DIR)" in lines
    assert "sync               always  (THREEPIO_SYNC)" in lines
    assert f"block_ms           500  ({path})" in lines
    assert "keep_days          90  (default)" in lines
    assert {one["key"]: one["source"] for one in answer["settings"]}["block_ms"] == "file"
    assert (answer["file"], answer["file_is_there"], answer["problems"]) == (str(path), True, [])


def test_config_works_with_a_broken_file_and_says_what_is_wrong(place: Place) -> None:
    assert "(not there)" in config(place).stdout
    place.configure("sync")
    done = config(place)

    assert done.exit_code == 2
    assert "is no TOML, so none of it is used" in done.stderr
    assert "sync               group  (default)" in done.stdout
    shown = json.loads(config(place, "--json", THREEPIO_BLOCK_MS="-1").stdout)
    assert [text.split(" must ")[0] for text in shown["problems"]][-1] == "THREEPIO_BLOCK_MS='-1':"
    assert len(shown["problems"]) == 2


def test_the_reference_of_the_settings_is_fresh() -> None:
    assert make_configuration.PATH.read_text() == make_configuration.text(), "run: python -m docs.make_configuration"


def test_the_tests_do_not_read_the_users_own_file(place: Place) -> None:
    assert config_path(place.environ).is_relative_to(place.path)

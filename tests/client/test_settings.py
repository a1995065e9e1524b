"""The settings: where each comes from, and that a bad value is named with what is allowed."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from threepio_client import settings
from threepio_client.errors import NoPlace, SettingsError
from threepio_client.settings import (
    INI_SETTINGS,
    SOCKET_PATH_LIMIT,
    Mode,
    SyncPolicy,
    check_socket_path,
    load,
    load_daemons,
    mode_of,
)


@pytest.fixture(autouse=True)
def _no_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_defaults() -> None:
    found = load({})

    assert (found.mode, found.sync, found.run_id, found.nested) == (Mode.AUTO, SyncPolicy.GROUP, None, False)
    assert (found.event_buffer_size, found.block_s, found.block_total_s) == (10_000, 0.25, 2.0)
    assert found.socket.is_absolute()
    assert found.state_dir.is_absolute()
    assert found.socket.name == "threepiod.sock"
    assert found.state_dir.name == "threepiod"


def test_the_default_socket_needs_no_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        assert load({}).socket.name == "threepiod.sock"

    assert caught == []


def test_the_environment_is_used() -> None:
    found = load(
        {
            "THREEPIO": "require",
            "THREEPIO_SOCKET": "/run/s",
            "THREEPIO_STATE_DIR": "/var/state",
            "THREEPIO_RUN_ID": "nightly-7",
            "THREEPIO_SYNC": "always",
            "THREEPIO_EVENT_BUFFER_SIZE": "5",
            "THREEPIO_BLOCK_MS": "1500",
            "THREEPIO_BLOCK_TOTAL_MS": "inf",
            "THREEPIO_NESTED": "1",
        }
    )

    assert found == settings.Settings(
        mode=Mode.REQUIRE,
        socket=Path("/run/s"),
        state_dir=Path("/var/state"),
        run_id="nightly-7",
        sync=SyncPolicy.ALWAYS,
        event_buffer_size=5,
        block_s=1.5,
        block_total_s=math.inf,
        nested=True,
    )


def test_the_process_s_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEPIO_RUN_ID", "mine")

    assert load().run_id == "mine"


def test_the_environment_comes_before_the_ini_file_and_an_empty_value_is_none() -> None:
    ini = {"threepio_block_ms": "10", "threepio": "off", "threepio_sync": ""}

    assert load({}, ini).block_s == 0.01
    assert load({}, ini).mode is Mode.OFF
    assert load({}, ini).sync is SyncPolicy.GROUP
    assert load({"THREEPIO_BLOCK_MS": "20", "THREEPIO": ""}, ini).block_s == 0.02
    assert load({"THREEPIO_BLOCK_MS": "20", "THREEPIO": ""}, ini).mode is Mode.OFF


BAD = {
    "THREEPIO": (["on", "1", "auto "], "auto, require, off"),
    "THREEPIO_SYNC": (["never", "fsync"], "group, always, exit"),
    "THREEPIO_RUN_ID": (
        ["a/b", "..", ".", "latest", "a b", "x" * 65, "ä", "a\n", "nightly.observed", ".observed"],
        "1 to 64 of A-Z a-z 0-9",
    ),
    "THREEPIO_EVENT_BUFFER_SIZE": (
        ["0", "-1", "1.5", "ten", "1e3", "10000001", "٣", "9" * 5000],
        "whole number from 1",
    ),
    "THREEPIO_BLOCK_MS": (["-1", "nan", "soon", "-inf"], "milliseconds"),
    "THREEPIO_BLOCK_TOTAL_MS": (["-0.001", "nan", "1,5"], "milliseconds"),
    "THREEPIO_NESTED": (["yes", "true", "2"], "0 or 1"),
    "THREEPIO_STACKS": (["on", "-1"], "0 or 1"),
    "THREEPIO_AUTOSTART": (["yes", "2"], "0 or 1"),
    "THREEPIO_MASK_ENV": (["A B;C", "a-b", "*", "**?"], "variables"),
    "THREEPIO_MASK": (["(", "a*", "good\n[", "x|"], "must be regular expressions"),
    "THREEPIO_SOCKET": (["/run/a\0b"], "NUL"),
    "THREEPIO_STATE_DIR": (["/var/a\0b"], "NUL"),
}
CASES = [(name, value, allowed) for name, (values, allowed) in BAD.items() for value in values]


@pytest.mark.parametrize(("name", "value", "allowed"), CASES, ids=lambda text: ascii(text)[:40])
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: ")
    assert allowed in str(caught.value)
    assert caught.value.exit_code == 2

    with pytest.raises(SettingsError) as caught:
        load({}, {name.lower(): value})
    assert str(caught.value).startswith(f"{name.lower()} (ini option)={value!r}: ")


def test_every_setting_is_checked() -> None:
    assert set(BAD) == {setting.name for setting in INI_SETTINGS}


@pytest.mark.parametrize("value", ["Auto", "REQUIRE", "off"])
def test_words_may_be_written_in_capitals(value: str) -> None:
    assert load({"THREEPIO": value}).mode.value == value.lower()


@pytest.mark.parametrize("value", ["a", "A-Z_0.9", "x" * 64, "observed", "..."])
def test_good_run_ids(value: str) -> None:
    assert load({"THREEPIO_RUN_ID": value}).run_id == value


def test_paths_are_made_absolute_and_links_stay_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert load({"THREEPIO_STATE_DIR": "link/../state"}).state_dir == tmp_path / "state"
    assert load({"THREEPIO_STATE_DIR": "link"}).state_dir == tmp_path / "link"
    assert load({"THREEPIO_SOCKET": "~/s"}).socket == Path("/home/somebody/s")


def no_home(*_: object, **__: object) -> Path:
    raise RuntimeError("could not determine the home directory")


def not_expanded(*_: object, **__: object) -> Path:
    return Path("~/.local/state/threepiod")


@pytest.mark.parametrize("answer", [no_home, not_expanded], ids=["platformdirs 4.9", "platformdirs 4.0"])
def test_without_a_home_directory_it_is_said_what_to_set(
    answer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_state_path", answer)

    with pytest.raises(NoPlace, match="set THREEPIO_STATE_DIR"):
        load({})
    assert load({"THREEPIO_STATE_DIR": "/there"}).state_dir == Path("/there")
    assert mode_of({"THREEPIO": "off"}, {}) is Mode.OFF
    assert mode_of({}, {"threepio": "require"}) is Mode.REQUIRE


def test_a_home_directory_that_is_not_there_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match="there is none"):
        load({"THREEPIO_STATE_DIR": "~nobody-has-this-name/state"})


def test_a_socket_path_is_as_long_as_the_system_allows(tmp_path: Path) -> None:
    base = "/" + "s" * (SOCKET_PATH_LIMIT - 1)
    check_socket_path(Path(base))

    with pytest.raises(SettingsError, match=f"has {SOCKET_PATH_LIMIT + 1} bytes.*THREEPIO_SOCKET"):
        check_socket_path(Path(base + "s"))
    with pytest.raises(SettingsError, match="bytes"):
        check_socket_path(Path("/" + "ä" * 60))  # bytes count, not characters
    with pytest.raises(SettingsError, match="bytes"):
        check_socket_path(Path("/" + os.fsdecode(b"\xff") * 110))


TIMES = [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2", 2.0), ("inf", math.inf), ("", None)]


@pytest.mark.parametrize(("text", "seconds"), TIMES)
def test_how_long_an_idle_daemon_stays(text: str, seconds: float | None) -> None:
    assert load_daemons({"THREEPIO_IDLE_EXIT": text}).idle_exit_s == seconds


@pytest.mark.parametrize("text", ["0", "0.5s", "-1", "soon", "1w", "\u0661s", "9" * 40])
def test_a_bad_time_for_an_idle_daemon(text: str) -> None:
    with pytest.raises(SettingsError, match=r"THREEPIO_IDLE_EXIT=.*must be a time"):
        load_daemons({"THREEPIO_IDLE_EXIT": text})

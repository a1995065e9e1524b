"""The configuration file: what is valid of it counts, what is not is named with file, line and what is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_config_path

from tests.place import Place
from threepio_client import settings
from threepio_client.configfile import FILE_LIMIT, Problem, read
from threepio_client.errors import SettingsError
from threepio_client.settings import (
    BY_KEY,
    SETTINGS,
    DaemonSettings,
    Mode,
    SyncPolicy,
    config_path,
    explain,
    load,
    load_daemons,
)

EVERY = """
mode = "off"
state_dir = "/var/state"
"socket" = "~/s"
sync = "exit"
event_buffer_size = 5
block_ms = 0.5
block_total_ms = inf
keep_days = 2
nested = true
stacks = false
autostart = true
idle_exit = "30m"
reports = "/var/reports"
mask_env = ["*_TOKEN", "DB_PASSWORD"]
mask = '''
sk-[a-z]+
[0-9]{16}
'''
"""


def test_every_setting_but_the_run_id_can_stand_in_the_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    environ = {"XDG_CONFIG_HOME": place.environ["XDG_CONFIG_HOME"]}
    path = place.configure(EVERY)

    found = load(environ)

    assert found == settings.Settings(
        mode=Mode.OFF,
        socket=Path("/home/somebody/s"),
        state_dir=Path("/var/state"),
        run_id=None,
        sync=SyncPolicy.EXIT,
        event_buffer_size=5,
        block_s=0.0005,
        block_total_s=float("inf"),
        nested=True,
        stacks=False,
        autostart=True,
        mask_env=("*_TOKEN", "DB_PASSWORD"),
        mask=("sk-[a-z]+", "[0-9]{16}"),
    )
    assert load_daemons(environ) == DaemonSettings(2 * 86_400, 1800.0, Path("/var/reports"))
    assert set(read(path)[0]) == set(BY_KEY) - {"run_id"}


def test_environment_and_ini_option_come_before_the_file(place: Place) -> None:
    place.configure("block_ms = 3000\nsync = 'exit'\nnested = true")
    environ = {**place.environ, "THREEPIO_BLOCK_MS": "1000"}

    found = load(environ, {"threepio_block_ms": "2000", "threepio_sync": "always"})

    assert (found.block_s, found.sync, found.nested) == (1.0, SyncPolicy.ALWAYS, True)


@pytest.mark.parametrize("environ", [{}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "/etc/mine"}], ids=str)
def test_the_file_is_where_platformdirs_says(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert config_path() == config_path(environ) == user_config_path("threepiod", appauthor=False) / "config.toml"


def test_only_a_file_that_is_there_costs_anything(place: Place) -> None:
    code = "import sys; from threepio_client import settings; settings.load(); print('tomllib' in sys.modules)"

    def has_tomllib() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=place.environ, capture_output=True, text=True, check=True).stdout

    assert has_tomllib() == "False\n"
    place.configure("")
    assert has_tomllib() == "True\n"


BAD = {
    "mode = 'on'": "mode = 'on': must be one of auto, require, off",
    "mode = true": "mode = true: must be one of auto, require, off",
    "state_dir = 'results'": "state_dir = 'results': must be an absolute path, or one that begins with ~/",
    "state_dir = '~root/x'": "must be an absolute path, or one that begins with ~/",
    "state_dir = true": "state_dir = true: must be an absolute path",
    "socket = 7": "socket = 7: must be an absolute path",
    "sync = 1979-05-27": "must be a text, a number, or true or false",
    "event_buffer_size = 1.5": "event_buffer_size = 1.5: must be a whole number from 1 to 10000000",
    "block_ms = [250]": "block_ms = [250]: must be a text, a number, or true or false",
    "block_total_ms = nan": "must be a number of milliseconds",
    "keep_days = 0": "keep_days = 0: must be a number of days, more than 0, or inf",
    "nested = 'yes'": "nested = 'yes': must be 0 or 1, in the configuration file also true or false",
    "stacks = ''": "stacks = '': is empty: remove the line for the default",
    "run_id = 'mine'": "run_id = 'mine': each run has its own, so it cannot stand here: set THREEPIO_RUN_ID",
    "sync = '" + "x" * 1000 + "'": "...: must be one of group, always, exit",
}


@pytest.mark.parametrize(("line", "said"), BAD.items(), ids=lambda text: text[:40])
def test_a_bad_value_is_named_with_its_line_and_the_rest_counts(place: Place, line: str, said: str) -> None:
    good = "block_ms = 1" if not line.startswith("block_ms") else "nested = true"
    path = place.configure(f"# mine\n\n{line}\n{good}\n")

    values, problems = read(path)

    assert list(values) == [good.partition(" ")[0]]
    ((text, is_unknown_key),) = problems
    assert text.startswith(f"{path}, line 3: ")
    assert text.endswith(said) or said in text
    assert len(text) < len(str(path)) + 300
    assert not is_unknown_key
    with pytest.raises(SettingsError) as caught:
        load(place.environ)
    assert str(caught.value) == text


UNKNOWN = {
    "block_mss = 1": "there is no setting 'block_mss': the nearest is 'block_ms'",
    "THREEPIO_SYNC = 'exit'": "there is no setting 'THREEPIO_SYNC': the nearest is 'sync'",
    "threepio = 'off'": "there is no setting 'threepio': the nearest is 'mode'",
    "keep-days = 3": "there is no setting 'keep-days': the nearest is 'keep_days'",
    "[stack]\nx = 1": "there is no setting 'stack': the nearest is 'stacks'",
    "colour = 1": "there is no setting 'colour': there are mode, state_dir, ",
    "dir.state = 1": "there is no setting 'dir': there are ",
}


@pytest.mark.parametrize(("line", "said"), UNKNOWN.items(), ids=lambda text: text[:30])
def test_an_unknown_key_is_named_with_the_nearest_known_one_and_is_no_error(place: Place, line: str, said: str) -> None:
    path = place.configure(f"block_ms = 1000\n{line}\n")
    problems: list[Problem] = []

    assert load(place.environ).block_s == load(place.environ, problems=problems).block_s == 1.0

    ((text, is_unknown_key),) = problems
    assert text.startswith(f"{path}, line 2: {said}")
    assert is_unknown_key


def test_a_file_that_cannot_be_read_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        values, problems = read(path)
        assert values == {}
        ((text, is_unknown_key),) = problems
        assert str(path) in text
        assert not is_unknown_key
        return text

    path = place.configure("block_ms = 1\nblock_total_ms =\n")
    assert "is no TOML, so none of it is used: Invalid value (at line 2, column 17)" in said()
    place.configure(b"sync = '\xff'")
    assert "is no UTF-8 at byte 8" in said()
    place.configure("a = " + "[" * 30_000)
    assert "nested too deeply" in said()
    place.configure("# " + "x" * FILE_LIMIT)
    assert f"over {FILE_LIMIT} bytes" in said()
    place.configure("block_ms = " + "1" * 5000)
    assert "cannot be used: " in said()
    place.configure("block_ms = 1")
    path.chmod(0o602)
    assert "anybody may write to it: chmod o-w it" in said()
    path.chmod(0o600)
    if os.geteuid() == 0:  # root's own would be good for anybody
        os.chown(path, 65534, 65534)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        assert "belongs to uid" in said()
    path.unlink()
    os.mkfifo(path)
    assert "it is no file" in said()
    path.unlink()
    path.mkdir()
    assert "cannot be used: " in said()
    path.rmdir()
    path.symlink_to("nowhere")
    assert "No such file" in said()


def test_each_setting_is_explained_by_where_it_comes_from(place: Place) -> None:
    place.configure("block_ms = 1\nsync = 'exit'\nkeep_days = 0\nstate_dirs = '/x'")
    environ = {**place.environ, "THREEPIO_SYNC": "always", "THREEPIO_NESTED": "maybe", "THREEPIO_SOCKET": ""}

    told, problems = explain(environ)

    assert [one.setting for one in told] == list(SETTINGS)
    by_key = {one.setting.key: (one.text, one.origin) for one in told}
    assert by_key["sync"] == ("always", "environment")
    assert by_key["block_ms"] == ("1", "file")
    assert by_key["keep_days"] == ("90", "default")
    assert by_key["nested"] == ("0", "default")
    assert by_key["state_dir"] == (str(place.state_dir.path), "environment")
    assert by_key["run_id"] == ("", "default")
    assert by_key["socket"] == (str(load(environ={**environ, "THREEPIO_NESTED": ""}, problems=[]).socket), "default")
    assert [text for text, _ in problems if "keep_days" in text]
    assert [text for text, _ in problems if "state_dirs" in text]
    assert [text for text, _ in problems if text.startswith("THREEPIO_NESTED='maybe': ")]
    assert len(problems) == 3


def test_every_default_can_be_written() -> None:
    for setting in SETTINGS:
        assert bool(setting.default) != bool(setting.default_text), setting.name
        assert not setting.default or setting.parse(setting.default) is not None

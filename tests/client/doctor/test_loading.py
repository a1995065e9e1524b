"""Which ini file pytest takes, and what in it keeps the plugin out: compared with pytest itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from _pytest.config.findpaths import locate_config

from threepio_client.doctor import loading
from threepio_client.settings import SETTINGS, Explained, Mode

AUTO = Explained(SETTINGS[0], Mode.AUTO, "auto", "default")
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return to_file


def problems(cwd: Path, environ: Mapping[str, str] = {}, mode: Explained = AUTO) -> list[str]:
    return [one.text for one in loading.check(mode, environ, cwd) if one.state == "problem"]


OUT = "-p no:threepio"
TAKEN = {
    "pytest.ini": f"[pytest]\naddopts = -q {OUT}",
    ".pytest.ini": f"[pytest]\naddopts = -q\n  {OUT}",
    "pyproject.toml": f'[tool.pytest.ini_options]\naddopts = "{OUT}"',
    "tox.ini": f"[pytest]\naddopts = {OUT}",
    "setup.cfg": f"[tool:pytest]\naddopts = {OUT}",
}
NOT_TAKEN = {
    "pyproject.toml": '[tool.ruff]\naddopts = "-p no:threepio"',
    "tox.ini": f"[testenv]\naddopts = {OUT}",
    "setup.cfg": f"[metadata]\naddopts = {OUT}",
}


@pytest.mark.parametrize("name", TAKEN)
def test_an_ini_file_that_pytest_takes(write: Write, tmp_path: Path, name: str) -> None:
    path = write(name, TAKEN[name])

    assert problems(tmp_path) == [f"-p no:threepio in addopts of {path} keeps the plugin out"]
    assert problems(tmp_path / "tests" / "unit") == problems(tmp_path)  # found from below, too
    assert locate_config(tmp_path, [tmp_path])[1] == path


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_file_of_others(write: Write, tmp_path: Path, name: str) -> None:
    write(name, NOT_TAKEN[name])

    assert problems(tmp_path) == []


def test_the_first_one_counts(write: Write, tmp_path: Path) -> None:
    write("setup.cfg", TAKEN["setup.cfg"])
    write("pytest.ini", "")  # pytest takes it even so

    assert problems(tmp_path) == []
    assert str(locate_config(tmp_path, [tmp_path])[1]).endswith("pytest.ini")


def test_the_native_form_of_pytest_9(write: Write, tmp_path: Path) -> None:
    write("pyproject.toml", '[tool.pytest]\naddopts = ["-p", "no:threepio"]\nthreepio = "off"')
    assert len(problems(tmp_path)) == 2
    write("pytest.toml", '[pytest]\naddopts = ["-q"]')
    assert problems(tmp_path) == []


@pytest.mark.parametrize("broken", ["[pytest", "[pytest]\naddopts = '-p no:threepio", "[pytest]\naddopts = %(x)s"])
def test_a_file_that_cannot_be_read_is_pytests_to_complain_of(write: Write, tmp_path: Path, broken: str) -> None:
    write("pytest.ini", broken)

    assert problems(tmp_path, {"PYTEST_ADDOPTS": "'"}) in (
        [],
        [f"-p no:threepio in addopts of {tmp_path}/pytest.ini keeps the plugin out"],
    )


@pytest.mark.parametrize(
    ("environ", "is_loaded"),
    [
        ({}, False),
        ({"PYTEST_ADDOPTS": "-p threepio"}, True),
        ({"PYTEST_ADDOPTS": "-ppytest_threepio.plugin"}, True),
        ({"PYTEST_ADDOPTS": "-p other"}, False),
        ({"PYTEST_PLUGINS": "a,pytest_threepio.plugin"}, True),
    ],
    ids=str,
)
def test_without_autoload_the_plugin_has_to_be_asked_for(
    tmp_path: Path, environ: dict[str, str], is_loaded: bool
) -> None:
    found = problems(tmp_path, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ})
    by_option = {**environ, "PYTEST_ADDOPTS": f"--disable-plugin-autoload {environ.get('PYTEST_ADDOPTS', '')}"}

    assert bool(found) is bool(problems(tmp_path, by_option)) is not is_loaded


@pytest.mark.parametrize("name", ["threepio_state_dir", "threepio_socket"])
def test_where_results_are_is_no_ini_option_of_the_commands(write: Write, tmp_path: Path, name: str) -> None:
    write("pytest.ini", f"[pytest]\n{name} = results")

    assert problems(tmp_path) == [
        f"{name} in {tmp_path}/pytest.ini is read by pytest alone: commands and daemon look elsewhere"
    ]
    assert problems(tmp_path, {name.upper(): "results"}) == []


def test_the_environment_comes_before_the_ini_file(write: Write, tmp_path: Path) -> None:
    write("pytest.ini", "[pytest]\nthreepio = off")

    assert len(problems(tmp_path)) == 1
    assert problems(tmp_path, {}, Explained(SETTINGS[0], Mode.AUTO, "auto", "environment")) == []

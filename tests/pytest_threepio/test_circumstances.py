"""How and where a session was started."""

from __future__ import annotations

import sys

import pytest

from pytest_threepio.circumstances import ci_marks, command_of, plugins_of


@pytest.mark.parametrize(
    ("environ", "marks"),
    [
        ({}, {}),
        ({"CI": "false"}, {}),
        ({"CI": "true"}, {"name": "unknown"}),
        (
            {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_JOB": "tests"},
            {"name": "github-actions", "build": "7", "job": "tests"},
        ),
        ({"JENKINS_URL": "http://j", "BUILD_URL": "http://j/1"}, {"name": "jenkins", "url": "http://j/1"}),
        ({"CODEBUILD_BUILD_ID": "a:b", "": "nothing"}, {"name": "codebuild"}),
    ],
)
def test_the_marks_of_a_ci_system(environ: dict[str, str], marks: dict[str, str]) -> None:
    assert {name: value for name, value in ci_marks(environ).items() if value != "nothing"} == marks


MODULE = [sys.executable, "-m", "pytest"]


@pytest.mark.parametrize(
    ("orig_argv", "arguments", "command"),
    [
        (["python", "-m", "pytest", "-q", "tests"], 2, MODULE),
        (["python", "-X", "dev", "-m", "pytest"], 0, [sys.executable, "-X", "dev", "-m", "pytest"]),
        (["python", "/venv/bin/pytest", "-q"], 1, [sys.executable, "/venv/bin/pytest"]),
        (["python", "runner.py", "-q"], 1, MODULE),
        (["python", "-c", "import pytest; pytest.main(['-q'])"], 1, MODULE),
        (["python"], 3, MODULE),
        ([], 0, MODULE),
    ],
)
def test_the_command_that_was_given_the_arguments(orig_argv: list[str], arguments: int, command: list[str]) -> None:
    assert command_of(orig_argv, arguments) == command


def test_the_plugins_are_named_as_pytest_names_them(pytestconfig: pytest.Config) -> None:
    found = pytestconfig.pluginmanager.list_plugin_distinfo()

    assert plugins_of(found) == sorted({f"{dist.project_name}-{dist.version}" for _, dist in found})
    assert any(name.startswith("pytest-xdist-") for name in plugins_of(found))


def test_a_plugin_of_the_old_kind_is_named_too() -> None:
    class Egg:
        project_name, version = "egg", "1"

        def read_text(self, name: str) -> str | None:
            return None

    assert plugins_of([(object(), Egg())]) == ["egg-1"]

"""How and where a session was started: the command before pytest's arguments, its plugins, the marks of a CI system."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class _System(NamedTuple):
    """A CI system: the variable that it sets for every job, and those that name the build, the job and its page."""

    name: str
    mark: str
    build: str
    job: str
    url: str


_SYSTEMS: Final = (
    _System("github-actions", "GITHUB_ACTIONS", "GITHUB_RUN_ID", "GITHUB_JOB", ""),
    _System("gitlab-ci", "GITLAB_CI", "CI_PIPELINE_ID", "CI_JOB_NAME", "CI_JOB_URL"),
    _System("buildkite", "BUILDKITE", "BUILDKITE_BUILD_NUMBER", "BUILDKITE_LABEL", "BUILDKITE_BUILD_URL"),
    _System("circleci", "CIRCLECI", "CIRCLE_BUILD_NUM", "CIRCLE_JOB", "CIRCLE_BUILD_URL"),
    _System("azure-pipelines", "TF_BUILD", "BUILD_BUILDID", "AGENT_JOBNAME", ""),
    _System("jenkins", "JENKINS_URL", "BUILD_NUMBER", "JOB_NAME", "BUILD_URL"),
    _System("teamcity", "TEAMCITY_VERSION", "BUILD_NUMBER", "TEAMCITY_BUILDCONF_NAME", ""),
    _System("travis", "TRAVIS", "TRAVIS_BUILD_NUMBER", "TRAVIS_JOB_NAME", "TRAVIS_JOB_WEB_URL"),
    _System("appveyor", "APPVEYOR", "APPVEYOR_BUILD_NUMBER", "APPVEYOR_JOB_NAME", ""),
    _System("bitbucket", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_STEP_UUID", ""),
    _System("drone", "DRONE", "DRONE_BUILD_NUMBER", "DRONE_STEP_NAME", "DRONE_BUILD_LINK"),
    _System("codebuild", "CODEBUILD_BUILD_ID", "CODEBUILD_BUILD_NUMBER", "", "CODEBUILD_PUBLIC_BUILD_URL"),
)


def ci_marks(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `name`, `build`, `job` and `url` as far as the CI system tells them; empty outside of one."""
    for system in _SYSTEMS:
        if environ.get(system.mark):
            values = {
                "build": environ.get(system.build),
                "job": environ.get(system.job),
                "url": environ.get(system.url),
            }
            return {"name": system.name, **{name: value for name, value in values.items() if value}}
    return {"name": "unknown"} if environ.get("CI", "").lower() in {"1", "true"} else {}


def command_of(orig_argv: list[str], arguments: int) -> list[str]:
    """Return how this pytest was called, without its arguments; `python -m pytest` where a program of its own calls it.

    Args:
        orig_argv: sys.orig_argv: the interpreter, its options, and what it ran.
        arguments: how many arguments pytest got.
    """
    head = orig_argv[: len(orig_argv) - arguments]
    if len(head) < 2 or os.path.basename(head[-1]) not in {"pytest", "py.test"}:
        return [sys.executable, "-m", "pytest"]
    if head[-2] != "-m":
        head[-1] = os.path.abspath(head[-1])  # a script
    return [sys.executable, *head[1:]]


def plugins_of(distributions: list[tuple[Any, Any]]) -> list[str]:
    """Return name and version of the distributions that brought plugins, as `name-version`.

    Args:
        distributions: what `PluginManager.list_plugin_distinfo` returns. Each of their attributes has the whole of the
            metadata parsed as a message, with a README in it: milliseconds before the first test.
    """
    found = set()
    for _, dist in distributions:
        head = (dist.read_text("METADATA") or "").partition("\n\n")[0]
        fields = dict(re.findall(r"^(Name|Version): *(.+)$", head, re.MULTILINE))
        if len(fields) < 2:
            fields = {"Name": dist.project_name, "Version": dist.version}
        found.add(f"{fields['Name']}-{fields['Version']}".strip())
    return sorted(found)

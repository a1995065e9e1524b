"""`questions`: its limits hold, the modes must agree, and its table has every answer."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.questions import CPU_LIMIT_S, LINES_LIMIT, MODES, Asked, checks_of, questions, render
from threepio_client.cli.app import COMMANDS


def asked(question: str = "status", mode: str = MODES[0], **more: Any) -> Asked:
    usual: dict[str, Any] = {"exit_code": 0, "lines": 5, "cpu_s": [0.1, 0.2, 9.0], "wall_s": [0.3], "said": ""}
    return Asked(question=question, mode=mode, **(usual | more))


def broken(*found: Asked) -> list[str]:
    return [check.label for check in checks_of(list(found)) if check.ok is False]


def test_what_is_quick_short_and_the_same_in_every_mode_is_fine() -> None:
    assert broken(*(asked(mode=mode) for mode in MODES)) == []


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ({"cpu_s": [0.1, CPU_LIMIT_S + 0.1, CPU_LIMIT_S + 0.1]}, f"status, {MODES[1]}"),
        ({"lines": LINES_LIMIT + 1}, f"status, {MODES[1]}"),
        ({"exit_code": 1}, "status: (exit code, lines)"),
        ({"lines": 6}, "status: (exit code, lines)"),
    ],
    ids=["slow", "long", "another exit code", "other lines"],
)
def test_what_is_not_is_named(more: dict[str, Any], label: str) -> None:
    assert label in broken(asked(), asked(mode=MODES[1], **more))


def test_the_median_is_judged_and_counted() -> None:
    slow = asked(mode=MODES[1], cpu_s=[CPU_LIMIT_S + 1] * 3)

    assert checks_of([asked(), slow])[-1].found == "1 of 2"


def test_the_table_has_a_row_a_question_and_a_column_a_mode() -> None:
    text = render([asked(question, mode) for question in ("status", "diff") for mode in MODES])

    assert [line.split()[0] for line in text.splitlines()[1:]] == ["status", "diff"]
    assert text.count("0.20 / 0.30") == 2 * len(MODES)


def test_only_commands_that_there_are_are_asked() -> None:
    assert {words[0] for words in questions("run", "t.py::test").values()} <= set(COMMANDS)

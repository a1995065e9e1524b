"""Texts made harmless: no line of them is a command for the log reader of a CI system, and what is harmless stays."""

from __future__ import annotations

import re

import pytest

from threepio_client.report.texts import code, fenced

COMMAND = re.compile(r"^\s*::|##\[", re.M)


@pytest.mark.parametrize(
    "text", ["::error::x", "a\n::error::x", "a\n \t::error::x", "::::x", "a::b\n::c", "##[error]x", "a::b ##[group]"]
)
def test_no_line_of_a_text_is_a_command(text: str) -> None:
    assert COMMAND.search(text)
    assert not COMMAND.search(fenced(text))
    assert not COMMAND.search(code(text).strip("`"))


@pytest.mark.parametrize("text", ["a.py::test", "assert x\nE  at a.py::test::b", "C++::f", "#[x]", "\ttab\nline ~"])
def test_a_text_without_commands_stays_as_it_is(text: str) -> None:
    assert fenced(text) == f"```text\n{text}\n```"


@pytest.mark.parametrize("text", ["a\n```\nb", "````", "`` ` ```"])
def test_no_fence_within_a_text_ends_its_block(text: str) -> None:
    lines = fenced(text).split("\n")

    assert lines[0] == f"{lines[-1]}text"
    assert lines[-1] not in text


@pytest.mark.parametrize("text", ["\x1b[31mred", "\x7f", "a\x00b", "\u202eabc", "a\rb"])
def test_what_a_reader_could_act_on_is_escaped(text: str) -> None:
    assert fenced(text).replace("\n", "").isprintable()

"""The security page names checks and tests that are there. That each test can fail: `python -m tests.security`."""

from __future__ import annotations

import re

import pytest

from tests.security import CHECKS, PROJECT, Check, table


def test_the_page_has_every_check() -> None:
    assert table() in (PROJECT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.what)
def test_a_check_and_its_test_are_there(check: Check) -> None:
    file, _, name = check.test.partition("::")

    assert (PROJECT / check.file).read_text().count(check.text) == 1
    tests = (PROJECT / file).read_text()
    assert not name or re.search(rf"^(async )?def {name.partition('[')[0]}\(", tests, re.MULTILINE)

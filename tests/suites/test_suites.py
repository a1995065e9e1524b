"""The first variant of each row of hostile suites, with this environment's pytest; all: `python -m tests.suites`."""

from __future__ import annotations

import pytest

from tests.suites.checker import Checker, checker_of
from tests.suites.variant import NotHere, Variant, all_rows

A_ROW = 1
"""Variants of a row that are tried here: all 209 of them would take minutes."""
VARIANTS = [
    pytest.param(variant, id=f"{row.number}: {variant.name}")
    for row in all_rows()
    for variant in [variant for variant in row.variants if not variant.long][:A_ROW]
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_holds(variant: Variant, compare: Checker) -> None:
    try:
        with checker_of(variant, compare) as checker:
            checker.check(variant)
    except NotHere as reason:
        pytest.skip(str(reason))

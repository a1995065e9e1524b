"""Every variant of the table of hostile suites, once, with the pytest of this environment: see `docs/suites.md`."""

from __future__ import annotations

import pytest

from tests.suites.checker import Checker, checker_of
from tests.suites.variant import NotHere, Variant, all_rows

VARIANTS = [
    pytest.param(variant, id=f"{row.number}: {variant.name}")
    for row in all_rows()
    for variant in row.variants
    if not variant.long
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_holds(variant: Variant, compare: Checker) -> None:
    try:
        with checker_of(variant, compare) as checker:
            checker.check(variant)
    except NotHere as reason:
        pytest.skip(str(reason))

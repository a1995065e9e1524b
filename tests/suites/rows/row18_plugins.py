"""Row 18: plugins that run tests again, elsewhere, in another order, in parts, or as something else."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = (
    "rerunfailures, flaky; pytest-forked; pytest-randomly; pytest-repeat; pytest-subtests/`subtests` fixture; unittest "
    "`subTest`; asyncio, trio, anyio plugins; doctest, `--doctest-modules`; hypothesis"
)
HOLDS = "all attempts kept, one final outcome"


def _check_reruns(result: Compared) -> None:
    found = {nodeid.partition("::")[2]: statuses for nodeid, statuses in result.outcomes().items()}
    assert found["test_flaky"] == ["RERUN", "RERUN", "PASS"], found
    assert found["test_hopeless"] == ["RERUN", "RERUN", "FAIL"], found
    assert found["test_not_again"] == ["FAIL"], found
    assert found["test_flaky_in_teardown"] == ["PASS", "RERUN", "PASS"], found
    attempts = [p.get("attempt", 1) for p in result.of_type("testCase") if p["testName"] == "test_flaky"]
    assert attempts == [1, 2, 3], attempts
    (group,) = result.of_type("testGroupResult")
    assert (group["totals"], group["remaining"]) == ({"RERUN": 6, "PASS": 5, "FAIL": 2}, 0), group
    numbers = result.status["finished"], result.status["collected"]
    assert numbers == (6, 6), numbers


def _check_subtests(result: Compared) -> None:
    assert result.status["finished"] == result.status["collected"] == 3
    parts = [p["subtest"] for p in result.of_type("testCase") if "subtest" in p]
    assert len(parts) == 8, parts
    assert {part["message"] for part in parts} == {"part", "unit", ""}
    if not any("worker" in p for p in result.of_type("testCase")):  # pytest quotes parameters once more for the way
        assert {"message": "part", "parameters": {"i": "1"}} in parts, parts
        assert {"message": "unit", "parameters": {"i": "1"}} in parts, parts


def _check_subtests_again(result: Compared) -> None:
    assert result.status["counts"]["rerun"] == 2
    assert result.status["finished"] == 3
    assert result.of_type("runComplete")[0]["totals"]["failed"] == result.status["counts"]["failed"]


def _coroutines(plugin: str, module: str, counts: dict[str, int], *arguments: str) -> Variant:
    return Variant(name=f"{plugin} plugin", suite=f"coroutines_{plugin}", plugins=(plugin,),
                   modules=(module,) * bool(module), arguments=arguments, counts=counts)  # fmt: skip


VARIANTS = [
    Variant(name="rerunfailures", suite="reruns", plugins=("rerunfailures",), arguments=("--reruns", "2"),
            check=_check_reruns),
    Variant(name="rerunfailures with workers", suite="reruns", plugins=("rerunfailures", "xdist"), with_workers=True,
            arguments=("--reruns", "2", "-n", "2"), check=_check_reruns),
    Variant(name="flaky", suite="flaky_plugin", plugins=("flaky",), counts={"failed": 1, "passed": 3}, own_output=True),
    Variant(name="pytest-forked", suite="forked", plugins=("pytest_forked",), arguments=("--forked",), own_output=True,
            exit_code=1),
    Variant(name="pytest-randomly, one seed", suite="order", plugins=("randomly",), arguments=("-p", "randomly",
            "-p", "no:hypothesispytest", "--randomly-seed=17", "-v"), counts={"failed": 4, "passed": 17}),
    Variant(name="pytest-randomly, any seed", suite="order", plugins=("randomly",), own_output=True, exit_code=1,
            counts={"failed": 4, "passed": 17}),
    Variant(name="pytest-repeat", suite="repeated", plugins=("repeat",), arguments=("--count=2",),
            counts={"failed": 5, "passed": 4}),
    *(
        Variant(name=f"subtests and subTest, {name}", suite="subtests", plugins=("subtests", *plugins),
                arguments=arguments, with_workers=bool(plugins), exit_code=1, check=_check_subtests)
        for name, plugins, arguments in [("usual", (), ()), ("quiet", (), ("-q",)), ("verbose", (), ("-v",)),
                                         ("with workers", ("xdist",), ("-n", "2"))]
    ),
    *(
        Variant(name=f"subtests of an attempt that is repeated, {name}", suite="subtests", min_pytest=9,
                plugins=("subtests", "rerunfailures", *plugins), arguments=("--reruns", "2", *arguments),
                with_workers=bool(plugins), exit_code=1, check=_check_subtests_again)
        for name, plugins, arguments in [("usual", (), ()), ("quiet", (), ("-q",)),
                                         ("with workers", ("xdist",), ("-q", "-n", "2"))]
    ),
    _coroutines("asyncio", "", {"failed": 2, "passed": 3, "skipped": 1, "errors": 1}, "-o", "asyncio_mode=auto", "--tb=no"),
    _coroutines("trio", "trio", {"failed": 1, "passed": 2, "skipped": 1}, "-o", "trio_mode=true", "--tb=no"),
    _coroutines("anyio", "trio", {"failed": 2, "passed": 3, "skipped": 2}, "--tb=no"),
    Variant(name="--doctest-modules", suite="docs", arguments=("--doctest-modules",), exit_code=1,
            counts={"failed": 3, "passed": 3, "skipped": 1}),
    Variant(name="--doctest-modules --doctest-continue-on-failure", suite="docs", exit_code=1,
            arguments=("--doctest-modules", "--doctest-continue-on-failure"),
            counts={"failed": 3, "passed": 3, "skipped": 1}),
    Variant(name="hypothesis", suite="examples", plugins=("hypothesispytest",), modules=("hypothesis",), exit_code=1,
            own_output=True),
]  # fmt: skip

"""A random suite for a seed: the same seed always makes the same suite, whatever is installed.

Only what is made is decided here, from the texts of `pieces.py`; what must hold of it is the checker's.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.fuzz import pieces
from tests.suites.variant import Variant

HEAD: Final = "import os, sys, unittest\nimport pytest\n"
_FOLDERS: Final = ("", "", "", "", "sub/", "sub/deep/", "pk/", "d@x/", "d[1]/", "ü/", "a::b/")
_NAMES: Final = ("test_a", "test_b", "test_c", "test_ü", "test_sp ace", "test_br[1]", "test_" + "x" * 60)
_UNEVEN: Final = re.compile(
    r"os\._exit|os\.kill|KeyboardInterrupt|pytest\.exit|session\.should|'tries'|setup_|scope=|broke'\)"
    r"|range\(2\)|items\[:2\]|\+ items|rename\(item|udcff|object\(\)"
)
"""Texts that make a difference from run to run where several workers are at it: who stops whom, which attempt, fixture
or bearer of one id comes first, and how far the others got when one could not send a report."""
_UNEVEN_ARGUMENTS: Final = frozenset({"-x", "--maxfail=2", "--sw", "--dist=each"})


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One random suite.

    Attributes:
        seed: of what it was made.
        files: text by path.
        arguments: pytest's, those that belong together in one.
        plugins: that it needs.
        environ: settings of the environment, `NAME=value`.
        runs_alone: whether it is also run without a daemon.
    """

    seed: int
    files: Mapping[str, str]
    arguments: tuple[tuple[str, ...], ...] = ()
    plugins: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()
    runs_alone: bool = False

    @property
    def line(self) -> tuple[str, ...]:
        """All arguments."""
        return tuple(argument for group in self.arguments for argument in group)

    @property
    def command(self) -> str:
        """What to type."""
        plugins = f"    # plugins: {', '.join(self.plugins)}" if self.plugins else ""
        return shlex.join([*self.environ, "pytest", *self.line]) + plugins

    def variant(self) -> Variant:
        """Return what the checker takes."""
        with_workers = "-n" in self.line
        text = "\n".join(self.files.values())
        uneven = bool(_UNEVEN.search(text) or _UNEVEN_ARGUMENTS & {*self.line})
        return Variant(
            name=f"seed {self.seed}",
            files=self.files,
            arguments=self.line,
            plugins=self.plugins,
            environ=dict(pair.split("=") for pair in ("PYTHONHASHSEED=0", *self.environ)),
            unforeseen=True,
            with_workers=with_workers,
            own_output=(with_workers and uneven) or "terminal_summary" in text,  # our own lines come before it raises
            runs_alone=self.runs_alone,
        )


def generate(seed: int) -> Suite:
    """Make the suite of a seed."""
    return Maker(chance=random.Random(seed)).suite(seed)


def _function(name: str, body: str, arguments: Iterable[str] = ()) -> str:
    words = set(re.findall(r"\w+", body))
    given = dict.fromkeys([*arguments, *(used for used in pieces.USED if used in words)])
    return f"def {name}({', '.join(given)}):\n" + textwrap.indent(body, "    ")


@dataclass(kw_only=True)
class Maker:
    """Makes texts by chance; what `plugins` can do and `fixtures` there are goes into them."""

    chance: random.Random
    plugins: set[str] = field(default_factory=set)
    fixtures: list[str] = field(default_factory=list)
    nasty: float = 0.0

    def suite(self, seed: int) -> Suite:
        chance = self.chance
        odds = {"xdist": 0.25, "rerunfailures": 0.25, "repeat": 0.08, "randomly": 0.06, "timeout": 0.06}
        self.plugins = {name for name, odd in odds.items() if chance.random() < odd}
        self.nasty = chance.choice((0.03, 0.1, 0.2)) if chance.random() < 0.35 else 0.0
        files = {"conftest.py": self._conftest()}
        for _ in range(chance.randint(1, 3)):
            self._add_module(files)
        ini = [line for line in pieces.INI if chance.random() < 0.05]
        # The last of two values would be an error.
        ini = list({line.partition(" = ")[0]: line for line in ini}.values())
        files["pytest.ini"] = "\n".join(["[pytest]", "markers = marked: of nobody", *ini, ""])
        if "LinesFile" in files["conftest.py"]:
            files["some.lines"] = "ok|fails|ü::x||a/b|ok"
        arguments = self._arguments(files)
        if "subtests" in "".join(files.values()):
            self.plugins.add("subtests")
        return Suite(
            seed=seed,
            files=files,
            arguments=arguments,
            plugins=tuple(sorted(self.plugins)),
            environ=(chance.choice(pieces.ENVIRONMENT),) if chance.random() < 0.15 else (),
            runs_alone=chance.random() < 0.4,
        )

    def _arguments(self, files: dict[str, str]) -> tuple[tuple[str, ...], ...]:
        chance = self.chance
        found = [self.chance.choice(pieces.ARGUMENTS) for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))]
        if chance.random() < 0.06:
            self.plugins.add("cacheprovider")
            tests = {f"{path}::test_{chance.randint(0, 3)}": True for path in files if "test_" in path}
            files[".pytest_cache/v/cache/lastfailed"] = json.dumps(tests)
        offered = sorted(self.plugins & pieces.PLUGIN_ARGUMENTS.keys())
        used = [name for name in offered if chance.random() < 0.8 or name == "randomly"]
        found += [chance.choice(pieces.PLUGIN_ARGUMENTS[name]) for name in used]
        if "xdist" in self.plugins:
            kinds = [kind for kind in pieces.DISTRIBUTIONS if kind != "each" or "rerunfailures" not in self.plugins]
            # With both, subtests of one worker's attempt are taken for those of another's.
            found.append(("-n", "2", f"--dist={chance.choice(kinds)}"))
            if chance.random() < 0.1:
                found.append((f"--max-worker-restart={chance.randint(0, 1)}",))
        modules = [path for path in files if "test_" in path and path.endswith(".py")]
        if chance.random() < 0.15:
            path = chance.choice(modules)
            extra = [
                (path,),
                (path, path),
                (f"{path}::test_0",),
                (f"{path}::nobody",),
                ("--deselect", f"{path}::test_1"),
            ]
            found.append(chance.choice(extra))
        return tuple(dict.fromkeys(found))

    def _conftest(self) -> str:
        parts = [HEAD]
        for number in range(self.chance.randint(0, 3)):
            self.fixtures.append(f"fix{number}")
            parts.append(self._fixture(self.fixtures[-1]))
        if self.chance.random() < 0.4:
            # With one id for several tests, pytest-rerunfailures takes back what was counted of another one.
            offered = pieces.HOOKS if "rerunfailures" in self.plugins else (*pieces.HOOKS, *pieces.ONE_ID)
            parts.extend(self.chance.sample(offered, self.chance.choice((1, 1, 1, 2))))
        return "\n".join(parts) + "\n"

    def _fixture(self, name: str) -> str:
        chance = self.chance
        scope = chance.choice(("function", "function", "class", "module", "package", "session"))
        more = ", autouse=True" if chance.random() < 0.15 else ""
        if chance.random() < 0.12:
            more += f", params=[1, 2], ids={chance.sample(pieces.IDS, 2)!a}"
        before, after = (self._fixture_part() for _ in range(2))
        return f"@pytest.fixture(scope={scope!r}{more})\ndef {name}(request):\n    {before}\n    yield 1\n    {after}"

    def _fixture_part(self) -> str:
        chance = self.chance
        if chance.random() < self.nasty:
            return chance.choice([text for text in pieces.NASTY if "\n" not in text])
        return chance.choice(pieces.FIXTURE_PARTS) if chance.random() < 0.25 else "pass"

    def _add_module(self, files: dict[str, str]) -> None:
        chance = self.chance
        folder = chance.choice(_FOLDERS)
        path = f"{folder}{chance.choice(_NAMES)}.py"
        if any(other.rpartition("/")[2] == path.rpartition("/")[2] for other in files) and chance.random() < 0.9:
            path = f"{path.removesuffix('.py')}{len(files)}.py"
        parts = [HEAD]
        if chance.random() < 0.12:
            parts.append(chance.choice(pieces.NASTY_MODULE if chance.random() < self.nasty else pieces.MODULE))
        parts += [self.part(number) for number in range(chance.randint(0, 5))]
        files[path] = "\n".join(parts) + "\n"
        if folder and chance.random() < 0.4:
            files[f"{folder}__init__.py"] = ""
        if folder and chance.random() < 0.12:
            files[f"{folder}conftest.py"] = f"{HEAD}{chance.choice(pieces.NESTED_CONFTEST)}\n"

    def part(self, number: int) -> str:
        """Make a test, a class or a TestCase of a module; those of one number have most often the same names."""
        makers = (self._test, self._test, self._test, self._class, self._unittest)
        return self.chance.choice(makers)(number)

    def _body(self) -> str:
        chance = self.chance
        if chance.random() < self.nasty:
            return chance.choice(pieces.NASTY)
        flaky = pieces.FLAKY if "rerunfailures" in self.plugins else pieces.PASSING
        kinds = (pieces.PASSING, pieces.FAILING, pieces.SKIPPING, pieces.SUBTESTS, flaky)
        (kind,) = chance.choices(kinds, (45, 25, 14, 8, 8))
        return chance.choice(kind)

    def _marks(self) -> str:
        chance = self.chance
        offered = [*pieces.MARKS, "marked"]
        offered += [mark for name in sorted(self.plugins) for mark in pieces.PLUGIN_MARKS.get(name, ())]
        marks = chance.sample(offered, chance.choices((0, 1, 2), (75, 20, 5))[0])
        return "".join(f"@pytest.mark.{mark}\n" for mark in marks)

    def _parametrized(self, name: str) -> str:
        chance = self.chance
        values = [
            chance.choice(
                (
                    "1",
                    "'s'",
                    "None",
                    "float('nan')",
                    "b'\\xff'",
                    "''",
                    "int",
                    "pytest.param(1, marks=pytest.mark.xfail)",
                )
            )
            for _ in range(chance.randint(0, 4))
        ]
        ids = [chance.choice(pieces.IDS) for _ in values]
        given = chance.choice(("", f", ids={ids!a}", f", ids={ids!a}", ", ids=repr", ", ids=lambda value: 'same'"))
        return f"@pytest.mark.parametrize({name!r}, [{', '.join(values)}]{given})\n"

    def _test(self, number: int, first: tuple[str, ...] = ()) -> str:
        chance = self.chance
        marks, arguments = self._marks(), list(first)
        if chance.random() < 0.22:
            marks += self._parametrized("value")
            arguments.append("value")
        if self.fixtures and chance.random() < 0.3:
            arguments.append(chance.choice(self.fixtures))
        name = chance.choice((f"test_{number}",) * 8 + ("test_ü", "test_same", "test_" + "n" * 90))
        return marks + _function(name, self._body(), arguments)

    def _class(self, number: int, depth: int = 0) -> str:
        chance = self.chance
        frame = [chance.choice(pieces.CLASS_FRAME)] if chance.random() < 0.3 else []
        inner = frame + [self._test(member, ("self",)) for member in range(chance.randint(1, 3))]
        if depth < 2 and chance.random() < 0.2:
            inner.append(self._class(number, depth + 1))
        name = chance.choice(("TestA", "TestB", "TestSame", "TestÜ", f"Test{number}"))
        marks = self._marks() if chance.random() < 0.4 else ""
        return f"{marks}class {name}:\n" + textwrap.indent("\n".join(inner), "    ")

    def _unittest(self, number: int) -> str:
        chance = self.chance
        inner = [chance.choice(pieces.UNITTEST_FRAME)] if chance.random() < 0.35 else []
        for member in range(chance.randint(1, 3)):
            mark = chance.choice(
                ("",) * 8 + ("@unittest.skip('so')\n", "@unittest.expectedFailure\n", "@pytest.mark.xfail\n")
            )
            inner.append(mark + _function(f"test_{member}", chance.choice(pieces.UNITTEST), ("self",)))
        base = chance.choice(("TestCase", "TestCase", "IsolatedAsyncioTestCase"))
        name = chance.choice(("TestSame", f"TestUnit{number}"))
        return f"class {name}(unittest.{base}):\n" + textwrap.indent("\n".join(inner), "    ")

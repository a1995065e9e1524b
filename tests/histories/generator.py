"""A random history for a seed: a suite that changes, and how it is run from step to step. What it does is `playing.py`'s."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.fuzz import pieces
from tests.fuzz.generator import HEAD, Maker

_FLIPS: Final = """\
def test_flips():
    with open(os.environ["FLIPS"], "a") as file: file.write("x")
    assert os.path.getsize(os.environ["FLIPS"]) % 2
"""
_DEATHS: Final = (
    "def test_dies(): os._exit(0)\n",
    "def test_dies(): os.kill(os.getpid(), 9)\n",
    "def test_dies(): pytest.exit('enough')\n",
    "def test_dies(): raise KeyboardInterrupt\n",
    "@pytest.fixture\ndef dies(): os._exit(3)\ndef test_dies(dies): pass\n",
    "@pytest.fixture\ndef dies():\n    yield\n    os._exit(3)\ndef test_dies(dies): pass\n",
    "def test_dies(subtests):\n    with subtests.test('one'): pass\n    os._exit(3)\n",
    "def test_dies(subtests):\n    with subtests.test('one'): assert 0\n    os._exit(3)\n",
)
_TROUBLES: Final = (
    "raise RuntimeError('at import')",
    pieces.BROKEN,
    "pytest.skip('whole module', allow_module_level=True)",
    "os._exit(7)",
)
_PATHS: Final = ("test_a.py", "test_c.py", "sub/test_b.py", "d e/test_ü.py", "sub/deep/test_d.py", "test_[x].py")
_ARGUMENTS: Final = (
    *[()] * 6,
    ("-x",),
    ("--maxfail=2",),
    ("-k", "not 3"),
    ("-m", "marked"),
    ("--collect-only",),
    ("--continue-on-collection-errors",),
    ("-n", "2"),
    ("-n", "2", "--maxfail=1"),
    ("--reruns", "1"),
    ("-n", "2", "--reruns", "1"),
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a history, and what is done before it.

    Attributes:
        files: the project's, text by path.
        is_committed: whether they are committed before.
        daemon: what becomes of the daemon before: `start`, `stop`, `kill`, `rebuild` (which stops it), or nothing.
        arguments: pytest's.
        with_command: whether it is `threepio run` or `threepio rerun` that runs it, and not pytest by itself.
        again: which of the runs before is run again, counted from the last one; 0: none.
        only_failed: of it only what failed.
    """

    files: Mapping[str, str]
    is_committed: bool = False
    daemon: str = ""
    arguments: tuple[str, ...] = ()
    with_command: bool = False
    again: int = 0
    only_failed: bool = False


@dataclass(frozen=True, kw_only=True)
class History:
    """The runs of a project, one after another, and whether it is a git repository."""

    seed: int
    steps: tuple[Step, ...]
    with_git: bool = False


def generate(seed: int) -> History:
    """Make the history of a seed; the same one each time."""
    chance = random.Random(seed)
    project = _Project(chance)
    steps = [_step(chance, project, number) for number in range(chance.randint(3, 8))]
    return History(seed=seed, steps=tuple(steps), with_git=chance.random() < 0.5)


def _step(chance: random.Random, project: _Project, number: int) -> Step:
    if number and chance.random() < 0.8:
        project.change()
    files = project.files()
    path = chance.choice([name for name in files if "test_" in name])
    named = ((path,), (path,), (f"{path}::test_0",), ("--deselect", f"{path}::test_1"))
    return Step(
        files=files,
        is_committed=not number or chance.random() < 0.5,
        daemon=chance.choice(("", "", "", "", "start", "start", "stop", "kill", "rebuild")),
        arguments=chance.choice((*_ARGUMENTS, *named)),
        with_command=chance.random() < 0.4,
        again=chance.randint(1, 3) if number and chance.random() < 0.3 else 0,
        only_failed=chance.random() < 0.25,
    )


class _Project:
    """Modules, each of parts whose place in it is in their names, and what keeps a module from being collected."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._maker = Maker(chance=chance, plugins={"rerunfailures"})
        self._modules: dict[str, list[str]] = {}
        self._troubles: dict[str, str] = {}
        for path in chance.sample(_PATHS, chance.randint(1, 4)):
            self._add(path)

    def files(self) -> dict[str, str]:
        files = {"pytest.ini": "[pytest]\nmarkers = marked\n"}
        for path, parts in self._modules.items():
            files[path] = "\n".join([HEAD, self._troubles.get(path, ""), *parts])
        if "sub/test_b.py" in files and self._chance.random() < 0.05:
            files["sub/conftest.py"] = "raise RuntimeError('in a conftest')\n"
        return files

    def change(self) -> None:
        chance = self._chance
        for path, parts in self._modules.items():
            for number, part in enumerate(parts):
                if chance.random() < (0.5 if part in _DEATHS else 0.2):
                    parts[number] = self._part(number) if chance.random() < 0.8 else ""
            if chance.random() < 0.2:
                parts.append(self._part(len(parts)))
            if path in self._troubles or chance.random() < 0.1:
                self._troubles[path] = chance.choice((*_TROUBLES, *[""] * len(_TROUBLES)))
        if chance.random() < 0.1:
            moved = self._modules.pop(chance.choice([*self._modules]))
            self._modules[chance.choice(_PATHS)] = moved
        if chance.random() < 0.1:
            self._add(chance.choice(_PATHS))

    def _add(self, path: str) -> None:
        self._modules[path] = [self._part(number) for number in range(self._chance.randint(1, 5))]

    def _part(self, number: int) -> str:
        chance = self._chance
        if chance.random() < 0.1:
            return chance.choice((*_DEATHS, *[_FLIPS] * len(_DEATHS)))
        if chance.random() < 0.3:
            return f"def test_{number}(): pass\n"
        text = self._maker.part(number)
        return text if "nowhere" not in text else _FLIPS  # which keeps the whole module from being collected

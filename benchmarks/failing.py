"""A suite of failing tests whose causes are known, because each was put there: its word, its place, its tests.

A cause is one defect of the tested code. It has a word of its own, which occurs in no test's name; the line that raises
is its own, too, but for causes that a shared helper raises, which differ by their message alone.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CAUSES_IN_A_FILE: Final = 5
_SYLLABLES: Final = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrueCause:
    """One defect.

    Attributes:
        word: occurs in the message or in the source of this cause only.
        place: `file.py:line` that raises; None where it is shared with other causes.
        nodeids: the tests that fail of it.
    """

    word: str
    place: str | None
    nodeids: frozenset[str]

    def is_named(self, text: str) -> bool:
        """Whether a text has its word, or its place and no longer number."""
        if self.word in text:
            return True
        if self.place is None:
            return False
        end = text.find(self.place)
        while end >= 0:
            end += len(self.place)
            if not text[end : end + 1].isdigit():
                return True
            end = text.find(self.place, end)
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """How a cause shows itself. WORD and MARK (the line that raises) are replaced, `n` is the test's parameter.

    Attributes:
        test: body of the failing tests.
        code: what the tests call, in a module of the tested code; empty where the test itself raises.
        fixture: code of a fixture named `ready_X`, in the test's file.
        shared: the line that raises is one of `common.py`.
    """

    test: str
    code: str = ""
    fixture: str = ""
    shared: bool = False


KINDS: Final = {
    "numbers compared": Kind(test="WORD_total = sum(range(n))\nassert WORD_total == n * n + 7  # MARK"),
    "dictionaries compared": Kind(
        code="def load_WORD(n):\n    return {'id': n, 'state': 'open', 'price': n * 1.19}\n",
        test="assert code.load_WORD(n) == {'id': n, 'state': 'closed', 'price': n * 1.07}  # MARK",
    ),
    "objects compared": Kind(
        code="class WORD:\n    def __init__(self, n):\n        self.n = n\n",
        test="assert code.WORD(n) == code.WORD(n + 1)  # MARK",
    ),
    "texts compared": Kind(
        code="def print_WORD(n):\n    return f'Order {n}\\nitems: {n * 3}\\ntotal: {n * 7}'\n",
        test="assert code.print_WORD(n) == f'Order {n}\\nitems: {n * 3}\\ntotal: {n * 8}'  # MARK",
    ),
    "long lists compared": Kind(
        code="def list_WORD(n):\n    return [n * i for i in range(40)]\n",
        test="assert code.list_WORD(n) == [n * i + (i == n % 40) for i in range(40)]  # MARK",
    ),
    "message with numbers": Kind(
        code="def pay_WORD(n):\n    raise ValueError(f'WORD: cannot book {n * 3.5} of {n} in period -{n}')  # MARK\n",
        test="code.pay_WORD(n)",
    ),
    "message with an address": Kind(
        code="def send_WORD(n):\n    raise RuntimeError(f'queue WORD is closed: {object()!r}')  # MARK\n",
        test="code.send_WORD(n)",
    ),
    "file in a temporary directory": Kind(
        code="def read_WORD(path):\n    return open(path / 'WORD.csv')  # MARK\n",
        test="code.read_WORD(tmp_path)",
    ),
    "message with an id": Kind(
        code="def find_WORD(n):\n"
        "    raise LookupError(f'WORD {uuid.uuid4()} is gone, see http://localhost:{5000 + n}/{n}')  # MARK\n",
        test="code.find_WORD(n)",
    ),
    "missing keys": Kind(
        code="def stock_WORD(n):\n    return {}[f'WORD_{n}']  # MARK\n",
        test="assert code.stock_WORD(n)",
    ),
    "nothing where something should be": Kind(
        code="def total_WORD(n):\n    WORD = None\n    return WORD['total']  # MARK\n",
        test="assert code.total_WORD(n) == n",
    ),
    "assertion with a message": Kind(
        code="def check_WORD(n):\n    assert n < 0, f'WORD took {n * 11} ms, more than {n} ms'  # MARK\n",
        test="code.check_WORD(n)",
    ),
    "fixture that cannot connect": Kind(
        code="def connect_WORD(n):\n    raise ConnectionError(f'no WORD at 10.0.0.{n}:{5432 + n}')  # MARK\n",
        fixture="@pytest.fixture\ndef ready_X(n):\n    return code.connect_WORD(n)\n",
        test="pass",
    ),
    "fixture that cannot be left": Kind(
        code="def close_WORD(n):\n    raise OSError(f'WORD: {n * 17} bytes were not written')  # MARK\n",
        fixture="@pytest.fixture\ndef ready_X(n):\n    yield\n    code.close_WORD(n)\n",
        test="pass",
    ),
    "setting that a shared helper misses": Kind(
        code="def set_WORD(n):\n    common.need(f'setting WORD of tenant {n}')\n", test="code.set_WORD(n)", shared=True
    ),
    "reply that a shared helper refuses": Kind(
        code="def ask_WORD(n):\n    common.refuse(500 + n % 5, '/tmp/cache-%d/WORD' % n, 'WORD')\n",
        test="code.ask_WORD(n)",
        shared=True,
    ),
}

_COMMON: Final = """\
class NotSet(Exception):
    pass


def need(name):
    raise NotSet(f"{name} is needed and has no value")


def refuse(status, place, service):
    raise ConnectionError(f"status {status} (cached in {place}): service {service} did not answer as agreed")
"""


def write_failing_suite(directory: Path, failures: int, causes: int) -> list[TrueCause]:
    """Write a suite in which as many tests pass as fail.

    Args:
        directory: is made.
        failures: tests that fail, in whatever phase.
        causes: of them; not more than failures.

    Returns:
        The causes, each with its tests.
    """
    directory.mkdir(parents=True)
    (directory / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (directory / "common.py").write_text(_COMMON)
    chance = random.Random(f"{failures} failures, {causes} causes")
    words, sizes = list(_words(chance, causes)), _sizes(chance, failures, causes)
    kinds = list(KINDS.values())
    found: list[TrueCause] = []
    for first in range(0, causes, CAUSES_IN_A_FILE):
        numbers = range(first, min(first + CAUSES_IN_A_FILE, causes))
        chosen = [(number, words[number], kinds[number % len(kinds)], sizes[number]) for number in numbers]
        found += _write_files(directory, first // CAUSES_IN_A_FILE, chosen)
    return found


def _write_files(directory: Path, file: int, chosen: list[tuple[int, str, Kind, int]]) -> Iterator[TrueCause]:
    module, test_file = f"code_{file:03}", f"test_{file:03}.py"
    code = "import uuid\n\nimport common\n"
    tests = f"import pytest\n\nimport {module} as code\n"
    tests_of: dict[str, list[str]] = {}
    for number, word, kind, size in chosen:
        if kind.code:
            code += "\n\n" + kind.code.replace("WORD", word).replace("MARK", f"MARK {word}")
        if kind.fixture:
            tests += "\n\n" + kind.fixture.replace("WORD", word).replace("X", str(number))
        # Where the test itself raises, its line is the cause; else two tests fail of one cause.
        parts = [size] if "MARK" in kind.test or size == 1 else [size - size // 3, size // 3]
        for part, count in enumerate(filter(None, parts)):
            name = f"test_{number}_{part}"
            arguments = ", ".join(
                [
                    "n",
                    *(["tmp_path"] if "tmp_path" in kind.test else []),
                    *([f"ready_{number}"] if kind.fixture else []),
                ]
            )
            body = kind.test.replace("WORD", word).replace("MARK", f"MARK {word}").replace("\n", "\n    ")
            tests += (
                f'\n\n@pytest.mark.parametrize("n", range(11, {11 + count}))\ndef {name}({arguments}):\n    {body}\n'
            )
            tests_of.setdefault(word, []).extend(f"{test_file}::{name}[{n}]" for n in range(11, 11 + count))
    passing = sum(size for *_, size in chosen)
    tests += f'\n\n@pytest.mark.parametrize("n", range({passing}))\ndef test_passes(n):\n    assert n >= 0\n'
    places = _take_marks(code, f"{module}.py") | _take_marks(tests, test_file)
    (directory / f"{module}.py").write_text(_without_marks(code))
    (directory / test_file).write_text(_without_marks(tests))
    for _, word, _, _ in chosen:
        yield TrueCause(word=word, place=places.get(word), nodeids=frozenset(tests_of[word]))


def _take_marks(text: str, file: str) -> dict[str, str]:
    lines = enumerate(text.splitlines(), start=1)
    return {line.rpartition(" ")[2]: f"{file}:{number}" for number, line in lines if "  # MARK " in line}


def _without_marks(text: str) -> str:
    return "".join(line.partition("  # MARK ")[0] + "\n" for line in text.splitlines())


def _words(chance: random.Random, count: int) -> Iterator[str]:
    found: set[str] = set()
    while len(found) < count:
        word = "".join(chance.choices(_SYLLABLES, k=4))
        if word not in found:
            found.add(word)
            yield word


def _sizes(chance: random.Random, failures: int, causes: int) -> list[int]:
    """Numbers of at least 1 with that sum: many small ones and a few large ones."""
    weights = [chance.paretovariate(2) for _ in range(causes)]
    sizes = [1 + int((failures - causes) * weight / sum(weights)) for weight in weights]
    sizes[sizes.index(max(sizes))] += failures - sum(sizes)
    return sizes

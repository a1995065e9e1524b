"""A smaller suite of which the same kind of complaint remains."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.generator import Suite


def shrink(suite: Suite, is_same: Callable[[Suite], bool]) -> Suite:
    """Leave out files, arguments, functions, statements and decorators, one after the other, as long as `is_same`."""
    tried: set[str] = set()
    while True:
        for smaller in _smaller(suite):
            if repr(smaller) not in tried and is_same(smaller):
                suite = smaller
                break
            tried.add(repr(smaller))
        else:
            return suite


def _smaller(suite: Suite) -> Iterator[Suite]:
    """Yield suites with one thing less, the largest things first."""
    if suite.runs_alone:
        yield replace(suite, runs_alone=False)
    if suite.environ:
        yield replace(suite, environ=())
    for path in sorted(suite.files, key=lambda path: -len(suite.files[path])):
        yield replace(suite, files={other: text for other, text in suite.files.items() if other != path})
    for group in suite.arguments:
        yield replace(suite, arguments=tuple(other for other in suite.arguments if other is not group))
    for plugin in suite.plugins:
        yield replace(suite, plugins=tuple(other for other in suite.plugins if other != plugin))
    for path, text in suite.files.items():
        for shorter in _shorter(text) if path.endswith(".py") else ():
            yield replace(suite, files={**suite.files, path: shorter})


def _shorter(text: str) -> Iterator[str]:
    """Yield Python without one of its statements or decorators."""
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except SyntaxError:
        return
    lines = text.splitlines()
    ranges = {}
    for node in nodes:
        decorators = getattr(node, "decorator_list", [])
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Pass)):
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            ranges[first, node.end_lineno or first] = node.col_offset
        ranges.update({(decorator.lineno, decorator.end_lineno): -1 for decorator in decorators})
    for (first, last), column in sorted(ranges.items(), key=lambda item: item[0][0] - item[0][1]):
        for instead in ([], [" " * column + "pass"] if column > 0 else []):
            shorter = "\n".join([*lines[: first - 1], *instead, *lines[last:]]) + "\n"
            if shorter != text and _is_python(shorter):
                yield shorter
                break


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True

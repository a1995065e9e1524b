"""Writes docs/json.md from the shapes in `answers.py`: `python -m docs.make_json`. A test fails when it is stale.

The shapes are walked here, too, to compare what a command printed with what is declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from threepio_client.answers import ANSWERS

PATH: Final = Path(__file__).with_name("json.md")
HEAD: Final = """\
# JSON

Written by `python -m docs.make_json` from the declarations in `client/threepio_client/answers.py`. What the commands print
with `--json`, field by field. Times are seconds since the epoch, names ending in `_s` seconds, in `_ms` milliseconds, in
`_bytes` bytes. Fields may be added; one that is removed or changes its meaning raises `schema_version`. Every field is
always there, unless it is said to be absent somewhere. All text is valid Unicode: lone surrogates are written as their
backslash escape. What is printed is ASCII without control characters but for newlines.

`threepio events` prints the journal's own JSON lines ([protocol.md](protocol.md)), with `--json` and without. `threepio run`
and `threepio rerun` have no `--json`, because what follows is the command's: ask `threepio status --json` afterwards.
"""

_NAMES: Final = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", NoneType: "null"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a field holds.

    Attributes:
        kind: `string`, `integer`, `number`, `boolean`, `array`, `object`.
        meaning: one sentence, or empty.
        may_be_null: whether null can stand in its place.
        may_be_absent: whether it can be left out.
        fields: of an object with fields of its own.
        items: of an array, or of an object whose names are data.
    """

    kind: str
    meaning: str = ""
    may_be_null: bool = False
    may_be_absent: bool = False
    fields: dict[str, Shape] | None = None
    items: Shape | None = None


def shape_of(hint: Any) -> Shape:
    """Return the shape that a type declares."""
    meaning, may_be_null, may_be_absent = "", False, False
    while True:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is NotRequired:
            hint, may_be_absent = arguments[0], True
        elif origin is Annotated:
            hint, meaning = arguments[0], arguments[1]
        elif origin is UnionType:
            (hint,) = (kind for kind in arguments if kind is not NoneType)
            may_be_null = True
        else:
            break
    fields = items = None
    if is_typeddict(hint):
        hints = get_type_hints(hint, include_extras=True)
        optional = hint.__optional_keys__  # of total=False; NotRequired is in the hints
        fields = {name: shape_of(NotRequired[kind] if name in optional else kind) for name, kind in hints.items()}
    elif origin is dict:
        items = shape_of(arguments[1])
    elif origin is list:
        items = shape_of(arguments[0])
    kind = "object" if is_typeddict(hint) or origin is dict else _NAMES[origin or hint]
    return Shape(
        kind=kind, meaning=meaning, may_be_null=may_be_null, may_be_absent=may_be_absent, fields=fields, items=items
    )


def rows(shape: Shape, path: str = "") -> Iterator[tuple[str, Shape]]:
    """Yield (path, shape) of everything in a shape, in the order of the declarations."""
    for name, field in (shape.fields or {}).items():
        inner = f"{path}.{name}".lstrip(".")
        yield inner, field
        yield from rows(field, inner)
    if shape.items is not None:
        inner = f"{path}[]" if shape.kind == "array" else f"{path}.*"
        yield inner, shape.items
        yield from rows(shape.items, inner)


def differences(shape: Shape, value: Any, path: str = "", seen: set[str] | None = None) -> Iterator[str]:
    """Yield a sentence for each place where a value is not as declared; collect the paths that were there.

    Args:
        shape: what is declared.
        value: what was printed.
        path: where that is.
        seen: gets the path of everything that was there.
    """
    found = _kind(value)
    if seen is not None:
        seen.add(path)
    if value is None:
        if not shape.may_be_null:
            yield f"{path} is null"
    elif found != shape.kind and (found, shape.kind) != ("integer", "number"):
        yield f"{path} is {found}, and declared as {shape.kind}"
    elif shape.fields is not None:
        for name, field in shape.fields.items():
            inner = f"{path}.{name}".lstrip(".")
            if name in value:
                yield from differences(field, value[name], inner, seen)
            elif not field.may_be_absent:
                yield f"{inner} is not there"
        yield from (f"{path}.{name} is not declared".lstrip(".") for name in value if name not in shape.fields)
    elif shape.items is not None:
        inner = f"{path}[]" if shape.kind == "array" else f"{path}.*"
        for item in value if shape.kind == "array" else value.values():
            yield from differences(shape.items, item, inner, seen)


def _kind(value: Any) -> str:
    return "object" if isinstance(value, dict) else _NAMES[type(value)]


def _type_text(shape: Shape) -> str:
    return f"array of {_type_text(shape.items)}" if shape.kind == "array" and shape.items else shape.kind


def text() -> str:
    """Return what docs/json.md should hold."""
    parts = [HEAD]
    for command, declared in ANSWERS.items():
        parts.append(f"## {command} --json\n")
        same = next(name for name, other in ANSWERS.items() if other is declared)
        if same != command:
            parts.append(f"What `{same} --json` prints.\n")
            continue
        lines = ["| field | type | meaning |", "|---|---|---|"]
        for path, shape in rows(shape_of(declared)):
            if path.endswith("[]"):
                continue  # said by its array
            kind = _type_text(shape) + (" or null" if shape.may_be_null else "")
            meaning = shape.meaning
            if shape.may_be_absent and "absent" not in meaning:
                meaning = f"{meaning}; may be absent" if meaning else "may be absent"
            lines.append(f"| `{path}` | {kind} | {meaning} |".replace("|  |", "| |"))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")

"""Masking: secrets leave the texts of events before these are journaled. Imported only where a setting asks for it.

What is masked are the values of named environment variables, as they are when the run begins, and what given patterns match.
A text is masked before it is cut, so that no half of a secret stands at a cut.
"""

import fnmatch
import re
from collections.abc import Mapping
from json.encoder import encode_basestring, encode_basestring_ascii
from pathlib import Path
from typing import Any, Final

from threepio_client.events import FIELD_LIMIT, Payload, Phase
from threepio_client.line import as_text, clip
from threepio_client.nowpage import NowPage

MASKED: Final = "***"
SHORTEST: Final = 4
"""Characters of a value, or of a line of one: a shorter one stands in too many texts that are no secret."""
_OUR_OWN: Final = frozenset(
    {
        "status",
        "phase",
        "worker",
        "runId",
        "producerId",
        "commandId",
        "process",
        "countedAs",
        "kind",
        "platform",
        "python",
        "threepiod",
    }
)
"""Fields that hold our words and numbers, by which a run is understood."""
_TO_RUN_AGAIN: Final = ("command", "argv", "cwd")
"""Fields of runStart with which a run can be started again, unless something in them is masked."""


class Mask:
    """Hides secrets.

    Attributes:
        too_short: names of variables whose values are too short to be masked.
    """

    def __init__(self, names: tuple[str, ...], patterns: tuple[str, ...], environ: Mapping[str, str]) -> None:
        """Take the values that the variables have now.

        Args:
            names: of variables; `*` and `?` stand for any characters and any one.
            patterns: regular expressions.
            environ: the environment.
        """
        self.too_short: list[str] = []
        values: set[str] = set()
        for name, value in environ.items():
            if not any(fnmatch.fnmatchcase(name, wanted) for wanted in names):
                continue
            if 0 < len(value) < SHORTEST:
                self.too_short.append(name)
            for text in (value, *value.splitlines()):
                values |= {form for form in _forms(text) if len(form) >= SHORTEST}
        longest_first = sorted(values, key=lambda text: (-len(text), text))
        parts = [*(f"(?:{pattern})" for pattern in patterns), *map(re.escape, longest_first)]
        self._find = re.compile("|".join(parts)) if parts else None

    def hide(self, text: str) -> str:
        """Return the text with each secret replaced by MASKED."""
        return text if self._find is None else self._find.sub(MASKED, text)

    def clip(self, text: str, limit: int = FIELD_LIMIT) -> str:
        """Do as `line.clip` does, with the secrets hidden first."""
        return clip(self.hide(text), limit)

    def payload(self, payload: Payload) -> Payload:
        """Return the payload of an event with the secrets hidden in every text that is not our own."""
        hidden = {key: value if key in _OUR_OWN else self._value(value) for key, value in payload.items()}
        if any(hidden.get(key) != payload.get(key) for key in _TO_RUN_AGAIN):
            hidden["masked"] = True
        return hidden

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self.hide(as_text(key)): self._value(each) for key, each in dict.items(value)}
        if isinstance(value, list | tuple):
            return [self._value(each) for each in value]
        return self.hide(as_text(value))


class MaskedPage(NowPage):
    """A now page in which the secrets are hidden."""

    def __init__(self, path: Path, slot: int, mask: Mask, worker: str = "", *, create: bool) -> None:
        super().__init__(path, slot, worker, create=create)
        self._mask = mask

    def set(self, text: str, phase: Phase, since: float, *, is_test: bool = True) -> None:
        super().set(self._mask.hide(text), phase, since, is_test=is_test)


def _forms(text: str) -> set[str]:
    """Return how a value may stand in a report: as it is, and as `repr` and JSON write it."""
    return {
        text,
        repr(text)[1:-1],
        ascii(text)[1:-1],
        encode_basestring(text)[1:-1],
        encode_basestring_ascii(text)[1:-1],
    }

"""Writes docs/configuration.md from the settings: `python -m docs.make_configuration`. A test fails when it is stale."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from threepio_client.settings import SETTINGS, Setting

PATH: Final = Path(__file__).with_name("configuration.md")
HEAD: Final = """\
# Configuration

Written by `python -m docs.make_configuration` from the settings themselves (`client/threepio_client/settings.py`).

A setting is looked for in this order; the first place that has it counts. An empty variable or option counts as not there.

1. The **environment**: `THREEPIO_SYNC=always`.
2. The **ini option** of pytest with the same name in lower case: `threepio_sync = always` in the project's
   `pytest.ini` or its like. Commands and daemon have no ini file: where it says `threepio_state_dir` or `threepio_socket`,
   set the variable for them.
3. The **configuration file** of the user, for daemon, commands and plugin alike: `~/.config/threepiod/config.toml`, or
   `threepiod/config.toml` in `XDG_CONFIG_HOME`. There need not be one.
4. The **default**.

All are read once, at the start of a process. `threepiod config` prints every setting, its value and where that comes from;
`threepio doctor` says what is wrong with them, among other things.

```toml
# ~/.config/threepiod/config.toml
state_dir = "~/work/test-results"
block_total_ms = 500
keep_days = 30
stacks = true
```
"""
TAIL: Final = """\
In the file a value is written as TOML has it: texts in quotes, numbers without, `inf`, `true` and `false`; `mask` and
`mask_env` may be lists of texts. A path is absolute or begins with `~/`; in the environment and as ini option it may be
relative to the working directory.

## What cannot be used

Each is named with its place, and with what is allowed:

| where | pytest | commands | the daemon |
|---|---|---|---|
| a value in the environment or an ini option | a usage error, no test runs | exit code 2 | does not start, exit code 2 |
| a value in the file, or the file itself | said once, and what is valid is used | likewise | does not start, exit code 2 |
| a key that is not known | said once, with the nearest one that is | likewise | a warning in its log |

Pytest and commands look at the values that they use: those of the daemon they pass over.
The daemon is strict because what it does not understand could be how long runs are to be kept. A key that is not known may
be one of a newer version, which shares the file. The file is not used at all if it is no TOML, no ordinary file, larger than
64 KiB, of another user than you or root, or if anybody may write to it.
"""


def text() -> str:
    """Return what docs/configuration.md should hold."""
    rows = [
        "| in the file | environment | ini option | default | meaning |",
        "|---|---|---|---|---|",
        *map(_row, SETTINGS),
    ]
    return "\n".join([HEAD, *rows, "", TAIL])


def _row(setting: Setting) -> str:
    key = "" if setting.is_a_runs else f"`{setting.key}`"
    option = "" if setting.is_daemons else f"`{setting.option}`"
    default = f"`{setting.default}`" if setting.default else setting.default_text
    cells = " | ".join([key, f"`{setting.name}`", option, default, setting.meaning])
    return f"| {cells} |".replace("|  |", "| |")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")

"""A command without its extra says where a whole one is, or what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from threepio_client.cli import require


@pytest.mark.parametrize("has_other", [True, False])
def test_where_the_extra_is_missing_another_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_other: bool
) -> None:
    for name in ("own", "not executable", "not whole", "no program", "tools"):
        (tmp_path / name).mkdir()
        code = 2 if name == "not whole" else 0
        (tmp_path / name / "threepio").write_text("" if name == "no program" else f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name / "threepio").chmod(0o600 if name == "not executable" else 0o700)
    (tmp_path / "link").symlink_to("own")
    names = ["own", "link", "not executable", "not whole", "no program", "nowhere", *(["tools"] if has_other else [])]
    monkeypatch.setenv("PATH", ":".join(["", *(str(tmp_path / name) for name in names)]))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "own/threepio")])

    with pytest.raises(SystemExit) as end:
        require("threepio", "json", "no_module_of_this_name")

    other = f"There is another threepio, use that: {tmp_path}/tools/threepio; or install it here"
    said = (
        f"threepio: no_module_of_this_name is not installed. {other if has_other else 'Install it'} with: pip install"
    )
    assert end.value.code == 2
    assert capsys.readouterr().err == f"{said} 'threepiod[daemon]'\n"

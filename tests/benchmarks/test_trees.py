"""`python -m benchmarks trees`: a kept run is emitted again, with trees and without, and its pages are checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.place import Place


def test_a_kept_run_is_measured_with_trees_and_without(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.suite("import pytest\n@pytest.mark.parametrize('n', range(300))\ndef test_it(n): assert n != 7")
    place.pytest("-q")
    output = tmp_path / "results.json"
    arguments = ["--python", sys.executable, "--state", str(place.state_dir.path), "--output", str(output)]

    main(["trees", *arguments, "--rounds", "1", "--rate", "2000"])

    found = {one["reports"]: one for one in json.loads(output.read_text())["results"]}
    assert found["beside"]["tests"] == 300
    assert found["off"]["complete_s"] is None
    assert "more processor time with trees" in capsys.readouterr().out

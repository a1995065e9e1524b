"""`threepiod metrics`: OpenMetrics text that says what the status says."""

from __future__ import annotations

import json
import re

from tests.place import Place
from threepiod.metrics import openmetrics

SAMPLE = re.compile(r'([a-z_]+)(\{version="[^"]*"\})? ([0-9.]+)')


def test_every_number_of_the_status_is_a_sample_of_a_described_family(served: Place) -> None:
    served.suite("def test_it(): pass")
    assert served.pytest("-q").returncode == 0
    text = served.threepiod("metrics").stdout
    status = json.loads(served.threepiod("status", "--json").stdout)

    *lines, end = text.splitlines()
    families = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    samples = {match[1]: float(match[3]) for line in lines if (match := SAMPLE.fullmatch(line))}

    assert end == "# EOF"
    assert len(samples) == len(families) == len([line for line in lines if not line.startswith("#")])
    suffixes = {"counter": "_total", "gauge": "", "info": "_info"}
    assert set(samples) == {name + suffixes[kind] for name, kind in families.items()}
    assert f'threepiod_build_info{{version="{status["version"]}"}} 1' in lines
    assert samples["threepiod_events_received_total"] == status["events"]["received"] > 0
    assert samples["threepiod_errors_total"] == status["errors"] == 0
    assert samples["threepiod_commits_total"] == status["commits"]
    numbers = [key for key, value in status.items() if type(value) in (int, float)]
    said_elsewhere = {"schema_version", "pid", "events_per_s"}
    assert len(samples) == 1 + len(status["events"]) + len(set(numbers) - said_elsewhere)


def test_a_version_is_escaped(served: Place) -> None:
    status = json.loads(served.threepiod("status", "--json").stdout)

    text = openmetrics({**status, "version": 'a"b\\c\nd'})

    assert r'{version="a\"b\\c\nd"} 1' in text


def test_without_a_daemon_there_are_none(place: Place) -> None:
    done = place.threepiod("metrics")

    assert (done.returncode, done.stdout) == (5, "")
    assert "no daemon at" in done.stderr


def test_statistics_are_logged_at_the_end(served: Place) -> None:
    served.suite("def test_it(): pass")
    assert served.pytest("-q").returncode == 0
    received = json.loads(served.threepiod("status", "--json").stdout)["events"]["received"]
    served.stop_daemon()

    line = rf"statistics: events since the start: {received} received, {received} stored[^;]*; \d+ commits, 0 errors, 0 runs"
    assert re.search(line, served.state_dir.daemon_log.read_text())

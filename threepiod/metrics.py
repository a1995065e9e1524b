"""`threepiod metrics`: the daemon's own status as OpenMetrics text, https://prometheus.io/docs/specs/om/open_metrics_spec/."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class _Metric(NamedTuple):
    """A metric family.

    Attributes:
        name: without the suffix of its samples.
        kind: `gauge`, `counter` or `info`.
        unit: the unit, which also ends the name; empty for a number of things.
        help: one sentence.
        key: where its value stands in the status.
    """

    name: str
    kind: str
    unit: str
    help: str
    key: str


_METRICS: Final = (
    _Metric("threepiod_uptime_seconds", "gauge", "seconds", "Time since the daemon started.", "uptime_s"),
    _Metric("threepiod_resident_memory_bytes", "gauge", "bytes", "Memory of the daemon.", "rss_bytes"),
    _Metric("threepiod_active_runs", "gauge", "", "Runs that are not over.", "runs_active"),
    _Metric("threepiod_connected_runs", "gauge", "", "Runs whose adapter is connected.", "runs_connected"),
    _Metric("threepiod_backlog_events", "gauge", "", "Events that are received and not stored yet.", "backlog"),
    _Metric("threepiod_commits", "counter", "", "Transactions of the store.", "commits"),
    _Metric("threepiod_errors", "counter", "", "Errors that were survived; the log says which.", "errors"),
)
_EVENTS: Final = {
    "received": "Events taken, from sockets and journals.",
    "stored": "Events that are in the store.",
    "duplicates": "Events that came again and were discarded.",
    "conflicts": "Events that came again with other content.",
    "corrupt": "Lines of journals that cannot be read.",
    "kept": "Events that the daemon journaled itself, because the adapter could not.",
    "failures": "Failures to write, sync or read.",
}


def openmetrics(status: dict[str, Any]) -> str:
    """Return the text for a daemon's status as `threepiod status --json` prints it."""
    lines = [
        "# TYPE threepiod_build info",
        "# HELP threepiod_build Version of the daemon.",
        f'threepiod_build_info{{version="{_escaped(status["version"])}"}} 1',
    ]
    for metric in _METRICS:
        lines += _family(metric, status[metric.key])
    for name, text in _EVENTS.items():
        lines += _family(_Metric(f"threepiod_events_{name}", "counter", "", text, name), status["events"][name])
    return "\n".join([*lines, "# EOF", ""])


def _family(metric: _Metric, value: float) -> list[str]:
    unit = [f"# UNIT {metric.name} {metric.unit}"] if metric.unit else []
    suffix = "_total" if metric.kind == "counter" else ""
    return [
        f"# TYPE {metric.name} {metric.kind}",
        *unit,
        f"# HELP {metric.name} {metric.help}",
        f"{metric.name}{suffix} {value}",
    ]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

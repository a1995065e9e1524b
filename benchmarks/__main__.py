"""The command line of the benchmarks: `python -m benchmarks NAME --help`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    agent,
    answers,
    buffers,
    generated,
    ingest,
    latency,
    memory,
    overhead,
    questions,
    replay,
    scale,
    suite,
    sync,
    trees,
    verdict,
)
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import MissingRequirement
from benchmarks.service import ServiceError


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark.

    Returns:
        0 if every requirement is met, 1 if not or if the run failed, 2 if something that it needs is missing.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure threepiod beside pytest's own account of the same run."
    )
    modules = {
        "agent": agent,
        "suite": suite,
        "replay": replay,
        "generated": generated,
        "sync": sync,
        "trees": trees,
        "verdict": verdict,
        "answers": answers,
        "questions": questions,
        "overhead": overhead,
        "ingest": ingest,
        "latency": latency,
        "buffers": buffers,
        "memory": memory,
        "scale": scale,
    }
    commands = parser.add_subparsers(required=True, metavar=f"{{{','.join(modules)}}}")
    for name, module in modules.items():
        module.add_parser(
            commands.add_parser(
                name,
                help=module.HELP,
                description=module.DESCRIPTION,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    given = sys.argv[1:] if arguments is None else arguments
    own = given[: given.index("--")] if "--" in given else given  # argparse takes no arguments behind options and `--`
    options = parser.parse_args(own)
    if len(own) < len(given) and "pytest_arguments" not in options:
        parser.error("only `suite` and `verdict` take arguments behind --")
    options.pytest_arguments = given[len(own) + 1 :]
    try:
        code: int = options.run(options)
    except MissingRequirement as missing:
        print(f"benchmarks: {missing}", file=sys.stderr)
        return 2
    except (BenchmarkFailed, ServiceError) as failed:
        print(f"benchmarks: {failed}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())

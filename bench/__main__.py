"""`python -m bench`: prints ratios, what they have to be, and whether they are."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import bucket, collecting, machine, restoring, sealing, ssh
from bench.result import Result

_MEASUREMENTS: dict[str, Callable[[Path, float, int], Iterator[Result]]] = {
    "restore": restoring.measure,
    "seal": sealing.measure,
    "collect": collecting.measure,
    "ssh": ssh.measure,
    "bucket": bucket.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(_MEASUREMENTS), help="default: all; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (default: 1)")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument("--directory", type=Path, default=None, help="where the data goes (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    # On a real disk: /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="drtests-bench-", dir=given.directory or "/var/tmp") as name:  # noqa: S108
        place = Path(name)
        told = machine.facts(place) | {"scale": f"{given.scale:g}"}
        results: list[Result] = []
        for what in given.only or _MEASUREMENTS:
            for result in _MEASUREMENTS[what](place, given.scale, given.pairs):
                print(f"{result.what}: {result.ratio:.2f}", file=sys.stderr, flush=True)
                results.append(result)
    if given.json:
        print(json.dumps({"machine": told, "results": [result.data() for result in results]}, indent=2))
    else:
        _print(told, results)
    return 0


def _print(told: dict[str, str], results: list[Result]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for key, value in told.items():
        console.print(f"{key:<8} {value}", markup=False)
    table = Table("measured", "ours", "theirs", "ratio", "of pairs", "target", "holds", box=None, pad_edge=False)
    for r in results:
        times = (f"{r.ours:.2f} {r.unit}", f"{r.theirs:.2f} {r.unit}")
        table.add_row(r.what, *times, f"{r.ratio:.2f}", r.spread, r.target, "yes" if r.holds else "NO")
    console.print()
    console.print(table)
    console.print("Ratios are medians of pairs measured in turn: times for `<=`, speeds for `>=`.", markup=False)


if __name__ == "__main__":
    sys.exit(main())

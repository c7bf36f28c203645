"""What drtests writes into a bucket lies apart from all data there."""

from __future__ import annotations

from pathlib import Path

import pytest

from drtests.declarations.load import load_texts
from drtests.errors import ConfigurationError, Diagnostic

_ESTATE = """organisation: {{name: School}}
people: [{{id: anna, name: Anna}}]
stores:
  - id: b
    endpoint: https://s3.example
    bucket: backups
    prefix: "{prefix}"
    probe_prefix: "{probes}"
    reader: {{access_key: "env:A", secret_key: "env:B"}}
repositories:
  - {{id: vault, location: "{location}", password: "env:P", engine: "{engine}", {store}}}
staging: [{{id: s, path: /scratch, disposable: true}}]
kit:
  copies:
    - {{store: b, key: "{key}"}}
"""
_DEFAULTS = {
    "prefix": "", "probes": "drtests-probe/", "location": "s3:https://s3.example/backups/restic", "engine": "restic",
    "store": "store: b", "key": "recovery-kit",
}  # fmt: skip


def problems(**changed: str) -> tuple[Diagnostic, ...]:
    texts = {
        "targets/bia.yaml": "processes: [{id: p, name: P, owner: anna, rto: 1h, rpo: 1d, dependencies: [app]}]",
        "targets/estate.yaml": _ESTATE.format(**_DEFAULTS | changed),
        "targets/systems/app.yaml": """
name: App
backups: [{repository: vault, interval: 1d}]
restore: {staging: s}
checks: [{command: {run: ["true"], proves_data: true}}]
""",
    }
    try:
        load_texts(Path("/nowhere"), texts)
    except ConfigurationError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"location": "s3:https://s3.example/backups"},
        {"prefix": "archive/", "location": "s3:https://s3.example/backups/archive/restic", "key": "archive/kit"},
        {"location": "s3:https://s3.example/another", "probes": "restic/", "store": "store: null"},
        {"location": "/srv/restic", "probes": "srv/", "store": "store: null"},
    ],
)
def test_what_lies_apart_is_well(changed: dict[str, str]) -> None:
    assert problems(**changed) == ()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"probes": "restic/"}, 8),
        ({"probes": "restic/data/"}, 8),
        ({"probes": "rest"}, 8),
        # A repository at the top of the bucket: only what restic keeps there is taken.
        ({"probes": "data/", "location": "s3:https://s3.example/backups"}, 8),
        ({"probes": "snapshots/x", "location": "s3:https://s3.example/backups"}, 8),
        # Also where nobody says that it lies in that bucket.
        ({"probes": "restic/", "store": "store: null"}, 8),
        ({"key": "restic"}, 15),
        ({"key": "restic/data"}, 15),
        ({"key": "index", "location": "s3:https://s3.example/backups"}, 15),
        ({"key": "drtests-probe/kit"}, 15),
        # All that is in a bucket that is a repository itself is data.
        ({"location": "s3://backups", "engine": "bucket"}, 15),
    ],
)
def test_what_is_written_never_lies_among_data(changed: dict[str, str], line: int) -> None:
    [problem] = problems(**changed)
    assert problem.where.startswith(f"targets/estate.yaml:{line}:"), problem
    assert "would lie among" in problem.what
    assert problem.mend


def test_a_kit_outside_the_prefix_of_its_store_could_never_be_read() -> None:
    [problem] = problems(prefix="restic/", key="kit")
    assert "outside the prefix" in problem.what

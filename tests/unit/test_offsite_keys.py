"""Keys that are not declared are not known to differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drtests.clock import SystemClock
from drtests.core.plan import OFFSITE
from drtests.declarations.load import load_texts
from drtests.drill.context import RunContext
from drtests.drill.journal import JournalWriter
from drtests.drill.offsite.apart import see_apart
from drtests.drill.offsite.case import Case
from drtests.drill.reach import DrillReach
from drtests.model.verdict import Verdict
from tests.support.journals import plan

_SECRETS = {"ONE": "key of the one", "TWO": "key of the other", "NAS": "nas password", "VAULT": "vault password"}
_SFTP = "sftp:backup@{}.example:/srv/restic"
_KEYS = "environment: {{RESTIC_REST_USERNAME: 'plain:{}', RESTIC_REST_PASSWORD: 'env:{}'}}"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JournalWriter]:
    for name, value in _SECRETS.items():
        monkeypatch.setenv(name, value)
    writer = JournalWriter(tmp_path / "journal", SystemClock())
    yield writer
    writer.close()


def case(root: Path, journal: JournalWriter, nas: str, vault: str) -> Case:
    texts = {
        "targets/bia.yaml": "processes: [{id: p, name: P, owner: anna, rto: 1h, rpo: 1d, dependencies: [app]}]",
        "targets/estate.yaml": f"""
organisation: {{name: School}}
sites: [{{id: school, name: School}}, {{id: town, name: Town, kind: offsite}}]
people: [{{id: anna, name: Anna}}]
hosts: [{{id: local, site: school}}]
repositories:
  - {{id: nas, location: "{nas.partition(" ")[0]}", password: "env:NAS", site: school, provider: own, account: admin,
     {nas.partition(" ")[2]}}}
  - {{id: vault, location: "{vault.partition(" ")[0]}", password: "env:VAULT", site: town, provider: bunker,
     account: vault-only, offsite: true, copy_of: nas, {vault.partition(" ")[2]}}}
staging: [{{id: s, path: /scratch, disposable: true}}]
""",
        "targets/systems/app.yaml": """
name: App
sources: [{path: /srv/app}]
backups: [{repository: nas, interval: 1d}, {id: off, repository: vault, interval: 1d}]
restore: {staging: s}
checks: [{command: {run: ["true"], proves_data: true}}]
""",
    }
    context = RunContext("run", load_texts(root, texts), journal, SystemClock())
    drilled = replace(plan(kind=OFFSITE), subject="vault")
    log = context.log(drilled.id)
    return Case(drilled, context, log, DrillReach(context.project, log, "mark"))


@pytest.mark.parametrize(
    ("nas", "vault", "same", "wanted"),
    [
        # Each may be opened by the same key, which ssh finds by itself.
        (_SFTP.format("nas"), _SFTP.format("vault"), None, Verdict.INCONCLUSIVE),
        (_SFTP.format("nas"), f"rest:https://vault.example/ {_KEYS.format('v', 'TWO')}", None, Verdict.INCONCLUSIVE),
        ("rest:https://nas.example/", "rest:https://vault.example/", None, Verdict.INCONCLUSIVE),
        (
            f"rest:https://nas.example/ {_KEYS.format('n', 'ONE')}",
            f"rest:https://vault.example/ {_KEYS.format('v', 'TWO')}",
            False,
            Verdict.MET,
        ),
        (
            f"rest:https://nas.example/ {_KEYS.format('n', 'ONE')}",
            f"rest:https://vault.example/ {_KEYS.format('v', 'ONE')}",
            True,
            Verdict.MISSED,
        ),
        # A folder is opened by nobody's keys.
        ("/srv/backups/nas", _SFTP.format("vault"), False, Verdict.MET),
    ],
)
def test_access_keys(
    tmp_path: Path, journal: JournalWriter, nas: str, vault: str, same: bool | None, wanted: Verdict
) -> None:
    seen, judged = see_apart(case(tmp_path, journal, nas, vault))
    assert seen["access keys, against repository nas"]["same"] is same
    assert judged.verdict is wanted, judged.reason
    assert not any(secret in str(seen) + judged.reason for secret in _SECRETS.values())

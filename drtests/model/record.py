"""`record.json`, schema version 1: everything a run found, in the form others may build on.

The form is decoupled from the classes that make it: fields are only ever
added within a version. Times are UTC text (`2026-03-01T03:00:00.000Z`),
durations are seconds, sizes bytes. Null means not known, never zero.
`docs/reference/record.md` is generated from the descriptions here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from drtests.model.part import Part
from drtests.model.replication import ReplicationRecord
from drtests.model.verdict import Basis, Verdict


class Measure(Part):
    """One number and where it comes from."""

    value: float
    """In `unit`."""
    unit: Literal["s", "B", "count"]
    """`s` seconds, `B` bytes, `count` a number of things."""
    basis: Basis
    """`measured`, `declared` (a person's word) or `estimated`; never mixed in one number."""


class RecordObjective(Part):
    """An objective from the BIA."""

    seconds: float
    """The limit, in seconds."""
    bound_by: str
    """What asks for it: `process:<id>` or `system:<id>`; the strictest of all that do."""


class Phase(Part):
    """One phase of a drill, timed on one monotonic clock."""

    name: str
    """declare, locate, provision, restore, start, verify, hand over or clean up."""
    offset: float
    """Seconds from the start of the drill to the start of the phase."""
    seconds: float
    """How long it took, in seconds; until the last thing that is known when it did not end."""
    outcome: Literal["done", "failed", "interrupted"]
    """`interrupted` when the journal has no end of it."""


class ManualTime(Part):
    """Time that people need, declared, not measured."""

    name: str
    """What is done by hand."""
    seconds: float
    """Declared length in seconds."""


class RecoveryTime(Part):
    """Recovery time actual: from declaration to the last passing check."""

    measured_seconds: float | None
    """By the drill, without waiting for locks; null when the drill did not get that far."""
    declared_seconds: float
    """Sum of the declared manual times, in seconds."""
    total_seconds: float | None
    """Measured and declared together: what is held against the RTO."""
    lock_wait_seconds: float
    """Waiting for other drills, in seconds; not part of the recovery time."""
    slowest_phase: str | None
    """Name of the longest phase within the recovery time."""
    manual: tuple[ManualTime, ...] = ()
    """Each declared manual time."""


class DataLoss(Part):
    """The honest numbers for data loss of one drill."""

    moment: str | None
    """When the disaster struck, for this drill."""
    moment_basis: str | None
    """Why that moment: `now`, `declared` or `recovery point`."""
    recovery_point_age_seconds: float | None
    """Moment of disaster minus time of the recovery point, in seconds."""
    worst_gap_seconds: float | None = None
    """Largest age the newest recovery point had at any moment of the window, in seconds."""
    worst_case_seconds: float | None = None
    """Worst gap, or interval if larger, plus declared backup duration and transfer, in seconds."""
    proved_seconds: float | None = None
    """Moment of disaster minus the newest marker in the restored data, in seconds; null when no marker was read."""


class RecordPoint(Part):
    """The recovery point that was used."""

    id: str
    """As the engine names it."""
    time: str
    """When it was taken."""
    host: str
    """The host it was taken of."""
    paths: tuple[str, ...]
    """What was backed up."""
    tags: tuple[str, ...] = ()
    """Its labels."""
    repository: str
    """Repository in estate.yaml."""
    chosen: str
    """How it was chosen: latest, by id, before a time, or at random with which seed."""


class CheckRecord(Part):
    """One check: what was seen, and what was thought of it."""

    kind: str
    """files, tree, command, http, sqlite, marker, python or one of a plug-in."""
    title: str
    """What is checked, in words."""
    proves_data: bool
    """Whether passing says anything of the data's content."""
    verdict: Verdict
    """MET, MISSED or INCONCLUSIVE."""
    reason: str
    """Why, in one line."""
    mend: str = ""
    """What to do about it, when it is not MET."""
    seconds: float
    """How long it took, in seconds."""
    observation: dict[str, Any] = Field(default_factory=dict)
    """What was seen: counts, hashes, names and times, never restored data."""
    data_loss_seconds: float | None = None
    """How old the newest restored data was at the moment of disaster, in seconds, when the check proves that."""
    severity: Literal["low", "medium", "high", "critical"] | None = None
    """How bad the worst thing is that it found, where it tells: an attack that succeeded, a bucket that is public.
    The action item is at least as severe."""


class CommandRecord(Part):
    """A command that was run, with secrets taken out."""

    host: str
    """Host in estate.yaml."""
    phase: str
    """Phase during which it ran."""
    argv: tuple[str, ...]
    """Program and arguments."""
    exit_code: int | None
    """Null when it did not end by itself; negative when a signal ended it."""
    seconds: float
    """How long it ran, in seconds."""
    output: str = ""
    """The end of what it printed on standard error, when it failed."""


class Problem(Part):
    """Something that kept the drill from knowing more, or that it left behind."""

    what: str
    """What happened."""
    where: str = ""
    """File and line, host, repository or phase."""
    mend: str = ""
    """What to do about it."""


class DrillRecord(Part):
    """One drill: one execution that tried to prove something."""

    id: str
    """`<system>::<drill>`; the same in every run."""
    node: str
    """Where it is declared, as pytest names it."""
    system: str
    """System's id."""
    system_name: str
    """System's name."""
    kind: str
    """restore, recovery_points, integrity, python, replication or failover."""
    test_type: str
    """Test type of standards: component_restore, system_restore, ..."""
    criticality: str
    """low, medium, high or critical: the highest of all processes that need the system."""
    owner: str
    """Person's id: system owner, else process owner."""
    processes: tuple[str, ...]
    """Processes that need the system, directly or through others."""
    controls: tuple[str, ...]
    """Controls this drill is evidence for, e.g. BC.02."""
    declaration: str
    """SHA-256 over the declarations that the drill was made from."""
    verdict: Verdict
    """MET, MISSED or INCONCLUSIVE."""
    state: Literal["finished", "interrupted", "not run"]
    """`not run`: planned, and never started."""
    reasons: tuple[str, ...]
    """Why the verdict is what it is, most important first."""
    advice: tuple[str, ...] = ()
    """What to do when it is not MET, most important first."""
    started_at: str | None
    """Wall clock at the start."""
    rto: RecordObjective | None
    """Recovery time objective."""
    rpo: RecordObjective | None
    """Recovery point objective."""
    recovery_time: RecoveryTime | None
    """Null for drills that recover nothing."""
    data_loss: DataLoss | None
    """Null for drills that say nothing of data loss."""
    recovery_point: RecordPoint | None
    """What was restored or looked at."""
    replication: ReplicationRecord | None = None
    """Null for drills that look at no replica."""
    phases: tuple[Phase, ...]
    """In order of time."""
    checks: tuple[CheckRecord, ...]
    """In order of time."""
    measures: dict[str, Measure] = Field(default_factory=dict)
    """Further numbers by name, such as restored bytes."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Further facts by name, such as which part of the repository was read."""
    commands: tuple[CommandRecord, ...]
    """Every command run, in order of time."""
    problems: tuple[Problem, ...]
    """What went wrong, and what was left behind."""


class ActionEvent(Part):
    """One line in the life of an action item."""

    run: str
    """Run that says so."""
    at: str
    """When."""
    what: Literal["opened", "seen again", "reopened", "closed"]
    """What happened."""
    verdict: Verdict
    """Of the drill in that run."""


class ActionItem(Part):
    """What has to be done about a finding. Closed by nothing but a passing retest of the same drill."""

    id: str
    """`A-` and the first characters of the fingerprint."""
    fingerprint: str
    """SHA-256 over what the finding is about (system and drill), so that it is the same in every run."""
    drill: str
    """Drill's id."""
    system: str
    """System's id."""
    controls: tuple[str, ...]
    """Controls it bears on."""
    weakness: str
    """What is wrong, in one line, as of the last run that saw it."""
    remediation: str
    """What the drill advises."""
    verdict: Verdict
    """Of the last run that saw it."""
    severity: Literal["low", "medium", "high", "critical"]
    """From the system's criticality and the verdict; raised by what the checks found."""
    owner: str
    """Person's id."""
    owner_name: str
    """Person's name."""
    status: Literal["open", "closed"]
    """Overdue is computed by the reader from `due`, never stored."""
    detected_at: str
    """When it was (last) opened."""
    detected_by: str
    """Run that (last) opened it."""
    due: str
    """When it has to be closed."""
    times_seen: int
    """In how many runs."""
    recurring: bool
    """Seen in more than one run."""
    retest_run: str | None = None
    """Run that closed it."""
    closed_at: str | None = None
    """When it was closed."""
    history: tuple[ActionEvent, ...]
    """Only ever grows."""


class SystemScope(Part):
    """What the run covers of one declared system."""

    system: str
    """System's id."""
    name: str
    """System's name."""
    drills: tuple[str, ...]
    """Drills that belonged to this run."""
    reason: str = ""
    """Why nothing of it was tested, when nothing was."""


class JournalRecord(Part):
    """One journal the record was made from."""

    name: str
    """Path in the pack."""
    events: int
    """Lines that could be used."""
    intact: bool
    """False when lines are missing, repeated or out of order."""
    closed: bool
    """False when the process that wrote it did not end by itself."""
    problem: str = ""
    """What is wrong with it."""


class RunRecord(Part):
    """The run as a whole."""

    id: str
    """Name of the folder of the pack."""
    started_at: str
    """Wall clock at the start."""
    finished_at: str | None
    """Null when the run was interrupted."""
    seconds: float | None
    """Length in seconds on the monotonic clock; null when interrupted."""
    state: Literal["finished", "interrupted"]
    """`interrupted`: killed, or stopped by a person."""
    verdict: Verdict
    """Over all drills; INCONCLUSIVE when there are none."""
    organisation: str
    """From estate.yaml."""
    timezone: str
    """IANA name from estate.yaml, for local times in reports."""
    classification: str
    """Of the report."""
    tool: str
    """Name and version of drtests."""
    environment: dict[str, str]
    """Facts of the machine that ran it: host name, system, Python, engines' versions."""
    declarations: dict[str, str]
    """SHA-256 of every declaration file, by path."""


class Record(Part):
    """The whole of record.json."""

    schema_name: Literal["drtests-record"] = "drtests-record"
    """Tells that this is such a file."""
    schema_version: Literal[1] = 1
    """Version of this form."""
    run: RunRecord
    """The run as a whole."""
    scope: tuple[SystemScope, ...]
    """Every declared system, tested or not."""
    drills: tuple[DrillRecord, ...]
    """Every drill that was planned, in order of its id."""
    actions: tuple[ActionItem, ...]
    """All action items, open and closed, as they are after this run."""
    journals: tuple[JournalRecord, ...]
    """What the record was made from."""

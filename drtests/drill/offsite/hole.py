"""The restore with nothing but the offsite copy and the kit: the system's own recovery, on a host that is cut off.

A kit lies where others may write. Nothing of it is believed that the declarations, or what this side knows of its
programs, do not say as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from drtests.core.offsite.hole import Alone
from drtests.core.trace import gather
from drtests.declarations.checks import NamedCheck
from drtests.drill.offsite.case import Case
from drtests.drill.offsite.isolation import CutOff, cut_off
from drtests.drill.recovery import Restoring, locate
from drtests.drill.stage import Stage, provisioned
from drtests.errors import DrtestsError, EngineMissing, SafetyError
from drtests.kit.contents import carried_as, kept_key, repository_entry, unkept
from drtests.kit.copies import Looked
from drtests.kit.places import Folder
from drtests.kit.reading import read_kit
from drtests.kit.tools import Wanted, backup_program, look
from drtests.model.estate import Repository
from drtests.model.verdict import Verdict
from drtests.protocols.host import Host


class _Refused(SafetyError):
    """What the kit holds is not what was put there: none of it is used."""


@dataclass(slots=True)
class _Taken:
    """What the restore is done with."""

    repository: Repository
    program: str = ""
    as_listed: bool | None = None
    keys: str = "declarations"
    unkept: tuple[str, ...] = ()


def restore_alone(case: Case, checks: tuple[NamedCheck, ...]) -> Alone:
    """Walks the phases of a recovery. What keeps it from its end is a problem of the drill, and is told."""
    staging = case.project.staging(case.system.restore.staging)
    stage = Stage(case.plan, case.context, case.log, case.reach, staging, case.reach.host(staging.host))
    taken, cut = _Taken(case.repository), CutOff()
    stopped = refused = ""
    try:
        _recover(case, stage, checks, taken, cut)
    except _Refused as error:
        refused = error.what
    except DrtestsError as error:
        stopped = error.what
        case.log.problem(error)
    return _seen(case, cut, taken, len(checks), stopped, refused)


def _recover(case: Case, stage: Stage, checks: tuple[NamedCheck, ...], taken: _Taken, cut: CutOff) -> None:
    now = case.context.clock.now()
    restoring = Restoring(stage)

    def prepare() -> None:
        _unpack(case, stage, taken)
        stage.repository = taken.repository
        cut_off(case, stage, cut)
        restoring.prepare()

    with provisioned(stage, prepare):
        with case.log.phase("locate"):
            choice, moment = locate(stage, "latest", now, now)
        with case.log.phase("restore"):
            restoring.restore(choice)
        with case.log.phase("start"):
            stage.start(None)
        with case.log.phase("verify"):
            stage.verify(checks, stage.resources(), stage.objective(moment))
            stage.still_up()
            cut.ended()


def _unpack(case: Case, stage: Stage, taken: _Taken) -> None:
    """Keys and program as the kit has them. Without a kit, as declared; the judgement knows. Raises _Refused."""
    kit = case.kit
    if kit is None:
        return
    _refuse_other_entry(case, kit)
    taken.keys, taken.unkept = "kit", tuple(unkept(case.project, case.repository.id))
    kept = kept_key(case.project, case.repository.id)
    if kept is not None:
        password = kept.password or case.repository.password
        environment = {**case.repository.environment, **kept.environment}
        told: dict[str, Any] = {"password": password, "environment": environment}
        taken.repository = case.repository.model_copy(update=told)
    wanted = backup_program(case.project, case.repository.id)
    if wanted is None:
        return
    tool = kit.read.tool(PurePosixPath(wanted).name, stage.host.id)
    if tool is not None and tool["file"]:
        path = _unpacked(case, kit, tool, wanted, stage)
        taken.repository = taken.repository.model_copy(update={"program": path})
        taken.program, taken.as_listed = "kit", True
        return
    found = look(Wanted(wanted, None), stage.host)
    if not found.path:
        raise EngineMissing(
            f"{wanted} is not installed, and not in the recovery kit",
            where=f"host {stage.host.id}",
            mend="write the kit with `drtests kit`, with the tools in it, or install it",
        )
    taken.program = "host"
    taken.as_listed = None if tool is None else found.sha256 == tool["sha256"]


def _refuse_other_entry(case: Case, kit: Looked) -> None:
    written = json.loads(json.dumps(repository_entry(case.project, case.repository.id)))
    if kit.read.repository(case.repository.id) != written:
        raise _Refused(
            f"what the kit at {kit.copy.where} says of repository {case.repository.id!r} is not what is declared: "
            "it is stale, or somebody changed it"
        )


def _unpacked(case: Case, kit: Looked, tool: Mapping[str, Any], wanted: str, stage: Stage) -> str:
    """Path of the kit's own program on the host. Raises _Refused when it is any other than the one that was put in."""
    name, where = f"{tool['name']} in the kit at {kit.copy.where}", f"host {stage.host.id}"
    if tool["file"] != carried_as(str(tool["host"]), str(tool["name"])) or "/" in tool["host"] + tool["name"]:
        raise _Refused(f"{name} is said to be at {tool['file']}, where no kit has it")
    data = kit.copy.place.read(str(tool["file"]))
    digest = hashlib.sha256(data).hexdigest()
    if digest != tool["sha256"]:
        raise _Refused(f"{name} is another one than the kit names: it was changed, or is damaged")
    known = dict(_known(case, kit, wanted, stage.host))
    if not known:
        raise EngineMissing(
            f"{name} was not run: nothing here tells whether it is the one that was put in",
            where=where,
            mend="write the kit with `drtests kit` where drills are run, so that its hash is known there",
        )
    if digest not in known:
        raise _Refused(f"{name} is none that is known here: it was changed, or is older than what is used now")
    folder = f"{stage.place.folder}/kit"
    stage.host.make_directory(folder)
    stage.host.write(f"{folder}/{tool['name']}", data, 0o755)
    return f"{folder}/{tool['name']}"


def _known(case: Case, kit: Looked, wanted: str, host: Host) -> Iterator[tuple[str, str]]:
    """Hashes of that program that do not come from the copy: as installed, and as this side wrote down. And where."""
    for one in (host, case.reach.host(None)):
        found = look(Wanted(wanted, None), one)
        if found.sha256:
            yield found.sha256, f"installed on host {one.id}"
    declared = case.project.estate.kit
    if declared is None:
        return
    own = Folder(case.reach.host(None), str(case.project.path(declared.path)))
    if own.where == kit.copy.place.where:
        return
    for tool in (read_kit(own).manifest or {}).get("tools", ()):
        if tool["name"] == PurePosixPath(wanted).name and tool["sha256"]:
            yield tool["sha256"], f"written down in {own.where}"


def _seen(case: Case, cut: CutOff, taken: _Taken, checks: int, stopped: str, refused: str) -> Alone:
    trace = gather(case.log.events)
    judged = [check.verdict for check in trace.own_checks]
    return Alone(
        isolated=not cut.why_not,
        isolation=dict(cut.facts),
        not_isolated=cut.why_not,
        kit=case.kit.copy.where if case.kit else "",
        program=taken.program,
        program_as_listed=taken.as_listed,
        keys=taken.keys,
        unkept=taken.unkept,
        checks=checks,
        passed=judged.count(Verdict.MET),
        missed=judged.count(Verdict.MISSED),
        stopped=stopped,
        refused=refused,
        seconds=round(trace.last_met - trace.lock_wait, 6) if trace.last_met is not None else None,
    )


def data_of(seen: Alone) -> dict[str, Any]:
    """As it is journaled."""
    return asdict(seen)

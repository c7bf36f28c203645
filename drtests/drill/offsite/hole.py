"""The restore with nothing but the offsite copy and the kit: the system's own recovery, on a host that is cut off."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
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
from drtests.errors import DrtestsError, EngineMissing
from drtests.kit.copies import Looked
from drtests.kit.tools import backup_program
from drtests.model.estate import Repository
from drtests.model.verdict import Verdict
from drtests.protocols.host import Host

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the restore is done with."""

    repository: Repository
    program: str
    as_listed: bool | None
    keys: str


def restore_alone(case: Case, checks: tuple[NamedCheck, ...]) -> Alone:
    """Walks the phases of a recovery. What keeps it from its end is a problem of the drill, and is told."""
    staging = case.project.staging(case.system.restore.staging)
    taken = _Taken(case.repository, "", None, "declarations")
    stopped = ""
    with ExitStack() as stack:
        cut = stack.enter_context(cut_off(case, case.reach.host(staging.host)))
        stage = Stage(case.plan, case.context, case.log, case.reach, staging, cut.host)
        try:
            taken = _recover(case, stage, checks)
        except DrtestsError as error:
            stopped = error.what
            case.log.problem(error)
    return _seen(case, cut, taken, len(checks), stopped)


def _recover(case: Case, stage: Stage, checks: tuple[NamedCheck, ...]) -> _Taken:
    now = case.context.clock.now()
    restoring = Restoring(stage)
    taken: list[_Taken] = []

    def prepare() -> None:
        taken.append(_unpack(case, case.kit, stage))
        stage.repository = taken[0].repository
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
    return taken[0]


def _unpack(case: Case, kit: Looked | None, stage: Stage) -> _Taken:
    """Program, keys and address as the kit has them. Without a kit, as declared; the judgement knows."""
    entry = kit.read.repository(case.repository.id) if kit else None
    if kit is None or entry is None:
        return _Taken(case.repository, "", None, "declarations")
    repository = _as_kept(case.repository, entry)
    wanted = backup_program(case.project, case.repository.id)
    if wanted is None:
        return _Taken(repository, "", None, "kit")
    tool = kit.read.tool(PurePosixPath(wanted).name, stage.host.id)
    if tool is None:
        return _Taken(repository, "host", None, "kit")
    if not tool["file"]:
        return _Taken(repository, "host", _hash_on(stage.host, wanted) == tool["sha256"], "kit")
    data = kit.copy.place.read(str(tool["file"]))
    path = f"{stage.place.folder}/kit/{tool['name']}"
    stage.host.make_directory(f"{stage.place.folder}/kit")
    stage.host.write(path, data, 0o755)
    same = hashlib.sha256(data).hexdigest() == tool["sha256"]
    return _Taken(repository.model_copy(update={"program": path}), "kit", same, "kit")


def _as_kept(declared: Repository, entry: Mapping[str, Any]) -> Repository:
    """What the kit says of address and keys, in place of what is declared. Raises DrtestsError on what it is not."""
    told: dict[str, Any] = {**entry["declared"], "password": entry["password"], "environment": entry["environment"]}
    try:
        return Repository.model_validate({**declared.model_dump(exclude_defaults=True), **told})
    except (ValueError, KeyError, TypeError):
        raise DrtestsError(
            f"what the kit says of repository {declared.id!r} cannot be used",
            mend="write it anew with `drtests kit`",
        ) from None


def _hash_on(host: Host, program: str) -> str:
    found = host.run(["sh", "-c", 'command -v "$1"', "sh", program], timeout=_TIMEOUT)
    if found.exit_code != 0 or not found.stdout.strip():
        raise EngineMissing(
            f"{program} is not installed, and not in the recovery kit",
            where=f"host {host.id}",
            mend="write the kit with `drtests kit --with-tools`, or install it",
        )
    at = PurePosixPath(host.resolve(found.stdout.strip()))
    [(_, digest)] = host.digests(str(at.parent), [at.name])
    return digest


def _seen(case: Case, cut: CutOff, taken: _Taken, checks: int, stopped: str) -> Alone:
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
        checks=checks,
        passed=judged.count(Verdict.MET),
        missed=judged.count(Verdict.MISSED),
        stopped=stopped,
        seconds=round(trace.last_met - trace.lock_wait, 6) if trace.last_met is not None else None,
    )


def data_of(seen: Alone) -> dict[str, Any]:
    """As it is journaled."""
    return asdict(seen)

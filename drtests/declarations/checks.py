"""A system's checks: from declared options to adapters that can be carried out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from drtests import registry
from drtests.declarations.adapters import known_ids, reference_problems, spec_of
from drtests.declarations.problems import explain
from drtests.declarations.source import Source
from drtests.declarations.yamltext import Path
from drtests.errors import Diagnostic, UsageError
from drtests.model.estate import Estate
from drtests.model.system import Check as Declared
from drtests.model.system import System
from drtests.protocols.check import Check, KnowsSystem


@dataclass(frozen=True, slots=True)
class NamedCheck:
    """A check that is ready. `title` is the name that was declared, else the check's own."""

    kind: str
    title: str
    check: Check


def build_checks(system: System) -> tuple[NamedCheck, ...]:
    """All checks of a system, in order. Raises ConfigurationError for one whose options do not fit."""
    return tuple(_build(declared) for declared in system.checks)


def _build(declared: Declared) -> NamedCheck:
    adapter = registry.check(declared.kind)
    check: Check = adapter(spec_of(adapter, f"check {declared.kind}", declared.options))
    return NamedCheck(declared.kind, declared.name or check.title, check)


def check_problems(system: System, estate: Estate | None, source: Source) -> Iterator[Diagnostic]:
    """What is wrong with a system's checks, each at its line; that none proves data is wrong, too."""
    known = known_ids(estate, system)
    proves = broken = False
    for number, declared in enumerate(system.checks):
        path = _options_path(source, number, declared.kind)
        try:
            adapter = registry.check(declared.kind)
        except UsageError as error:
            broken = True
            kind = ("checks", number, "kind") if path[-1] == "options" else path
            yield source.wrong(kind, error.what, error.mend, key=path is kind)
            continue
        try:
            spec = adapter.Spec.model_validate(declared.options)
            check = adapter(spec)
            proves = check.proves_data or proves
            if isinstance(check, KnowsSystem):
                for unfit in check.unfit(system):
                    yield source.wrong((*path, *unfit.path), unfit.what, unfit.mend)
            yield from reference_problems(spec, source, path, known)
        except ValidationError as error:
            broken = True
            yield from explain(error, adapter.Spec, source, path)
    if not proves and not broken:
        yield source.wrong(
            ("checks",),
            "no check proves the restored data: that files are there, or a server answers, says nothing of content",
            "add one that looks at content: a `tree` against its sealed manifest, `files` with a sha256, "
            "a `sqlite` or `sql` query, a `database` read to its end, a `marker`, or a `command` with "
            "`proves_data: true`",
            key=True,
        )


def _options_path(source: Source, number: int, kind: str) -> Path:
    """Where the options stand: below the kind as a key, or below `options` where both are written out."""
    given = source.value["checks"][number]
    return ("checks", number, "options" if "kind" in given else kind)

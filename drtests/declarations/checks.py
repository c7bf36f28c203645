"""From a declared check to an instance of its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from drtests import registry
from drtests.declarations.explain import explain
from drtests.declarations.yamlfile import YamlFile
from drtests.errors import Diagnostic, UsageError
from drtests.model.system import Check as DeclaredCheck
from drtests.model.system import System
from drtests.protocols.check import Check


@dataclass(frozen=True, slots=True)
class NamedCheck:
    """A check ready to run. `title` is the person's own name for it, or the check's."""

    kind: str
    title: str
    check: Check


def build_checks(system: System) -> tuple[NamedCheck, ...]:
    """The system's checks, in order. The declarations were checked, so what raises here is a fault."""
    return tuple(_build(declared) for declared in system.checks)


def _build(declared: DeclaredCheck) -> NamedCheck:
    adapter: Any = registry.check(declared.kind)
    made: Check = adapter(adapter.Spec.model_validate(declared.options))
    return NamedCheck(declared.kind, declared.name or made.title, made)


def check_problems(file: YamlFile, declared: Sequence[DeclaredCheck]) -> tuple[list[Diagnostic], bool]:
    """What is wrong with a system's checks, and whether any of them proves data."""
    problems: list[Diagnostic] = []
    proves = False
    for number, one in enumerate(declared):
        path = ("checks", number, one.kind)
        try:
            adapter: Any = registry.check(one.kind)
            proves = adapter(adapter.Spec.model_validate(one.options)).proves_data or proves
        except UsageError as error:
            problems.append(Diagnostic(error.what, file.where(path), error.mend))
        except ValidationError as error:
            problems += explain(file, error, adapter.Spec, path)
    return problems, proves

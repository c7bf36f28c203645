"""Reads `targets/` into a `Project`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from drtests.core.objectives import effective_objectives
from drtests.declarations.explain import explain
from drtests.declarations.rules import Declared, problems_of
from drtests.declarations.yamlfile import YamlFile, read_yaml
from drtests.errors import ConfigurationError, Diagnostic
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.project import Project
from drtests.model.system import System

M = TypeVar("M", bound=BaseModel)


def load_project(root: Path) -> Project:
    """The project below `root`. Touches nothing but files below `root/targets`.

    Raises ConfigurationError with every problem of every file.
    """
    root = root.resolve()
    targets = root / "targets"
    if not targets.is_dir():
        raise ConfigurationError([Diagnostic("there is no targets/ folder", str(root), "`drtests init` writes one")])
    problems: list[Diagnostic] = []
    bia_file, bia = _read(root, targets / "bia.yaml", Bia, problems)
    estate_file, estate = _read(root, targets / "estate.yaml", Estate, problems)
    systems: dict[str, System] = {}
    files: dict[str, YamlFile] = {}
    paths = sorted(path for path in (targets / "systems").glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    if not paths:
        problems.append(Diagnostic("no system is declared", "targets/systems/", "add targets/systems/<system>.yaml"))
    for path in paths:
        file, system = _read(root, path, System, problems)
        if path.stem in files:
            problems.append(
                Diagnostic(
                    f"system {path.stem!r} is declared twice", file.name, f"keep this one or {files[path.stem].name}"
                )
            )
        files[path.stem] = file
        if system is not None:
            systems[path.stem] = system
    problems += problems_of(Declared(root, bia_file, bia, estate_file, estate, files, systems))
    if problems or bia is None or estate is None:
        raise ConfigurationError(problems)
    return Project(
        root=root,
        bia=bia,
        estate=estate,
        systems=systems,
        objectives=effective_objectives(bia.processes, systems),
        digests={file.name: file.digest for file in (bia_file, estate_file, *files.values())},
    )


def _read(root: Path, path: Path, model: type[M], problems: list[Diagnostic]) -> tuple[YamlFile, M | None]:
    name = f"{path.relative_to(root)}"
    if not path.is_file():
        problems.append(Diagnostic("the file is missing", name, "`drtests init` in an empty folder writes an example"))
        return YamlFile(path, name, "", "", None), None
    file = read_yaml(path, name)
    if file.problem is not None:
        problems.append(file.problem)
        return file, None
    try:
        return file, model.model_validate(file.data)
    except ValidationError as error:
        problems += explain(file, error, model)
        return file, None

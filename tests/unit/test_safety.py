"""A restore never goes over, into, or around what is not disposable; links are followed before it is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from drtests.declarations.load import load_project
from drtests.drill.safety import refuse_unsafe
from drtests.drill.staging import leases
from drtests.errors import SafetyError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host, Staging
from drtests.model.project import Project
from tests.support.estate import Estate


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    made = Estate(tmp_path)
    made.produce()
    made.write()
    return made


@pytest.fixture
def project(estate: Estate) -> Project:
    (estate.root / "repository").mkdir()
    return load_project(estate.root)


def refused(project: Project, path: str | Path) -> str:
    staging = Staging(id="scratch", path=str(path), disposable=True)
    with pytest.raises(SafetyError) as caught:
        refuse_unsafe(project, staging, LocalHost(Host(id="local")))
    return caught.value.what


def test_a_folder_of_its_own_is_accepted(project: Project, tmp_path: Path) -> None:
    staging = Staging(id="scratch", path="staging", disposable=True)
    assert refuse_unsafe(project, staging, LocalHost(Host(id="local"))) == str(tmp_path / "staging")


@pytest.mark.parametrize(
    "path",
    [
        "production/app",
        "production/app/below",
        "production",
        "repository",
        "repository/data",
        "targets/systems",
        "staging/../production/app",
    ],
)
def test_overlaps_are_refused(project: Project, path: str) -> None:
    assert "overlaps" in refused(project, path)


@pytest.mark.parametrize("path", ["/", ".", ".."])
def test_what_contains_the_project_is_refused(project: Project, path: str) -> None:
    assert refused(project, path)


def test_a_link_to_production_is_refused(project: Project, estate: Estate) -> None:
    (estate.root / "innocent").symlink_to(estate.data)
    assert "overlaps" in refused(project, "innocent/staging")


def test_production_behind_a_link_is_known_too(estate: Estate) -> None:
    (estate.root / "repository").mkdir()
    (estate.root / "alias").symlink_to(estate.data)
    estate.systems["app"]["sources"] = [{"path": "alias"}]
    estate.write()
    assert "overlaps" in refused(load_project(estate.root), "production/app/staging")


def test_what_is_not_disposable_is_refused(project: Project) -> None:
    staging = Staging(id="scratch", path="staging", disposable=False)
    with pytest.raises(SafetyError, match="disposable"):
        refuse_unsafe(project, staging, LocalHost(Host(id="local")))


def test_a_second_name_for_the_same_machine_hides_nothing(estate: Estate) -> None:
    (estate.root / "repository").mkdir()
    estate.estate["hosts"] = [{"id": "local"}, {"id": "same"}]
    estate.write()
    project = load_project(estate.root)
    staging = Staging(id="scratch", host="same", path="production/app/x", disposable=True)
    with pytest.raises(SafetyError, match="overlaps"):
        refuse_unsafe(project, staging, LocalHost(Host(id="same")))


@pytest.mark.parametrize("folder", ["/etc", "../outside", "", "drtests-x/../../outside"])
def test_a_lease_that_names_a_foreign_folder_is_not_believed(tmp_path: Path, folder: str) -> None:
    (tmp_path / ".drtests-leases").mkdir()
    named = str(tmp_path / folder) if not folder.startswith("/") else folder
    (tmp_path / ".drtests-leases" / "drtests-run.json").write_text(f'{{"folder": "{named}", "mark": "m"}}')
    [lease] = leases(str(tmp_path), LocalHost(Host(id="local")))
    assert lease.folder == str(tmp_path / "drtests-run")

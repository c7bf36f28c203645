"""Opens declared hosts."""

from __future__ import annotations

from drtests import registry
from drtests.model.project import Project
from drtests.protocols.host import Host, HostContext


def open_host(project: Project, host_id: str | None, mark: str = "") -> Host:
    """The host with that id, None being the machine that runs drtests. Nothing is connected before it is used."""
    declared = project.host(host_id)
    known = {host.id: host for host in project.estate.hosts}
    made: Host = registry.host(declared.type)(HostContext(declared, mark, project.root, known))
    return made

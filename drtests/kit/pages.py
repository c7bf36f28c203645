"""The kit's pages for people, as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from drtests.kit.contents import DOCUMENT, MANIFEST, SUMS, Contents, kept_key, runbook_file
from drtests.kit.markdown import code, table, text
from drtests.kit.runbook import runbook
from drtests.model.estate import Person
from drtests.model.project import Objective, Project
from drtests.model.units import format_duration

LOGBOOK_LINES = 24


def pages(contents: Contents) -> dict[str, str]:
    """Every page by its file's name, in the order in which people read them."""
    found = {
        "README.md": _first(contents),
        "contacts.md": _contacts(contents.project),
        "plan.md": _plan(contents),
        "repositories.md": _repositories(contents.project),
    }
    for wave in contents.waves():
        found |= {runbook_file(name): runbook(contents, name) for name in wave}
    found["tools.md"] = _tools(contents)
    found["logbook.md"] = _logbook()
    return found


def local_time(moment: datetime, zone: str) -> str:
    """UTC and the organisation's own time."""
    utc = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{utc} ({moment.astimezone(ZoneInfo(zone)).strftime('%H:%M %Z')})"


def _first(contents: Contents) -> str:
    estate = contents.project.estate
    made = local_time(contents.made_at, estate.organisation.timezone)
    age = f" It is out of date after {format_duration(estate.kit.max_age.total_seconds())}." if estate.kit else ""
    return f"""# Recovery kit of {text(estate.organisation.name)}

Classification: {text(estate.organisation.classification)}. Made {made}.{age}

For when all is down: the building, the network, the account, or the people who usually do this. It holds no secret.
It says where keys are kept, and who can get at them.

1. **Call** those who decide: [contacts](contacts.md).
2. **Decide** what comes back, and in which order: [plan](plan.md).
3. **Get the keys**: [repositories and their keys](repositories.md).
4. **Get the tools**, and see that they are the right ones: [tools](tools.md).
5. **Restore**, one system after the other, each by its runbook: {_links(contents)}.
6. **Write down** what you do, and when: [logbook](logbook.md).

Restore to new machines. Never restore over what is left of the old ones: it is evidence, and may be the only copy.

## Is this kit whole?

`sha256sum -c {SUMS}` in this folder says whether any file was changed or lost. `{DOCUMENT}` has all pages in one, to be
printed; `{MANIFEST}` is the same for machines; `declarations/` holds the declarations that all of this was made from:
`drtests run --project declarations` works where the tools and the keys are.
"""


def _links(contents: Contents) -> str:
    names = [name for wave in contents.waves() for name in wave]
    return ", ".join(f"[{text(contents.project.systems[name].name)}]({runbook_file(name)})" for name in names)


def _contacts(project: Project) -> str:
    rows = [
        [
            text(p.name),
            text(", ".join(p.roles)),
            text(p.phone),
            text(p.email),
            _named(project, p.deputy),
            _duties(project, p),
        ]
        for p in project.estate.people
    ]
    absent = [p.name for p in project.estate.people if not p.phone]
    note = f"\nNo telephone number is declared for: {text(', '.join(absent))}.\n" if absent else ""
    return f"""# Contacts

{table(["who", "roles", "telephone", "e-mail", "deputy", "owns"], rows)}{note}"""


def _named(project: Project, person: str | None) -> str:
    found = project.person(person)
    if found is None:
        return ""
    return f"{text(found.name)}{', ' + text(found.phone) if found.phone else ''}"


def _duties(project: Project, person: Person) -> str:
    owned = [f"process {p.name}" for p in project.bia.processes if p.owner == person.id]
    owned += [f"deputy for process {p.name}" for p in project.bia.processes if p.deputy == person.id]
    owned += [project.systems[name].name for name in sorted(project.systems) if project.owner(name) == person.id]
    return text("; ".join(owned))


def _plan(contents: Contents) -> str:
    project = contents.project
    parts = ["# Plan: what comes back, and when\n\nSystems of one wave can be recovered side by side.\n"]
    for number, wave in enumerate(contents.waves(), 1):
        rows = [list(_row(contents, name)) for name in wave]
        head = ["system", "back within", "may lose", "needs first", "for", "owner", "runbook"]
        parts.append(f"\n## Wave {number}\n\n{table(head, rows)}")
    rows = [
        [
            text(p.name),
            text(p.criticality),
            format_duration(p.rto.total_seconds()),
            format_duration(p.rpo.total_seconds()),
            format_duration(p.mtpd.total_seconds()) if p.mtpd else "",
            text(f"{p.workaround.description} (for {format_duration(p.workaround.max_duration.total_seconds())})")
            if p.workaround
            else "",
            _named(project, p.owner),
        ]
        for p in project.bia.processes
    ]
    head = ["process", "criticality", "RTO", "RPO", "MTPD", "meanwhile, by hand", "owner"]
    parts.append(f"\n## Processes they serve\n\n{table(head, rows)}")
    return "".join(parts)


def _row(contents: Contents, name: str) -> Iterator[str]:
    project = contents.project
    system, objectives = project.systems[name], project.objectives[name]
    yield text(system.name)
    yield _limit(objectives.rto)
    yield _limit(objectives.rpo)
    yield text(", ".join(f"{d.target}{'' if d.type == 'hard' else ' (soft)'}" for d in system.dependencies))
    yield text(", ".join(objectives.processes))
    yield _named(project, project.owner(name))
    yield f"[{text(name)}]({runbook_file(name)})"


def _limit(objective: Objective | None) -> str:
    return format_duration(objective.limit.total_seconds()) if objective else "not set"


def _repositories(project: Project) -> str:
    parts = ["# Repositories and their keys\n"]
    sites = {site.id: site.name for site in project.estate.sites}
    for repository in project.estate.repositories:
        kept = kept_key(project, repository.id)
        store = next((s for s in project.estate.stores if s.id == repository.store), None)
        site = repository.site or (store.site if store else None)
        holders = [_named(project, holder) for holder in kept.holders] if kept else []
        rows = [
            ["address", code(repository.location)],
            ["program", text(repository.engine)],
            ["site", text(sites.get(site or "", "not declared"))],
            ["offsite", "yes" if repository.offsite else "no"],
            ["copy of", text(repository.copy_of or "")],
            ["provider", text(repository.provider or (store.provider if store else "") or "")],
            ["account", text(repository.account or (store.account if store else "") or "")],
            ["**keys are kept**", text(kept.kept) if kept else "**not declared: ask the owner now, not then**"],
            ["who can get at them", "; ".join(holders) or "not declared"],
            ["password, by reference", code((kept.password if kept else None) or repository.password or "")],
        ]
        environment = {**repository.environment, **(kept.environment if kept else {})}
        rows += [[code(name), code(reference)] for name, reference in environment.items()]
        parts.append(f"\n## {text(repository.id)}\n\n{table(['', ''], [row for row in rows if row[1]])}")
    return "".join(parts)


def _tools(contents: Contents) -> str:
    rows = [
        [
            text(tool.name),
            text(tool.version) or "not found",
            text(tool.host),
            code(tool.path),
            code(tool.sha256),
            code(tool.file),
        ]
        for tool in contents.tools
    ]
    head = ["program", "version", "found on", "as", "SHA-256", "in this kit"]
    return f"""# Tools

As they were when this kit was made. A newer release of the same program will do as a rule; an older one may not.

{table(head, rows)}
Put those that are in this kit where they are found, first: `install -m 755 tools/*/* /usr/local/bin/`. They are for the
kind of machine that they were found on.
"""


def _logbook() -> str:
    return "# Logbook\n\n" + table(["time", "what was decided, done or seen", "by"], [["", "", ""]] * LOGBOOK_LINES)

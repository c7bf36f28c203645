"""`targets/estate.yaml`: the organisation, and where things are."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drtests.model.base import Declaration, EngineVariable, Flag, Id, SecretReference, Text
from drtests.model.connections import LiveDatabase, Ssh, Store
from drtests.model.kit import Kit
from drtests.model.units import Duration


class Organisation(Declaration):
    """Who owes the evidence."""

    name: str
    timezone: str = "Europe/Amsterdam"
    """IANA name; evidence shows UTC and this zone."""
    classification: str = "internal"
    """Printed on every report."""


class Site(Declaration):
    """A place that can be lost as a whole."""

    id: Id
    name: str
    kind: Literal["production", "offsite", "dr"] = "production"


class Person(Declaration):
    """Somebody who owns, decides or is called."""

    id: Id
    name: str
    roles: tuple[str, ...] = ()
    email: str = ""
    phone: Text = ""
    deputy: Id | None = None


class Host(Declaration):
    """A machine on which drtests may run commands."""

    id: Id
    type: str = "local"
    """Host adapter: `local` is the machine that runs drtests, `ssh` one that is reached over SSH."""
    site: Id | None = None
    ssh: Ssh | None = None
    """How it is reached, when its type is `ssh`."""

    @model_validator(mode="after")
    def _reached(self) -> Host:
        if (self.type == "ssh") != (self.ssh is not None):
            raise ValueError("`ssh` goes with `type: ssh`, and only with it; give both or neither")
        return self


# A user, which may be empty, and a password, which may hold `/`; but no port, nor an IPv6 address.
_CREDENTIALS = re.compile(r"://[^/@:\[]*:(?!\d*/)[^@]+@")


def _no_credentials(location: str) -> str:
    if _CREDENTIALS.search(location):
        raise ValueError("a password in the location would end up in argv; give it by reference under `environment`")
    return location


class Integrity(Declaration):
    """How much of the repository each run reads back and compares with its hashes."""

    parts: int = Field(default=10, ge=1, le=1000)
    """The repository is read in this many parts, one a run, in turn: all of it over `parts` runs."""
    timeout: Duration = timedelta(hours=6)


class Repository(Declaration):
    """A backup repository, which drtests only ever reads."""

    id: Id
    engine: str = "restic"
    location: Annotated[str, AfterValidator(_no_credentials)]
    """As the engine writes it; a relative local path is taken from the project's root."""
    password: SecretReference | None = None
    """Engines that encrypt need it."""
    environment: dict[str, EngineVariable] = Field(default_factory=dict)
    """Further variables for the engine, each by reference; `plain:value` for what is no secret."""
    site: Id | None = None
    offsite: Flag = False
    """Meant to outlive the building, the account and the administrator: drilled as such by `::offsite`."""
    copy_of: Id | None = None
    """The repository that this one is a copy of, snapshot by snapshot: its primary."""
    provider: str | None = None
    """Who runs the storage, in a word; that of the store when not given."""
    account: str | None = None
    """Account or tenant it belongs to; that of the store when not given."""
    media: str | None = None
    """What it is kept on, in a word: disk, object, tape ... A folder is taken for disk, a bucket for object."""
    store: Id | None = None
    """The bucket it lies in, when that is declared under `stores`: what is known and judged of the bucket then counts
    for the repository."""
    host: Id | None = None
    """Where the engine runs; the staging's host when not given."""
    program: str | None = None
    """Path of the engine's program on that host."""
    integrity: Integrity = Integrity()
    timeout: Duration = timedelta(minutes=5)
    """For listing recovery points and other small questions."""

    @property
    def folder(self) -> str | None:
        """Where it lies when it is a folder of the host; None when it is reached over a network."""
        location = self.location.removeprefix("local:")
        return None if ":" in location else location


class Staging(Declaration):
    """Where a drill restores to. Everything in it may be destroyed at any time."""

    id: Id
    host: Id | None = None
    path: str
    """A relative path is taken from the project's root."""
    disposable: Flag = False
    """Must be true: the owner's word that nothing here is missed."""


class Due(Declaration):
    """How long after it is found a finding may stay open, by severity."""

    critical: Duration = timedelta(days=7)
    high: Duration = timedelta(days=14)
    medium: Duration = timedelta(days=30)
    low: Duration = timedelta(days=90)


class ActionPolicy(Declaration):
    """How findings become dated action items."""

    due: Due = Due()


class Estate(Declaration):
    """The whole file."""

    version: Literal[1] = 1
    """Version of this file's format."""
    organisation: Organisation
    sites: tuple[Site, ...] = ()
    people: tuple[Person, ...] = Field(min_length=1)
    hosts: tuple[Host, ...] = (Host(id="local"),)
    repositories: tuple[Repository, ...] = Field(min_length=1)
    databases: tuple[LiveDatabase, ...] = ()
    """Running database servers."""
    stores: tuple[Store, ...] = ()
    """Buckets of object stores."""
    kit: Kit | None = None
    """The recovery kit, for when all is down."""
    staging: tuple[Staging, ...] = Field(min_length=1)
    actions: ActionPolicy = ActionPolicy()

    def machine(self, host_id: str | None) -> str:
        """Which machine a host is: those of type `local` are all one, whatever they are called, and so are those
        that are reached at the same address and port, in the same way."""
        declared = {host.id: host for host in self.hosts}
        host = declared.get(host_id or "local")
        if host is None or host.type == "local":
            return "local" if host_id is None or host is not None else host_id
        if host.ssh is None:
            return host.id
        way = host.ssh.address, host.ssh.port, host.ssh.jump
        same = (one.id for one in self.hosts if one.ssh and (one.ssh.address, one.ssh.port, one.ssh.jump) == way)
        return next(same, host.id)

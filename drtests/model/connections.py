"""How machines, databases and object stores are reached: the connecting parts of `targets/estate.yaml`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drtests.model.base import Declaration, Flag, Id, SecretReference
from drtests.model.units import Duration


def _no_key_itself(path: str) -> str:
    if "\n" in path or "PRIVATE KEY" in path:
        # It is not repeated.
        raise ValueError("a private key itself is never written here; give the name of the file that holds it")
    return path


class Ssh(Declaration):
    """A connection over SSH. The host's key must be known: an unknown or changed one is refused."""

    address: str = Field(min_length=1)
    """Name or address."""
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(min_length=1)
    key: Annotated[str, AfterValidator(_no_key_itself)] | None = None
    """File of the private key; a relative path is taken from the project's root. The agent's keys when not given."""
    passphrase: SecretReference | None = None
    """Of the key."""
    known_hosts: str = "~/.ssh/known_hosts"
    """File with the keys of hosts that are known; a relative path is taken from the project's root."""
    jump: Id | None = None
    """Host of type ssh through which this one is reached."""
    sudo: Flag = False
    """Commands run as root, by sudo."""
    sudo_password: SecretReference | None = None
    """When sudo asks for one."""
    connect_timeout: Duration = timedelta(seconds=15)
    keepalive: Duration = timedelta(seconds=10)
    """How often both sides make sure of each other. After three times as long without an answer the connection
    counts as lost, and what was started on the host is ended there."""
    python: str = "python3"
    """Python 3.7 or newer on the host."""

    @model_validator(mode="after")
    def _fits(self) -> Ssh:
        if min(self.keepalive, self.connect_timeout) <= timedelta(0):
            raise ValueError("`keepalive` and `connect_timeout` are longer than nothing, e.g. 10s")
        if self.passphrase is not None and self.key is None:
            raise ValueError("`passphrase` goes with `key`; ssh-agent asks for that of its keys itself")
        if self.sudo_password is not None and not self.sudo:
            raise ValueError("`sudo_password` goes with `sudo: true`")
        return self


class LiveDatabase(Declaration):
    """A running database server: read for comparison, and asked about replication. Never restored to."""

    id: Id
    type: Literal["postgres", "mariadb", "redis"] | Annotated[str, Field(pattern="^[^:]+:[^:]+$")]
    """Kind of server, or package.module:Class."""
    host: Id | None = None
    """Host on which the client program runs; the machine that runs drtests when not given."""
    address: str = "127.0.0.1"
    """Name or address of the server, as that host reaches it; ignored when `socket` is given."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """The kind's usual port when not given."""
    socket: str | None = None
    """PostgreSQL: folder of the socket. MariaDB and Redis: the socket itself."""
    user: str | None = None
    password: SecretReference | None = None
    database: str | None = None
    """Name of the database; of Redis its number."""
    site: Id | None = None
    timeout: Duration = timedelta(seconds=30)
    """For one question."""


def _plain_address(endpoint: str) -> str:
    if not endpoint.startswith(("http://", "https://")) or "@" in endpoint:
        raise ValueError(
            "an endpoint is an address without credentials; write http(s)://host:port, and the keys under `reader`"
        )
    return endpoint.rstrip("/")


class StoreCredentials(Declaration):
    """Keys of one account, each by reference."""

    access_key: SecretReference
    secret_key: SecretReference
    session_token: SecretReference | None = None


class Prices(Declaration):
    """What the provider asks, in `currency`."""

    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    per_gib_out: float = Field(default=0.0, ge=0)
    """For each GiB that leaves the store."""
    per_1000_reads: float = Field(default=0.0, ge=0)
    """For a thousand GET and HEAD requests."""
    per_1000_writes: float = Field(default=0.0, ge=0)
    """For a thousand PUT, COPY, POST, LIST and DELETE requests."""
    budget: float | None = Field(default=None, gt=0)
    """The most that one drill may cost; it is stopped before it costs more."""


class ProbeLock(Declaration):
    """How the backup program locks what it writes, where the bucket does not do so by default."""

    mode: Literal["governance", "compliance"]
    retention: Duration
    """Probe objects stay for as long."""


class Demands(Declaration):
    """What a bucket has to be, to be trusted with backups. That nobody else may read it is always demanded."""

    versioning: Flag = True
    lock: Literal["none", "governance", "compliance"] = "none"
    """The weakest default retention that will do."""
    retention: Duration | None = None
    """The shortest default retention that will do."""
    keep: Duration = timedelta(days=30)
    """Lifecycle rules may delete nothing that is younger, nor versions sooner after they were replaced."""
    encryption: Flag = False
    """The store encrypts what it keeps."""
    replication: Flag = False
    """The store replicates the bucket to another one."""
    locations: tuple[str, ...] = ()
    """Regions or locations in which it may lie; any when empty."""


class Store(Declaration):
    """A bucket of an object store, or a part of one."""

    id: Id
    type: Literal["s3"] | Annotated[str, Field(pattern="^[^:]+:[^:]+$")] = "s3"
    """Store adapter, or package.module:Class."""
    endpoint: Annotated[str, AfterValidator(_plain_address)] | None = None
    """AWS itself when not given."""
    region: str = "us-east-1"
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket is named in the path or in the host's name; auto: in the path when there is an endpoint."""
    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = ""
    """Only objects whose keys begin so."""
    reader: StoreCredentials
    """Used for all that only reads."""
    writer: StoreCredentials | None = None
    """The backup writer's own credentials: what an attacker on the backup server would hold. Used on probe objects
    only, which the drill writes itself."""
    probe_prefix: str = Field(default="drtests-probe/", min_length=3)
    """Below which probe objects are written; nothing else may be kept there."""
    probe_lock: ProbeLock | None = None
    attack_versioning: Flag = False
    """The attack also suspends versioning, and enables it again at once. What the backups write in between has no
    version of its own; leave it off unless that is certain not to matter."""
    demands: Demands = Demands()
    site: Id | None = None
    provider: str | None = None
    """Who runs it, in a word: aws, nas, surf ..."""
    account: str | None = None
    """Account or tenant it belongs to."""
    prices: Prices = Prices()
    timeout: Duration = timedelta(seconds=60)
    """For one request."""

    @model_validator(mode="after")
    def _apart(self) -> Store:
        if self.prefix.startswith(self.probe_prefix) or (self.prefix and self.probe_prefix.startswith(self.prefix)):
            raise ValueError("`probe_prefix` and `prefix` overlap; probes are written apart from all data")
        return self

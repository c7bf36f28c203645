"""postgres-dump: a dump as pg_dump writes it, in any of its forms, loaded into an empty server."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field, field_validator

from drtests.databases.postgres.failures import failure, state_and_text
from drtests.databases.postgres.programs import SERVER_PACKAGE, Binaries, find
from drtests.databases.postgres.scratch import USUAL_USER, ScratchPostgres, Starting, check_settings
from drtests.databases.postgres.startup import lacking
from drtests.databases.serving import Deadline, hand_over, last_words, server_user, told_as_missing
from drtests.errors import DatabaseDamaged
from drtests.model.base import Declaration, Flag, Text
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

_ROLE = "postgres"
_TAIL = 2000
_END_MARK = "PostgreSQL database dump complete"
_END_OF_CLUSTER = "PostgreSQL database cluster dump complete"

# $1: file. Prints its form; a packed one is unpacked to see.
_FORM = """if [ -d "$1" ]; then [ -e "$1/toc.dat" ] && echo directory; exit; fi
case $(head -c 5 -- "$1" | od -An -c | tr -d ' \\n') in
    PGDMP) echo custom ;;
    '037213'*) echo packed ;;
    *) [ "$(head -c 7 -- "$1" | tr -d '\\0')" = toc.dat ] && echo tar || echo plain ;;
esac"""
_UNPACK = 'if [ "$2" = packed ]; then gzip -dc -- "$1"; else cat -- "$1"; fi'
_END_OF = f"{{ {_UNPACK} || echo 'it cannot be unpacked' >&2; }} | tail -c {_TAIL}"
_ROLES = (
    f"{_UNPACK} | LC_ALL=C sed -nE "
    r"""'s/^(ALTER .* OWNER TO|(GRANT|REVOKE) .* (TO|FROM)|SET SESSION AUTHORIZATION) ("[^"]+"|[a-z_][a-z0-9_$]*)"""
    r"""( WITH GRANT OPTION)?;$/\4/p' | sort -u"""
)
_LOAD = f'{{ {_UNPACK}; }} | {{ shift 2; "$@"; }}'


class PostgresDumpSpec(Declaration):
    """A dump as pg_dump writes it: plain (also .gz), custom, tar or directory; told apart by what is in it."""

    path: RelativePath
    """The dump, in the restored tree."""
    database: str = Field(default="restored", pattern=r"^[^/\\]+$", max_length=63)
    """Name of the database it is loaded into, where queries start. Made anew."""
    encoding: str = Field(default="UTF8", pattern=r"^[A-Za-z0-9_-]+$")
    """Of that database; what the dump holds is converted. SQL_ASCII, with `locale: C`, takes whatever is in it."""
    locale: str = Field(default="C.UTF-8", pattern=r"^[A-Za-z0-9_.@-]+$")
    """How that database sorts. It has to be known on that host."""
    jobs: int = Field(default=2, ge=1, le=64)
    """How many tables are loaded at a time; custom and directory form only."""
    end_mark: Flag = True
    """Whether a plain dump has to end with `PostgreSQL database dump complete`. A dump of pg_dump does; without the
    line one that was cut off between two statements cannot be told from a whole one."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, for recovery steps that cannot use a socket."""
    binaries: str | None = None
    """Folder of PostgreSQL's programs on that host; the newest that are found when not given."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in postgresql.conf."""

    @field_validator("settings")
    @classmethod
    def _apart(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        return value


class PostgresDumpRecipe:
    """Makes an empty cluster with checksums, starts it, and loads the dump, up to its first error.

    Owners and rights are left out (`--no-owner --no-privileges`); roles that a
    plain dump names are made, without the right to log in.
    """

    Spec: ClassVar[type[BaseModel]] = PostgresDumpSpec
    type: ClassVar[str] = "postgres"
    point_in_time: ClassVar[bool] = False

    def __init__(self, spec: PostgresDumpSpec) -> None:
        self._spec = spec

    def programs(self, host: Host) -> str:
        """The server that it is loaded into. Raises DatabaseMissing, HostError."""
        return f"PostgreSQL {self._binaries(host).major}"

    def _binaries(self, host: Host) -> Binaries:
        return find(host, "postgres", declared=self._spec.binaries)

    def bring_up(self, place: ScratchPlace) -> Scratch:
        with told_as_missing(place.host, SERVER_PACKAGE):
            return self._bring_up(place)

    def _bring_up(self, place: ScratchPlace) -> Scratch:
        deadline = Deadline(place.clock, place.timeout, "the dump's server")
        host, path = place.host, self._spec.path
        source = inside(host, place.root, path)
        if not host.exists(source):
            raise DatabaseDamaged(
                f"{path} is not in the restored copy", where=path, mend="correct `path`, or what is backed up"
            )
        form = self._form(host, source, deadline)
        if form in ("plain", "packed"):
            self._whole(place, source, form, deadline)
        elif form == "tar":
            self._whole_tar(place, source, deadline)
        user = server_user(place, USUAL_USER)
        starting = Starting(place, user, deadline, self._binaries(host), self._spec.settings, _ROLE)
        hand_over(place, user, deadline)
        words = (
            "--auth=trust",
            f"--username={_ROLE}",
            f"--encoding={self._spec.encoding}",
            f"--locale={self._spec.locale}",
        )
        starting.run("initdb", "--data-checksums", *words, f"--pgdata={starting.data}")
        made = starting.start(self._spec.database, self._spec.port)
        try:
            made.wait()
            began = place.clock.monotonic()
            self._load(made, starting, source, form)
            place.tell("load_seconds", round(place.clock.monotonic() - began, 3))
        except BaseException:
            made.stop(10)
            raise
        place.tell("dump_form", form)
        return made

    def _form(self, host: Host, source: str, deadline: Deadline) -> str:
        told = host.run(["sh", "-c", _FORM, "sh", source], timeout=deadline.left()).stdout.strip()
        if not told:
            path = self._spec.path
            raise DatabaseDamaged(f"{path} is no dump of pg_dump", where=path, mend="correct `path`")
        return told

    def _whole(self, place: ScratchPlace, source: str, form: str, deadline: Deadline) -> None:
        """Looks for the line that a dump ends with, before anything is loaded."""
        path = self._spec.path
        told = place.host.run(["sh", "-c", _END_OF, "sh", source, form], timeout=deadline.left())
        if told.exit_code or "cannot be unpacked" in told.stderr:
            raise DatabaseDamaged(
                f"{path} cannot be read to its end: {last_words(told.stderr)}",
                where=path,
                mend="look at the backup job: the dump was cut off, or packed wrongly",
            )
        if not told.stdout.strip():
            raise DatabaseDamaged(f"{path} is empty", where=path, mend="look at the job that writes the dump")
        if self._spec.end_mark and _END_MARK not in told.stdout and _END_OF_CLUSTER not in told.stdout:
            raise DatabaseDamaged(
                f"{path} does not end with `{_END_MARK}`: it was cut off while it was written",
                where=path,
                mend="look at the job that writes the dump; one that is no work of pg_dump needs `end_mark: false`",
            )

    def _whole_tar(self, place: ScratchPlace, source: str, deadline: Deadline) -> None:
        """pg_restore takes an archive that ends early for one of fewer tables."""
        told = place.host.run(["tar", "--list", f"--file={source}", "--force-local"], timeout=deadline.left())
        if told.exit_code:
            path = self._spec.path
            raise DatabaseDamaged(
                f"{path} cannot be read to its end: {last_words(told.stderr)}",
                where=path,
                mend="look at the backup job: the dump was cut off",
            )

    def _load(self, made: ScratchPostgres, starting: Starting, source: str, form: str) -> None:
        name = self._spec.database.replace('"', '""')
        owner = made.open("postgres", writable=True)
        owner.script(f'CREATE DATABASE "{name}" TEMPLATE template0;', starting.deadline.left())
        if form in ("plain", "packed"):
            self._load_plain(made, starting, source, form)
        else:
            self._load_archive(made, starting, source, form)

    def _load_plain(self, made: ScratchPostgres, starting: Starting, source: str, form: str) -> None:
        host, deadline = starting.place.host, starting.deadline
        roles = host.run(["sh", "-c", _ROLES, "sh", source, form], timeout=deadline.left()).stdout.split("\n")
        missing = [role for role in roles if role and role.strip('"') not in (_ROLE, "PUBLIC", "CURRENT_USER")]
        owner = made.open("postgres", writable=True)
        for role in missing:
            literal = role.strip('"').replace("'", "''")
            owner.script(
                f"SELECT format('CREATE ROLE %I', '{literal}') WHERE NOT EXISTS "
                f"(SELECT FROM pg_roles WHERE rolname = '{literal}') \\gexec",
                deadline.left(),
            )
        session = made.open(self._spec.database, writable=True)
        # A dump may hold commands of psql's own: those are carried out by the server's user, who may do nothing else.
        psql = starting.user.argv(
            [
                starting.binaries.path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
                "--set=VERBOSITY=verbose", "--output=/dev/null", *session.login(), f"--dbname={session.database}",
            ]
        )  # fmt: skip
        left = deadline.left()
        loaded = host.run(
            ["sh", "-c", _LOAD, "sh", source, form, *psql],
            timeout=left,
            cwd=starting.place.folder,
            env=session.environment(left),
        )
        if loaded.exit_code:
            self._refused(loaded.stderr, loaded.exit_code)

    def _load_archive(self, made: ScratchPostgres, starting: Starting, source: str, form: str) -> None:
        host, session, left = (
            starting.place.host,
            made.open(self._spec.database, writable=True),
            starting.deadline.left(),
        )
        jobs = () if form == "tar" else (f"--jobs={self._spec.jobs}",)
        words = ("--no-owner", "--no-privileges", "--exit-on-error", "--no-password", *jobs)
        argv = [starting.binaries.path("pg_restore"), *words, *session.login(), f"--dbname={session.database}", source]
        loaded = host.run(argv, timeout=left, env=session.environment(left))
        if loaded.exit_code:
            self._refused(loaded.stderr, loaded.exit_code)

    def _refused(self, stderr: str, exit_code: int) -> None:
        path = self._spec.path
        state, text = state_and_text(stderr)
        lacks = lacking(stderr, path)
        if lacks is not None:
            raise lacks
        if state.startswith(("53", "57", "58")):
            # The server's own trouble (no room, told to stop), which says nothing of the dump.
            raise failure(stderr, exit_code, path, 0)
        raise DatabaseDamaged(
            f"{path} cannot be loaded: {text}{f' (SQLSTATE {state})' if state else ''}",
            where=path,
            mend="look at the dump where its words point to, and at the job that writes it; an extension that is "
            "missing has to be installed beside the server",
        )

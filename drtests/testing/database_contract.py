"""What every client of running databases (`Live`) must do.

Subclass `DatabaseContract` in a test module, set `adapter` and `dialect`, and
give it two fixtures: `host`, where the client program runs, and `served`, a
running server that the suite may write to, below `Dialect.writes`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from drtests.errors import (
    CommandTimeout,
    DatabaseError,
    DatabaseMissing,
    DatabaseRefused,
    DatabaseUnreachable,
    DrtestsError,
)
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Live, LiveContext, Rows, Session
from drtests.protocols.host import Host
from drtests.testing.host_contract import eventually, require
from drtests.testing.recording_host import BareHost, RecordingHost

AWKWARD = (
    "tab\there",
    "two\nlines\n",
    "\n",
    "back\\slash \\n \\t \\N \\",
    'it\'s "quoted" `and` $HOME $(id) %s {} [x] | ;',
    "NULL",
    "",
    "  spaces  ",
    "42",
    "-- no comment",
    "naïve café 数据库 🏫",
    "carriage\rreturn",
    "\x01\x1f\x7f",
)
"""Texts that clients like to change on their way."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs, and the password that opens it."""

    declared: LiveDatabase
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this kind of database is asked. Statements are texts as `Session.query` takes them."""

    name: str
    """As `Session.version` begins, e.g. PostgreSQL."""
    typed: tuple[str, Rows]
    """A statement, and its rows of at least one number, one text and one None."""
    text: Callable[[str], str]
    """A statement whose first row holds exactly that text first."""
    empty: str
    """A statement that gives no rows."""
    broken: str
    """What the server refuses as wrong."""
    slow: str
    """A statement that runs for at least a minute, and only reads."""
    running: Callable[[Session], int]
    """How many `slow` statements the server carries out now."""
    writes: Sequence[str]
    """Statements each of which puts something there; also sly ones, that leave a read-only session first."""
    written: Callable[[Session], bool]
    """Whether anything of `writes` is there."""
    unwrite: str
    """Removes it again."""
    many: tuple[str, int] | None = None
    """A statement whose rows take more than 2 MiB, and how many rows those are."""
    escapes: Sequence[str] = ()
    """What makes the client program itself run `touch {path}`, when it is careless."""
    numbers_as_text: bool = False
    """Where the database knows no numbers."""


class DatabaseContract:
    """The suite."""

    adapter: ClassVar[Callable[[LiveContext], Live]]
    dialect: ClassVar[Dialect]

    def open(
        self, served: Served, host: Host, *, writable: bool = False, password: str | None = None, **changed: Any
    ) -> Live:
        """A session, with parts of the declaration changed."""
        declared = served.declared.model_copy(update=changed)
        return type(self).adapter(LiveContext(declared, host, password or served.password, writable))

    def test_tells_what_it_is(self, served: Served, host: Host) -> None:
        live = self.open(served, host)
        require(live.id == served.declared.id and live.type == served.declared.type, f"{live.id}, {live.type}")
        told = live.version()
        pattern = rf"{re.escape(self.dialect.name)} \d+(\.\d+)*"
        require(re.match(pattern, told) is not None and "\n" not in told, f"{told!r} is no name and version")

    def test_rows_keep_their_types(self, served: Served, host: Host) -> None:
        statement, wanted = self.dialect.typed
        rows = _plain(self.open(served, host).query(statement))
        require(rows == _plain(wanted), f"{rows} instead of {wanted}")
        seen = {type(value) for row in rows for value in row}
        need = {str, type(None)} | (set() if self.dialect.numbers_as_text else {int})
        require(need <= seen, f"only {seen}: that types are kept is not proved")
        require(all(not isinstance(v, float) or math.isfinite(v) for row in rows for v in row), "no JSON number")
        require(json.loads(json.dumps(rows, allow_nan=False)) == rows, f"{rows} does not survive JSON")

    @pytest.mark.parametrize("text", AWKWARD, ids=ascii)
    def test_text_comes_back_as_it_is(self, served: Served, host: Host, text: str) -> None:
        rows = self.open(served, host).query(self.dialect.text(text))
        require(len(rows) == 1 and rows[0][0] == text, f"{rows!r} instead of {text!r}")
        require(isinstance(rows[0][0], str), f"{text!r} became {rows[0][0]!r}")

    def test_no_rows(self, served: Served, host: Host) -> None:
        rows = self.open(served, host).query(self.dialect.empty)
        require(list(rows) == [], f"{rows} instead of nothing")

    def test_many_rows_are_all_there_or_an_error(self, served: Served, host: Host) -> None:
        """A host keeps the last MiB of output only: half an answer must never pass for one."""
        if self.dialect.many is None:
            pytest.skip("this kind of database has no statement with so many rows")
        statement, count = self.dialect.many
        try:
            rows = self.open(served, host).query(statement)
        except DatabaseError as error:
            require(bool(error.mend), "it does not say what to do")
            return
        require(len(rows) == count, f"{len(rows)} rows of {count}")

    def test_statement_that_is_wrong(self, served: Served, host: Host) -> None:
        with pytest.raises(DatabaseError) as caught:
            self.open(served, host).query(self.dialect.broken)
        require(type(caught.value) is DatabaseError, f"{caught.value!r}: it is the statement that is wrong")
        self._told(caught.value, served)

    def test_wrong_password(self, served: Served, host: Host) -> None:
        if served.password is None:
            pytest.skip("this server asks for no password")
        with pytest.raises(DatabaseRefused) as caught:
            self.open(served, host, password="wrong-" + served.password).version()
        self._told(caught.value, served)

    def test_nobody_there(self, served: Served, host: Host) -> None:
        with pytest.raises(DatabaseUnreachable) as caught:
            # Nothing listens on port 1, and no socket is there.
            self.open(served, host, address="127.0.0.1", port=1, socket=None).version()
        require(not caught.value.permanent, "trying again can help")
        self._told(caught.value, served)

    def test_no_client_program(self, served: Served, host: Host) -> None:
        with pytest.raises(DatabaseMissing) as caught:
            self.open(served, BareHost(host)).version()
        self._told(caught.value, served)

    def test_timeout_ends_the_statement_at_the_server(self, served: Served, host: Host) -> None:
        other = self.open(served, host)
        require(self.dialect.running(other) == 0, "a slow statement runs before it was sent")
        live = self.open(served, host)
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(live.query, self.dialect.slow, 2.0)
            eventually(lambda: self.dialect.running(other) > 0 or asked.done(), "the statement never ran")
            require(not asked.done(), "the statement ended at once: nothing is proved")
            error = asked.exception()
        require(isinstance(error, (DatabaseError, CommandTimeout)), f"{error!r} instead of a timeout")
        require(time.monotonic() - began < 30, "it was waited for")
        if isinstance(error, DrtestsError):
            self._told(error, served)
        eventually(lambda: self.dialect.running(other) == 0, "the statement still runs at the server")

    def test_reads_only_unless_asked(self, served: Served, host: Host) -> None:
        live = self.open(served, host)
        for statement in self.dialect.writes:
            with pytest.raises(DatabaseRefused):
                live.execute(statement)
            with pytest.raises(DatabaseError):
                live.query(statement)
            require(not self.dialect.written(live), f"{statement!r} was carried out by a session that only reads")

    def test_writes_when_asked(self, served: Served, host: Host) -> None:
        """Which also proves that what a reading session refuses would have been a write."""
        live = self.open(served, host, writable=True)
        try:
            live.execute(self.dialect.writes[0])
            require(self.dialect.written(self.open(served, host)), "what was written cannot be read")
        finally:
            live.execute(self.dialect.unwrite)
        require(not self.dialect.written(self.open(served, host)), "it cannot be removed")

    def test_wrong_write(self, served: Served, host: Host) -> None:
        with pytest.raises(DatabaseError) as caught:
            self.open(served, host, writable=True).execute(self.dialect.broken)
        self._told(caught.value, served)

    def test_client_program_runs_no_commands(self, served: Served, host: Host, tmp_path: Any) -> None:
        """`\\!` and its like are orders to the client, on whose machine drtests runs."""
        for number, escape in enumerate(self.dialect.escapes):
            path = f"{tmp_path}/escaped-{number}"
            for ask in (self.open(served, host).query, self.open(served, host, writable=True).execute):
                with contextlib.suppress(DatabaseError):
                    ask(escape.format(path=path))
                require(not host.exists(path), f"{escape!r} was carried out by the client")

    def test_keeps_the_password(self, served: Served, host: Host) -> None:
        recording = RecordingHost(host)
        password = served.password
        if password is None:
            pytest.skip("this server asks for no password")
        live = self.open(served, recording, writable=True)
        live.version()
        live.query(self.dialect.typed[0])
        with pytest.raises(DatabaseError):
            live.query(self.dialect.broken)
        live.execute(self.dialect.unwrite)
        seen = recording.seen
        require(bool(seen.argvs), "nothing was run through the host: nothing is proved")
        require(all(password not in word for word in seen.words()), "the password is an argument of a command")
        for path, data in seen.written.items():
            require(password.encode() not in data or not host.exists(path), f"the password stays in {path}")
        require(password not in repr(live) and password not in str(live), "the password is in the session's repr")
        travelled = any(password in value for one in seen.environments for value in one.values())
        travelled = travelled or any(password.encode() in data for data in seen.inputs)
        require(travelled, "the password was not handed over at all: is it asked for?")

    def test_changes_nothing_of_the_declaration(self, served: Served, host: Host) -> None:
        before = dataclasses.replace(served, declared=served.declared.model_copy(deep=True))
        self.open(served, host).version()
        require(before == served, "the declaration was changed")

    def _told(self, error: DrtestsError, served: Served) -> None:
        told = error.diagnostics()[0]
        require(bool(told.what and told.mend), f"what and mend are not both told: {told}")
        require("Traceback" not in str(told), str(told))
        if served.password is not None:
            require(served.password not in f"{told} {error!r}", "the password is in the error")


def _plain(rows: Rows) -> list[list[Any]]:
    return [list(row) for row in rows]

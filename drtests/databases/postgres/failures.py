"""Which error it is when the server or psql refuses: by SQLSTATE, and by psql's exit code where there is none."""

from __future__ import annotations

import re

from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseRefused, DatabaseUnreachable

BAD_CONNECTION = 2
"""psql's exit code."""

_ERROR = re.compile(r"(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5}): (.*)")
_LOCATION = re.compile(r"^LOCATION:.*$\n?", re.MULTILINE)
_BUSY = re.compile(r"starting up|shutting down|recovery mode|too many (?:clients|connections)|not yet accepting")

_READ_ONLY = {"25006"}
_DAMAGED = {"XX001", "XX002", "58P01"}
_TIMEOUT = {"57014"}
_UNREACHABLE = {"57P01", "57P02", "57P03", "53300"}


def state_and_text(stderr: str) -> tuple[str, str]:
    """SQLSTATE of the first error (empty: none was told), and what was said, on one line."""
    match = _ERROR.search(stderr)
    text = match[2] if match else _LOCATION.sub("", stderr)
    return (match[1] if match else ""), " ".join(text.split())[:1000]


def failure(stderr: str, exit_code: int, where: str, timeout: float) -> DatabaseError:
    """The error that fits what psql printed."""
    state, text = state_and_text(stderr)
    told = f"{text} (SQLSTATE {state})" if state else text
    if state in _UNREACHABLE or (exit_code == BAD_CONNECTION and ("FATAL" not in stderr or _BUSY.search(stderr))):
        return DatabaseUnreachable(
            f"the server does not answer: {told}",
            where=where,
            mend="see that it runs, and that `address` and `port`, or `socket`, lead to it from that host",
        )
    if exit_code == BAD_CONNECTION or state.startswith("28"):
        return DatabaseRefused(
            f"the server refuses the login: {told}",
            where=where,
            mend="see `user`, `database`, the reference under `password`, and pg_hba.conf of the server",
        )
    if state == "42501":
        return DatabaseRefused(
            f"the role lacks a right: {told}", where=where, mend="grant it; docs/how-to/postgres.md lists all"
        )
    if state in _READ_ONLY:
        return DatabaseRefused(
            f"the server refuses to write: {told}",
            where=where,
            mend="it is a standby, or the session reads only: write only where that is meant to be",
        )
    if state == "42P11":
        return DatabaseRefused(f"only one statement that reads is asked: {told}", where=where, mend="write a SELECT")
    if state in _DAMAGED:
        return DatabaseDamaged(
            f"the server finds damage: {told}", where=where, mend="see its log, and restore from another backup"
        )
    if state in _TIMEOUT:
        return DatabaseError(
            f"the statement takes longer than {timeout:g} s, and was ended: {told}",
            where=where,
            mend="ask for less, add an index, or declare a longer `timeout`",
        )
    if not state:
        told = f"psql ended with exit code {exit_code}: {text or 'it said nothing'}"
    return DatabaseError(told, where=where, mend="try the statement by hand, with the same role")

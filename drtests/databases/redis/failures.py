"""Which error it is when Redis or redis-cli refuses: by the word in capitals that Redis begins with."""

from __future__ import annotations

import re

from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable

_LOGIN = ("NOAUTH", "WRONGPASS")
_READ_ONLY = ("READONLY", "NOREPLICAS", "MISCONF", "NOWRITE", "OOM")
_BUSY = ("BUSY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")
_GONE = re.compile(
    r"could not connect|connection re(?:fused|set)|server closed the connection|broken pipe|timed out|timeout",
    re.IGNORECASE,
)


def failure(stdout: str, stderr: str, exit_code: int, where: str) -> DatabaseError:
    """The error that fits what redis-cli printed. `stdout` is an error reply, or nothing of worth."""
    reply = stdout.removeprefix("error:").strip().strip('"') if stdout.startswith("error:") else ""
    aside = " ".join(stderr.split())[:500]
    # A login that fails is told aside; what follows is only its consequence.
    told = aside if "AUTH failed" in aside else (reply or aside)
    if _GONE.search(told):
        return unreachable(told, where)
    if "AUTH failed" in told or any(word in told for word in _LOGIN):
        return DatabaseRefused(
            f"the server refuses the login: {told}",
            where=where,
            mend="see `user` and the reference under `password` in targets/estate.yaml",
        )
    if told.startswith("NOPERM"):
        return DatabaseRefused(
            f"the account lacks a right: {told}", where=where, mend="grant it; docs/how-to/redis.md lists all"
        )
    if told.startswith(_READ_ONLY):
        return DatabaseRefused(
            f"the server refuses to write: {told}", where=where, mend="see why, with INFO replication and CONFIG GET"
        )
    if told.startswith(_BUSY):
        return unreachable(told, where)
    if "--json" in told or "RESP3" in told:
        return DatabaseError(
            f"redis-cli or the server is too old: {told}", where=where, mend="install redis-cli 7.0 or newer there"
        )
    if not told:
        told = f"redis-cli ended with exit code {exit_code} and said nothing"
    return DatabaseError(told, where=where, mend="try the command by hand, with redis-cli and the same account")


def unreachable(told: str, where: str) -> DatabaseUnreachable:
    """Nothing answers, or not yet."""
    return DatabaseUnreachable(
        f"the server does not answer: {told}",
        where=where,
        mend="see that it runs, and that `address` and `port`, or `socket`, lead to it from that host",
    )

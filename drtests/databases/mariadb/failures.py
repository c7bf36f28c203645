"""Which error it is when the server or its client refuses: by the number that MariaDB and MySQL give it."""

from __future__ import annotations

import re

from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseRefused, DatabaseUnreachable

_ERROR = re.compile(r"ERROR (\d+)(?: \(\w+\))?[^:\n]*: ?(.*)", re.DOTALL)
_OF_DUMP = re.compile(r"Got error: (\d+): (.*)|Couldn't execute '.*?': (.*?) \((\d+)\)|Error (\d+): (.*)", re.DOTALL)
"""mariadb-dump has words of its own."""

_UNREACHABLE = {1040, 1053, 1080, 1158, 1159, 1160, 1161, 1184, 1203, 2002, 2003, 2005, 2006, 2013, 2055}
_LOGIN = {1044, 1045, 1129, 1130, 1251, 1524, 1698, 1820, 1862, 2054, 2061, 3118, 3955, 4151}
_RIGHTS = {1142, 1143, 1227, 1370, 1410}
_READ_ONLY = {1290, 1792, 1836}
_DAMAGED = {1033, 1034, 1035, 1194, 1195, 1712, 1877, 1932, 4161}
_TIMEOUT = {1317, 1969, 3024}
NO_DATABASE = 1046
_ENGINE = 1030
_ENGINE_DAMAGED = re.compile(
    r"error (126|127|130|132|134|141|144|145|176|179|180|192|193)\b|corrupt|crashed", re.IGNORECASE
)


def number_and_text(stderr: str) -> tuple[int, str]:
    """The error's number (0: none was told) and its text, on one line."""
    match = _ERROR.search(stderr)
    text = match[2] if match else stderr
    of_dump = None if match else _OF_DUMP.search(stderr)
    if of_dump is not None:
        first, text, second_text, second, third, third_text = of_dump.groups()
        return int(first or second or third), " ".join((text or second_text or third_text).split())[:1000]
    return int(match[1]) if match else 0, " ".join(text.split())[:1000]


def failure(stderr: str, exit_code: int, where: str, timeout: float) -> DatabaseError:
    """The error that fits what the client program printed."""
    number, text = number_and_text(stderr)
    told = f"{text} (error {number})" if number else text
    if number in _UNREACHABLE:
        return DatabaseUnreachable(
            f"the server does not answer: {told}",
            where=where,
            mend="see that it runs, and that `address` and `port`, or `socket`, lead to it from that host",
        )
    if number in _LOGIN:
        return DatabaseRefused(
            f"the server refuses the login: {told}",
            where=where,
            mend="see `user`, the reference under `password`, and from which hosts that account may come",
        )
    if number in _RIGHTS:
        return DatabaseRefused(
            f"the account lacks a right: {told}", where=where, mend="grant it; docs/how-to/mariadb.md lists all"
        )
    if number in _READ_ONLY:
        return DatabaseRefused(
            f"the server refuses to write: {told}",
            where=where,
            mend="it is read-only, or the session is: write only where that is meant to be",
        )
    if number in _DAMAGED or (number == _ENGINE and _ENGINE_DAMAGED.search(text)):
        return DatabaseDamaged(
            f"the server finds damage: {told}", where=where, mend="see its log, and restore from another backup"
        )
    if number in _TIMEOUT:
        return too_slow(where, timeout, told)
    if not number:
        told = f"its client ended with exit code {exit_code}: {text or 'it said nothing'}"
    return DatabaseError(told, where=where, mend="try the statement by hand, with the same account")


def too_slow(where: str, timeout: float, told: str = "") -> DatabaseError:
    """The server ended the statement since it took too long."""
    return DatabaseError(
        f"the statement takes longer than {timeout:g} s, and was ended" + (f": {told}" if told else ""),
        where=where,
        mend="ask for less, add an index, or declare a longer `timeout`",
    )

"""Where PostgreSQL's programs are: several releases may be installed beside each other."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from drtests.databases.serving import told_as_missing
from drtests.errors import DatabaseMissing
from drtests.protocols.host import Host

SERVER_PACKAGE = "postgresql"
CLIENT_PACKAGE = "postgresql-client"

_TIMEOUT = 30.0
# Debian keeps each release in a folder of its own, and leads to them from PATH by a slower script, so PATH comes last.
_LIST = """name=$1; shift
IFS=:
for folder in "$@" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin $PATH; do
    [ -x "$folder/$name" ] && printf '%s|%s\\n' "$folder" "$("$folder/$name" --version 2>/dev/null)"
done
exit 0"""
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs of one release."""

    folder: str
    major: int

    def path(self, name: str) -> str:
        return posixpath.join(self.folder, name)


def find(host: Host, name: str, major: int | None = None, declared: str | None = None) -> Binaries:
    """The folder that has the program in that release, or in the newest. `declared` is looked at first, and alone.

    Raises DatabaseMissing, HostError.
    """
    package = CLIENT_PACKAGE if name == "psql" else SERVER_PACKAGE
    with told_as_missing(host, package):
        result = host.run(["sh", "-c", _LIST, "sh", name, *([declared] if declared else [])], timeout=_TIMEOUT)
    found = []
    for line in result.stdout.splitlines():
        folder, _, told = line.partition("|")
        version = _VERSION.search(told)
        if version and (declared is None or folder == declared):
            found.append(Binaries(folder, int(version[1])))
    fitting = [one for one in found if major in (None, one.major)]
    if fitting:
        # Of equal ones the first that was listed.
        return max(fitting, key=lambda one: one.major)
    there = ", ".join(sorted({str(one.major) for one in found})) or "none"
    wanted = f"{name} of PostgreSQL {major}" if major else name
    raise DatabaseMissing(
        f"{wanted} is not installed (releases found: {there})",
        where=f"host {host.id}",
        mend=f"install {package}{f'-{major}' if major else ''} there, or declare its folder of programs as `binaries`",
    )

"""Databases, replicas, failovers, stores and connections: every mistake is told at its place, with its mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drtests.declarations.load import load_project, load_texts
from drtests.errors import ConfigurationError, Diagnostic
from drtests.model.project import Project
from tests.support.adapters import DOTTED
from tests.unit.test_declarations import BIA, ESTATE, RECORDS

CONNECTIONS = """\
hosts:
  - {id: far, type: ssh, ssh: {address: far.example, user: joe, key: secrets/key, passphrase: env:PHRASE}}
databases:
  - {id: production, type: postgres, host: far, user: drtests, password: file:secrets/db, site: main}
  - id: standby
    type: mariadb
stores:
  - id: vault
    bucket: backups
    reader: {access_key: env:KEY, secret_key: env:SECRET}
"""
CHECKS = """\
  - sql: {database: records, query: SELECT count(*) FROM pupil, min: 1, compare: {tolerance: 2%}}
  - marker: {sql: {database: records, query: SELECT max(at) FROM heartbeat}}
  - database: {database: records}
"""
ADAPTERS = f"""\
databases:
  - id: records
    recipe: sqlite
    path: srv/app.db
    live: production
    run_as: nobody
  - id: other
    recipe: {DOTTED}
    needed: x
    source: production
    compare: {{live: standby, tables: [pupil]}}
replicas:
  - id: standby
    kind: {DOTTED}
    markers: true
    window: 10s
    needed: x
    source: production
failovers:
  - id: standby
    kind: {DOTTED}
    stands_for: records
    needed: x
"""
TEXTS = {
    "targets/bia.yaml": BIA,
    "targets/estate.yaml": ESTATE + CONNECTIONS,
    "targets/systems/records.yaml": RECORDS + CHECKS + ADAPTERS,
}
FILE = {"estate": "targets/estate.yaml", "records": "targets/systems/records.yaml"}
SECRET = "hunter2"


def load(texts: dict[str, str]) -> Project:
    return load_texts(Path("/nowhere"), texts)


def problems(texts: dict[str, str]) -> tuple[Diagnostic, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(texts)
    return tuple(caught.value.diagnostics())


def test_what_is_right_loads(tmp_path: Path) -> None:
    project = load(TEXTS)
    system = project.systems["records"]
    assert system.databases[0].options == {"path": "srv/app.db"}
    assert system.replicas[0].options == {"needed": "x", "source": "production"}
    assert system.failovers[0].stands_for == "records"
    assert [database.id for database in project.estate.databases] == ["production", "standby"]
    for name, text in TEXTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert load_project(tmp_path).systems == project.systems


# file, what is there, what is written instead, where `@` stands before what is pointed at, what is told, the mend
Case = tuple[str, str, str, str, str]
OPTION = "compare: {live"
"""Before this one, another option can be put."""
CASES: dict[str, Case] = {
    # Databases of a system
    "misspelt recipe": ("records", "recipe: sqlite", "recipe: @sqlit", "there is no recipe 'sqlit'", "'sqlite'?"),
    "misspelt key": ("records", "recipe: sqlite", "@recip: sqlite", "unknown key 'recip'", "mean 'recipe'?"),
    "no recipe": ("records", "- id: records\n    recipe: sqlite\n", "- @id: records\n", "'recipe' is missing", "add"),
    "misspelt option": ("records", "path: srv/app.db", "@pth: srv/app.db", "unknown key 'pth'", "mean 'path'?"),
    "misspelt common option": ("records", "run_as: nobody", "@run_ass: nobody", "key 'run_ass'", "mean 'run_as'?"),
    "option of nothing": ("records", "run_as: nobody", "@colour: red", "key 'colour'", "known keys: "),
    "missing option": (
        "records", "- id: other", "- @id: more\n    recipe: sqlite\n  - id: other", "'path' is missing", "add `path",
    ),
    "path leads out": ("records", "path: srv/app.db", "path: @../app.db", "must stay inside", "not allowed"),
    "no unit": ("records", "run_as: nobody", "timeout: @5", "'5' is not a duration", "30s"),
    "text for a number": ("records", OPTION, f"count: @many\n    {OPTION}", "'many' is not a whole", "whole number"),
    "text for a truth value": ("records", OPTION, f"exact: @yes\n    {OPTION}", "'yes' is not true", "true or false"),
    "text for a list": ("records", "tables: [pupil]", "tables: @pupil", "'pupil' is not a list", "`- `"),
    "text for a mapping": (
        "records", "compare: {live: standby, tables: [pupil]}", "compare: @standby", "not a mapping", "key: value",
    ),
    "unknown option below": ("records", "tables: [pupil]", "@tabels: [pupil]", "key 'tabels'", "mean 'tables'?"),
    "options written out": ("records", "path: srv/app.db", "options: {@pth: x}", "key 'pth'", "mean 'path'?"),
    "options and more": ("records", "path: srv/app.db", "options: {path: x}\n    @path: y", "unknown key 'path'", ""),
    "text for options": ("records", "path: srv/app.db", "options: @x", "'x' is not a mapping", "key: value"),
    "no such live": ("records", "live: production", "live: @prodction", "database 'prodction'", "'production'?"),
    "no such live in an option": ("records", "{live: standby", "{live: @stanby", "database 'stanby'", "'standby'?"),
    "no such live in a list": (
        "records", OPTION, f"mirrors: [standby, @x]\n    {OPTION}", "no live database 'x'",
        "declared in targets/estate.yaml: production, standby",
    ),
    "no such live by name": ("records", OPTION, f"by_name: {{a: @x}}\n    {OPTION}", "database 'x'", "production"),
    "no such live in parts": ("records", OPTION, f"parts: [{{live: @x}}]\n    {OPTION}", "database 'x'", "production"),
    "no such host": ("records", OPTION, f"via: @fra\n    {OPTION}", "no host 'fra'", "'far'?"),
    "no such repository": ("records", OPTION, f"repository: @nsa\n    {OPTION}", "no repository 'nsa'", "'nas'?"),
    "no such store": ("records", OPTION, f"store: @vualt\n    {OPTION}", "no store 'vualt'", "'vault'?"),
    "no such database": ("records", OPTION, f"beside: @recods\n    {OPTION}", "no database 'recods'", "'records'?"),
    "bare password of an option": ("records", OPTION, f"password: @{SECRET}\n    {OPTION}", "by reference", "env:NAME"),
    "bare token of an option": (
        "records", "tables: [pupil]", f"session_token: @{SECRET}", "by reference only", "env:NAME",
    ),
    "two databases of a name": ("records", "- id: other", "- id: @records", "'records' is taken already", "of its own"),
    "no id": ("records", "- id: other", "- id: @Other!", "'Other!' is not an id", "lower case"),
    "recipe that is not there": (
        "records", "recipe: sqlite", "recipe: @no_such.module:Recipe",
        "cannot be imported from 'no_such.module:Recipe'", "package.module:Class",
    ),
    "no mapping": ("records", "- id: other", "- @sqlite\n  - id: other", "'sqlite' is not a mapping", "key: value"),
    # Replicas and failovers
    "misspelt kind": (
        "records", f"kind: {DOTTED}\n    markers", "kind: @nothing\n    markers",
        "there is no kind of replica 'nothing'", "installed kinds of replicas",
    ),
    "misspelt option of a replica": ("records", "markers: true", "@marker: true", "unknown key 'marker'", "'markers'?"),
    "no such source": ("records", "source: production\nfail", "source: @prod\nfail", "database 'prod'", "production"),
    "one interval": (
        "records", f"- id: standby\n    kind: {DOTTED}\n    markers: true\n    window: 10s",
        f"- @id: standby\n    kind: {DOTTED}\n    markers: true\n    window: 1s",
        "`window` has to hold at least two intervals", "lengthen",
    ),
    "two replicas of a name": (
        "records", "failovers:", f"  - {{id: @standby, kind: '{DOTTED}', needed: x}}\nfailovers:",
        "id 'standby' is taken already", "of its own",
    ),
    "misspelt kind of failover": (
        "records", f"kind: {DOTTED}\n    stands_for", "kind: @nothing\n    stands_for",
        "there is no kind of failover 'nothing'", "installed kinds of failovers",
    ),
    "no such database to fail over": (
        "records", "stands_for: records\n    needed", "stands_for: @recrds\n    needed",
        "there is no database 'recrds'", "'records'?",
    ),
    "missing option of a failover": (
        "records", "failovers:", f"failovers:\n  - @{{id: more, kind: '{DOTTED}', stands_for: records}}",
        "'needed' is missing", "add `needed",
    ),
    # Checks on them
    "check of no database": (
        "records", "database: records, query: SELECT c", "database: @recrds, query: SELECT c",
        "there is no database 'recrds'", "'records'?",
    ),
    "marker of no database": ("records", "{sql: {database: records", "{sql: {database: @x", "database 'x'", "records"),
    "integrity of no database": (
        "records", "database: {database: records}", "database: {database: @nothing}",
        "no database 'nothing'", "`databases` of this system",
    ),
    "nothing to compare with": (
        "records", "sql: {database: records, query: SELECT count(*) FROM pupil, min: 1, compare: {",
        "sql: {database: other, query: SELECT count(*) FROM pupil, min: 1, @compare: {",
        "nothing tells of which running database 'other' is a backup", "`live`",
    ),
    "no tolerance": ("records", "tolerance: 2%", "tolerance: @two", "'two' is no tolerance", "2%"),
    # Running databases
    "misspelt type": ("estate", "type: postgres", "type: @postgress", "'postgress' is not allowed", "mean 'postgres'?"),
    "strange type": ("estate", "type: postgres", "type: @paper", "'paper' is none of", "package.module:Class"),
    "database on no host": ("estate", "host: far", "host: @fra", "there is no host 'fra'", "'far'?"),
    "database at no site": ("estate", "site: main}", "site: @mian}", "there is no site 'mian'", "'main'?"),
    "two running databases of a name": (
        "estate", "- id: standby", "- {id: @production, type: redis}\n  - id: standby", "is taken already", "of",
    ),
    "bare password": ("estate", "file:secrets/db", f"@{SECRET}", "by reference only", "env:NAME"),
    "password as a list": ("estate", "password: file:secrets/db", f"@password: [{SECRET}]", "by reference", "env:NAME"),
    "misspelt password": ("estate", "password: file:secrets/db", f"@pasword: {SECRET}", "key 'pasword'", "'password'?"),
    "no port": ("estate", "user: drtests", "port: @99999", "'99999' is not 65535 or less", "65535"),
    # Hosts
    "bare passphrase": ("estate", "env:PHRASE", f"@{SECRET}", "by reference only", "env:NAME"),
    "bare sudo password": ("estate", "passphrase: env:PHRASE", f"sudo_password: @{SECRET}", "by reference", "env:NAME"),
    "sudo password as a mapping": (
        "estate", "passphrase: env:PHRASE", f"@sudo_password: {{a: {SECRET}}}", "by reference only", "env:NAME",
    ),
    "a key itself": (
        "estate", "key: secrets/key", f'key: @"-----BEGIN OPENSSH PRIVATE KEY-----\\n{SECRET}"',
        "a private key itself", "the name of the file",
    ),
    "misspelt part of ssh": ("estate", "user: joe", "user: joe, @prt: 22", "unknown key 'prt'", "'port'?"),
    "no jump host": ("estate", "user: joe", "user: joe, jump: @fra", "no other host of type ssh 'fra'", "none"),
    "jump over itself": ("estate", "user: joe", "user: joe, jump: @far", "no other host of type ssh 'far'", "none"),
    "ssh without its type": ("estate", "{id: far, type: ssh,", "@{id: far,", "`ssh` goes with `type: ssh`", "both"),
    "no user": ("estate", "user: joe, ", "", "'user' is missing", "add `user"),
    # Stores
    "bare key": ("estate", "access_key: env:KEY", f"access_key: @{SECRET}", "by reference only", "env:NAME"),
    "bare secret": ("estate", "secret_key: env:SECRET", f"secret_key: @{SECRET}", "by reference only", "env:NAME"),
    "bare token": ("estate", "env:SECRET}", f"env:SECRET, session_token: @{SECRET}}}", "by reference", "env:NAME"),
    "misspelt token": ("estate", "env:SECRET}", f"env:SECRET, @session_tokn: {SECRET}}}", "unknown key", "_token'?"),
    "bare reader": (
        "estate", "reader: {access_key: env:KEY, secret_key: env:SECRET}", f"reader: @{SECRET}",
        "the value is not a mapping", "key: value",
    ),
    "bare writer": (
        "estate", "bucket: backups", f"bucket: backups\n    writer: @{SECRET}", "the value is not a", "key: value",
    ),
    "credentials in an endpoint": (
        "estate", "bucket: backups", f"bucket: backups\n    endpoint: @https://joe:{SECRET}@s3.example",
        "an address without credentials", "`reader`",
    ),
    "probes among data": (
        "estate", "- id: vault", "- @id: vault\n    prefix: drtests-probe/x", "overlap", "apart",
    ),
    "short bucket": ("estate", "bucket: backups", "bucket: @ab", "'ab' is not text of at least 3 characters", "3"),
    "store at no site": ("estate", "bucket: backups", "bucket: backups\n    site: @mian", "no site 'mian'", "'main'?"),
    "two stores of a name": (
        "estate", "- id: vault\n",
        "- {id: vault, bucket: abc, reader: {access_key: env:A, secret_key: env:B}}\n  - id: @vault\n",
        "is taken already", "of its own",
    ),
    "no currency": (
        "estate", "bucket: backups", "bucket: backups\n    prices: {currency: @euro}",
        "'euro' is not a code of three capital letters", "EUR",
    ),
    "no budget": ("estate", "bucket: backups", "bucket: backups\n    prices: {budget: @-1}", "not more than 0", "more"),
    "repository in no store": (
        "estate", "    site: main\nstaging", "    store: @vualt\nstaging", "no store 'vualt'", "'vault'?",
    ),
}  # fmt: skip


def spoilt(name: str) -> tuple[dict[str, str], str]:
    """The texts with that mistake in them, and where it is."""
    file, old, new, _, _ = CASES[name]
    text = TEXTS[FILE[file]]
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    marked = text.replace(old, new)
    before = marked.partition("@")[0]
    where = f"{FILE[file]}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    return TEXTS | {FILE[file]: marked.replace("@", "", 1)}, where if "@" in new else ""


@pytest.mark.parametrize("name", list(CASES))
def test_every_mistake_is_told_once_at_its_place(name: str) -> None:
    texts, where = spoilt(name)
    *_, what, mend = CASES[name]
    (told,) = problems(texts)
    assert what in told.what
    assert mend in told.mend
    if where:
        assert told.where == where
    assert not re.search(rf"{SECRET}|Input should|validation error|pydantic", str(told))


def test_all_of_them_at_once() -> None:
    """Also where the estate itself cannot be read: what the system declares is known."""
    texts = TEXTS | {
        "targets/estate.yaml": TEXTS["targets/estate.yaml"].replace("type: postgres", "type: paper"),
        "targets/systems/records.yaml": TEXTS["targets/systems/records.yaml"]
        .replace("recipe: sqlite", "recipe: sqlit")
        .replace("- database: {database: records}", "- database: {database: nothing}"),
    }
    assert [problem.what.partition(" ")[0] + problem.where for problem in problems(texts)] == [
        "'paper'targets/estate.yaml:21:28",
        "theretargets/systems/records.yaml:21:26",
        "theretargets/systems/records.yaml:24:13",
    ]


def test_an_option_beside_the_common_ones_never_hides_one() -> None:
    """`timeout` is of every database, whatever the recipe calls its own."""
    text = TEXTS["targets/systems/records.yaml"].replace("run_as: nobody", "timeout: 7m")
    database = load(TEXTS | {"targets/systems/records.yaml": text}).systems["records"].databases[0]
    assert database.timeout.total_seconds() == 420
    assert "timeout" not in database.options

"""The restore in a smoking hole: what it may reach, what it must not, and what is believed of a kit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from drtests.core.offsite.isolated import addresses_of, not_isolated, production, secret_files, sockets
from drtests.declarations.load import load_texts
from drtests.hosts.local import LocalHost
from drtests.kit.contents import MANIFEST, SUMS, unkept
from drtests.kit.places import Folder
from drtests.kit.reading import read_kit
from drtests.model.estate import Host, Repository
from drtests.model.project import Project

BIA = "processes: [{id: p, name: P, owner: anna, rto: 1h, rpo: 1d, dependencies: [app]}]"
ESTATE = """
organisation: {name: School}
people: [{id: anna, name: Anna}]
hosts:
  - {id: files, type: ssh, ssh: {address: files.school.example, user: backup, key: keys/id}}
databases:
  - {id: live, type: postgres, address: db.school.example, password: file:secrets/live}
  - {id: cache, type: redis, socket: /run/redis/redis.sock}
  - {id: far, type: mariadb, socket: /run/mysqld/mysqld.sock, host: files}
stores:
  - id: near
    endpoint: http://nas.school.example:9000
    bucket: near-bucket
    reader: {access_key: "env:A", secret_key: "file:secrets/near"}
repositories:
  - {id: nas, location: "rest:http://nas.school.example:8000/", password: file:secrets/nas}
  - id: vault
    location: s3:https://s3.vault.example/bucket
    password: file:secrets/vault
    environment: {AWS_ACCESS_KEY_ID: "env:KEY", AWS_DEFAULT_REGION: "plain:eu-1"}
    offsite: true
staging: [{id: s, path: scratch, disposable: true}]
kit:
  copies: []
  keys: [KEYS]
"""
APP = """
name: App
backups: [{repository: vault, interval: 1d}]
restore: {staging: s}
sources: [{path: /srv/app}]
checks: [{command: {run: ["true"], proves_data: true}}]
"""


def load(keys: str = "") -> Project:
    texts = {"bia": BIA, "estate": ESTATE.replace("KEYS", keys), "systems/app": APP}
    return load_texts(Path("/project"), {f"targets/{name}.yaml": text for name, text in texts.items()})


PROBED: Mapping[str, Any] = {"other_network": True, "interfaces": ["lo"], "reached": [], "seen": []}


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({}, ""),
        ({"other_network": False}, "network of the host"),
        ({"interfaces": ["lo", "eth0"]}, "interface eth0"),
        ({"reached": ["host db", "database live"]}, "it reaches host db and 1 more"),
        ({"seen": ["repository 'nas'"]}, "it sees repository 'nas'"),
    ],
)
def test_isolation(seen: dict[str, Any], why: str) -> None:
    told = not_isolated({**PROBED, **seen})
    assert why in told
    assert bool(told) is bool(seen)


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("/srv/vault", []),
        ("s3:http://10.0.0.1:9000/bucket/restic", [("10.0.0.1", 9000)]),
        ("s3:vault.example/bucket", [("vault.example", 443)]),
        ("rest:https://vault.example:8000/school", [("vault.example", 8000)]),
        ("rest:http://vault.example/school", [("vault.example", 80)]),
        ("sftp:backup@vault.example:/srv/restic", [("vault.example", 22)]),
        ("sftp://backup@vault.example:2222//srv/restic", [("vault.example", 2222)]),
        ("sftp://backup@[2001:db8::1]:2222//srv/restic", [("2001:db8::1", 2222)]),
        ("azure:container:/", None),
        ("rclone:remote:path", None),
        ("s3:http://vault.example:port/bucket", None),
    ],
)
def test_what_is_let_through(location: str, wanted: list[tuple[str, int]] | None) -> None:
    assert addresses_of(load(), Repository(id="vault", location=location)) == wanted


def test_at_aws_bucket_and_region_are_part_of_the_name() -> None:
    repository = Repository(
        id="vault", location="s3:s3.amazonaws.com/pupils/restic", environment={"AWS_DEFAULT_REGION": "plain:eu-west-1"}
    )
    names = [name for name, _ in addresses_of(load(), repository) or []]
    assert names[0] == "s3.amazonaws.com"
    assert {"pupils.s3.amazonaws.com", "pupils.s3.dualstack.eu-west-1.amazonaws.com"} <= set(names)


def test_everything_declared_but_the_repository_must_not_be_reached() -> None:
    project = load()
    assert sorted(production(project, project.repository("vault"))) == [
        ("database live", "db.school.example", 5432),
        ("host files", "files.school.example", 22),
        ("repository nas", "nas.school.example", 8000),
        ("store near", "nas.school.example", 9000),
    ]
    assert list(sockets(project.estate, frozenset({"local"}))) == [("database cache", "/run/redis/redis.sock")]
    hidden = {what.removeprefix("secret ") for what, _ in secret_files(project)}
    assert hidden == {"keys/id", "secrets/live", "secrets/near", "secrets/nas", "secrets/vault"}


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("", ["password", "AWS_ACCESS_KEY_ID"]),
        ("{repository: vault, kept: Safe}", ["password", "AWS_ACCESS_KEY_ID"]),
        ("{repository: vault, kept: Safe, password: file:escrow}", ["AWS_ACCESS_KEY_ID"]),
        # Production's own reference is no other place.
        (
            "{repository: vault, kept: Safe, password: file:secrets/vault, environment: {AWS_ACCESS_KEY_ID: 'env:E'}}",
            ["password"],
        ),
        ("{repository: vault, kept: Safe, password: file:escrow, environment: {AWS_ACCESS_KEY_ID: 'env:E'}}", []),
    ],
)
def test_keys_are_kept_apart_when_they_have_references_of_their_own(keys: str, wanted: list[str]) -> None:
    assert unkept(load(keys), "vault") == wanted


ENTRY: Mapping[str, Any] = {"declared": {"id": "vault"}, "kept": "", "holders": [], "password": None, "environment": {}}
TOOL: Mapping[str, Any] = {"name": "restic", "host": "local", "path": "", "version": "", "sha256": "", "file": ""}


def without(one: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != name}


@pytest.mark.parametrize(
    ("change", "understood"),
    [
        (lambda kit: kit, True),
        *((lambda kit, name=name: {**kit, "repositories": [without(ENTRY, name)]}, False) for name in ENTRY),
        *((lambda kit, name=name: {**kit, "tools": [without(TOOL, name)]}, False) for name in TOOL),
        (lambda kit: {**kit, "repositories": [{**ENTRY, "environment": ["A"]}]}, False),
        (lambda kit: {**kit, "tools": [{**TOOL, "file": 3}]}, False),
        (lambda kit: {**kit, "tools": ["restic"]}, False),
    ],
)
def test_a_kit_that_says_less_than_it_has_to_is_damaged(
    change: Callable[[dict[str, Any]], dict[str, Any]], understood: bool, tmp_path: Path
) -> None:
    kit = {"schema": "drtests-kit", "schema_version": 1, "made_at": "", "declarations": "", "systems": {}, "waves": []}
    (tmp_path / MANIFEST).write_text(json.dumps(change({**kit, "repositories": [ENTRY], "tools": [TOOL]})))
    (tmp_path / SUMS).write_text("")
    found = read_kit(Folder(LocalHost(Host(id="local")), str(tmp_path)))
    assert (found.manifest is not None) is understood
    assert bool(found.problems) is not understood

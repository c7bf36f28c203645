"""The rehearsal redis: a throwaway replica of a real pair, which must not notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.redis.client import open_redis
from drtests.databases.redis.rehearsal import RedisRehearsal
from drtests.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DrtestsError,
    SafetyError,
    UsageError,
)
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.testing.recording_host import RecordingHost
from tests.support.redis import PASSWORD, RedisPair, RedisServer, make_server
from tests.support.rehearsing import Rehearsing
from tests.support.servers import wait_for
from tests.support.servers import workplace as made_workplace

FILL = "for i = 1, 100 do redis.call('SET', 'key' .. i, i) end redis.call('SELECT', 3) redis.call('SET', 'third', 3)"


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="module")
def pair(redis_pair: RedisPair) -> Iterator[RedisPair]:
    source = redis_pair.source
    source.cli("EVAL", FILL, "0")
    for server in (source, redis_pair.replica):
        for name, more in (("reader", ()), ("rehearsal", ("+psync",))):
            server.cli("ACL", "SETUSER", name, "on", f">{PASSWORD}", "+info", "+ping", "+replconf", *more)
    redis_pair.settle()
    yield redis_pair
    for server in (source, redis_pair.replica):
        server.cli("ACL", "DELUSER", "rehearsal", "reader")
    source.cli("FLUSHALL")
    redis_pair.settle()


@pytest.fixture
def rehearsing(host: LocalHost, pair: RedisPair) -> Iterator[Rehearsing]:
    declared = {server.name: server.declared(user="rehearsal") for server in (pair.source, pair.replica)}
    with made_workplace(None) as folder:
        made = Rehearsing(host, folder, RedisRehearsal, open_redis, declared, PASSWORD)
        made.defaults = {"source": "cache"}
        yield made
        made.stop()


def _seen(server: RedisServer) -> dict[str, str]:
    """What a rehearsal must leave as it was: who follows whom, settings and data."""
    told = server.info("replication") | server.info("keyspace")
    left_out = ("offset", "lag", "seconds", "repl_backlog")
    found = {name: value for name, value in told.items() if not any(word in name for word in left_out)}
    found = {name: value.partition(",offset")[0] for name, value in found.items()}
    return found | {"config": server.cli("CONFIG", "GET", "*")}


def _followers(server: RedisServer) -> int:
    return int(server.info("replication")["connected_slaves"])


@pytest.mark.parametrize("followed", ["cache", "mirror"])
def test_a_failover_that_production_does_not_notice(pair: RedisPair, rehearsing: Rehearsing, followed: str) -> None:
    source = pair.source
    server = source if followed == "cache" else pair.replica
    before = _seen(source), _seen(pair.replica)
    followers, copies = _followers(server), source.info("stats")["sync_full"]
    rehearsal = rehearsing.rehearse(copy_from=None if followed == "cache" else followed)
    assert not rehearsal.from_backup
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    assert _followers(server) == followers + 1
    source.cli("SET", "late", "1")
    rehearsal.catch_up(position, 30)
    scratch = rehearsal.promote()
    assert scratch.session.query("DBSIZE") == [[101]]
    asked = (("-n 3 GET third", "3"), ("SET key1 changed", "OK"), ("CONFIG GET masterauth", "masterauth"))
    for command, answer in asked:
        client = ["sh", "-c", f'redis-cli -s "$REDIS_SOCKET" {command}']
        told = rehearsing.host.run(client, timeout=20, env=scratch.environment).stdout.splitlines()
        assert told[0] == answer
        assert PASSWORD not in told
    assert rehearsing.facts["began_with"] == f"a copy of {followed}"
    assert scratch.integrity(60).problems == ()
    wait_for(lambda: _followers(server) == followers, "it still follows")
    scratch.stop(10)
    rehearsal.abandon(10)
    assert source.cli("GET", "key1") == "1"
    assert source.cli("DEL", "late") == "1"
    pair.settle()
    assert (_seen(source), _seen(pair.replica)) == before
    if followed == "mirror":
        assert source.info("stats")["sync_full"] == copies


def test_the_password_is_in_no_argument_and_in_no_file(rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse()
    rehearsal.build(rehearsing.place)
    seen = rehearsing.host.seen
    assert not any(PASSWORD in word for word in seen.words())
    assert not any(PASSWORD.encode() in data for data in seen.written.values())
    assert rehearsing.files()
    assert rehearsing.holds(PASSWORD) == []


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"user": "reader"}, DatabaseRefused, "NOPERM"),
        ({"user": "nobody"}, DatabaseRefused, "refuses the login"),
        ({"port": 1}, DatabaseUnreachable, "does not answer"),
        ({"socket": "/nowhere"}, DatabaseError, "by a socket"),
    ],
)
def test_who_may_not_replicate(
    rehearsing: Rehearsing, change: dict[str, Any], error: type[DrtestsError], match: str
) -> None:
    rehearsing.change("cache", **change)
    rehearsal = rehearsing.rehearse()
    with pytest.raises(error, match=match) as caught:
        rehearsal.build(rehearsing.place)
    assert caught.value.mend


def test_a_password_that_is_wrong_by_then(pair: RedisPair, rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse(copy_from="mirror")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    pair.replica.cli("ACL", "SETUSER", "rehearsal", "resetpass", ">another")
    try:
        pair.replica.cli("CLIENT", "KILL", "TYPE", "replica")
        wait_for(lambda: _followers(pair.replica) == 0, "it still follows")
        with pytest.raises(DatabaseRefused, match="WRONGPASS") as caught:
            rehearsal.catch_up(position, 20)
        assert "+psync" in caught.value.mend
    finally:
        pair.replica.cli("ACL", "SETUSER", "rehearsal", "resetpass", f">{PASSWORD}")


def test_ways_that_lead_elsewhere(pair: RedisPair, rehearsing: Rehearsing) -> None:
    elsewhere = RecordingHost(LocalHost(Declaration(id="elsewhere")))
    with pytest.raises(DatabaseError, match="on host elsewhere only"):
        rehearsing.rehearse(lambda name: rehearsing.open(name, elsewhere)).build(rehearsing.place)
    for port in (pair.source.port, pair.replica.port):
        with pytest.raises(SafetyError, match="take its place"):
            rehearsing.rehearse(copy_from="mirror", port=port).build(rehearsing.place)


def test_production_would_rely_on_it(pair: RedisPair, rehearsing: Rehearsing) -> None:
    pair.source.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        with pytest.raises(SafetyError, match="min-replicas-to-write"):
            rehearsing.rehearse().build(rehearsing.place)
        rehearsing.rehearse(copy_from="mirror").build(rehearsing.place)
    finally:
        pair.source.cli("CONFIG", "SET", "min-replicas-to-write", "0")


@contextmanager
def _cut_off(pair: RedisPair) -> Iterator[None]:
    """The replica follows its source no more."""
    pair.replica.cli("CONFIG", "SET", "masterauth", "wrong")
    pair.source.cli("CLIENT", "KILL", "TYPE", "replica")
    try:
        wait_for(lambda: pair.replica.info("replication")["master_link_status"] == "down", "the link is up")
        yield
    finally:
        pair.replica.cli("CONFIG", "SET", "masterauth", PASSWORD)
        pair.settle()


def test_a_replica_whose_own_link_is_down(pair: RedisPair, rehearsing: Rehearsing) -> None:
    with _cut_off(pair), pytest.raises(DatabaseError, match="own link"):
        rehearsing.rehearse(copy_from="mirror").build(rehearsing.place)


def test_a_replica_that_receives_nothing_is_not_promoted(pair: RedisPair, rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse(copy_from="mirror")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    with _cut_off(pair):
        pair.source.cli("SET", "key1", "1")
        with pytest.raises(DatabaseError, match="and not at"):
            rehearsal.catch_up(position, 1)


def test_it_is_not_Redis(rehearsing: Rehearsing) -> None:
    with pytest.raises(UsageError, match="no Redis"):
        rehearsing.rehearse(source="memory").position()
    with pytest.raises(UsageError, match="not built"):
        rehearsing.rehearse().promote()


def test_options_that_do_not_go_together() -> None:
    for options in (
        {"copy_from": "cache"},
        {"settings": {"replica-priority": "100"}},
        {"settings": {"masterauth": "x"}},
        {"path": "dump.rdb"},
    ):
        with pytest.raises(ValidationError):
            RedisRehearsal.Spec.model_validate({"source": "cache", **options})


@pytest.fixture
def other(redis_home: tuple[Path, str | None], rehearsing: Rehearsing) -> Iterator[RedisServer]:
    """A server that nobody follows, that may be stopped, and that keeps nothing."""
    server = make_server(*redis_home, "other")
    server.start()
    server.cli("SET", "a", "1")
    rehearsing.declared["other"] = server.declared()
    yield server
    server.process.stop()
    server.folder.rename(server.folder.parent / f"was-{server.port}")


def test_a_source_that_nobody_followed(other: RedisServer, rehearsing: Rehearsing) -> None:
    """It begins a new history with its first replica."""
    rehearsal = rehearsing.rehearse(source="other")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    rehearsal.catch_up(position, 20)
    assert rehearsal.promote().session.query("GET a") == [["1"]]


def test_a_replica_of_another_server(other: RedisServer, rehearsing: Rehearsing) -> None:
    with pytest.raises(DatabaseError, match="no replica of cache"):
        rehearsing.rehearse(copy_from="other").build(rehearsing.place)


def test_a_source_that_goes_while_it_catches_up(other: RedisServer, rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse(source="other")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    other.process.stop()
    with pytest.raises(DatabaseUnreachable):
        rehearsal.catch_up(position, 2)
    other.start()
    with pytest.raises(DatabaseError, match="started anew"):
        rehearsal.catch_up(position, 2)

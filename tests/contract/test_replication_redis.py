"""Redis replication against real servers: what must be seen, and what must not look like lag or like none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from drtests.replications.redis import RedisReplication, RedisReplicationSpec
from tests.support.living import LivingReach
from tests.support.redis import PASSWORD, RedisPair, RedisServer, make_server
from tests.support.servers import wait_for

Build = Callable[..., RedisReplication]


@pytest.fixture
def build(redis_pair: RedisPair) -> Build:
    def made(other: RedisServer | None = None, **options: Any) -> RedisReplication:
        servers = [redis_pair.source, other or redis_pair.replica]
        reach = LivingReach({server.name: (server.declared(), PASSWORD) for server in servers})
        spec = RedisReplicationSpec(source=servers[0].name, replica=servers[1].name, **options)
        return RedisReplication(spec, reach)

    return made


@pytest.fixture(autouse=True)
def settled(redis_pair: RedisPair) -> Iterator[None]:
    redis_pair.settle()
    yield
    redis_pair.source.cli("FLUSHALL")
    redis_pair.source.cli("CONFIG", "SET", "min-replicas-to-write", "0")
    redis_pair.replica.cli("CONFIG", "SET", "replica-read-only", "yes")
    if redis_pair.replica.info("replication")["role"] != "slave":
        redis_pair.follow()
    redis_pair.settle()


def test_identity(build: Build) -> None:
    identity = build().identify()
    assert identity.problems == ()
    assert identity.facts["source"]["role"] == "master"
    assert identity.facts["replica"]["master_link_status"] == "up"


def test_a_marker_goes_by_itself_though_the_drill_is_killed(build: Build, redis_pair: RedisPair) -> None:
    replication = build()
    replication.begin()
    replication.mark(1)
    [key] = redis_pair.source.cli("KEYS", "*").splitlines()
    assert 0 < int(redis_pair.source.cli("TTL", key)) <= 3600
    redis_pair.source.cli("SET", "drtests:marker:of somebody else", "1")
    replication.end()
    assert redis_pair.source.cli("KEYS", "*") == "drtests:marker:of somebody else"


def test_a_replica_that_stands_still_answers_nobody(build: Build, redis_pair: RedisPair) -> None:
    declared = redis_pair.replica.declared(timeout="0.5s")
    reach = LivingReach({"cache": (redis_pair.source.declared(), PASSWORD), "mirror": (declared, PASSWORD)})
    replication = RedisReplication(RedisReplicationSpec(source="cache", replica="mirror"), reach)
    with redis_pair.replica.process.paused():
        for ask in (replication.behind, replication.newest, replication.identify):
            with pytest.raises(DatabaseUnreachable):
                ask()
    redis_pair.settle()
    assert replication.behind().seconds is not None


def test_a_replica_that_is_down(build: Build, redis_pair: RedisPair) -> None:
    redis_pair.replica.process.stop()
    try:
        for ask in (build().behind, build().newest, build().identify):
            with pytest.raises(DatabaseUnreachable):
                ask()
    finally:
        redis_pair.replica.start()
        redis_pair.follow()
        redis_pair.settle()
    assert build().identify().problems == ()


def test_a_broken_link_is_seen_and_is_lag(build: Build, redis_pair: RedisPair) -> None:
    replication = build()
    assert replication.behind().seconds is not None
    redis_pair.replica.cli("CONFIG", "SET", "masterauth", "wrong")
    redis_pair.source.cli("CLIENT", "KILL", "TYPE", "replica")
    try:
        wait_for(lambda: redis_pair.replica.info("replication")["master_link_status"] == "down", "still up")
        [problem] = replication.identify().problems
        assert "link" in problem
        redis_pair.source.cli("SET", "missed", "x" * 1000)
        first = replication.behind()
        assert first.bytes is not None
        assert first.bytes >= 1000
        second = replication.behind()
        assert second.seconds is not None
        assert first.seconds is not None
        assert second.seconds > first.seconds
        # One who comes later cannot tell how old the lag is, and does not say that there is none.
        late = build().behind()
        assert late.bytes is not None
        assert late.bytes >= 1000
        assert late.seconds is None or late.basis == "estimated"
        assert late.seconds != 0
    finally:
        redis_pair.replica.cli("CONFIG", "SET", "masterauth", PASSWORD)
        redis_pair.settle()


def test_a_source_that_refuses_writes(build: Build, redis_pair: RedisPair) -> None:
    redis_pair.source.cli("CONFIG", "SET", "min-replicas-to-write", "5")
    replication = build()
    with pytest.raises(DatabaseRefused, match="NOREPLICAS"):
        replication.begin()
    replication.end()
    assert replication.behind().seconds is not None


def test_a_replica_that_accepts_writes(build: Build, redis_pair: RedisPair) -> None:
    redis_pair.replica.cli("CONFIG", "SET", "replica-read-only", "no")
    [problem] = build().identify().problems
    assert "accepts writes" in problem


def test_no_replica_at_all(build: Build, redis_pair: RedisPair) -> None:
    redis_pair.replica.cli("REPLICAOF", "NO", "ONE")
    identity = build().identify()
    assert any("role is master" in problem for problem in identity.problems)
    assert build().behind() == type(build().behind())(None, None)


def test_a_replica_of_another_source(build: Build, redis_pair: RedisPair, redis_home: Any) -> None:
    other = make_server(*redis_home, "stranger")
    other.start()
    try:
        redis_pair.replica.cli("REPLICAOF", "127.0.0.1", str(other.port))
        wait_for(lambda: redis_pair.replica.info("replication")["master_link_status"] == "up", "not up")
        replication = build()
        assert any("history is another" in problem for problem in replication.identify().problems)
        behind = replication.behind()
        assert (behind.seconds, behind.bytes) == (None, None)
    finally:
        redis_pair.follow()
        redis_pair.settle()
        other.process.stop()


def test_comparing(build: Build, redis_pair: RedisPair) -> None:
    source, replica = redis_pair.source, redis_pair.replica
    source.cli("SADD", "set", *(f"member {number}" for number in range(300)))
    source.cli("HSET", "hash", *(word for number in range(300) for word in (f"field {number}", "x" * (number % 70))))
    source.cli("RPUSH", "list", "1", "2")
    source.cli("ZADD", "zset", "1.5", "a", "2", "b")
    source.cli("XADD", "stream", "*", "a", "1")
    source.cli("SET", "other:text", "1")
    options = [{"keys": "*"}, {"keys": "*", "method": "checksum"}, {"keys": "other:*", "method": "checksum"}]
    replication = build(compare=options)
    assert [(one.what, one.same) for one in replication.compare()] == [("*", True), ("*", True), ("other:*", True)]
    replica.cli("CONFIG", "SET", "replica-read-only", "no")
    replica.cli("SREM", "set", "member 7")
    replica.cli("SADD", "set", "member x")
    assert [one.same for one in replication.compare()] == [True, False, True]
    replica.cli("DEL", "other:text")
    compared = replication.compare()
    assert [one.same for one in compared] == [False, False, False]
    assert compared[0].facts["source"] - compared[0].facts["replica"] == 1
    assert "member" not in str(compared)


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (("HSET", "hash", "f", "2"), ("HSET", "hash", "f", "1")),
        (("RPUSH", "list", "z"), ("RPOP", "list")),
        (("ZADD", "zset", "2", "a"), ("ZADD", "zset", "1", "a")),
        (("SETRANGE", "text", "0", "b"), ("SETRANGE", "text", "0", "a")),
        (("XDEL", "stream", "1-1"), None),
    ],
    ids=["hash", "list", "zset", "string", "stream"],
)
def test_every_kind_of_value_is_read(build: Build, redis_pair: RedisPair, change: Any, undo: Any) -> None:
    source, replica = redis_pair.source, redis_pair.replica
    for command in ("HSET hash f 1", "RPUSH list a b", "ZADD zset 1 a", "SET text abc", "XADD stream 1-1 a 1"):
        source.cli(*command.split())
    replication = build(compare=[{"method": "checksum"}])
    assert [one.same for one in replication.compare()] == [True]
    replica.cli("CONFIG", "SET", "replica-read-only", "no")
    replica.cli(*change)
    assert [one.same for one in replication.compare()] == [False]
    if undo:
        replica.cli(*undo)
        assert [one.same for one in replication.compare()] == [True]


def test_lag_is_no_divergence(build: Build, redis_pair: RedisPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.replications.comparing.PATIENCE", 0.3)
    redis_pair.replica.cli("CONFIG", "SET", "masterauth", "wrong")
    redis_pair.source.cli("CLIENT", "KILL", "TYPE", "replica")
    try:
        redis_pair.source.cli("SET", "missed", "1")
        [compared] = build(compare=[{"keys": "*"}]).compare()
        assert compared.same is None
        assert "behind" in compared.detail
    finally:
        redis_pair.replica.cli("CONFIG", "SET", "masterauth", PASSWORD)
        redis_pair.settle()


def test_options() -> None:
    with pytest.raises(ValidationError, match="same"):
        RedisReplicationSpec(source="a", replica="a")
    with pytest.raises(ValidationError):
        RedisReplicationSpec.model_validate({"source": "a", "replica": "b", "compare": [{"method": "sum"}]})


def test_without_the_right_to_ask(build: Build, redis_pair: RedisPair) -> None:
    redis_pair.source.cli("ACL", "SETUSER", "weak", "on", f">{PASSWORD}", "+ping", "+get", "~*")
    declared = redis_pair.source.declared(user="weak")
    reach = LivingReach({"cache": (declared, PASSWORD), "mirror": (redis_pair.replica.declared(), PASSWORD)})
    with pytest.raises(DatabaseError, match="NOPERM"):
        RedisReplication(RedisReplicationSpec(source="cache", replica="mirror"), reach).identify()
    redis_pair.source.cli("ACL", "DELUSER", "weak")

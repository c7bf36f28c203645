"""The Redis client keeps the contract of running databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drtests.databases.redis.client import open_redis
from drtests.databases.redis.words import quoted, split
from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import LiveContext, Session
from drtests.testing.database_contract import DatabaseContract, Dialect, Served
from tests.support.redis import PASSWORD, RedisPair


@pytest.fixture
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture
def served(redis_pair: RedisPair) -> Iterator[Served]:
    redis_pair.source.cli("DEL", "drtests-written")
    yield redis_pair.source.served()
    redis_pair.source.cli("FLUSHALL")
    redis_pair.source.cli("SCRIPT", "FLUSH")


def _text(text: str) -> str:
    return b"ECHO ".decode() + quoted([text.encode()]).decode()


def _running(session: Session) -> int:
    [[text]] = session.query("INFO clients")
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(told["blocked_clients"])


def _written(session: Session) -> bool:
    return session.query("EXISTS drtests-written") == [[1]]


class TestRedis(DatabaseContract):
    adapter = open_redis
    dialect = Dialect(
        name="Redis",
        typed=(
            "EVAL_RO \"return {1, 'two', false, '3', {4, {'five'}}}\" 0",
            [[1], ["two"], [None], ["3"], [4, '["five"]']],
        ),
        text=_text,
        empty="LRANGE drtests-none 0 -1",
        broken="GET",
        slow="XREAD BLOCK 60000 STREAMS drtests-none $",
        running=_running,
        writes=(
            "SET drtests-written 1",
            "EVAL \"return redis.call('SET', 'drtests-written', 1)\" 0",
            "EVAL_RO \"return redis.call('SET', 'drtests-written', 1)\" 0",
            "GET x\nSET drtests-written 1",
            'GET "x"\r\nSET drtests-written 1',
            "1 SET drtests-written 1",
            '"1" SET drtests-written 1',
            "MULTI",
            "RESTORE drtests-written 0 x",
            "FUNCTION LOAD \"#!lua name=x\\nredis.register_function('x', function() return 1 end)\"",
            "SORT drtests-none STORE drtests-written",
            "CONFIG SET maxmemory 1gb",
        ),
        written=_written,
        unwrite="DEL drtests-written",
        many=("EVAL_RO \"local t = {} for i = 1, 10000 do t[i] = string.rep('x', 300) end return t\" 0", 10000),
        escapes=("!touch {path}", "GET x\n!touch {path}", ":set touch {path}", "connect {path}"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("GET a", [b"GET", b"a"]),
        ("  SET \"a b\" 'c\\'d\\n' ", [b"SET", b"a b", b"c'd\\n"]),
        (r'SET "\x00\xff\n\"\\" é', [b"SET", b'\x00\xff\n"\\', "é".encode()]),
        ('ECHO ""', [b"ECHO", b""]),
        ("", []),
    ],
)
def test_words(line: str, words: list[bytes]) -> None:
    assert split(line) == words
    assert split(quoted(words).decode()) == words


@pytest.mark.parametrize("line", ['GET "a', "GET 'a", 'GET "a"b', "GET a'b'"])
def test_words_that_cannot_be_told_apart(line: str) -> None:
    with pytest.raises(ValueError, match="quotes"):
        split(line)


def test_shapes_of_answers(redis_pair: RedisPair, served: Served, host: LocalHost) -> None:
    live = open_redis(LiveContext(served.declared, host, PASSWORD, writable=True))
    live.execute("HSET h a 1 b two")
    live.execute("ZADD z 1.5 m")
    assert sorted(map(list, live.query("HGETALL h"))) == [["a", "1"], ["b", "two"]]
    assert live.query("GET none") == [[None]]
    assert live.query("ZSCORE z m") == [[1.5]]
    assert live.query("DBSIZE") == [[2]]
    assert live.query("TYPE h") == [["hash"]]
    [cursor, keys] = live.query("SCAN 0 COUNT 100")
    assert (cursor, sorted(keys)) == (["0"], ["h", "z"])
    assert live.query("OBJECT ENCODING h") == [["listpack"]]
    assert live.query("CONFIG GET maxmemory") == [["maxmemory", "0"]]


def test_a_replica_refuses_to_write(redis_pair: RedisPair, host: LocalHost) -> None:
    live = open_redis(LiveContext(redis_pair.replica.declared(), host, PASSWORD, writable=True))
    with pytest.raises(DatabaseRefused, match="READONLY"):
        live.execute("SET a 1")


def test_no_right_is_refused_and_says_so(redis_pair: RedisPair, served: Served, host: LocalHost) -> None:
    redis_pair.source.cli("ACL", "SETUSER", "weak", "on", f">{PASSWORD}", "+ping", "+command", "~none")
    declared = served.declared.model_copy(update={"user": "weak"})
    live = open_redis(LiveContext(declared, host, PASSWORD))
    assert live.query("PING") == [["PONG"]]
    with pytest.raises(DatabaseRefused, match="NOPERM"):
        live.query("GET a")
    redis_pair.source.cli("ACL", "DELUSER", "weak")


def test_no_password_at_all(served: Served, host: LocalHost) -> None:
    with pytest.raises(DatabaseRefused, match="login"):
        open_redis(LiveContext(served.declared, host)).version()


def test_another_database_number(redis_pair: RedisPair, served: Served, host: LocalHost) -> None:
    third = served.declared.model_copy(update={"database": "3"})
    open_redis(LiveContext(third, host, PASSWORD, writable=True)).execute("SET only 3")
    assert open_redis(LiveContext(third, host, PASSWORD)).query("EXISTS only") == [[1]]
    assert open_redis(LiveContext(served.declared, host, PASSWORD)).query("EXISTS only") == [[0]]


def test_a_database_that_is_not_there(served: Served, host: LocalHost) -> None:
    gone = served.declared.model_copy(update={"database": "99"})
    with pytest.raises(DatabaseError):
        open_redis(LiveContext(gone, host, PASSWORD)).query("DBSIZE")


def test_a_paused_server_is_unreachable(redis_pair: RedisPair, host: LocalHost) -> None:
    live = open_redis(LiveContext(redis_pair.replica.declared(), host, PASSWORD))
    with redis_pair.replica.process.paused(), pytest.raises(DatabaseUnreachable):
        live.query("PING", timeout=0.5)

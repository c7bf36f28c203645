"""What every Engine must do.

Subclass `EngineContract` in a test module and give it these fixtures:
`engine`, on a repository that holds `held`; `held`, at least three recovery
points made in no order of time, of which not all share host, tags and paths;
`host`, where the engine runs; `workplace`, an empty directory on it;
`fingerprint`, which tells everything about how the repository lies on its
storage; `failing`, engines that cannot read, by the error that must say so;
`secret`, the repository's password.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from drtests.errors import EngineError, EngineTimeout, RecoveryPointMissing
from drtests.model.system import Snapshots
from drtests.protocols.engine import Engine, Progress, RecoveryPoint
from drtests.protocols.host import Host
from drtests.testing.host_contract import require

_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Held:
    """A recovery point the repository is known to hold (its id does not matter), and its files below a destination."""

    point: RecoveryPoint
    files: Mapping[str, bytes]


class EngineContract:
    """The suite."""

    def test_is_an_engine_and_tells_its_version(self, engine: Engine) -> None:
        require(isinstance(engine, Engine), "it lacks something of Engine")
        require(bool(engine.PASSWORD_VARIABLE), "no variable for the password")
        name, _, number = engine.version().partition(" ")
        require(bool(name) and number[:1].isdigit(), f"{engine.version()!r} is no name and version")

    def test_lists_oldest_first(self, engine: Engine, held: Sequence[Held]) -> None:
        found = engine.recovery_points(Snapshots())
        require(all(point.time.tzinfo is not None for point in found), "a time without a zone")
        require(len({point.id for point in found}) == len(found), "an id twice")
        expected = sorted((one.point for one in held), key=lambda point: point.time)
        require(_nameless(found) == _nameless(expected), f"{found} instead of {expected}")
        require([one.point for one in held] != expected, "made in order of time: sorting is not proved")

    def test_filters(self, engine: Engine, held: Sequence[Held]) -> None:
        for wanted in _questions(held):
            found = engine.recovery_points(wanted)
            expected = [one.point for one in held if _fits(one.point, wanted)]
            expected.sort(key=lambda point: point.time)
            require(_nameless(found) == _nameless(expected), f"{wanted}: {found} instead of {expected}")
            require(len(expected) < len(held), f"{wanted} leaves nothing out")

    def test_restores_every_byte(self, engine: Engine, held: Sequence[Held], host: Host, workplace: str) -> None:
        for number, one in enumerate(held):
            target = f"{workplace}/{number}"
            host.make_directory(target)
            result = engine.restore(_find(engine, one), target, timeout=_PATIENCE)
            require(_tree(host, target) == one.files, f"{_tree(host, target).keys()} is not what was backed up")
            size = sum(map(len, one.files.values()))
            require(result.bytes in (None, size), f"{result.bytes} bytes restored instead of {size}")
            require(result.seconds >= 0, "a negative time")

    def test_restores_only_what_is_included(
        self, engine: Engine, held: Sequence[Held], host: Host, workplace: str
    ) -> None:
        one = max(held, key=lambda held: len(held.files))
        path = max(one.files)
        require(len(one.files) > 1, "one file only: leaving out is not proved")
        engine.restore(_find(engine, one), workplace, include=[f"/{path}"], timeout=_PATIENCE)
        require(_tree(host, workplace) == {path: one.files[path]}, f"{_tree(host, workplace).keys()}, not {path}")

    def test_restores_and_verifies(self, engine: Engine, held: Sequence[Held], host: Host, workplace: str) -> None:
        engine.restore(_find(engine, held[0]), workplace, verify=True, timeout=_PATIENCE)
        require(_tree(host, workplace) == held[0].files, "not what was backed up")

    def test_tells_progress(self, engine: Engine, held: Sequence[Held], workplace: str) -> None:
        seen: list[Progress] = []
        engine.restore(_find(engine, held[0]), workplace, timeout=_PATIENCE, progress=seen.append)
        for one in seen:
            require(one.basis in {"measured", "estimated"} and one.done_bytes >= 0, str(one))
            require(one.total_bytes is None or one.done_bytes <= one.total_bytes, str(one))

    def test_unknown_recovery_point(self, engine: Engine, held: Sequence[Held], workplace: str) -> None:
        unknown = dataclasses.replace(held[0].point, id="0123456789abcdef" * 4)
        with pytest.raises(RecoveryPointMissing):
            engine.restore(unknown, workplace, timeout=_PATIENCE)
        with pytest.raises(RecoveryPointMissing):
            engine.statistics(unknown, _PATIENCE)

    def test_statistics(self, engine: Engine, held: Sequence[Held]) -> None:
        for one in held:
            told = engine.statistics(_find(engine, one), _PATIENCE)
            require(told.bytes == sum(map(len, one.files.values())), f"{told} for {one.point}")
            # Engines may count folders.
            require(told.files >= len(one.files), f"{told} for {one.point}")

    def test_reads_all_of_it_back_in_turns(self, engine: Engine) -> None:
        parts = 3
        results = [engine.verify(part, parts, _PATIENCE) for part in range(1, parts + 1)]
        for number, result in enumerate(results, 1):
            require((result.part, result.parts) == (number, parts), str(result))
            require(result.problems == (), f"damage in a sound repository: {result}")
        told = [(result.units_read, result.units) for result in results]
        if any(units is not None for _, units in told):
            require(sum(read or 0 for read, _ in told) == told[0][1], f"parts do not add up to all of it: {told}")

    def test_reads_all_of_it_back_at_once(self, engine: Engine) -> None:
        result = engine.verify(1, 1, _PATIENCE)
        require(result.problems == () and result.units_read == result.units, str(result))

    def test_guard_lets_pass_when_nobody_is_there(self, engine: Engine) -> None:
        engine.guard()

    def test_no_time_at_all(self, engine: Engine, held: Sequence[Held], workplace: str) -> None:
        point = _find(engine, held[0])
        with pytest.raises(EngineTimeout):
            engine.restore(point, workplace, timeout=1e-6)

    def test_never_writes(
        self, engine: Engine, held: Sequence[Held], workplace: str, fingerprint: Callable[[], object]
    ) -> None:
        before = fingerprint()
        require(bool(before), "the fingerprint is empty: nothing is proved")
        engine.guard()
        point = _find(engine, held[0])
        engine.statistics(point, _PATIENCE)
        engine.restore(point, workplace, verify=True, timeout=_PATIENCE)
        engine.verify(1, 2, _PATIENCE)
        require(fingerprint() == before, "the repository was written to")

    def test_failures_have_names(self, failing: Mapping[type[EngineError], Engine], secret: str) -> None:
        require(bool(failing), "no engine that fails: nothing is proved")
        for kind, engine in failing.items():
            with pytest.raises(EngineError) as caught:
                engine.recovery_points(Snapshots())
            require(type(caught.value) is kind, f"{caught.value!r} instead of {kind.__name__}")
            told = caught.value.diagnostics()[0]
            require(bool(told.what and told.where and told.mend), f"what, where and mend are not all told: {told}")
            require(secret not in f"{told} {caught.value!r}", "the password is in the error")

    def test_keeps_the_secret(self, engine: Engine, secret: str) -> None:
        require(secret not in repr(engine) and secret not in str(vars(engine)), "the password is in the engine's repr")


def _find(engine: Engine, held: Held) -> RecoveryPoint:
    return next(point for point in engine.recovery_points(Snapshots()) if _same(point) == _same(held.point))


def _same(point: RecoveryPoint) -> tuple[object, ...]:
    return point.time, point.host, point.paths, sorted(point.tags)


def _nameless(points: Sequence[RecoveryPoint]) -> list[tuple[object, ...]]:
    return [_same(point) for point in points]


def _fits(point: RecoveryPoint, wanted: Snapshots) -> bool:
    fits = wanted.host in {None, point.host}
    return fits and set(wanted.tags) <= set(point.tags) and set(wanted.paths) <= set(point.paths)


def _questions(held: Sequence[Held]) -> list[Snapshots]:
    """One of each kind; the tags are those of the point that has most, so that all of them have to be there."""
    most = max((one.point for one in held), key=lambda point: len(point.tags))
    require(len(most.tags) > 1, "no recovery point has two tags")
    return [
        Snapshots(host=held[0].point.host),
        Snapshots(tags=most.tags),
        Snapshots(paths=held[0].point.paths),
        Snapshots(host="no-such-host"),
        Snapshots(tags=("no-such-tag", *most.tags)),
        Snapshots(paths=("/no/such/path",)),
    ]


def _tree(host: Host, root: str) -> dict[str, bytes]:
    files = [fact for fact in host.scan(root) if fact.kind == "file"]
    return {fact.path: host.read(f"{root}/{fact.path}", fact.size + 1) for fact in files}

"""What every kind of replication (`Replication`) must do.

Subclass `ReplicationContract` in a test module and give it a fixture `pair`:
a `Pair` whose replica follows its source, and has all. Lag is measured as a
drill does it, against pauses on this suite's own clock.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, cast

import pytest

from drtests.clock import SystemClock
from drtests.core import events as e
from drtests.drill.log import DrillLog
from drtests.drill.replicating import Sampling
from drtests.errors import DrtestsError, UsageError
from drtests.model.system import Replica
from drtests.protocols.replication import Replication
from drtests.testing import host_contract
from drtests.testing.host_contract import require

PATIENCE = 20.0
"""Seconds in which what was written has to arrive, or to go."""
_TURN = 0.1
"""Seconds that a thread may wait for its turn between reading the clock and doing what it read it for."""
_PAUSE = 3.0
"""Seconds for which a replica stands still."""


class Pair(ABC):
    """A source and its replica. What returns None cannot be had of this kind, and is not tried."""

    interval: ClassVar[float] = 0.25
    """Seconds between looks, in which a marker can be written and arrive."""
    comparing: ClassVar[Mapping[str, Any]] = {}
    """Options with which something is compared."""

    @abstractmethod
    def build(self, **options: Any) -> Replication:
        """A new one each time, of this pair."""

    @abstractmethod
    def one(self) -> Replication:
        """One whose source and replica are the same thing, or whose replica follows nobody."""

    @abstractmethod
    def settle(self) -> None:
        """Waits until the replica has all; where a job copies, runs it."""

    @abstractmethod
    def work(self) -> None:
        """Writes something at the source, as an application does."""

    @abstractmethod
    def traces(self) -> Sequence[str]:
        """What there is of markers, on both sides. What a settled replica keeps for good does not count."""

    def following(self) -> AbstractContextManager[object]:
        """Keeps the replica up to date meanwhile, where that does not happen by itself."""
        return nullcontext()

    def paused(self) -> AbstractContextManager[object] | None:
        """The replica stands still, and goes on answering."""
        return None

    def gone(self) -> AbstractContextManager[object] | None:
        """The replica does not answer, or is not there."""
        return None

    def strange(self) -> AbstractContextManager[Replication] | None:
        """One whose replica is of another source."""
        return None

    def differing(self) -> AbstractContextManager[object] | None:
        """The replica holds something else than the source, in what is compared."""
        return None


@dataclass
class _Watched:
    """Notes when the replica was asked, and when the source had a marker."""

    inner: Replication
    asked: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def newest(self) -> int | None:
        self.asked.append(time.monotonic())
        return self.inner.newest()

    def mark(self, number: int) -> None:
        self.inner.mark(number)
        self.committed.append(time.monotonic())


@dataclass
class _Journal:
    """What a drill's log is to the sampling."""

    clock: SystemClock = field(default_factory=SystemClock)
    quiet: bool = False
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    silent: list[Mapping[str, Any]] = field(default_factory=list)

    def write(self, kind: str, **data: Any) -> None:
        told = {e.REPLICA_SAMPLED: self.samples, e.REPLICA_SILENT: self.silent}
        told.get(kind, []).append(data)


class ReplicationContract:
    """The suite."""

    def test_a_sound_pair_is_one(self, pair: Pair) -> None:
        def sound() -> bool:
            identity = pair.build().identify()
            require(bool(identity.facts), "nothing tells why it is one")
            json.dumps(dict(identity.facts))
            return identity.problems == ()

        eventually(sound, f"a sound pair is none: {pair.build().identify().problems}")

    def test_one_thing_is_no_replica_of_itself(self, pair: Pair) -> None:
        require(bool(pair.one().identify().problems), "it is taken for a replica of itself")

    def test_a_replica_of_another_source(self, pair: Pair) -> None:
        with _had(pair.strange()) as replication:
            require(bool(replication.identify().problems), "it is taken for a replica of this source")
            behind = replication.behind()
            require(behind.seconds is None or behind.basis != "measured", f"{behind}, of a replica of another source")

    def test_an_idle_source_is_no_lag(self, pair: Pair) -> None:
        replication = pair.build()
        for _ in range(4):
            behind = replication.behind()
            require(behind.basis in ("measured", "estimated"), behind.basis)
            require(behind.seconds is None or 0 <= behind.seconds < 1, f"{behind} of an idle source")
            time.sleep(0.05)

    def test_markers_arrive_in_order(self, pair: Pair) -> None:
        replication = _marking(pair)
        try:
            replication.begin()
            pair.settle()
            require(replication.newest() is None, "there is a marker before the first")
            for number in (1, 2, 3):
                replication.mark(number)
                pair.settle()
                eventually(lambda number=number: replication.newest() == number, "it does not arrive")  # type: ignore[misc]
        finally:
            replication.end()

    def test_no_marker_before_its_place_is_made(self, pair: Pair) -> None:
        with pytest.raises(UsageError):
            pair.build().mark(1)

    def test_the_end_leaves_no_trace_and_may_come_twice(self, pair: Pair) -> None:
        replication = _marking(pair)
        replication.end()
        replication.begin()
        replication.mark(1)
        require(bool(pair.traces()), "no marker is seen: nothing is proved")
        replication.end()
        replication.end()
        pair.settle()
        eventually(lambda: not pair.traces(), f"left behind: {pair.traces()}")
        require(replication.newest() is None, "a marker is seen that was removed")

    def test_two_drills_are_not_in_each_others_way(self, pair: Pair) -> None:
        first, second = _marking(pair), pair.build()
        first.begin()
        try:
            second.begin()
        except DrtestsError as error:
            # Where there is one place only, the second is told so.
            require(bool(error.mend), f"{error.what}: it does not say what to do")
            first.mark(1)
            first.end()
            return
        first.mark(7)
        second.mark(1)
        pair.settle()
        eventually(lambda: (first.newest(), second.newest()) == (7, 1), "one takes the other's marker for its own")
        first.end()
        pair.settle()
        eventually(lambda: second.newest() == 1, "its marker went with the other's")
        second.end()
        pair.settle()
        eventually(lambda: not pair.traces(), "something is left behind")

    def test_a_replica_that_stands_still_does_not_look_like_one_that_has_all(self, pair: Pair) -> None:
        seen = pair.build()
        seen.behind()
        with _had(pair.paused()):
            pair.work()
            # One that is steady looks once; another that comes late cannot tell how old it is, and must not say 0.
            for replication in [pair.build()] if type(seen).steady else [seen, pair.build()]:
                eventually(lambda r=replication: not _has_all(r), "what stands still is told to have all")  # type: ignore[misc]

    def test_lag_of_an_idle_source_is_below_one_interval(self, pair: Pair) -> None:
        samples, _, _ = self._sampled(pair, lambda: time.sleep(4 * pair.interval))
        known = [sample["seconds"] for sample in samples]
        require(statistics.median(known) < pair.interval, f"an idle source looks like lag: {known}")
        require(samples[-1]["within"] is not None, "how far behind it is at most is not known")

    def test_a_pause_is_measured_for_what_it_is(self, pair: Pair) -> None:
        """Under load, and from the moment of pausing by this suite's clock to the moment of the look."""
        pause = pair.paused()
        pausing, paused, ends = [0.0], [0.0], [0.0]

        def stand_still() -> None:
            pausing[0] = time.monotonic()
            with _had(pause):
                paused[0] = time.monotonic()
                time.sleep(_PAUSE)
                ends[0] = time.monotonic()

        if pause is None:
            pytest.skip("it cannot be paused")
        samples, asked, watched = self._sampled(pair, stand_still, _load(pair))
        # Pausing is no point in time; and a busy machine may not get to the first marker after it in time.
        first = next((moment for moment in watched.committed if moment > paused[0]), paused[0])
        unsure = _TURN + paused[0] - pausing[0] + max(0.0, first - paused[0] - pair.interval)
        seen = 0
        for at, sample in zip(asked, samples, strict=True):
            if not paused[0] + 2 * pair.interval < at < ends[0]:
                continue
            truth = at - paused[0]
            off = abs(sample["seconds"] - truth)
            require(off <= max(pair.interval, 0.1 * truth) + unsure, f"{sample['seconds']} after {truth} s of pause")
            require(sample["within"] is None or sample["within"] >= truth - unsure, f"{sample} is too little")
            seen += 1
        require(seen > 0, "no look fell into the pause: nothing is proved")
        require(samples[-1]["seconds"] < _PAUSE / 2, f"it never ends: {samples[-1]}")

    def _sampled(
        self, pair: Pair, meanwhile: Callable[[], None], load: AbstractContextManager[object] | None = None
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[float], _Watched]:
        """Looks as a drill takes them, until some time after `meanwhile` has ended; and when each was begun."""
        watched, journal = _Watched(_marking(pair)), _Journal()
        window, interval = timedelta(hours=1), timedelta(seconds=pair.interval)
        declared = Replica(id="r", kind="contract", markers=True, window=window, interval=interval)
        replication = cast(Replication, watched)
        sampling = Sampling(replication, declared, False, True, cast(DrillLog, journal))
        over = threading.Event()
        watch = threading.Thread(target=lambda: sampling.run(window.total_seconds(), over.is_set), name="looks")
        try:
            with pair.following(), load or nullcontext():
                watch.start()
                eventually(lambda: _bounded(journal), f"no marker arrives: {journal.silent}")
                meanwhile()
                looks = len(journal.samples)
                eventually(lambda: len(journal.samples) >= looks + 4, "nobody looks any more")
                eventually(lambda: journal.samples[-1]["seconds"] < pair.interval, "still behind")
        finally:
            over.set()
            watch.join(60)
            watched.inner.end()
        require(not journal.silent, f"{journal.silent}")
        return journal.samples, watched.asked, watched

    def test_what_is_the_same_is_the_same(self, pair: Pair) -> None:
        if not type(pair.build()).steady:
            require(list(pair.build().compare()) == [], "something is compared that was not declared")
        if not pair.comparing:
            pytest.skip("nothing can be compared")
        pair.settle()
        compared = pair.build(**pair.comparing).compare()
        require(bool(compared) and all(one.same is True for one in compared), f"{compared}")

    def test_what_differs_is_seen(self, pair: Pair) -> None:
        with _had(pair.differing()):
            compared = pair.build(**pair.comparing).compare()
            require(any(one.same is False for one in compared), f"{compared}")
            require(all(one.what for one in compared), "it does not say what differs")
            json.dumps([dict(one.facts) for one in compared])

    def test_a_replica_that_is_gone(self, pair: Pair) -> None:
        replication = pair.build()
        with _had(pair.gone()):
            for ask in (replication.newest, replication.behind):
                with pytest.raises(DrtestsError) as caught:
                    ask()
                require(bool(caught.value.what), "it does not say what happened")
            try:
                problems = replication.identify().problems
            except DrtestsError:
                return
            require(bool(problems), "it is taken for a sound replica")

    def test_clocks(self, pair: Pair) -> None:
        """Both sides are on this machine."""
        skew = pair.build().skew()
        if skew is None:
            pytest.skip("there are no two clocks")
        require(abs(skew.seconds) <= skew.uncertainty + 0.1, f"{skew} of one clock")


def eventually(condition: Callable[[], bool], message: str) -> None:
    host_contract.eventually(condition, message, PATIENCE)


def _had(manager: AbstractContextManager[Any] | None) -> AbstractContextManager[Any]:
    if manager is None:
        pytest.skip("this cannot be had of this kind of replication")
    return manager


def _marking(pair: Pair) -> Replication:
    replication = pair.build()
    if not type(replication).marks:
        with pytest.raises(UsageError):
            replication.begin()
        pytest.skip("no markers are written for this kind")
    return replication


def _has_all(replication: Replication) -> bool:
    behind = replication.behind()
    return behind.basis == "measured" and behind.seconds == 0


def _bounded(journal: _Journal) -> bool:
    return any(sample["within"] is not None for sample in journal.samples)


@contextmanager
def _load(pair: Pair) -> Iterator[None]:
    """The application writes all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            pair.work()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            over.set()
        working.result(60)

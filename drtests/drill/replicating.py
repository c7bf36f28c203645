"""`::replication[name]`: how far a replica lags behind, measured while it replicates."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from drtests import registry
from drtests.core import events as e
from drtests.core.lag import Bounds, Ledger
from drtests.core.plan import DrillPlan
from drtests.declarations.adapters import ids_in, spec_of
from drtests.drill.context import RunContext
from drtests.drill.costs import tell_cost
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.drill.recovery import Body
from drtests.errors import (
    BudgetExceeded,
    CommandNotFound,
    DatabaseError,
    DatabaseMissing,
    DatabaseRefused,
    DrtestsError,
    EngineError,
    EngineMissing,
    EngineTooOld,
    HostError,
    MarkersLeft,
    StoreDenied,
    StoreError,
    WrongPassword,
)
from drtests.model.system import Replica
from drtests.model.units import utc_text
from drtests.protocols.clock import Clock
from drtests.protocols.replication import Behind, Compared, Replication

_NO_ANSWER = (DatabaseError, EngineError, HostError, StoreError)
"""What a side that is silent raises, or the way to it. Not all of it: see `_stops`."""

_OURS = (
    CommandNotFound,
    DatabaseMissing,
    DatabaseRefused,
    EngineMissing,
    EngineTooOld,
    StoreDenied,
    WrongPassword,
)
"""That nothing could be seen, and neither side is to blame."""

_CLIENTS = ("live database", "repository", "store")
"""Who names one of these asks it from some host, which is no side itself."""

_STILL = 5.0
"""Seconds beyond its own timeout that the thread which writes markers has to end."""


def replicate(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """Makes sure of the replica, samples its lag, compares what was declared, and cleans up."""
    declared = next(one for one in context.project.systems[plan.system].replicas if one.id == plan.subject)
    adapter = registry.replication(declared.kind)
    window = 0.0 if adapter.steady else declared.window.total_seconds()
    log.write(
        e.DRILL_STARTED,
        kind=plan.kind,
        moment=utc_text(context.clock.now()),
        moment_basis="now",
        replica=declared.id,
        replica_kind=declared.kind,
        window=window,
        interval=declared.interval.total_seconds(),
    )
    reach = DrillReach(context.project, log, context.mark(plan))
    with log.phase("locate"):
        spec = spec_of(adapter, f"replica {declared.id}", declared.options)
        replication: Replication = adapter(spec, reach)
        _make_sure(replication, log)
    try:
        with log.phase("verify"):
            ours = (*_OURS, HostError) if any(ids_in(spec, kind) for kind in _CLIENTS) else _OURS
            Sampling(replication, declared, adapter.steady, adapter.marks, log, ours).run(window)
            _compare(replication, log)
    finally:
        with log.phase("clean up"):
            _end(replication, log)
            tell_cost(context.project, reach, log)


def _stops(error: DrtestsError) -> bool:
    """Whether the drill may not go on; else it is a look that got no answer."""
    return isinstance(error, BudgetExceeded)


def _compare(replication: Replication, log: DrillLog) -> None:
    try:
        found = replication.compare()
    except _NO_ANSWER as error:
        if _stops(error):
            raise
        found = [Compared("what was declared", None, error.what)]
    for seen in found:
        log.write(e.REPLICA_COMPARED, what=seen.what, same=seen.same, detail=seen.detail, facts=dict(seen.facts))


def _end(replication: Replication, log: DrillLog) -> None:
    try:
        for left in replication.end() or ():
            log.write(e.REPLICA_NOTED, note=f"left behind: {left}")
    except DrtestsError as error:
        log.problem(
            MarkersLeft(
                f"markers could not be removed from the source: {error.what}",
                where=error.where,
                mend="remove them by hand: they are in a place of drtests' own, which its how-to names",
            )
        )


def _make_sure(replication: Replication, log: DrillLog) -> None:
    try:
        identity = replication.identify()
    except _NO_ANSWER as error:
        if _stops(error):
            raise
        # Who is silent, the looks will tell.
        log.write(e.REPLICA_NOTED, note=f"could not make sure that it is a replica of this source: {error.what}")
        return
    log.write(e.REPLICA_IDENTIFIED, facts=dict(identity.facts), problems=list(identity.problems))
    try:
        skew = replication.skew()
    except _NO_ANSWER as error:
        if _stops(error):
            raise
        log.write(e.REPLICA_NOTED, note=f"how far the clocks of both sides differ was not told: {error.what}")
        return
    if skew is not None:
        log.write(e.REPLICA_SKEWED, seconds=skew.seconds, uncertainty=skew.uncertainty)


class Sampling:
    """Looks at the replica at every interval; beside it, a thread writes markers at the source."""

    def __init__(
        self,
        replication: Replication,
        declared: Replica,
        steady: bool,
        marks: bool,
        log: DrillLog,
        ours: tuple[type[DrtestsError], ...] = _OURS,
    ) -> None:
        self._replication = replication
        self._ours = ours
        self._interval = declared.interval.total_seconds()
        self._markers = declared.markers and marks
        self._steady = steady
        self._log = log
        self._clock: Clock = log.clock
        self._ledger = Ledger()
        self._bounds = Bounds()
        self._asked = math.inf
        """When the look before was begun."""
        self._gap = 0.0
        """The longest time from there to the end of the next."""
        self._enough = threading.Event()
        self._source_error: DrtestsError | None = None
        """Why no more markers are written."""

    def run(self, window: float, over: Callable[[], bool] = lambda: False) -> None:
        """Samples for `window` seconds from when it is first seen how far behind it is at most; at least once.

        It ends earlier when `over` says so.
        """
        markers = self._markers and self._begin()
        if not markers and not self._steady:
            self._log.write(e.REPLICA_NOTED, note="no markers were written: lag is what both servers say")
        self._log.quiet = True
        try:
            with self._writing() if markers else _nothing():
                self._look_on(window, markers, over)
        finally:
            self._log.quiet = False
        if markers and self._ledger.committed is not None:
            self._log.write(e.REPLICA_MARKED, number=self._ledger.committed.number)
        if self._source_error is not None:
            if _stops(self._source_error):
                raise self._source_error
            self._log.write(e.REPLICA_SILENT, who="source", what=self._source_error.what)

    def _begin(self) -> bool:
        try:
            self._replication.begin()
        except (DatabaseRefused, StoreDenied) as error:
            self._log.write(e.REPLICA_NOTED, note=f"the source refuses markers: {error.what}")
            return False
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._write, name="markers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._enough.set()
            thread.join(self._interval + 60 + _STILL)

    def _write(self) -> None:
        while not self._enough.is_set():
            number = self._ledger.start(self._clock.monotonic())
            began = self._clock.monotonic()
            try:
                self._replication.mark(number)
            except DrtestsError as error:
                self._source_error = error
                return
            self._ledger.commit(number, self._clock.monotonic())
            self._enough.wait(max(0.0, self._interval - (self._clock.monotonic() - began)))

    def _look_on(self, window: float, markers: bool, over: Callable[[], bool] = lambda: False) -> None:
        began = since = self._clock.monotonic()
        looks = bounded = 0
        """How many there were, and how many since lag was bounded from above for the first time."""
        while True:
            asked = self._clock.monotonic()
            known = self._look(asked - began, markers)
            looks += 1
            if known and not bounded:
                # What is known now says nothing of the time before, in which a replica may have been an hour behind.
                since = asked
            bounded += bool(bounded or known)
            now = self._clock.monotonic()
            if over() or (self._source_error is not None and _stops(self._source_error)):
                return
            if now - since >= window and (self._steady or (looks > 1 and bounded != 1)):
                return
            self._clock.sleep(max(0.0, asked + self._interval - now))

    def _look(self, at: float, markers: bool) -> bool:
        """Whether it tells how far behind the replica is at most."""
        told: dict[str, Any] = {"at": round(at, 6), "seconds": None, "within": None, "bytes": None, "answered": True}
        told |= {"how": "markers" if markers else "positions", "newest": None}
        try:
            if markers:
                told |= self._by_markers()
            else:
                told |= self._by_positions()
        except _NO_ANSWER as error:
            if _stops(error):
                raise
            told["answered"] = False
            self._log.write(e.REPLICA_SILENT, who=self._who(error, markers), what=error.what)
        self._log.write(e.REPLICA_SAMPLED, **told)
        return told["within"] is not None

    def _by_markers(self) -> dict[str, Any]:
        asked = self._clock.monotonic()
        newest = self._replication.newest()
        answered = self._clock.monotonic()
        lag = self._ledger.lag(newest, asked, answered)
        within = self._bounds.at_most(answered, lag.at_most)
        behind = self._behind()
        return {
            "seconds": round(lag.at_least, 6),
            "within": None if within is None else round(within, 6),
            "bytes": behind.bytes,
            "newest": newest,
        }

    def _behind(self) -> Behind:
        """Bytes are told beside the markers; that nobody tells them changes nothing."""
        try:
            return self._replication.behind()
        except _NO_ANSWER as error:
            if _stops(error):
                raise
            return Behind(None, None)

    def _by_positions(self) -> dict[str, Any]:
        asked = self._clock.monotonic()
        behind = self._replication.behind()
        answered = self._clock.monotonic()
        how = "estimates" if behind.basis != "measured" else "snapshots" if self._steady else "positions"
        seconds, within = behind.seconds, None
        self._gap, self._asked = max(self._gap, answered - self._asked), asked
        if how == "snapshots":
            within = seconds
        elif how == "positions":
            # What they tell is older than the replica by what the look took.
            most = None if seconds is None else seconds + answered - asked
            within = self._bounds.at_most(answered, most)
            # And rounded up to a look.
            seconds = None if seconds is None else max(0.0, seconds - self._gap)
        return {
            "seconds": None if seconds is None else round(seconds, 6),
            "within": None if within is None else round(within, 6),
            "bytes": behind.bytes,
            "how": how,
        }

    def _who(self, error: DrtestsError, markers: bool) -> str:
        """Which side is silent: where markers are read, only the replica was asked."""
        if isinstance(error, self._ours):
            return "nobody"
        if markers:
            return "replica"
        try:
            self._replication.newest()
        except self._ours:
            return "nobody"
        except _NO_ANSWER:
            return "replica"
        return "source"


@contextmanager
def _nothing() -> Iterator[None]:
    yield

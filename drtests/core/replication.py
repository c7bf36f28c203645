"""From what a replication drill saw to its part of the record, and to its verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from drtests.core import events as e
from drtests.core.lag import spread
from drtests.core.plan import REPLICATION, DrillPlan
from drtests.core.trace import Trace
from drtests.model.replication import Distribution, Divergence, LagSample, ReplicationRecord
from drtests.model.units import format_duration
from drtests.model.verdict import Basis, Verdict

Reason = tuple[Verdict, str]
_KEPT = 600
"""Samples in the record; of more, the worst of each stretch."""


def replication_record(plan: DrillPlan, trace: Trace) -> ReplicationRecord | None:
    """What is known of the replica; None for drills of other kinds, and when nothing was begun."""
    if plan.kind != REPLICATION or not trace.started:
        return None
    started = trace.started
    samples = [_sample(data) for data in _told(trace, e.REPLICA_SAMPLED)]
    identified = next(iter(_told(trace, e.REPLICA_IDENTIFIED)), None)
    skewed = next(iter(_told(trace, e.REPLICA_SKEWED)), None)
    marked = [data["number"] for data in _told(trace, e.REPLICA_MARKED)]
    seen = [data["newest"] for data in _told(trace, e.REPLICA_SAMPLED) if data.get("newest") is not None]
    known = [sample.seconds for sample in samples if sample.seconds is not None]
    bounded = _bounded(samples)
    lag, lacked = spread(known), spread([float(sample.bytes) for sample in samples if sample.bytes is not None])
    return ReplicationRecord(
        replica=plan.subject,
        kind=started["replica_kind"],
        how=_how(trace, known),
        basis=_basis(trace, known),
        window_seconds=started["window"],
        interval_seconds=started["interval"],
        looks=len(samples),
        unanswered=sum(not sample.answered for sample in samples),
        markers=max(marked) if marked else None,
        seen=max(seen) if seen else None,
        lag=Distribution(p50=lag.p50, p95=lag.p95, p99=lag.p99, max=lag.max) if lag else None,
        within_seconds=_within(bounded),
        waited_seconds=bounded[0].at if bounded else None,
        bytes=Distribution(p50=lacked.p50, p95=lacked.p95, p99=lacked.p99, max=lacked.max) if lacked else None,
        identity=dict(identified["facts"]) if identified else None,
        problems=tuple(identified["problems"]) if identified else (),
        skew_seconds=skewed["seconds"] if skewed else None,
        skew_uncertainty_seconds=skewed["uncertainty"] if skewed else None,
        compared=tuple(Divergence.model_validate(data) for data in _told(trace, e.REPLICA_COMPARED)),
        notes=tuple(data["note"] for data in _told(trace, e.REPLICA_NOTED)),
        samples=tuple(_fewer(samples)),
    )


def judge_replication(plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    """Every reason for the verdict; MET has to be earned by each clause."""
    record = replication_record(plan, trace)
    if plan.rpo is None:
        yield Verdict.INCONCLUSIVE, "there is no RPO to hold the lag against"
        return
    if record is None:
        yield Verdict.INCONCLUSIVE, "the replica was not looked at"
        return
    silent = [data["who"] for data in _told(trace, e.REPLICA_SILENT)]
    if record.identity is None and not silent:
        yield Verdict.INCONCLUSIVE, "whether it is a replica of this source is not known"
    yield from ((Verdict.MISSED, problem) for problem in record.problems)
    yield from _silence(record, silent)
    samples = [_sample(data) for data in _told(trace, e.REPLICA_SAMPLED)]
    yield from _lag(plan.rpo.seconds, record, len(_bounded(samples)))
    for one in record.compared:
        if one.same is None:
            yield Verdict.INCONCLUSIVE, f"{one.what} could not be compared: {one.detail}"
        elif not one.same:
            yield Verdict.MISSED, f"{one.what} {one.detail or 'differs'}"
        else:
            yield Verdict.MET, f"{one.what} is the same on both sides"


def _silence(record: ReplicationRecord, silent: Sequence[str]) -> Iterator[Reason]:
    if "source" in silent:
        yield Verdict.INCONCLUSIVE, "the source did not answer, so nobody knows what the replica lacks"
    elif set(silent) == {"replica"} and record.unanswered == record.looks:
        yield Verdict.MISSED, "the replica does not answer, and the source does"
    elif "replica" in silent:
        yield Verdict.INCONCLUSIVE, f"{record.unanswered} of {record.looks} looks got no answer from the replica"
    elif silent:
        yield Verdict.INCONCLUSIVE, f"{record.unanswered} of {record.looks} looks were refused, or could not be made"


def _lag(limit: float, record: ReplicationRecord, bounded: int) -> Iterator[Reason]:
    enough = 1 if record.how == "snapshots" else 2
    if record.looks < enough:
        yield Verdict.INCONCLUSIVE, "the replica was not looked at often enough to tell its lag"
        return
    if record.lag is None:
        if record.unanswered < record.looks:
            yield Verdict.INCONCLUSIVE, "how far the replica lags behind was not told"
        return
    rpo = f"an RPO of {format_duration(limit)}"
    told = "no look found anything missing at the replica"
    if record.lag.max:
        told = f"the replica lagged behind by up to {format_duration(record.lag.max)}"
    if record.lag.max > limit:
        verdict = Verdict.MISSED if record.basis is Basis.MEASURED else Verdict.INCONCLUSIVE
        yield verdict, f"{told} ({record.basis}), {format_duration(record.lag.max - limit)} over {rpo}"
    elif record.basis is not Basis.MEASURED:
        yield Verdict.INCONCLUSIVE, f"{told}, which is no more than the servers' own estimate"
    elif record.within_seconds is None or record.waited_seconds is None:
        when = "at some looks" if bounded else "at any look"
        yield Verdict.INCONCLUSIVE, f"{told} at least; that it was no more was not seen {when}"
    elif bounded < enough:
        yield Verdict.INCONCLUSIVE, f"{told} at least; that it was no more was seen at the last look only"
    elif record.within_seconds > limit:
        most = format_duration(record.within_seconds)
        yield Verdict.INCONCLUSIVE, f"{told} at least and {most} at most, and {rpo} lies between"
    elif record.waited_seconds > limit:
        waited = format_duration(record.waited_seconds)
        yield Verdict.INCONCLUSIVE, f"for {waited} nobody could tell how far behind the replica was, longer than {rpo}"
    else:
        most = format_duration(record.within_seconds)
        later = record.waited_seconds >= record.interval_seconds / 2
        waited = f" from {format_duration(record.waited_seconds)} on" if later else ""
        yield Verdict.MET, f"{told}; it was at most {most} behind{waited} (measured), within {rpo}"


def _told(trace: Trace, kind: str) -> list[Mapping[str, Any]]:
    return [event.data for event in trace.replication if event.type == kind]


def _sample(data: Mapping[str, Any]) -> LagSample:
    return LagSample(
        at=data["at"], seconds=data["seconds"], within=data["within"], bytes=data["bytes"], answered=data["answered"]
    )


def _how(trace: Trace, known: Sequence[float]) -> Literal["markers", "positions", "snapshots", "estimates", "nothing"]:
    if not known:
        return "nothing"
    ways = [data["how"] for data in _told(trace, e.REPLICA_SAMPLED) if data["seconds"] is not None]
    # The weakest of all that were used.
    for way in ("estimates", "snapshots", "positions"):
        if way in ways:
            return way
    return "markers"


def _basis(trace: Trace, known: Sequence[float]) -> Basis | None:
    if not known:
        return None
    return Basis.ESTIMATED if _how(trace, known) == "estimates" else Basis.MEASURED


def _bounded(samples: Sequence[LagSample]) -> Sequence[LagSample]:
    """The looks that got an answer, from the first one on that told how far behind the replica is at most.

    Before it nothing is known: a replica that shows no marker may be an hour behind.
    """
    answered = [sample for sample in samples if sample.answered]
    first = next((number for number, sample in enumerate(answered) if sample.within is not None), len(answered))
    return answered[first:]


def _within(bounded: Sequence[LagSample]) -> float | None:
    """The worst that lag can have been. Not known when one of them left it open."""
    worst = [sample.within for sample in bounded if sample.within is not None]
    return max(worst) if worst and len(worst) == len(bounded) else None


def _fewer(samples: Sequence[LagSample]) -> Sequence[LagSample]:
    if len(samples) <= _KEPT:
        return samples
    size = -(-len(samples) // _KEPT)
    stretches = [samples[start : start + size] for start in range(0, len(samples), size)]
    return [max(stretch, key=lambda s: (not s.answered, s.seconds or 0.0)) for stretch in stretches]

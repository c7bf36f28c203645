"""Charts of the report, as SVG in the page: to scale, and readable without colour.

Horizontal places are percentages and letters have a fixed size, so that a
chart is as readable on a phone as on paper. Pattern tells where a number comes
from: full is measured, hatched is declared, dotted is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from drtests.model.record import DrillRecord, Phase
from drtests.model.units import format_duration
from drtests.model.verdict import Basis

_FAR = 4.0
"""An objective this many times longer than all phases is told on their timeline, not drawn: they would be dots."""
_ROW = 40
_NARROWEST = 0.4
"""Percent; a phase of a few milliseconds must still be seen to exist."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: pieces laid end to end from `start`, each of seconds and a class that gives its pattern."""

    label: str
    told: str
    pieces: tuple[tuple[float, str], ...]
    start: float = 0.0

    @property
    def end(self) -> float:
        return self.start + sum(seconds for seconds, _ in self.pieces)


def chart(
    bars: Sequence[Bar], limit: float | None, limit_label: str, title: str, description: str, far: float = math.inf
) -> Markup:
    """The bars below each other on one scale of seconds, with a line at the limit unless it is `far` times longer."""
    longest = max((bar.end for bar in bars), default=0.0)
    drawn = limit is not None and (limit <= longest * far or not longest)
    span = max(longest, limit if limit is not None and drawn else 0.0) * 1.04 or 1.0
    top = 26 if limit is not None else 4
    height = top + _ROW * len(bars) + 4
    parts = [Markup("<title>{}</title><desc>{}</desc>").format(title, description)]
    rows = list(enumerate(bars))
    for number, bar in rows:
        parts += _pieces(bar, top + number * _ROW, span)
    if limit is not None and drawn:
        at = 100 * limit / span
        side = "end" if at > 50 else "start"
        parts.append(
            Markup(
                '<line class="limit" x1="{x}%" x2="{x}%" y1="4" y2="{h}"/>'
                '<text class="limit-text" x="{x}%" dx="{dx}" y="15" text-anchor="{side}">{label}</text>'
            ).format(x=f"{at:.2f}", h=height - 2, dx=-6 if side == "end" else 6, side=side, label=limit_label)
        )
    elif limit is not None:
        told = f"{limit_label}: {limit / longest:,.0f} times the width of this chart \N{RIGHTWARDS ARROW}"
        parts.append(
            Markup('<text class="limit-text" x="100%" y="15" text-anchor="end">{}</text>').format(told),
        )
    # Letters come last, so that no line strikes them out.
    parts += [_words(bar, top + number * _ROW) for number, bar in rows]
    return Markup('<svg class="chart" role="img" width="100%" height="{}" aria-label="{}">{}</svg>').format(
        height, title, Markup("").join(parts)
    )


def _words(bar: Bar, y: int) -> Markup:
    return Markup('<text x="0" y="{}"><tspan class="name">{}</tspan> <tspan class="told">{}</tspan></text>').format(
        y + 14, bar.label, bar.told
    )


def _pieces(bar: Bar, y: int, span: float) -> list[Markup]:
    parts = [Markup('<rect class="track" x="0" y="{}" width="100%" height="14" rx="2"/>').format(y + 20)]
    at = bar.start
    for seconds, kind in bar.pieces:
        width = max(100 * seconds / span, _NARROWEST)
        x = min(100 * at / span, 100 - width)
        parts.append(
            Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="14" rx="2"/>').format(
                kind, f"{x:.2f}", y + 20, f"{width:.2f}"
            )
        )
        at += seconds
    return parts


def timeline(drill: DrillRecord) -> Markup:
    """The phases as they followed each other; manual times where the measured recovery ends."""
    time = drill.recovery_time
    wait = time.lock_wait_seconds if time else 0.0
    bars = [_phase_bar(phase, wait) for phase in drill.phases]
    if wait:
        at = next((phase.offset for phase in drill.phases if phase.name == "provision"), 0.0)
        told = f"{format_duration(wait)}, measured; not part of the recovery time"
        place = next((n for n, phase in enumerate(drill.phases) if phase.name == "provision"), 0)
        bars.insert(place, Bar("waiting for other drills", told, ((wait, "wait"),), at))
    if time and time.manual:
        last = max((p.offset + p.seconds for p in drill.phases if p.name != "clean up"), default=0.0)
        at = time.measured_seconds + wait if time.measured_seconds is not None else last
        for manual in time.manual:
            told = f"{format_duration(manual.seconds)}, declared: done by hand, not measured"
            bars.append(Bar(manual.name, told, ((manual.seconds, "declared"),), at))
            at += manual.seconds
    limit = drill.rto.seconds + wait if drill.rto and time else None
    label = f"RTO {format_duration(drill.rto.seconds)}" if drill.rto else ""
    if wait and label:
        label += " + wait"
    told = "; ".join(f"{bar.label} {bar.told}" for bar in bars)
    return chart(bars, limit, label, f"Phases of {drill.id}", told, far=_FAR)


def _phase_bar(phase: Phase, wait: float) -> Bar:
    start, seconds = phase.offset, phase.seconds
    if phase.name == "provision" and wait:
        start, seconds = start + wait, max(0.0, seconds - wait)
    ending = "" if phase.outcome == "done" else f", {phase.outcome}"
    kind = "measured" if phase.outcome == "done" else "broken"
    return Bar(phase.name, f"{format_duration(seconds)}, measured{ending}", ((seconds, kind),), start)


def recovery_bars(drill: DrillRecord) -> Markup | None:
    """Recovery time against the RTO; None when neither is known."""
    time = drill.recovery_time
    if time is None or time.measured_seconds is None or time.total_seconds is None:
        return None
    pieces = [(time.measured_seconds, "measured")]
    told = f"{format_duration(time.measured_seconds)}, measured"
    if time.declared_seconds:
        pieces.append((time.declared_seconds, "declared"))
        total, declared = format_duration(time.total_seconds), format_duration(time.declared_seconds)
        told = f"{total}: {format_duration(time.measured_seconds)} measured + {declared} declared"
    label = f"RTO {format_duration(drill.rto.seconds)}" if drill.rto else ""
    bar = Bar("Recovery time actual", told, tuple(pieces))
    return chart([bar], drill.rto.seconds if drill.rto else None, label, "Recovery time against the RTO", told)


def loss_bars(drill: DrillRecord) -> Markup | None:
    """The known numbers of data loss against the RPO; None when none is known."""
    loss = drill.data_loss
    if loss is None:
        return None
    known: tuple[tuple[str, float | None, str, Basis], ...] = (
        ("Recovery point age", loss.recovery_point_age_seconds, "measured", Basis.MEASURED),
        ("Worst gap", loss.worst_gap_seconds, "measured over the window", Basis.MEASURED),
        ("Worst case", loss.worst_case_seconds, "estimated: gap or interval + declared times", Basis.ESTIMATED),
        ("Loss proved by data", loss.proved_seconds, "measured in the restored data", Basis.MEASURED),
    )
    bars = [
        Bar(label, f"{format_duration(value)}, {basis}", ((max(0.0, value), str(kind)),))
        for label, value, basis, kind in known
        if value is not None
    ]
    if not bars:
        return None
    label = f"RPO {format_duration(drill.rpo.seconds)}" if drill.rpo else ""
    told = "; ".join(f"{bar.label} {bar.told}" for bar in bars)
    return chart(bars, drill.rpo.seconds if drill.rpo else None, label, "Data loss against the RPO", told)


def meter(measured: float, declared: float, limit: float) -> Markup:
    """A bar small enough for a table's cell. The line is the objective."""
    span = max(measured + declared, limit) * 1.04 or 1.0
    told = f"{format_duration(measured + declared)} against {format_duration(limit)}"
    width = max(100 * measured / span, 1.0)
    pieces = Markup('<rect class="measured" x="0" y="3" width="{}%" height="8"/>').format(f"{width:.1f}")
    if declared:
        pieces += Markup('<rect class="declared" x="{}%" y="3" width="{}%" height="8"/>').format(
            f"{width:.1f}", f"{100 * declared / span:.1f}"
        )
    return Markup(
        '<svg class="meter" role="img" width="100%" height="14" aria-label="{0}"><title>{0}</title>'
        '<rect class="track" x="0" y="3" width="100%" height="8"/>{1}'
        '<line class="limit" x1="{2}%" x2="{2}%" y1="0" y2="14"/></svg>'
    ).format(escape(told), pieces, f"{100 * limit / span:.1f}")
